// The rotating projection: what its worker made, drawn in a window and colours, with masks, and clicked on.

import { rgb, table } from "./colours.js";

export const ANGLES = 48;
const TURN_MS = 110;

export class Mip {
  /** @param {() => void} redraw is called when there is something new to see. */
  constructor(canvas, redraw) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.redraw = redraw;
    this.clear();
  }

  clear() {
    this.worker?.terminate();
    this.stop();
    this.size = null;
    this.frames = [];
    this.angle = 0;
  }

  /** Begins to project a scan. */
  load(array, grid, shape, affine, perm, onSize) {
    this.clear();
    this.grid = grid;
    this.worker = new Worker(new URL("./mip-worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if (data.kind === "size") {
        this.size = data;
        onSize(data.body);
      } else {
        this.frames[data.n] = data;
        if (data.n === this.angle || !this.shown) this.redraw();
      }
    };
    this.worker.postMessage({ array, shape, affine, perm, angles: ANGLES });
  }

  get ready() {
    return this.frames.filter(Boolean).length / ANGLES;
  }

  /** The frame at this angle, or the nearest that there is already. */
  get shown() {
    for (let away = 0; away <= ANGLES / 2; away++)
      for (const n of [this.angle + away, this.angle - away]) {
        const frame = this.frames[(n + ANGLES) % ANGLES];
        if (frame) return frame;
      }
    return null;
  }

  turn(steps) {
    this.angle = (((this.angle + steps) % ANGLES) + ANGLES) % ANGLES;
    this.redraw();
  }

  get turning() {
    return this.timer !== undefined;
  }

  start() {
    this.timer ??= setInterval(() => this.turn(1), TURN_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** Where the picture lies in the canvas, CSS pixels. */
  place() {
    const { nu, nz, du, dz } = this.size;
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const wide = Math.max(...[0, 1].map((a) => this.size.size[a] * this.size.spacing[a])); // the corners are air
    const scale = Math.min((w - 8) / wide, (h - 8) / (nz * dz));
    const [width, height] = [nu * du * scale, nz * dz * scale];
    return { x: (w - width) / 2, y: (h - height) / 2, width, height, scale };
  }

  /** @param {{range: number[], scale: string, paper: string, masks: {mask, colour}[]}} look */
  draw(look) {
    const { canvas, context } = this;
    const ratio = devicePixelRatio || 1;
    const [w, h] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = look.paper;
    context.fillRect(0, 0, w, h);
    const frame = this.shown;
    if (!frame || !this.size) return;
    const place = this.place();
    const { nu, nz } = this.size;
    const picture = new ImageData(nu, nz);
    const pixels = new Uint32Array(picture.data.buffer);
    const colours = table(look.scale);
    const [low, high] = look.range;
    for (let z = 0, n = 0; z < nz; z++)
      for (let u = 0; u < nu; u++, n++) {
        const level = Math.round((255 * (frame.values[n] - low)) / (high - low));
        pixels[(nz - 1 - z) * nu + u] = colours[Math.min(255, Math.max(0, level))];
      }
    for (const { mask, colour } of look.masks) this.tint(pixels, frame.n, mask, rgb(colour));
    const raw = new OffscreenCanvas(nu, nz);
    raw.getContext("2d").putImageData(picture, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(raw, place.x, place.y, place.width, place.height);
  }

  tint(pixels, angle, mask, [r, g, b]) {
    const { nu, nz } = this.size;
    const touched = new Set();
    mask.each(this.grid, (x, y, z) => {
      const [u, Z] = this.project([x, y, z], angle).map(Math.floor);
      if (u >= 0 && u < nu && Z >= 0 && Z < nz) touched.add((nz - 1 - Z) * nu + u);
    });
    for (const at of touched) {
      const old = pixels[at];
      const mix = (shift, to) => Math.round(0.45 * ((old >>> shift) & 255) + 0.55 * to);
      pixels[at] = (255 << 24) | (mix(16, b) << 16) | (mix(8, g) << 8) | mix(0, r);
    }
  }

  /** ras -> place in the projection, in its pixels, z upwards. */
  project(ras, angle = this.angle) {
    const { body, factor, size, spacing, nu, du } = this.size;
    const turn = (2 * Math.PI * angle) / ANGLES;
    const [x, y, z] = ras.map((r, a) => (r + 0.5 - body.low[a]) / factor[a]);
    const [mx, my] = [(x - size[0] / 2) * spacing[0], (y - size[1] / 2) * spacing[1]];
    return [(-mx * Math.cos(turn) + my * Math.sin(turn)) / du + nu / 2, z];
  }

  /** ras -> CSS pixels of the canvas. */
  toPixel(ras) {
    const place = this.place();
    const [u, z] = this.project(ras);
    return [place.x + (u / this.size.nu) * place.width, place.y + (1 - z / this.size.nz) * place.height];
  }

  /** The hottest voxel behind a place of the canvas, or null. */
  pick(px, py, array) {
    const frame = this.shown;
    if (!frame) return null;
    const place = this.place();
    const { nu, nz, size, factor, body } = this.size;
    const u = Math.floor(((px - place.x) / place.width) * nu);
    const z = Math.floor((1 - (py - place.y) / place.height) * nz);
    if (u < 0 || z < 0 || u >= nu || z >= nz) return null;
    const where = frame.depths[z * nu + u];
    if (where < 0) return null;
    const first = [where % size[0], Math.floor(where / size[0]), z].map(
      (c, a) => c * factor[a] + body.low[a],
    );
    let best = null;
    for (let x = 0; x < factor[0]; x++)
      for (let y = 0; y < factor[1]; y++)
        for (let d = 0; d < factor[2]; d++) {
          const ras = [first[0] + x, first[1] + y, first[2] + d];
          const value = array[this.grid.offset(ras)] ?? -1;
          if (!best || value > best.value) best = { ras, value };
        }
    return best.ras;
  }
}
