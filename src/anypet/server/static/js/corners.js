// Names and buttons in the corners of the panes, and the colour bar.

import { SCALES } from "./colours.js";
import { icon } from "./icons.js";
import { $, make } from "./notes.js";

const TITLES = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal", mip: "MIP" };

export class Corners {
  constructor(desk) {
    this.desk = desk;
    this.boxes = Object.fromEntries(
      Object.entries(TITLES).map(([kind, title]) => [kind, this.corner(kind, title)]),
    );
    this.play = make("button", { type: "button", onclick: () => desk.command("play") });
    this.boxes.mip.append(this.play);
    this.bar = make("canvas", { width: 1, height: 256 });
    this.ends = [make("span"), make("span"), make("span", { textContent: "" })];
    this.scale = make("div", { className: "scale-bar" }, this.bar, make("div", {}, ...this.ends));
    $("corners").append(...Object.values(this.boxes), this.scale);
  }

  corner(kind, title) {
    const grow = make("button", {
      type: "button",
      data: { grow: kind },
      onclick: () => this.desk.enlarge(kind),
    });
    return make("div", { className: "corner" }, make("span", { textContent: title }), grow);
  }

  place() {
    const { places, alone } = this.desk;
    for (const [kind, box] of Object.entries(this.boxes)) {
      const rect = places[kind];
      box.hidden = !rect;
      if (!rect) continue;
      box.style.cssText = `left:${rect.x + 6}px;top:${rect.y + 6}px`;
      if (kind === "mip") box.style.setProperty("--ink", "var(--ink-mip)");
      const grow = box.querySelector("[data-grow]");
      const title = alone ? "All views (F)" : `${TITLES[kind]} only (F)`;
      Object.assign(grow, { title, innerHTML: icon(alone ? "shrink" : "expand", 14) });
      grow.setAttribute("aria-label", title);
    }
    const rect = places.mip ?? places[alone];
    this.scale.style.cssText = `left:${rect.x + 12}px;top:${rect.y + rect.height - 152}px;height:140px`;
    if (places.mip) this.scale.style.setProperty("--ink", "var(--ink-mip)");
  }

  update() {
    const { mip, looks } = this.desk;
    const state = mip.turning ? "pause" : "play";
    if (this.state !== state) {
      this.state = state;
      const title = mip.turning ? "Stop turning (Space)" : "Turn (Space)";
      Object.assign(this.play, { title, innerHTML: icon(state, 14) });
      this.play.setAttribute("aria-label", title);
    }
    const { scale, range, unit } = this.desk.places?.mip ? { ...looks.mip(), unit: "SUV" } : looks.bar();
    const key = `${scale} ${range}`;
    if (key === this.painted) return;
    this.painted = key;
    const context = this.bar.getContext("2d");
    const gradient = context.createLinearGradient(0, 256, 0, 0);
    for (const [at, ...colour] of SCALES[scale].points)
      gradient.addColorStop(at / 255, `rgb(${colour.join(" ")})`);
    context.fillStyle = gradient;
    context.fillRect(0, 0, 1, 256);
    [this.ends[0].textContent, this.ends[1].textContent, this.ends[2].textContent] = [
      range[1],
      unit,
      range[0],
    ];
  }
}
