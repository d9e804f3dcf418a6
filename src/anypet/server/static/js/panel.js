// The table of objects, the card of the selected one, and their clocks.

import { icon } from "./icons.js";
import { $, ask, complain, make } from "./notes.js";
import { elapsed } from "./work.js";

const COLUMNS = [
  ["suv_max", 1],
  ["suv_peak", 1],
  ["suv_mean", 1],
  ["volume_ml", 1],
  ["tlg", 0],
];

function figure(value, digits) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toFixed(value >= 1000 ? 0 : value < 1 && digits ? 2 : digits);
}

export function clockText(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export class Panel {
  /** @param desk with `work`, `act(promise)`, `goTo(ras)` and `timing`. */
  constructor(desk) {
    this.desk = desk;
    setInterval(() => this.tick(), 500);
  }

  draw() {
    const { work } = this.desk;
    $("objects").tBodies[0].replaceChildren(...work.list.map((item) => this.row(item)));
    this.card(work.selected);
    $("undo").disabled = !work.selected?.can_undo;
    $("redo").disabled = !work.selected?.can_redo;
  }

  row(item) {
    const { desk } = this;
    const swatch = make("i", { className: "swatch" });
    swatch.style.background = item.colour;
    const chosen = item.name === desk.work.name;
    const name = make(
      "button",
      { type: "button", className: "name", title: item.name, tabIndex: chosen ? 0 : -1 },
      swatch,
      make("span", { textContent: item.name }),
    );
    const filled = item.measures.voxels > 0;
    const cells = COLUMNS.map(([key, digits]) =>
      make("td", { data: { measure: key }, textContent: filled ? figure(item.measures[key], digits) : "–" }),
    );
    const row = make(
      "tr",
      {
        className: item.hidden ? "hidden" : "",
        data: { object: item.name },
        onclick: () => desk.choose(item.name, true),
      },
      make("td", {}, name),
      ...cells,
    );
    row.setAttribute("aria-selected", chosen);
    return row;
  }

  card(item) {
    if (!item) return $("card").replaceChildren();
    if ($("card").contains(document.activeElement) && document.activeElement.type === "text") return;
    const { desk } = this;
    const button = (name, title, command) =>
      make("button", {
        type: "button",
        className: "icon",
        title,
        innerHTML: icon(name),
        onclick: () => desk.command(command),
        aria: { label: title },
      });
    const name = make("input", {
      type: "text",
      id: "object-name",
      value: item.name,
      maxLength: 120,
      aria: { label: "Name of the object" },
    });
    name.onchange = () => {
      const wanted = name.value.trim();
      if (wanted && wanted !== item.name) desk.act(desk.work.change(item.name, { rename: wanted }));
      name.blur();
    };
    name.onkeydown = (event) => {
      if (event.key === "Escape") name.value = item.name;
      if (event.key === "Enter" || event.key === "Escape") name.blur();
    };
    const colour = make("input", {
      type: "color",
      value: item.colour,
      title: "Colour",
      aria: { label: "Colour of the object" },
    });
    colour.onchange = () => desk.act(desk.work.change(item.name, { colour: colour.value }));
    const counts = [
      [item.prompts.points.filter((p) => p.positive).length, "added"],
      [item.prompts.points.filter((p) => !p.positive).length, "rejected"],
      [item.prompts.boxes.length, "boxes"],
    ]
      .filter(([n]) => n)
      .map(([n, what]) => `${n} ${what}`);
    $("card").replaceChildren(
      make(
        "div",
        { className: "row" },
        colour,
        name,
        button(item.hidden ? "hidden" : "eye", item.hidden ? "Show (H)" : "Hide (H)", "hide"),
        button("clear", "Clear the object (undo brings it back)", "reset"),
        button("bin", "Delete the object (Delete)", "delete"),
      ),
      make(
        "div",
        { className: "row soft" },
        make("span", { textContent: counts.join(" · ") || "No clicks yet" }),
        make("span", { className: "spring" }),
        make("span", {
          className: "clock",
          id: "clock",
          title: "Time spent on this object",
          textContent: clockText(elapsed(item)),
        }),
      ),
    );
  }

  tick() {
    const item = this.desk.work?.selected;
    if (item && $("clock")) $("clock").textContent = clockText(elapsed(item));
  }

  async rename() {
    $("object-name")?.focus();
    $("object-name")?.select();
  }

  async remove() {
    const { desk } = this;
    const item = desk.work.selected;
    const filled = item.measures.voxels > 0;
    if (
      filled &&
      !(await ask({
        title: `Delete ${item.name}?`,
        text: "Its outline and its history are lost.",
        yes: "Delete",
      }))
    )
      return;
    await desk.act(desk.work.drop(item.name)).catch(complain);
  }
}
