// A session of the server as the page sees it: objects with masks, prompts, undo, long jobs.
//
// Tells what happens by events: "objects" (anything about them changed), "busy" (something runs, or not).

import * as api from "./api.js";
import { Mask, decoded } from "./masks.js";

export class Work extends EventTarget {
  constructor(scan, told) {
    super();
    this.scan = scan;
    this.path = `/api/sessions/${told.id}`;
    this.id = told.id;
    this.items = new Map(); // name -> what the server says, with `mask`
    this.queue = Promise.resolve();
    this.running = [];
    this.take(told);
  }

  /** The newest session on a scan, or a new one. */
  static async open(scan, wanted) {
    const known = (await api.get("/api/sessions")).filter((one) => one.scan === scan.id);
    const found = known.find((one) => one.id === wanted) ?? known[0];
    const told = found
      ? await api.get(`/api/sessions/${found.id}`)
      : await api.post("/api/sessions", { scan: scan.id });
    const work = new Work(scan, told);
    await work.masks();
    return work;
  }

  get list() {
    return [...this.items.values()];
  }

  get selected() {
    return this.items.get(this.name);
  }

  get shown() {
    return this.list.filter((item) => !item.hidden);
  }

  /** SUVpeak takes longer than a click, so it comes after it. */
  async peaks() {
    const wanted = this.list.map((item) => `${item.name} ${item.revision}`).join();
    if (wanted === this.peaked) return;
    this.peaked = wanted;
    for (const row of await api.get(`${this.path}/table`)) {
      const item = this.items.get(row.name);
      if (item?.revision === row.revision) item.measures.suv_peak = row.measures.suv_peak;
    }
    this.changed();
  }

  // -- what the server says ------------------------------------------------------------------------------

  take(told) {
    const before = this.items;
    this.items = new Map(
      told.objects.map((item) => {
        const old = before.get(item.name);
        if (old?.revision === item.revision) item.measures.suv_peak = old.measures.suv_peak;
        return [item.name, { ...item, mask: old?.mask ?? new Mask(), seen: old?.seen ?? 0, ...clock(item) }];
      }),
    );
    this.name = told.selected;
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("objects"));
  }

  /** Fetches the masks that this page has not followed. */
  async masks() {
    const behind = this.list.filter((item) => item.seen !== item.revision);
    await Promise.all(
      behind.map(async (item) => {
        const told = await api.get(`${this.path}/mask?object=${encodeURIComponent(item.name)}`);
        item.mask = new Mask();
        item.mask.put(await decoded(told.mask));
        item.seen = told.revision;
      }),
    );
    if (behind.length) this.changed();
  }

  /** Lays the changes of a step over the masks. */
  async follow(told) {
    for (const { changed, before, ...item } of told.objects) {
      const known = this.items.get(item.name);
      const mask = known?.mask ?? new Mask();
      const box = changed && (await decoded(changed));
      const follows = known ? known.seen === before || known.seen === item.revision : before === 0;
      if (box) mask.put(box);
      const seen = follows ? item.revision : -1;
      this.items.set(item.name, { ...item, mask, seen, ...clock(item) });
    }
    if (told.selected) this.name = told.selected;
    await this.masks();
    this.changed();
  }

  // -- doing ----------------------------------------------------------------------------------------------

  /** One after another; `what` is said while it takes long. */
  run(what, call) {
    const step = { what, began: performance.now() };
    this.running.push(step);
    this.dispatchEvent(new Event("busy"));
    const done = this.queue
      .then(() => call(step))
      .finally(() => {
        this.running.splice(this.running.indexOf(step), 1);
        this.dispatchEvent(new Event("busy"));
      });
    this.queue = done.catch(() => {});
    return done;
  }

  prompt(what, kind, body) {
    return this.run(what, async () => {
      const began = performance.now();
      const told = await api.post(`${this.path}/${kind}`, body);
      await this.follow(told);
      this.latency = { all: (performance.now() - began) / 1000, server: told.seconds };
    });
  }

  point(mm, positive) {
    const item = this.selected;
    const mark = { mm, positive, pending: true };
    item.prompts.points.push(mark);
    this.changed();
    return this.prompt(positive ? "Segmenting" : "Correcting", "point", {
      point: mm,
      positive,
      object: item.name,
    }).catch((error) => {
      const points = this.items.get(item.name)?.prompts.points ?? [];
      if (points.includes(mark)) points.splice(points.indexOf(mark), 1);
      this.changed();
      throw error;
    });
  }

  scribble(points, positive) {
    return this.prompt("Segmenting along the line", "scribble", { points, positive, object: this.name });
  }

  box(lo, hi) {
    return this.prompt("Segmenting in the box", "box", { lo, hi, object: this.name });
  }

  undo() {
    return this.prompt("Undoing", "undo", { object: this.name });
  }

  redo() {
    return this.prompt("Redoing", "redo", { object: this.name });
  }

  reset() {
    return this.prompt("Clearing", "reset", { object: this.name });
  }

  /** Anything about objects that answers with the session. */
  arrange(call) {
    return this.run("Saving", async () => {
      this.take(await call());
      await this.masks();
    });
  }

  add(name) {
    return this.arrange(() => api.post(`${this.path}/objects`, name ? { name } : { name: null }));
  }

  select(name) {
    this.name = name;
    this.changed();
    return this.arrange(() => api.post(`${this.path}/select`, { name }));
  }

  change(name, change) {
    return this.arrange(async () => {
      const told = await api.patch(`${this.path}/objects`, { name, ...change });
      if (change.rename) this.items.set(change.rename, this.items.get(name));
      return told;
    });
  }

  drop(name) {
    return this.arrange(() => api.remove(`${this.path}/objects?name=${encodeURIComponent(name)}`));
  }

  /** Uncertainty of the selected object as a box of levels. */
  async uncertainty() {
    const name = encodeURIComponent(this.name);
    const told = await this.run("Measuring uncertainty", () =>
      api.get(`${this.path}/uncertainty?object=${name}`),
    );
    return decoded(told.box);
  }

  /** The click that would tell most: {mm, positive}, or null. */
  async suggestion() {
    const name = encodeURIComponent(this.name);
    const told = await this.run("Looking for the next click", () =>
      api.get(`${this.path}/suggestion?object=${name}`),
    );
    return told.suggestion;
  }

  /** Long work: find all lesions, or what words name. */
  job(what, kind, body) {
    return this.run(what, async (step) => {
      const begun = await api.post(`${this.path}/${kind}`, body);
      step.cancel = () => api.remove(`/api/jobs/${begun.id}`);
      const result = await api.finished(begun, (job) => {
        step.part = job.planned ? job.done / job.planned : undefined;
        this.dispatchEvent(new Event("busy"));
      });
      this.take(await api.get(this.path));
      await this.masks();
      return result;
    });
  }

  async timer(name, event) {
    const told = await api.post(`${this.path}/timers`, { object: name, event });
    for (const [key, row] of Object.entries(told)) {
      const item = this.items.get(key);
      if (item) Object.assign(item, clock({ seconds: row.seconds, timing: row.running }));
    }
    this.changed();
  }
}

/** Seconds as of now, so that the page can count on by itself. */
function clock({ seconds, timing }) {
  return { seconds, timing, asOf: performance.now() };
}

/** Seconds that an object took until now. */
export function elapsed(item) {
  return item.seconds + (item.timing ? (performance.now() - item.asOf) / 1000 : 0);
}
