// What each command does to the desk.

import * as api from "./api.js";
import { help } from "./commands.js";
import { $, ask, complain, menu, save, tell } from "./notes.js";
import { archive, store } from "./pacs.js";

const JUMP_MM = 20;
const FLAT_MM = 15; // half the depth of a box that was drawn in one plane, at most
const FAST = 5;

export class Actions {
  constructor(desk, { theme }) {
    this.desk = desk;
    this.theme = theme;
    this.seen = [];
    desk.command = (name, fast) => this.run(name, fast);
    desk.enlarge = (kind) => this.grow(kind);
    desk.finishBox = (draft, pane) => this.box(draft, pane);
    desk.finishLine = (draft) => this.line(draft);
  }

  async run(name, fast = false) {
    const { desk } = this;
    if (!desk.work && !["help", "theme"].includes(name)) return;
    const { looks, mip } = desk;
    const step = fast ? FAST : 1;
    const deeds = {
      here: () => this.here(desk.positive),
      reject: () => this.here(false),
      undo: () => desk.work.selected?.can_undo && desk.act(desk.work.undo()),
      redo: () => desk.work.selected?.can_redo && desk.act(desk.work.redo()),
      cancel: () => this.cancel(),
      point: () => this.tool("point"),
      box: () => this.tool("box"),
      scribble: () => this.tool("scribble"),
      look: () => this.tool("look"),
      sign: () => ((desk.positive = !desk.positive), this.drawTools()),
      left: () => this.move(1, 0, step),
      right: () => this.move(-1, 0, step),
      up: () => this.move(0, 1, step),
      down: () => this.move(0, -1, step),
      forward: () => this.through(step),
      back: () => this.through(-step),
      hottest: () => this.hottest(JUMP_MM),
      jump: () => this.jump(),
      pane1: () => this.look("axial"),
      pane2: () => this.look("coronal"),
      pane3: () => this.look("sagittal"),
      pane4: () => this.look("mip"),
      enlarge: () => this.grow(desk.active),
      fit: () => (desk.viewer.fit(), desk.redraw("planes", "marks")),
      closer: () => this.zoom(1.25),
      further: () => this.zoom(0.8),
      new: () => desk.act(desk.work.add()),
      next: () => this.another(1),
      previous: () => this.another(-1),
      rename: () => desk.panel.rename(),
      hide: () => this.change({ hidden: !desk.work.selected.hidden }),
      reset: () => desk.act(desk.work.reset()),
      delete: () => desk.panel.remove(),
      mode: () => looks.nextMode(),
      scale: () => looks.nextScale(),
      window: () => looks.nextWindow(),
      wider: () => looks.stretch(1.2),
      narrower: () => looks.stretch(1 / 1.2),
      more: () => looks.set({ fusion: Math.min(1, looks.fusion + 0.1) }),
      less: () => looks.set({ fusion: Math.max(0, looks.fusion - 0.1) }),
      turnleft: () => mip.turn(-1),
      turnright: () => mip.turn(1),
      play: () => (mip.turning ? mip.stop() : mip.start(), desk.corners.update()),
      smooth: () => looks.set({ smooth: !looks.smooth }),
      suggest: () => this.suggest(),
      uncertainty: () => this.uncertainty(),
      lesions: () => this.lesions(),
      words: () => $("words").focus(),
      timer: () => this.timer(),
      export: () => this.export(),
      theme: () => this.theme(),
      help: () => help(),
    };
    try {
      await deeds[name]();
    } catch (error) {
      complain(error);
    }
  }

  // -- clicks -----------------------------------------------------------------------------------------------

  here(positive) {
    const { desk } = this;
    if (desk.active === "mip") desk.active = "axial";
    const { cursor, tool, draft } = desk;
    const colour = desk.work.selected.colour;
    const drawing = tool === "box" || tool === "scribble";
    if (drawing && draft?.keyboard) return draft.kind === "box" ? this.box(draft) : this.line(draft);
    if (tool === "box") desk.draft = { kind: "box", from: cursor, to: cursor, colour, keyboard: true };
    else if (tool === "scribble")
      desk.draft = { kind: "line", line: [cursor], pane: desk.active, positive, colour, keyboard: true };
    else return desk.click(cursor, positive);
    desk.redraw("marks");
  }

