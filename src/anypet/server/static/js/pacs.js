// Studies of the archive (PACS) that the server was given: found, fetched, and given results back.

import * as api from "./api.js";
import { $, complain, make, tell } from "./notes.js";

/** The archive's name; null where the server has none. */
export async function archive() {
  return (await api.get("/api/pacs").catch(() => ({ name: null }))).name;
}

/** The search on the first page. */
export class Search {
  /** @param start with `busy`, `guard` and `read`. */
  constructor(start) {
    this.start = start;
    $("pacs-search").onsubmit = (event) => {
      event.preventDefault();
      this.find().catch(complain);
    };
  }

  async show() {
    const name = await archive();
    $("pacs").hidden = !name;
    $("pacs-title").textContent = `Archive ${name ?? ""}`;
  }

  async find() {
    const text = $("pacs-words").value.trim();
    const key = /^\d{8}(-\d{8})?$/.test(text) ? "date" : /\d/.test(text) ? "patient" : "name";
    const found = await this.start.busy.during("Asking the archive", () =>
      api.get(`/api/pacs/studies?${new URLSearchParams({ [key]: text })}`),
    );
    $("pacs-found").replaceChildren(...found.map((study) => this.row(study)));
    if (!found.length) tell("No PET study found", "Search by name, patient number, or date as YYYYMMDD.");
  }

  row(study) {
    const date = study.date?.replace(/(\d{4})(\d\d)(\d\d)/, "$1-$2-$3");
    const facts = [date, study.description, study.patient_id].filter(Boolean).join(" · ");
    const button = make(
      "button",
      { type: "button", className: "open", onclick: () => this.fetch(study) },
      make("b", { textContent: study.patient_name || study.patient_id || study.uid }),
      make("span", { textContent: facts }),
    );
    return make("li", {}, button);
  }

  fetch(study) {
    return this.start.guard("Fetching the study", async (progress) => {
      const job = await api.post(`/api/pacs/studies/${encodeURIComponent(study.uid)}/fetch`);
      const entry = await api.finished(job, ({ done, planned }) =>
        progress(planned ? done / planned : undefined),
      );
      return this.start.read(entry);
    });
  }
}

/** Stores a session's SEG, RTSTRUCT and SR in the archive. */
export async function store(work, busy, name) {
  const told = await busy.during(`Storing in ${name}`, async () =>
    api.finished(await api.post(`${work.path}/push`), () => {}),
  );
  tell(`Stored in ${name}`, told.stored.map(({ kind }) => kind.toUpperCase()).join(", "));
}
