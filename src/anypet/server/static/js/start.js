// The first page: scans to open, files to send, and the demo.

import * as api from "./api.js";
import { $, ask, bar, complain, make } from "./notes.js";
import { Search } from "./pacs.js";

const FOLDER_LIMIT = 20_000;

/** @param {(scan) => void} open is called with a scan that is open on the server. */
export class Start {
  constructor(busy, open) {
    this.busy = busy;
    this.open = open;
    $("demo").onclick = () => this.guard("Simulating a patient", () => api.post("/api/scans/demo"));
    $("files").onchange = (event) => this.send(event.target);
    $("folder").onchange = (event) => this.send(event.target);
    this.drops($("drop"));
    this.archive = new Search(this);
  }

  async show() {
    this.archive.show();
    const [scans, sessions] = await Promise.all([api.get("/api/scans"), api.get("/api/sessions")]);
    $("scans-title").hidden = !scans.length;
    $("scans").replaceChildren(
      ...scans.map((scan) =>
        this.row(
          scan,
          sessions.some((one) => one.scan === scan.id),
        ),
      ),
    );
  }

  row(scan, begun) {
    const kind = { folder: "", upload: "sent", array: "", pacs: "from the archive" }[scan.kind];
    const facts = [scan.ct ? "PET/CT" : "PET", kind, begun ? "work saved" : ""].filter(Boolean).join(" · ");
    const button = make(
      "button",
      { type: "button", className: "open", onclick: () => this.choose(scan) },
      make("b", { textContent: scan.name }),
      make("span", { textContent: facts }),
    );
    return make("li", { data: { scan: scan.id } }, button);
  }

  choose(scan) {
    return this.guard("Reading the scan", () => this.read(scan));
  }

  /** Opens a scan; where the file leaves something unsaid, asks for it. */
  async read(scan, how = {}) {
    try {
      return await api.post(`/api/scans/${scan.id}/open`, how);
    } catch (error) {
      if (error.title === "Are these values SUV?" && !how.unit) {
        const yes = await ask({
          title: error.title,
          yes: "Yes, SUV by body weight",
          text: `${scan.name} does not say what its values are. Go on only if you know that they are SUV.`,
        });
        if (yes) return this.read(scan, { ...how, unit: "SUVbw" });
      } else if (error.title === "Which series?" && !how.series) {
        const series = await ask({ title: error.title, text: error.detail, value: "" });
        if (series) return this.read(scan, { ...how, series });
      } else throw error;
      return null;
    }
  }

  async guard(what, call) {
    try {
      const scan = await this.busy.during(what, call);
      if (scan) await this.open(scan);
    } catch (error) {
      complain(error);
    }
  }

  async send(input) {
    const files = [...input.files].filter((file) => !file.name.startsWith("."));
    input.value = "";
    if (files.length) await this.sent(files.slice(0, FOLDER_LIMIT));
  }

  async sent(files) {
    const meter = $("sending");
    meter.hidden = false;
    try {
      const scan = await api.upload(files, (part) => bar(meter, part < 1 ? part : undefined));
      await this.guard("Reading the scan", () => this.read(scan));
    } catch (error) {
      complain(error);
    }
    meter.hidden = true;
    await this.show().catch(complain);
  }

  drops(door) {
    for (const kind of ["dragenter", "dragover"])
      addEventListener(kind, (event) => {
        event.preventDefault();
        door.classList.add("over");
      });
    addEventListener("dragleave", () => door.classList.remove("over"));
    addEventListener("drop", (event) => {
      event.preventDefault();
      door.classList.remove("over");
      if (!$("start").hidden && event.dataTransfer.files.length) this.sent([...event.dataTransfer.files]);
    });
  }
}
