// How images are shown: which one, window, colours, fusion, masks' opacity; kept from day to day.

import { CT_WINDOWS, PET_WINDOWS, SCALES } from "./colours.js";
import { $, make } from "./notes.js";

const KEPT = "anypet-looks";
const MODES = [
  ["pet", "PET"],
  ["ct", "CT"],
  ["fusion", "Fusion"],
];

export class Looks {
  constructor(desk) {
    this.desk = desk;
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    Object.assign(this, {
      fusion: 0.5,
      opacity: 0.25,
      smooth: true,
      scales: { pet: "inverted", fusion: "hot" },
      pet: [0, 10],
      ct: [-160, 240],
      ...kept,
      mode: "pet",
    });
    this.build();
  }

  build() {
    $("modes").replaceChildren(
      ...MODES.map(([mode, title]) =>
        make("button", {
          type: "button",
          textContent: title,
          data: { mode },
          onclick: () => this.set({ mode }),
          aria: { role: "radio" },
        }),
      ),
    );
    $("modes").onkeydown = (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by)
        [this.nextMode(by), $("modes").querySelector("[aria-checked=true]").focus(), event.preventDefault()];
    };
    $("scale").replaceChildren(
      ...Object.entries(SCALES).map(([value, { title }]) => new Option(title, value)),
    );
    $("scale").onchange = () => this.set({ scales: { ...this.scales, [this.kind]: $("scale").value } });
    $("fusion").oninput = () => this.set({ fusion: Number($("fusion").value) });
    $("opacity").oninput = () => this.set({ opacity: Number($("opacity").value) });
    for (const id of ["low", "high"]) $(id).onchange = () => this.typed();
    $("presets").onchange = () => this.set({ [this.ruled]: JSON.parse($("presets").value) });
  }

  /** For the planes. */
  planes() {
    const { mode, fusion, smooth, pet, ct, scale } = this;
    return { mode, fusion, smooth, pet: { range: pet, scale }, ct: { range: ct } };
  }

  /** Which colours are chosen from: those of the PET alone or those of the fusion. */
  get kind() {
    return this.mode === "fusion" ? "fusion" : "pet";
  }

  /** Whose window is set. */
  get ruled() {
    return this.mode === "ct" ? "ct" : "pet";
  }

  get scale() {
    return this.scales[this.kind];
  }

  get paper() {
    return this.mode === "pet" ? SCALES[this.scale].paper : "#000000";
  }

  /** For the colour bar of a plane that is shown alone. */
  bar() {
    if (this.mode === "ct") return { scale: "grey", range: this.ct, unit: "HU" };
    return { scale: this.scale, range: this.pet, unit: "SUV" };
  }

  /** For the projection, which is always of the PET. */
  mip() {
    const scale = this.mode === "pet" ? this.scale : this.scales.pet;
    return { range: this.pet, scale, paper: SCALES[scale].paper };
  }

  typed() {
    const [low, high] = [Number($("low").value), Number($("high").value)];
    if (Number.isFinite(low) && high > low) this.set({ [this.ruled]: [low, high] });
    else this.show();
  }

  nextMode(by = 1) {
    const modes = this.desk.ct ? MODES.map(([mode]) => mode) : ["pet"];
    this.set({ mode: modes.at((modes.indexOf(this.mode) + by) % modes.length) });
  }

  nextScale() {
    const names = Object.keys(SCALES);
    this.set({
      scales: { ...this.scales, [this.kind]: names[(names.indexOf(this.scale) + 1) % names.length] },
    });
  }

  nextWindow() {
    const windows = this.windows().map(([, range]) => range);
    const at = windows.findIndex((range) => String(range) === String(this[this.ruled]));
    this.set({ [this.ruled]: windows[(at + 1) % windows.length] });
  }

  /** A wider or narrower window. */
  stretch(factor) {
    const [low, high] = this[this.ruled];
    const width = (high - low) * factor;
    this.set({
      [this.ruled]:
        this.mode === "ct" ? [low, low + Math.round(width)] : [low, low + Number(width.toPrecision(2))],
    });
  }

  windows() {
    if (this.mode === "ct") return Object.entries(CT_WINDOWS);
    return PET_WINDOWS.map((range) => [range.join("–"), range]);
  }

  set(change) {
    Object.assign(this, change);
    const { fusion, opacity, smooth, scales, pet, ct } = this;
    localStorage.setItem(KEPT, JSON.stringify({ fusion, opacity, smooth, scales, pet, ct }));
    this.show();
    if (!this.desk.grid) return;
    this.desk.viewer.setLook(this.planes());
    this.desk.redraw("planes", "marks", "mip");
  }

  /** The controls say what is so. */
  show() {
    for (const button of $("modes").children) {
      const { mode } = button.dataset;
      button.setAttribute("aria-checked", mode === this.mode);
      button.tabIndex = mode === this.mode ? 0 : -1;
      button.disabled = mode !== "pet" && !this.desk.ct;
      button.title = button.disabled ? "This scan has no CT" : "";
    }
    $("fusion-field").hidden = this.mode !== "fusion";
    $("fusion").value = this.fusion;
    $("opacity").value = this.opacity;
    $("scale").hidden = this.mode === "ct";
    $("scale").value = this.scale;
    $("window-name").textContent = this.mode === "ct" ? "HU" : "SUV";
    [$("low").value, $("high").value] = this[this.ruled];
    const now = JSON.stringify(this[this.ruled]);
    const options = this.windows().map(([title, range]) => new Option(title, JSON.stringify(range)));
    const known = options.find((option) => option.value === now);
    $("presets").replaceChildren(...(known ? [] : [new Option("Own", now)]), ...options);
    $("presets").value = now;
    $("views").style.background = this.paper;
    const ink = (paper) => (paper === "#ffffff" ? "#10151a" : "#ffffff");
    $("stage").style.setProperty("--ink", ink(this.paper));
    $("stage").style.setProperty("--ink-mip", ink(this.mip().paper));
  }
}
