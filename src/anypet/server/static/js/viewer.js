// The three planes: niivue draws them, this says which part of which plane goes where.
//
// niivue fits whole volumes into tiles. Here each pane has a centre and a scale of its own, so two of niivue's
// methods are replaced on our one instance: the size of a tile, and the part of the plane that it shows.

import { NVImage, Niivue } from "../vendor/niivue-0.69.0.js";
import { SCALES, colormap } from "./colours.js";
import { Grid } from "./grid.js";
import { nifti } from "./nifti.js";
import { Trouble } from "./words.js";

const PLANES = [
  { kind: "axial", type: 0, normal: 2, across: 0, up: 1, sides: ["R", "L", "A", "P"] },
  { kind: "coronal", type: 1, normal: 1, across: 0, up: 2, sides: ["R", "L", "S", "I"] },
  { kind: "sagittal", type: 2, normal: 0, across: 1, up: 2, sides: ["A", "P", "S", "I"] },
];

export class Viewer {
  constructor(canvas) {
    this.canvas = canvas;
    this.panes = PLANES.map((plane) => ({ ...plane, rect: null, centre: [0, 0], mmPerPx: 1 }));
    this.nv = new Niivue({
      isResizeCanvas: false,
      interactive: false,
      crosshairWidth: 0,
      isOrientationTextVisible: false,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      isSliceMM: false,
      show3Dcrosshair: false,
      loadingText: "",
      logLevel: "error",
      backColor: [0, 0, 0, 1],
    });
    for (const name of Object.keys(SCALES)) this.nv.addColormap(`anypet-${name}`, colormap(name));
  }

  async start() {
    if (!document.createElement("canvas").getContext("webgl2"))
      throw new Trouble(
        "This browser cannot draw the images",
        "It offers no WebGL 2. Use a current Chrome, Edge, Firefox or Safari, with hardware acceleration on.",
      );
    await this.nv.attachToCanvas(this.canvas, false);
    this.canvas.parentElement.style.backgroundColor = "";
    const whole = this.nv.screenFieldOfViewExtendedVox.bind(this.nv);
    this.nv.calculateWidthHeight = (type, scale, width, height) => [width, height];
    this.nv.screenFieldOfViewExtendedVox = (type) => this.part(whole(type), this.panes[type]);
  }

  /** Shows a scan; the CT, where there is one, lies under the PET. */
  async load(scan, pet, ct, look) {
    const image = async (array, name, range, scale) =>
      NVImage.loadFromUrl({
        url: nifti(array, scan.shape, scan.affine, range),
        name: `${name}.nii`,
        colormap: `anypet-${scale}`,
      });
    for (const volume of [...this.nv.volumes]) this.nv.removeVolume(volume);
    this.ct = ct ? await image(ct, "ct", look.ct.range, "grey") : null;
    this.pet = await image(pet, "pet", look.pet.range, look.pet.scale);
    this.grid = new Grid(scan.shape, scan.affine, this.pet.permRAS);
    if (this.ct) this.nv.addVolume(this.ct);
    this.nv.addVolume(this.pet);
    this.painted = key(look);
    this.setLook(look);
    this.fit({ low: [0, 0, 0], high: this.grid.rasShape.map((n) => n - 1) });
  }

  /** The part of a plane that its pane shows, in niivue's millimetres. */
  part(screen, pane) {
    if (!pane.rect || !this.grid) return screen;
    const [mn, mx] = [screen.mnMM, screen.mxMM];
    const origin = [mn[0], mn[1]];
    [pane.rect.width, pane.rect.height].forEach((pixels, a) => {
      const half = (pixels * pane.mmPerPx) / 2;
      mn[a] = origin[a] + pane.centre[a] - half;
      mx[a] = origin[a] + pane.centre[a] + half;
    });
    return { ...screen, fovMM: [mx[0] - mn[0], mx[1] - mn[1], screen.fovMM[2]] };
  }

