// Starts the page: what the address names, or the list of scans.

import { Actions } from "./actions.js";
import * as api from "./api.js";
import { listen } from "./commands.js";
import { Desk } from "./desk.js";
import { $, Busy, complain } from "./notes.js";
import { Pointer } from "./pointer.js";
import { Start } from "./start.js";
import { toolbar } from "./toolbar.js";

const THEME = "anypet-theme";

function theme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? system;
}

function otherTheme() {
  const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem(THEME, other);
  theme();
  desk.redraw("marks", "mip");
}

theme();
const busy = new Busy();
const desk = (globalThis.anypet = new Desk(busy)); // at hand in the browser's console
const actions = new Actions(desk, { theme: otherTheme });
const start = new Start(busy, (scan) => open(scan));
actions.drawTools = toolbar(desk);
actions.drawTools();
new Pointer($("views"), desk);
listen((name, fast) => desk.command(name, fast));
desk.looks.show();

$("text").onsubmit = async (event) => {
  event.preventDefault();
  const text = $("words").value.trim();
  if (text && desk.work) await actions.words(text).catch(complain);
};

$("home").onclick = async () => {
  if (await actions.leave()) location.hash = "";
};

/** The list of scans. */
async function list() {
  desk.close();
  $("desk").hidden = $("looks").hidden = $("deeds").hidden = true;
  $("start").hidden = false;
  document.title = "AnyPET";
  await start.show().catch(complain);
}

async function open(scan, session) {
  try {
    await desk.open(scan, session);
  } catch (error) {
    complain(error);
    await list();
  }
}

/** The address after # says which scan is open; Back and Forward work. */
async function route() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const id = wanted.get("scan");
  if (id && desk.work?.scan.id === id) return;
  const scan = id && (await api.get(`/api/scans/${id}`).catch(complain));
  if (scan?.id) await open(scan, wanted.get("session"));
  else await list();
}

addEventListener("hashchange", route);
await route();