  /** A box drawn in one plane gets a depth: as deep as its shorter side. */
  box({ from, to, keyboard }, pane) {
    const { desk } = this;
    desk.draft = null;
    const lo = from.map((r, a) => Math.min(r, to[a]));
    const hi = from.map((r, a) => Math.max(r, to[a]));
    const { spacing } = desk.grid;
    const sides = [0, 1, 2].map((a) => (hi[a] - lo[a]) * spacing[a]);
    const flat = keyboard ? sides.findIndex((mm) => mm === 0) : pane.normal;
    if (flat >= 0) {
      const half = Math.min(FLAT_MM, Math.min(...sides.filter((mm, a) => a !== flat)) / 2) / spacing[flat];
      [lo[flat], hi[flat]] = [desk.cursor[flat] - half, desk.cursor[flat] + half];
    }
    desk.startClock(desk.work.selected);
    const [a, b] = [desk.grid.clamp(lo), desk.grid.clamp(hi)].map((ras) => desk.grid.toMm(ras));
    return desk.act(desk.work.box(a, b));
  }

  line({ line, positive }) {
    const { desk } = this;
    desk.draft = null;
    desk.startClock(desk.work.selected);
    return desk.act(
      desk.work.scribble(
        line.map((ras) => desk.grid.toMm(desk.grid.clamp(ras))),
        positive,
      ),
    );
  }

  cancel() {
    const { desk } = this;
    if (desk.draft) desk.draft = null;
    else if (desk.suggestion) desk.suggestion = null;
    else $("notes").lastElementChild?.remove();
    desk.redraw("marks");
  }

  tool(tool) {
    this.desk.tool = tool;
    this.desk.draft = null;
    this.drawTools();
    this.desk.redraw("marks");
  }

  // -- moving -----------------------------------------------------------------------------------------------

  pane() {
    return this.desk.viewer.panes.find(({ kind }) => kind === this.desk.active);
  }

  move(across, up, step) {
    const { desk } = this;
    const pane = this.pane();
    const ras = [...desk.cursor];
    if (!pane) {
      if (across) desk.mip.turn(-across * step);
      ras[2] += up * step;
    } else {
      ras[pane.across] += across * step;
      ras[pane.up] += up * step;
    }
    desk.goTo(ras);
  }

  through(step) {
    const ras = [...this.desk.cursor];
    ras[this.pane()?.normal ?? 1] += step;
    this.desk.goTo(ras);
  }

  zoom(factor) {
    const pane = this.pane();
    if (!pane?.rect) return;
    this.desk.viewer.zoom(pane, factor, ...this.desk.viewer.toPixel(pane, this.desk.cursor));
    this.desk.redraw("planes", "marks");
  }

  look(kind) {
    this.desk.active = kind;
    if (this.desk.alone) this.grow(kind, true);
    this.desk.redraw("marks", "mip");
  }

  grow(kind, stay = false) {
    this.desk.alone = this.desk.alone && !stay ? null : kind;
    this.desk.active = kind;
    this.desk.arrange();
  }

  /** To the hottest voxel around the crosshair. */
  hottest(mm) {
    const { desk } = this;
    const reach = desk.grid.spacing.map((s) => Math.floor(mm / s));
    let best = { value: -1 };
    for (let x = -reach[0]; x <= reach[0]; x++)
      for (let y = -reach[1]; y <= reach[1]; y++)
        for (let z = -reach[2]; z <= reach[2]; z++) {
          const ras = [desk.cursor[0] + x, desk.cursor[1] + y, desk.cursor[2] + z];
          const value = desk.pet[desk.grid.offset(ras)] ?? -1;
          if (value > best.value) best = { ras, value };
        }
    desk.goTo(best.ras);
  }

