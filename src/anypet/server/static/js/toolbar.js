// The tools at the left, and titles with keys for every button that stands for a command.

import { COMMANDS, printed } from "./commands.js";
import { icon } from "./icons.js";
import { $, make } from "./notes.js";

const TOOLS = ["point", "box", "scribble", "look"];
const TITLES = Object.assign({}, ...Object.values(COMMANDS));

export function titled(button, name) {
  const [title] = TITLES[name];
  button.title = `${title} (${printed(name)})`;
  if (!button.textContent.trim()) button.setAttribute("aria-label", title);
}

/** Builds the tools -> a function that shows which is chosen. */
export function toolbar(desk) {
  const tools = TOOLS.map((name) =>
    make("button", {
      type: "button",
      innerHTML: icon(name, 20),
      data: { tool: name },
      onclick: () => desk.command(name),
      aria: { role: "radio" },
    }),
  );
  const sign = make("button", {
    type: "button",
    innerHTML: icon("reject", 20),
    onclick: () => desk.command("sign"),
  });
  const group = make("div", { aria: { role: "radiogroup", label: "What a click does" } }, ...tools);
  const others = ["fit", "smooth"].map((name) =>
    make("button", {
      type: "button",
      innerHTML: icon(name, 20),
      data: { tool: name },
      onclick: () => desk.command(name),
    }),
  );
  $("tools").append(group, make("hr"), sign, make("hr"), ...others);
  for (const button of [...tools, ...others]) titled(button, button.dataset.tool);
  titled(sign, "sign");
  sign.title = "Left click rejects (R)";
  for (const [id, name] of [
    ["undo", "undo"],
    ["redo", "redo"],
    ["theme", "theme"],
    ["help", "help"],
  ])
    $(id).innerHTML = icon(name);
  for (const button of document.querySelectorAll("[data-command]")) {
    titled(button, button.dataset.command);
    button.onclick = () => desk.command(button.dataset.command);
  }
  $("tools").onkeydown = (event) => {
    const all = [...$("tools").querySelectorAll("button")];
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    all.at((all.indexOf(document.activeElement) + by) % all.length).focus();
    event.preventDefault();
  };
  return () => {
    for (const button of tools) {
      const chosen = button.dataset.tool === desk.tool;
      button.setAttribute("aria-checked", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    sign.setAttribute("aria-pressed", !desk.positive);
  };
}
