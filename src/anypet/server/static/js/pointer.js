// Mouse, pen and touch over the views.

import { complain } from "./notes.js";

const STILL_PX = 4;
const TURN_PX = 9;

export class Pointer {
  constructor(views, desk) {
    this.desk = desk;
    this.views = views;
    views.onpointerdown = (event) => this.down(event);
    views.onpointermove = (event) => this.move(event);
    views.onpointerup = (event) => this.up(event);
    views.onpointercancel = () => this.end();
    views.onpointerleave = () => this.over(null);
    views.oncontextmenu = (event) => event.preventDefault();
    views.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  at(event) {
    const box = this.views.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  over(ras) {
    this.desk.hover = ras;
    this.desk.redraw("readout");
  }

  down(event) {
    const { desk } = this;
    const [x, y] = this.at(event);
    const pane = desk.work && desk.paneAt(x, y);
    if (!pane) return;
    this.views.focus({ preventScroll: true });
    this.views.setPointerCapture(event.pointerId);
    desk.active = pane.kind;
    const rejects = event.button === 2 || event.shiftKey || event.altKey;
    this.held = {
      pane,
      x,
      y,
      lastX: x,
      lastY: y,
      moved: false,
      button: event.button,
      turned: 0,
      positive: rejects ? false : desk.positive,
      look: event.ctrlKey || event.metaKey || desk.tool === "look",
    };
    event.preventDefault();
  }

  move(event) {
    const { desk, held } = this;
    const [x, y] = this.at(event);
    if (!desk.work) return;
    if (!held) {
      const pane = desk.paneAt(x, y);
      if (!pane) return this.over(null);
      if (pane.kind === "mip") return this.over(desk.mip.pick(x - pane.rect.x, y - pane.rect.y, desk.pet));
      return this.over(desk.viewer.toRas(pane, x, y, desk.cursor));
    }
    if (!held.moved && Math.hypot(x - held.x, y - held.y) < STILL_PX) return;
    held.moved = true;
    this.drag(x, y);
    [held.lastX, held.lastY] = [x, y];
  }

  drag(x, y) {
    const { desk, held } = this;
    const { pane } = held;
    if (pane.kind === "mip") {
      const turns = Math.round((x - held.x) / TURN_PX);
      desk.mip.turn(held.turned - turns);
      held.turned = turns;
      return;
    }
    const ras = desk.viewer.toRas(pane, x, y, desk.cursor);
    this.desk.hover = ras;
    const colour = desk.work.selected?.colour;
    if (held.button === 1) {
      desk.viewer.pan(pane, x - held.lastX, y - held.lastY);
      desk.redraw("planes", "marks");
    } else if (desk.tool === "box" && !held.look) {
      held.from ??= desk.viewer.toRas(pane, held.x, held.y, desk.cursor);
      desk.draft = { kind: "box", from: held.from, to: ras, colour };
      desk.redraw("marks");
    } else if (desk.tool === "scribble" && !held.look) {
      held.line ??= [desk.viewer.toRas(pane, held.x, held.y, desk.cursor)];
      held.line.push(ras);
      desk.draft = { kind: "line", line: held.line, pane: pane.kind, positive: held.positive, colour };
      desk.redraw("marks");
    } else desk.goTo(ras);
  }

  up(event) {
    const { desk, held } = this;
    if (!held) return;
    const [x, y] = this.at(event);
    const draft = desk.draft;
    this.end();
    if (draft?.kind === "box") return desk.finishBox(draft, held.pane);
    if (draft?.kind === "line") return desk.finishLine(draft);
    if (held.moved || held.button === 1) return;
    const ras = this.place(held.pane, x, y);
    if (!ras) return;
    desk.goTo(ras);
    if (!held.look && desk.tool !== "box") desk.click(desk.cursor, held.positive).catch(complain);
  }

  place(pane, x, y) {
    const { desk } = this;
    if (pane.kind === "mip") return desk.mip.pick(x - pane.rect.x, y - pane.rect.y, desk.pet);
    const ras = desk.viewer.toRas(pane, x, y, desk.cursor);
    return desk.grid.offset(ras) < 0 ? null : ras;
  }

  end() {
    this.held = null;
    if (this.desk.draft && !this.desk.draft.keyboard) this.desk.draft = null;
    this.desk.redraw("marks");
  }

  wheel(event) {
    const { desk } = this;
    const [x, y] = this.at(event);
    const pane = desk.work && desk.paneAt(x, y);
    if (!pane) return;
    event.preventDefault();
    const sign = Math.sign(event.deltaY);
    if (pane.kind === "mip") return desk.mip.turn(sign);
    if (event.ctrlKey || event.metaKey) {
      desk.viewer.zoom(pane, Math.exp(-event.deltaY / 400), x, y);
      return desk.redraw("planes", "marks");
    }
    const ras = [...desk.cursor];
    ras[pane.normal] -= sign;
    desk.goTo(ras);
  }
}
