// Talks to the server: JSON, voxels with progress, files, long jobs. Every failure becomes a `Trouble`.

import { Trouble, explain } from "./words.js";

async function answer(method, path, body, extra = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const text = body === undefined ? undefined : JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, { method, headers, body: text, ...extra });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(...explain(0, ""));
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Trouble(...explain(response.status, told.detail ?? ""), response.status, told.detail);
}

const json = async (...how) => (await answer(...how)).json();

export const get = (path) => json("GET", path);
export const post = (path, body = {}) => json("POST", path, body);
export const patch = (path, body) => json("PATCH", path, body);
export const remove = (path) => json("DELETE", path);

/** Little-endian float32 voxels of the PET or CT, i fastest; `progress` is called with 0 to 1. */
export async function voxels(scan, image, progress) {
  const response = await answer("GET", `/api/scans/${scan.id}/${image}/slab`);
  const bytes = new Uint8Array(scan.shape.reduce((a, b) => a * b) * 4);
  const reader = response.body.getReader();
  for (let at = 0; ;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes.set(value, at);
    at += value.length;
    progress(at / bytes.length);
  }
  return new Float32Array(bytes.buffer);
}

/** A file that the server writes -> {name, blob}. */
export async function file(path) {
  const response = await answer("GET", path);
  const how = response.headers.get("Content-Disposition") ?? "";
  const title = /filename\*=UTF-8''([^;]+)/.exec(how);
  const plain = /filename="([^"]+)"/.exec(how);
  const name = title ? decodeURIComponent(title[1]) : (plain?.[1] ?? "export");
  return { name, blob: await response.blob() };
}

/** Sends files as one scan; `progress` is called with 0 to 1. */
export function upload(files, progress) {
  const form = new FormData();
  for (const one of files) form.append("files", one, one.webkitRelativePath || one.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/scans");
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onerror = () => reject(new Trouble(...explain(0, "")));
    request.onload = () => {
      if (request.status < 300) return resolve(request.response);
      const detail = request.response?.detail ?? "";
      reject(new Trouble(...explain(request.status, detail), request.status, detail));
    };
    request.send(form);
  });
}

/** Waits for a job of the server; `progress` gets the job each time it has moved on. */
export async function finished(job, progress) {
  while (job.state === "running") {
    progress(job);
    job = await get(`/api/jobs/${job.id}?wait=10`);
  }
  if (job.state === "done") return job.result;
  if (job.state === "cancelled") throw new Trouble("Stopped", "Nothing was changed.", 0, job.error);
  throw new Trouble(...explain(422, job.error), 422, job.error);
}
