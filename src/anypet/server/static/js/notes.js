// Messages, progress, questions and menus: everything that comes up over the desk.

import { icon } from "./icons.js";

const SLOW_MS = 500;
export const $ = (id) => document.getElementById(id);

/** An element with properties and children; texts stay texts. */
export function make(tag, properties = {}, ...children) {
  const { data, aria, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [key, value] of Object.entries(data ?? {})) element.dataset[key] = value;
  for (const [key, value] of Object.entries(aria ?? {}))
    element.setAttribute(key === "role" ? key : `aria-${key}`, value);
  element.append(...children);
  return element;
}

/** For screen readers. */
export function say(text) {
  $("said").textContent = text;
}

/** What went wrong; the server's own words can be unfolded. */
export function complain(error) {
  const { title = "Something failed in this page", text = String(error.message ?? error), detail } = error;
  if (!error.title) console.error(error);
  const note = message(title, text);
  if (detail && !text.includes(detail.slice(1, 40)))
    note.append(make("details", {}, make("summary", { textContent: "Details" }), detail));
  return note;
}

export function tell(title, text = "") {
  const note = message(title, text);
  note.classList.add("good");
  setTimeout(() => note.remove(), 6000);
}

function message(title, text) {
  const close = make("button", {
    type: "button",
    innerHTML: icon("clear", 14),
    onclick: () => note.remove(),
    aria: { label: "Close message" },
  });
  const note = make("div", { className: "note" }, make("b", { textContent: title }), close);
  if (text) note.append(make("p", { textContent: text }));
  const notes = $("notes");
  for (const old of [...notes.children]) if (old.firstChild.textContent === title) old.remove();
  while (notes.children.length > 3) notes.firstChild.remove();
  notes.append(note);
  return note;
}

/** Shows what has run for more than half a second; a part of 1 is known or not. */
export class Busy {
  show(steps) {
    clearTimeout(this.timer);
    const step = steps[0];
    if (!step) return this.hide();
    const left = SLOW_MS - (performance.now() - step.began);
    if (left > 0) this.timer = setTimeout(() => this.show(steps), left);
    else this.paint(step);
  }

  paint({ what, part, cancel }) {
    const [label, meter, stop] = $("busy").children;
    label.textContent = `${what}…`;
    bar(meter, part);
    stop.hidden = !cancel;
    stop.onclick = cancel;
    $("busy").hidden = false;
  }

  hide() {
    $("busy").hidden = true;
  }

  /** Shows something that is no step of a session while it lasts. */
  async during(what, call) {
    const step = { what, began: performance.now() };
    this.show([step]);
    try {
      return await call((part) => {
        step.part = part;
        if (!$("busy").hidden) this.paint(step);
      });
    } finally {
      this.show([]);
    }
  }
}

export function bar(meter, part) {
  meter.classList.toggle("unknown", part === undefined);
  meter.firstElementChild.style.width = part === undefined ? "" : `${Math.round(100 * part)}%`;
}

/** A question with a line to fill in, or with none -> the text, true, or null. */
export function ask({ title, text, value, yes = "OK", no = "Cancel" }) {
  const dialog = $("ask");
  const line =
    value === undefined
      ? null
      : make("input", { type: "text", value, maxLength: 120, aria: { label: title } });
  const form = make(
    "form",
    { method: "dialog" },
    make("h2", { id: "ask-title", textContent: title }),
    make("p", { textContent: text, hidden: !text }),
    ...(line ? [line] : []),
    make(
      "div",
      { className: "row" },
      make("button", { type: "button", textContent: no, onclick: () => dialog.close("") }),
      make("button", { className: "primary", value: "yes", textContent: yes }),
    ),
  );
  dialog.replaceChildren(form);
  dialog.returnValue = "";
  dialog.showModal();
  line?.select();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue !== "yes" ? null : line ? line.value.trim() : true);
  });
}

/** A menu below a button; arrow keys walk through it. */
export function menu(button, entries) {
  const box = $("menu");
  const close = () => {
    box.hidden = true;
    button.setAttribute("aria-expanded", "false");
    removeEventListener("pointerdown", outside, true);
  };
  const outside = (event) => {
    if (!box.contains(event.target)) close();
  };
  box.replaceChildren(
    ...entries.map(({ title, note, run, checked }) =>
      make(
        "button",
        {
          type: "button",
          onclick: () => (close(), run()),
          aria: checked === undefined ? { role: "menuitem" } : { role: "menuitemcheckbox", checked },
        },
        make("span", { textContent: title }),
        make("small", { textContent: note ?? (checked ? "✓" : "") }),
      ),
    ),
  );
  box.onkeydown = (event) => {
    const items = [...box.children];
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Escape") [close(), button.focus()];
    else if (to === undefined) return;
    else items.at(to % items.length).focus();
    event.preventDefault();
    event.stopPropagation();
  };
  const place = button.getBoundingClientRect();
  box.style.top = `${place.bottom + 6}px`;
  box.style.right = `${innerWidth - place.right}px`;
  box.hidden = false;
  button.setAttribute("aria-expanded", "true");
  addEventListener("pointerdown", outside, true);
  box.firstElementChild?.focus();
}

/** Hands a file to the browser. */
export function save({ name, blob }) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
