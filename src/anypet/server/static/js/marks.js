// What lies over the planes: masks with their outlines, prompts, the crosshair, letters for the sides.

import { rgb } from "./colours.js";

export class Marks {
  constructor(canvas, viewer) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.viewer = viewer;
  }

  /** @param {object} scene cursor, work, dark, active, opacity, draft, suggestion, uncertainty */
  draw(scene) {
    const { canvas, context } = this;
    const ratio = devicePixelRatio || 1;
    const [w, h] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = scene.ground;
    context.fillRect(0, 0, w, h);
    if (!scene.work) return;
    this.ink = scene.dark ? "#ffffff" : "#10151a";
    for (const pane of this.viewer.panes) {
      if (!pane.rect) continue;
      const { x, y, width, height } = pane.rect;
      context.clearRect(x, y, width, height);
      context.save();
      context.beginPath();
      context.rect(x, y, width, height);
      context.clip();
      if (scene.uncertainty) this.levels(pane, scene);
      for (const item of scene.work.shown) this.mask(pane, scene, item);
      this.crosshair(pane, scene);
      for (const item of scene.work.shown) this.prompts(pane, scene, item);
      if (scene.suggestion) this.suggestion(pane, scene);
      if (scene.draft) this.draft(pane, scene.draft);
      this.letters(pane, scene);
      context.restore();
    }
  }

  /** The crosshair and the clicks over the projection. */
  over(mip, scene) {
    if (!mip.size) return;
    const own = this.context;
    this.context = mip.context;
    const { clientWidth: w, clientHeight: h } = mip.canvas;
    const [cx, cy] = mip.toPixel(scene.cursor);
    this.cross({ x: 0, y: 0, width: w, height: h }, cx, cy, scene.dark);
    for (const item of scene.work.shown)
      for (const point of item.prompts.points)
        this.dot(
          mip.toPixel(this.viewer.grid.fromMm(point.mm)),
          point.positive,
          item.colour,
          false,
          point.pending,
        );
    if (scene.active === "mip") this.active({ x: 0, y: 0, width: w, height: h }, scene);
    this.context = own;
  }

  mask(pane, scene, item) {
    const { context, viewer } = this;
    const lines = item.mask.outline(viewer.grid, pane.normal, Math.round(scene.cursor[pane.normal]));
    if (!lines.length) return;
    const path = new Path2D();
    const corner = [0, 0, 0];
    for (const line of lines) {
      for (let n = 0; n < line.length; n += 2) {
        corner[pane.across] = line[n] - 0.5;
        corner[pane.up] = line[n + 1] - 0.5;
        const [px, py] = viewer.toPixel(pane, corner);
        n ? path.lineTo(px, py) : path.moveTo(px, py);
      }
      path.closePath();
    }
    const chosen = item.name === scene.work.name;
    context.fillStyle = `rgb(${rgb(item.colour).join(" ")} / ${scene.opacity})`;
    context.fill(path, "evenodd");
    context.lineJoin = "round";
    context.strokeStyle = "rgb(0 0 0 / 0.35)";
    context.lineWidth = chosen ? 3.4 : 2.4;
    context.stroke(path);
    context.strokeStyle = item.colour;
    context.lineWidth = chosen ? 2 : 1.2;
    context.stroke(path);
  }

  crosshair(pane, scene) {
    this.cross(pane.rect, ...this.viewer.toPixel(pane, scene.cursor), scene.dark);
  }

  cross({ x, y, width, height }, cx, cy, dark) {
    const { context } = this;
    const gap = 9;
    context.strokeStyle = dark ? "rgb(255 255 255 / 0.45)" : "rgb(0 40 90 / 0.4)";
    context.lineWidth = 1;
    context.beginPath();
    for (const [ax, ay, bx, by] of [
      [x, cy, cx - gap, cy],
      [cx + gap, cy, x + width, cy],
      [cx, y, cx, cy - gap],
      [cx, cy + gap, cx, y + height],
    ]) {
      context.moveTo(Math.round(ax) + 0.5, Math.round(ay) + 0.5);
      context.lineTo(Math.round(bx) + 0.5, Math.round(by) + 0.5);
    }
    context.stroke();
  }

  /** Clicks near the plane, fainter the further away; boxes where they cross it. */
  prompts(pane, scene, item) {
    const { viewer, context } = this;
    const grid = viewer.grid;
    for (const point of item.prompts.points) {
      const ras = grid.fromMm(point.mm);
      const away = Math.abs(ras[pane.normal] - Math.round(scene.cursor[pane.normal]));
      if (away * grid.spacing[pane.normal] > 12) continue;
      context.globalAlpha = Math.max(0.25, 1 - (away * grid.spacing[pane.normal]) / 12);
      this.dot(
        viewer.toPixel(pane, ras),
        point.positive,
        item.colour,
        item.name === scene.work.name,
        point.pending,
      );
      context.globalAlpha = 1;
    }
    for (const box of item.prompts.boxes) {
      const [a, b] = [grid.fromMm(box.lo_mm), grid.fromMm(box.hi_mm)];
      const n = pane.normal;
      if (scene.cursor[n] < Math.min(a[n], b[n]) - 0.5 || scene.cursor[n] > Math.max(a[n], b[n]) + 0.5)
        continue;
      this.frame(viewer.toPixel(pane, a), viewer.toPixel(pane, b), item.colour, [5, 4]);
    }
  }

  /** A disc with a plus or minus in it. */
  dot([x, y], positive, colour, large, pending) {
    const { context } = this;
    const radius = large ? 6.5 : 5;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = positive ? colour : "#ffffff";
    context.fill();
    context.lineWidth = 1.6;
    context.setLineDash(pending ? [3, 2] : []);
    context.strokeStyle = positive ? "#ffffff" : "#c62828";
    context.stroke();
    context.setLineDash([]);
    context.strokeStyle = positive ? "#10151a" : "#c62828";
    context.beginPath();
    context.moveTo(x - 3, y);
    context.lineTo(x + 3, y);
    if (positive) {
      context.moveTo(x, y - 3);
      context.lineTo(x, y + 3);
    }
    context.stroke();
  }

  frame([ax, ay], [bx, by], colour, dash) {
    const { context } = this;
    context.setLineDash(dash);
    context.lineWidth = 1.6;
    context.strokeStyle = colour;
    context.strokeRect(Math.min(ax, bx), Math.min(ay, by), Math.abs(bx - ax), Math.abs(by - ay));
    context.setLineDash([]);
  }

  /** The box or line that is being drawn. */
  draft(pane, draft) {
    const { context, viewer } = this;
    if (draft.kind === "box") {
      this.frame(viewer.toPixel(pane, draft.from), viewer.toPixel(pane, draft.to), draft.colour, []);
      return;
    }
    if (pane.kind !== draft.pane) return;
    context.beginPath();
    for (const ras of draft.line) context.lineTo(...viewer.toPixel(pane, ras));
    context.lineWidth = 3;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = draft.positive ? draft.colour : "#c62828";
    context.stroke();
  }

  suggestion(pane, scene) {
    const { context, viewer } = this;
    const { mm, positive } = scene.suggestion;
    const [x, y] = viewer.toPixel(pane, viewer.grid.fromMm(mm));
    context.lineWidth = 2;
    context.strokeStyle = positive ? scene.work.selected.colour : "#c62828";
    context.setLineDash([4, 3]);
    context.beginPath();
    context.arc(x, y, 12, 0, 2 * Math.PI);
    context.stroke();
    context.setLineDash([]);
  }

  /** Uncertainty as a violet veil, the denser the less sure. */
  levels(pane, scene) {
    const { context, viewer } = this;
    const plane = scene.uncertainty.slice(viewer.grid, pane.normal, Math.round(scene.cursor[pane.normal]));
    if (!plane) return;
    const picture = new ImageData(plane.width, plane.height);
    const pixels = new Uint32Array(picture.data.buffer);
    for (let v = 0; v < plane.height; v++)
      for (let u = 0; u < plane.width; u++) {
        const level = plane.bits[v * plane.width + u];
        const at = (plane.height - 1 - v) * plane.width + (plane.width - 1 - u); // both run against the screen
        pixels[at] = ((Math.min(220, level) << 24) | 0xe04fb4) >>> 0;
      }
    const raw = new OffscreenCanvas(plane.width, plane.height);
    raw.getContext("2d").putImageData(picture, 0, 0);
    const corner = [0, 0, 0];
    corner[pane.across] = plane.u + plane.width - 0.5;
    corner[pane.up] = plane.v + plane.height - 0.5;
    const [x, y] = viewer.toPixel(pane, corner);
    const scale = (a, n) => (n * viewer.grid.spacing[a]) / pane.mmPerPx;
    context.drawImage(raw, x, y, scale(pane.across, plane.width), scale(pane.up, plane.height));
  }

  letters(pane, scene) {
    const { context } = this;
    const { x, y, width, height } = pane.rect;
    context.font = "600 12px system-ui, sans-serif";
    context.fillStyle = this.ink;
    context.globalAlpha = 0.65;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const [left, right, top, bottom] = pane.sides;
    context.fillText(left, x + 12, y + height / 2);
    context.fillText(right, x + width - 12, y + height / 2);
    context.fillText(top, x + width / 2, y + 13);
    context.fillText(bottom, x + width / 2, y + height - 13);
    context.globalAlpha = 1;
    this.ruler(pane);
    if (scene.active === pane.kind) this.active(pane.rect, scene);
  }

  /** The frame of the view that keys act in. */
  active({ x, y, width, height }, scene) {
    const { context } = this;
    context.strokeStyle = scene.accent;
    context.lineWidth = 2;
    context.strokeRect(x + 1, y + 1, width - 2, height - 2);
  }

  /** 5 cm, or 1 cm when that is too long. */
  ruler(pane) {
    const { context } = this;
    const { x, y, width, height } = pane.rect;
    const cm = 50 / pane.mmPerPx < width / 3 ? 5 : 1;
    const long = (cm * 10) / pane.mmPerPx;
    const [left, base] = [x + width - 14 - long, y + height - 12];
    context.globalAlpha = 0.6;
    context.strokeStyle = context.fillStyle = this.ink;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(left, base - 4);
    context.lineTo(left, base);
    context.lineTo(left + long, base);
    context.lineTo(left + long, base - 4);
    context.stroke();
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "right";
    context.fillText(`${cm} cm`, left - 5, base - 3);
    context.globalAlpha = 1;
  }
}