  /** Places the panes: kind -> {x, y, width, height} in CSS pixels of the canvas; others are not drawn. */
  layout(rects) {
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(w * ratio));
    this.canvas.height = Math.max(1, Math.round(h * ratio));
    for (const pane of this.panes) {
      const before = pane.rect;
      pane.rect = rects[pane.kind] ?? null;
      if (pane.rect && pane.fitted && before !== pane.rect) this.fitPane(pane);
    }
    const shown = this.panes.filter((pane) => pane.rect);
    this.nv.setCustomLayout(
      shown.map(({ type, rect }) => ({
        sliceType: type,
        position: [rect.x / w, rect.y / h, rect.width / w, rect.height / h],
      })),
    );
  }

  /** Centres all panes on a box of ras, and takes it for what "fit" means from now on. */
  fit(body = this.body) {
    this.body = body;
    for (const pane of this.panes) this.fitPane(pane);
  }

  fitPane(pane) {
    pane.fitted = true;
    if (!this.grid || !pane.rect) return;
    const axes = [pane.across, pane.up];
    const mm = (a, r) => r * this.grid.spacing[a];
    pane.centre = axes.map((a) => mm(a, (this.body.low[a] + this.body.high[a] + 1) / 2));
    const sizes = axes.map((a) => mm(a, this.body.high[a] - this.body.low[a] + 1));
    pane.mmPerPx = Math.max((sizes[0] * 1.06) / pane.rect.width, (sizes[1] * 1.04) / pane.rect.height);
  }

  zoom(pane, factor, x, y) {
    const before = this.toPlane(pane, x, y);
    pane.fitted = false;
    pane.mmPerPx = Math.min(20, Math.max(0.05, pane.mmPerPx / factor));
    const after = this.toPlane(pane, x, y);
    pane.centre = pane.centre.map((c, a) => c + before[a] - after[a]);
  }

  pan(pane, dx, dy) {
    pane.fitted = false;
    pane.centre = [pane.centre[0] + dx * pane.mmPerPx, pane.centre[1] + dy * pane.mmPerPx];
  }

  paneAt(x, y) {
    const within = ({ rect }) =>
      rect && x >= rect.x && y >= rect.y && x < rect.x + rect.width && y < rect.y + rect.height;
    return this.panes.find(within) ?? null;
  }

  /** Millimetres from the corner of the volume along the pane's axes; all panes have L or P on their right. */
  toPlane(pane, x, y) {
    const { rect, centre, mmPerPx } = pane;
    return [
      centre[0] - (x - rect.x - rect.width / 2) * mmPerPx,
      centre[1] - (y - rect.y - rect.height / 2) * mmPerPx,
    ];
  }

  /** CSS pixels -> ras, in the plane that the pane shows. */
  toRas(pane, x, y, cursor) {
    const ras = [...cursor];
    const mm = this.toPlane(pane, x, y);
    [pane.across, pane.up].forEach((a, n) => (ras[a] = mm[n] / this.grid.spacing[a] - 0.5));
    return ras;
  }

  /** ras -> CSS pixels. */
  toPixel(pane, ras) {
    const { rect, centre, mmPerPx } = pane;
    const [u, v] = [pane.across, pane.up].map((a) => (ras[a] + 0.5) * this.grid.spacing[a]);
    return [
      rect.x + rect.width / 2 - (u - centre[0]) / mmPerPx,
      rect.y + rect.height / 2 - (v - centre[1]) / mmPerPx,
    ];
  }

  /** @param {{mode: string, fusion: number, pet: {range, scale}, ct: {range}, smooth: boolean}} look */
  setLook(look) {
    const paper = this.ct && look.mode !== "pet" ? "#000000" : SCALES[look.pet.scale].paper;
    this.nv.opts.backColor = [1, 3, 5].map((at) => parseInt(paper.slice(at, at + 2), 16) / 255).concat(1);
    this.nv.overlayAlphaShader = { pet: 1, ct: 0, fusion: look.fusion }[look.mode];
    if (this.nv.opts.isNearestInterpolation === look.smooth) this.nv.setInterpolation(!look.smooth);
    if (this.ct) this.ct.opacity = look.mode === "pet" ? 0 : 1;
    if (key(look) === this.painted) return;
    this.painted = key(look);
    this.pet.colormap = `anypet-${look.pet.scale}`;
    [this.pet.cal_min, this.pet.cal_max] = look.pet.range;
    if (this.ct) [this.ct.cal_min, this.ct.cal_max] = look.ct.range;
    this.nv.updateGLVolume();
  }

  draw(cursor) {
    if (!this.grid) return;
    this.nv.scene.crosshairPos = cursor.map((r, a) => (Math.round(r) + 0.5) / this.grid.rasShape[a]);
    this.nv.drawScene();
  }
}

/** What of a look is painted into the volumes' textures; the rest is set as they are drawn. */
function key({ pet, ct }) {
  return JSON.stringify([pet, ct]);
}