  /** To the hottest voxel that is not within 6 cm of those visited before. */
  jump() {
    const { desk } = this;
    if (this.of !== desk.work) [this.of, this.seen] = [desk.work, []];
    const { origin, steps } = desk.grid.walk();
    const [nx, ny, nz] = desk.grid.rasShape;
    const near = desk.grid.spacing.map((s) => 60 / s);
    let best = { value: -1 };
    for (let z = 0; z < nz; z++)
      for (let y = 0; y < ny; y++)
        for (let x = 0; x < nx; x++) {
          const value = desk.pet[origin + x * steps[0] + y * steps[1] + z * steps[2]];
          if (value <= best.value) continue;
          const ras = [x, y, z];
          if (!this.seen.some((old) => old.every((r, a) => Math.abs(r - ras[a]) < near[a])))
            best = { ras, value };
        }
    if (best.value < 1) return (this.seen = []);
    this.seen.push(best.ras);
    desk.goTo(best.ras);
  }

  // -- objects and help -------------------------------------------------------------------------------------

  another(by) {
    const names = this.desk.work.list.map((item) => item.name);
    const at = names.indexOf(this.desk.work.name);
    return this.desk.choose(names.at((at + by) % names.length), true);
  }

  change(change) {
    return this.desk.act(this.desk.work.change(this.desk.work.name, change));
  }

  async suggest() {
    const { desk } = this;
    const found = await desk.work.suggestion();
    desk.suggestion = found;
    if (!found) return tell("No click to suggest", "Click on the object first.");
    desk.goTo(desk.grid.fromMm(found.mm));
    tell(
      found.positive ? "Suggested: add here" : "Suggested: reject here",
      `At the crosshair. Press ${found.positive ? "Enter to add" : "X to reject"}, or click elsewhere.`,
    );
  }

  async uncertainty() {
    const { desk } = this;
    if (desk.uncertainty) desk.uncertainty = null;
    else await desk.showUncertainty();
    $("uncertainty").setAttribute("aria-pressed", Boolean(desk.uncertainty));
    desk.redraw("marks");
  }

  async lesions() {
    const { desk } = this;
    const found = await desk.work.job("Finding lesions", "lesions", {});
    desk.followPeaks();
    tell(
      `${found.lesions} ${found.lesions === 1 ? "lesion" : "lesions"} found`,
      found.notes?.join(" ") ?? "",
    );
  }

  async words(text) {
    const { desk } = this;
    const found = await desk.work.job(`Segmenting ${text}`, "text", { text });
    desk.followPeaks();
    tell(`Segmented ${found.names.join(", ") || "nothing"}`);
  }

  timer() {
    const { desk } = this;
    desk.timing = !desk.timing;
    if (desk.timing) desk.startClock(desk.work.selected);
    else desk.stopClocks();
    $("clocks").setAttribute("aria-pressed", desk.timing);
  }

  async export() {
    const { desk } = this;
    const kinds = await api.get(`${desk.work.path}/exports`);
    const files = kinds.map(({ kind, title, suffix }) => ({
      title,
      note: suffix,
      run: () => this.download(kind, title),
    }));
    const nameless = {
      title: "Leave the patient's name out",
      checked: Boolean(this.anonymous),
      run: () => ((this.anonymous = !this.anonymous), this.export()),
    };
    const name = kinds.some(({ kind }) => kind === "seg") && (await archive());
    const shelf = {
      title: `Store in ${name}`,
      note: "SEG, RTSTRUCT, SR",
      run: () => store(desk.work, desk.busy, name).catch(complain),
    };
    menu($("export"), [...files, ...(name ? [shelf] : []), nameless]);
  }

  async download(kind, title) {
    const { desk } = this;
    const path = `${desk.work.path}/export/${kind}${this.anonymous ? "?anonymise=true" : ""}`;
    try {
      save(await desk.busy.during(`Writing ${title}`, () => api.file(path)));
    } catch (error) {
      complain(error);
    }
  }

  async leave() {
    const { desk } = this;
    if (
      desk.work?.running.length &&
      !(await ask({
        title: "Leave this scan?",
        text: "Something still runs; its result is kept.",
        yes: "Leave",
      }))
    )
      return false;
    desk.stopClocks();
    return true;
  }
}
