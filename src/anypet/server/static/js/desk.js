// One scan on the desk: its images, its session, the crosshair, and drawing all of it.

import * as api from "./api.js";
import { Corners } from "./corners.js";
import { Looks } from "./looks.js";
import { Marks } from "./marks.js";
import { Mask } from "./masks.js";
import { Mip } from "./mip.js";
import { $, complain, say } from "./notes.js";
import { Panel } from "./panel.js";
import { Viewer } from "./viewer.js";
import { Work } from "./work.js";

const GAP = 2;
const style = getComputedStyle(document.documentElement);

export class Desk {
  constructor(busy) {
    this.busy = busy;
    this.viewer = new Viewer($("planes"));
    this.marks = new Marks($("marks"), this.viewer);
    this.mip = new Mip($("mip"), () => this.redraw("mip"));
    this.looks = new Looks(this);
    this.corners = new Corners(this);
    this.panel = new Panel(this);
    this.cursor = [0, 0, 0];
    this.hover = null;
    this.tool = "point";
    this.positive = true;
    this.active = "axial";
    this.alone = null; // the only pane shown
    this.stale = new Set();
    new ResizeObserver(() => this.arrange()).observe($("views"));
    document.addEventListener("visibilitychange", () => this.pauseClock());
  }

  // -- opening ----------------------------------------------------------------------------------------------

  async open(scan, wanted) {
    $("start").hidden = true;
    $("desk").hidden = $("looks").hidden = $("deeds").hidden = false;
    this.close();
    this.scan = scan;
    await this.busy.during("Loading the images", async (progress) => {
      const parts = [0, 0];
      const share = (n) => (part) => progress(((parts[n] = part), parts[0] + parts[1]) / (scan.ct ? 2 : 1));
      this.started ??= this.viewer.start();
      const [pet, ct, work] = await Promise.all([
        api.voxels(scan, "pet", share(0)),
        scan.ct ? api.voxels(scan, "ct", share(1)) : null,
        Work.open(scan, wanted),
        this.started,
      ]);
      this.looks.mode = ct ? "fusion" : "pet";
      await this.viewer.load(scan, pet, ct, this.looks.planes());
      Object.assign(this, { pet, ct, grid: this.viewer.grid, opening: work });
    });
    this.begin(this.opening);
  }

  begin(work) {
    this.work = work;
    work.addEventListener("objects", () => this.redraw("panel", "marks", "mip"));
    work.addEventListener("busy", () => this.busy.show(work.running));
    const { shape, affine } = this.scan;
    this.mip.load(this.pet, this.grid, shape, affine, this.viewer.pet.permRAS, (body) => {
      this.viewer.fit(body);
      this.arrange();
    });
    this.cursor = this.grid.rasShape.map((n) => Math.floor(n / 2));
    const name = this.scan.meta?.patient?.name ?? "";
    $("scan-name").textContent = $("scan-name").title = [this.scan.name, name].filter(Boolean).join(" · ");
    document.title = `${this.scan.name} – AnyPET`;
    location.hash = new URLSearchParams({ scan: this.scan.id, session: work.id }).toString();
    this.looks.show();
    this.arrange();
    this.followPeaks();
    const first = work.selected?.prompts.points[0];
    if (first) this.goTo(this.grid.fromMm(first.mm));
    $("views").focus({ preventScroll: true });
    $("desk").dataset.ready = this.scan.id;
  }

  close() {
    if (!this.work) return;
    this.mip.clear();
    this.work = this.suggestion = this.uncertainty = this.draft = null;
    delete $("desk").dataset.ready;
    $("scan-name").textContent = "";
  }

  // -- where things are ---------------------------------------------------------------------------------

  /** Axial over coronal and sagittal, the projection beside them at full height; or one pane alone. */
  rects() {
    const [w, h] = [$("views").clientWidth, $("views").clientHeight];
    if (this.alone) return { [this.alone]: { x: 0, y: 0, width: w, height: h } };
    const side = Math.round(Math.min(0.4 * w, Math.max(0.26 * w, 0.52 * h)));
    const left = w - side - GAP;
    const top = Math.round(0.47 * h);
    const half = Math.floor((left - GAP) / 2);
    const below = { y: top + GAP, width: half, height: h - top - GAP };
    return {
      axial: { x: 0, y: 0, width: left, height: top },
      coronal: { x: 0, ...below },
      sagittal: { x: half + GAP, ...below },
      mip: { x: left + GAP, y: 0, width: side, height: h },
    };
  }

  arrange() {
    if (!this.grid || !$("views").clientWidth) return;
    this.places = this.rects();
    this.viewer.layout(this.places);
    const place = this.places.mip;
    $("mip").hidden = !place;
    if (place) {
      const { x, y, width, height } = place;
      $("mip").style.cssText = `left:${x}px;top:${y}px;width:${width}px;height:${height}px`;
    }
    this.corners.place();
    this.redraw("planes", "marks", "mip");
  }

  /** The pane at a place of the views: a plane, the projection or null. */
  paneAt(x, y) {
    const place = this.places?.mip;
    if (place && x >= place.x && y >= place.y && y < place.y + place.height)
      return { kind: "mip", rect: place };
    return this.viewer.paneAt(x, y);
  }

  // -- drawing --------------------------------------------------------------------------------------------

