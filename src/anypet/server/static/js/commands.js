// Everything that can be done, each with its keys; the help page and the buttons are made from this table.

import { $, make } from "./notes.js";

/** Keys of a command: first those that are shown. "Mod" is Ctrl, or Cmd on a Mac. */
export const COMMANDS = {
  "Clicks at the crosshair": {
    here: ["Add a click (or: corner, line)", "Enter", "a"],
    reject: ["Reject", "Shift+Enter", "x"],
    undo: ["Undo", "Mod+z", "u"],
    redo: ["Redo", "Mod+Shift+z", "Mod+y", "Shift+u"],
    cancel: ["Give up, close a message", "Escape"],
  },
  Tools: {
    point: ["Click", "p"],
    box: ["Box", "b"],
    scribble: ["Scribble", "s"],
    look: ["Only look", "v"],
    sign: ["Left click adds or rejects", "r"],
  },
  "Moving around": {
    left: ["Left, right, up, down", "ArrowLeft", "Shift+ArrowLeft"],
    right: ["", "ArrowRight", "Shift+ArrowRight"],
    up: ["", "ArrowUp", "Shift+ArrowUp"],
    down: ["", "ArrowDown", "Shift+ArrowDown"],
    forward: ["Slice up", "PageUp", "Shift+PageUp"],
    back: ["Slice down", "PageDown", "Shift+PageDown"],
    hottest: ["To the hottest voxel within 2 cm", "j"],
    jump: ["To the hottest voxel of the scan, then the next", "Shift+j"],
    pane1: ["Axial", "1"],
    pane2: ["Coronal", "2"],
    pane3: ["Sagittal", "3"],
    pane4: ["MIP", "4"],
    enlarge: ["One view or all", "f"],
    fit: ["Fit views to the body", "z"],
    closer: ["Zoom in", "Mod+ArrowUp"],
    further: ["Zoom out", "Mod+ArrowDown"],
  },
  Objects: {
    new: ["New object", "n"],
    next: ["Next object", "]"],
    previous: ["Previous object", "["],
    rename: ["Name the object", "F2"],
    hide: ["Hide or show", "h"],
    reset: ["Clear the object", "Shift+Backspace"],
    delete: ["Delete the object", "Delete"],
  },
  Image: {
    mode: ["PET, CT, fusion", "m"],
    scale: ["Colours", "c"],
    window: ["Next window", "w"],
    wider: ["Wider window", "+", "="],
    narrower: ["Narrower window", "-"],
    more: ["More PET in the fusion", "'"],
    less: ["More CT in the fusion", ";"],
    turnleft: ["Turn the MIP left", ","],
    turnright: ["Turn the MIP right", "."],
    play: ["MIP turns by itself", " "],
    smooth: ["Smooth, or voxels", "i"],
  },
  Assist: {
    suggest: ["Suggest the next click", "g"],
    uncertainty: ["Show uncertainty", "o"],
    lesions: ["Find all lesions", "l"],
    words: ["Segment by words", "t"],
    timer: ["Time objects", "k"],
    export: ["Export", "e"],
    theme: ["Light or dark", "d"],
    help: ["This page", "?", "F1"],
  },
};

const BY_KEY = new Map();
for (const group of Object.values(COMMANDS))
  for (const [name, [, ...keys]] of Object.entries(group)) for (const key of keys) BY_KEY.set(key, name);

const SHOWN = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  " ": "Space",
  Escape: "Esc",
  PageUp: "Page ↑",
  PageDown: "Page ↓",
  Mod: /Mac/.test(navigator.platform) ? "⌘" : "Ctrl",
};

/** Keys in print: "Ctrl Z". */
export function printed(name) {
  for (const group of Object.values(COMMANDS)) if (name in group) return parts(group[name][1]).join(" ");
  return "";
}

function parts(key) {
  const split = key.length > 1 ? key.split("+") : [key];
  return split.map((part) => SHOWN[part] ?? (part.length === 1 ? part.toUpperCase() : part));
}

/** Listens for keys; `run` is called with a command's name and whether Shift is held. */
export function listen(run) {
  addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (document.querySelector("dialog[open]") && key !== "F1") return;
    const writes = target.matches(
      "input:not([type=range]):not([type=color]):not([type=file]), select, textarea",
    );
    if (writes) {
      if (key === "Escape") $("views").focus();
      return;
    }
    const presses = target.matches("button, summary, input, label");
    if (presses && ["Enter", " "].includes(key)) return;
    if (target.matches("input[type=range], [role=radio], [role=toolbar] *") && key.startsWith("Arrow"))
      return;
    const mod = event.ctrlKey || event.metaKey ? "Mod+" : "";
    const letter = key.length === 1 ? key.toLowerCase() : key;
    const shift = event.shiftKey && (key.length > 1 || /[a-z]/i.test(key)) ? "Shift+" : "";
    const name = event.altKey ? undefined : BY_KEY.get(mod + shift + letter);
    if (!name) return;
    event.preventDefault();
    run(name, event.shiftKey);
  });
}

/** The help page. */
export function help() {
  const dialog = $("keys");
  const sections = Object.entries(COMMANDS).map(([title, group]) =>
    make(
      "section",
      {},
      make("h3", { textContent: title }),
      make("dl", {}, ...Object.values(group).flatMap(line)),
    ),
  );
  const close = make("button", { type: "button", textContent: "Close", onclick: () => dialog.close() });
  const mouse =
    "Left click adds to the object, right click (or Shift or Alt with a click) rejects. Dragging moves the crosshair, " +
    "the wheel goes through slices, Ctrl with the wheel zooms, the middle button moves the picture. On the MIP, a click goes to " +
    "the hottest voxel behind it and dragging turns it. Keys act in the view with the frame.";
  dialog.replaceChildren(
    make(
      "div",
      { className: "heading" },
      make("h2", { id: "keys-title", textContent: "Mouse and keys" }),
      close,
    ),
    make("p", { textContent: mouse }),
    make("div", { className: "columns" }, ...sections),
  );
  dialog.showModal();
}

function line([title, first]) {
  if (!title) return [];
  const arrows = title.startsWith("Left,");
  const keys = (arrows ? ["←", "→", "↑", "↓"] : parts(first)).map((key) => make("kbd", { textContent: key }));
  return [
    make("dt", { textContent: title }),
    make("dd", {}, ...keys.flatMap((key, n) => (n ? [" ", key] : [key]))),
  ];
}