  /** Draws parts again with the next frame: "planes", "marks", "mip", "panel"; the readout always. */
  redraw(...parts) {
    for (const part of parts) this.stale.add(part);
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      const stale = new Set(this.stale);
      this.stale.clear();
      if (this.work) this.draw(stale);
    });
  }

  draw(stale) {
    const dark = this.looks.paper !== "#ffffff";
    if (stale.has("planes")) this.viewer.draw(this.cursor);
    if (stale.has("marks") || stale.has("planes")) this.marks.draw({ ...this.scene(), dark });
    this.readout();
    if (stale.has("mip") && this.places?.mip) {
      const masks = this.work.shown.filter((item) => item.mask.data.length);
      this.mip.draw({ ...this.looks.mip(), masks });
      this.marks.over(this.mip, { ...this.scene(), dark: this.looks.mip().paper !== "#ffffff" });
    }
    if (stale.has("panel")) this.panel.draw();
    this.corners.update();
  }

  scene() {
    const { cursor, work, active, draft, suggestion, uncertainty } = this;
    const [accent, ground] = ["--accent", "--line"].map((name) => style.getPropertyValue(name));
    return {
      cursor,
      work,
      active,
      draft,
      suggestion,
      uncertainty,
      accent,
      ground,
      opacity: this.looks.opacity,
    };
  }

  readout() {
    const ras = this.hover ?? this.cursor;
    const at = this.grid.offset(ras);
    const mm = this.grid.toMm(ras.map(Math.round));
    const sides = ["RL", "AP", "SI"].map(
      (pair, a) => `${mm[a] < 0 ? pair[1] : pair[0]} ${Math.abs(mm[a]).toFixed(0)}`,
    );
    const voxel = this.grid.toIjk(ras.map(Math.round)).join(", ");
    const value = at < 0 ? "–" : this.pet[at].toFixed(2);
    const parts = [`<span>SUV <b data-suv>${value}</b></span>`];
    if (this.ct) parts.push(`<span>HU <b>${at < 0 ? "–" : this.ct[at].toFixed(0)}</b></span>`);
    parts.push(`<span>${sides.join("  ")} mm</span>`, `<span>voxel <span data-voxel>${voxel}</span></span>`);
    const { all, server } = this.work.latency ?? {};
    if (all)
      parts.push(
        `<span title="The last step; ${server.toFixed(2)} s of it on the server">${all.toFixed(2)} s</span>`,
      );
    parts.push(`<span class="hint">${this.hint()}</span>`);
    $("readout").innerHTML = parts.join("");
  }

  hint() {
    if (this.draft?.keyboard) return "Move with the arrow keys, Enter ends, Esc gives up";
    return {
      look: "Click to move the crosshair",
      point: "Click adds · right click or Shift rejects",
      box: "Drag a box around the object",
      scribble: "Draw along the object · right button or Shift rejects",
    }[this.tool];
  }

  goTo(ras) {
    this.cursor = this.grid.clamp(ras.map(Math.round));
    if (this.draft?.keyboard) this.grow();
    this.redraw("planes", "marks", "mip");
  }

  /** A box or line that follows the crosshair, drawn with the keyboard. */
  grow() {
    if (this.draft.kind === "box") this.draft.to = this.cursor;
    else this.draft.line.push(this.cursor);
  }

  // -- doing ----------------------------------------------------------------------------------------------

  /** Waits for a step; what goes wrong is said, and what hangs on the objects is brought up to date. */
  async act(step) {
    this.suggestion = null;
    try {
      await step;
      this.followPeaks();
      if (this.uncertainty) await this.showUncertainty();
    } catch (error) {
      complain(error);
    }
    this.redraw("marks", "panel", "mip");
  }

  followPeaks() {
    this.work.peaks().catch(complain);
  }

  async click(ras, positive) {
    const item = this.work.selected;
    this.startClock(item);
    await this.act(this.work.point(this.grid.toMm(ras), positive));
    const now = this.work.items.get(item.name);
    if (now)
      say(
        `${now.name}: ${(now.measures.volume_ml ?? 0).toFixed(1)} millilitres, SUV max ${(now.measures.suv_max ?? 0).toFixed(1)}`,
      );
  }

  async choose(name, centre = false) {
    const item = this.work.items.get(name);
    const point = item?.prompts.points[0];
    if (centre && point) this.goTo(this.grid.fromMm(point.mm));
    else if (centre && item?.measures.voxels) this.goTo(middle(item.mask, this.grid));
    if (name === this.work.name) return;
    await this.act(this.work.select(name));
    if (this.timing) this.startClock(this.work.selected);
  }

  async showUncertainty() {
    const box = await this.work.uncertainty();
    this.uncertainty = new Mask();
    this.uncertainty.put(box);
    this.redraw("marks");
  }

  // -- clocks ---------------------------------------------------------------------------------------------

  startClock(item) {
    if (this.timing && item && !item.timing) this.work.timer(item.name, "start").catch(complain);
  }

  stopClocks() {
    for (const item of this.work?.list ?? [])
      if (item.timing) this.work.timer(item.name, "stop").catch(complain);
  }

  /** Nobody works on a page that is not seen. */
  pauseClock() {
    if (document.hidden) this.stopClocks();
    else this.startClock(this.work?.selected);
  }
}

function middle(mask, grid) {
  const found = [];
  mask.each(grid, (...ras) => found.push(ras));
  return found[found.length >> 1];
}
