// Projects the PET along rays around the head-foot axis: at each angle the hottest value and where it lay.

import { Grid } from "./grid.js";

const COARSE_MM = 3; // finer voxels are joined, by their hottest
const AIR = 0.2; // SUV below which nothing of the body is expected
const STEP = 0.5; // of a voxel, along a ray

onmessage = ({ data }) => {
  const { array, shape, affine, perm, angles } = data;
  const grid = new Grid(shape, affine, perm);
  const body = bodyBox(array, grid);
  const volume = pooled(array, grid, body);
  const size = { ...volume, data: undefined, body };
  const { nu, nz, du, dz } = plane(volume);
  postMessage({ kind: "size", ...size, nu, nz, du, dz, angles });
  for (const n of spread(angles)) {
    const { values, depths } = project(volume, (2 * Math.PI * n) / angles, nu, du);
    postMessage({ kind: "frame", n, values, depths }, [values.buffer, depths.buffer]);
  }
};

/** Lowest and highest ras of what is not air; everything, where all is. */
function bodyBox(array, grid) {
  const { origin, steps } = grid.walk();
  const [nx, ny, nz] = grid.rasShape;
  const counts = [nx, ny, nz].map((n) => new Uint32Array(n));
  for (let z = 0; z < nz; z++)
    for (let y = 0; y < ny; y++) {
      const row = origin + y * steps[1] + z * steps[2];
      for (let x = 0; x < nx; x++)
        if (array[row + x * steps[0]] > AIR) {
          counts[0][x]++;
          counts[1][y]++;
          counts[2][z]++;
        }
    }
  const ends = counts.map((count) => {
    const enough = Math.max(...count) / 50; // a few hot voxels of noise are no body
    const low = count.findIndex((n) => n > enough);
    const high = count.findLastIndex((n) => n > enough);
    return low < 0 ? [0, count.length - 1] : [Math.max(0, low - 2), Math.min(count.length - 1, high + 2)];
  });
  return { low: ends.map((e) => e[0]), high: ends.map((e) => e[1]) };
}

/** The body, x fastest, with voxels of about COARSE_MM. */
function pooled(array, grid, { low, high }) {
  const factor = grid.spacing.map((mm) => Math.max(1, Math.round(COARSE_MM / mm)));
  const size = low.map((l, a) => Math.ceil((high[a] - l + 1) / factor[a]));
  const data = new Float32Array(size[0] * size[1] * size[2]);
  const { origin, steps } = grid.walk();
  for (let z = low[2]; z <= high[2]; z++)
    for (let y = low[1]; y <= high[1]; y++) {
      const row = origin + y * steps[1] + z * steps[2];
      const Z = Math.floor((z - low[2]) / factor[2]);
      const Y = Math.floor((y - low[1]) / factor[1]);
      const out = (Z * size[1] + Y) * size[0];
      for (let x = low[0]; x <= high[0]; x++) {
        const at = out + Math.floor((x - low[0]) / factor[0]);
        const value = array[row + x * steps[0]];
        if (value > data[at]) data[at] = value;
      }
    }
  return { data, size, factor, spacing: grid.spacing.map((mm, a) => mm * factor[a]) };
}

function plane({ size, spacing }) {
  const du = Math.min(spacing[0], spacing[1]);
  const across = Math.hypot(size[0] * spacing[0], size[1] * spacing[1]);
  return { nu: Math.ceil(across / du), nz: size[2], du, dz: spacing[2] };
}

/** The front first, then angles between those that are there. */
function* spread(angles) {
  const seen = new Set();
  for (let step = angles; step >= 1; step = step > 1 ? Math.floor(step / 2) : 0)
    for (let n = 0; n < angles; n += step)
      if (!seen.has(n)) {
        seen.add(n);
        yield n;
      }
}

/** u runs to the right of the picture: at angle 0 to the patient's left; rays run from the front to the back. */
function project({ data, size, spacing }, angle, nu, du) {
  const [nx, ny, nz] = size;
  const step = STEP * du;
  const nt = Math.ceil((nu * du) / step);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const places = new Int32Array(nu * nt).fill(-1);
  for (let u = 0; u < nu; u++)
    for (let t = 0; t < nt; t++) {
      const across = (u + 0.5 - nu / 2) * du;
      const deep = (t + 0.5 - nt / 2) * step;
      const x = Math.floor((-across * cos - deep * sin) / spacing[0] + nx / 2);
      const y = Math.floor((across * sin - deep * cos) / spacing[1] + ny / 2);
      if (x >= 0 && y >= 0 && x < nx && y < ny) places[u * nt + t] = y * nx + x;
    }
  const values = new Float32Array(nu * nz);
  const depths = new Int32Array(nu * nz); // place in the x, y plane
  for (let u = 0; u < nu; u++) {
    const ray = [...new Set(places.subarray(u * nt, (u + 1) * nt))].filter((place) => place >= 0);
    const path = Int32Array.from(ray);
    for (let z = 0; z < nz; z++) {
      const base = z * nx * ny;
      let best = 0;
      let where = path.length ? path[path.length >> 1] : -1;
      for (let n = 0; n < path.length; n++) {
        const value = data[base + path[n]];
        if (value > best) [best, where] = [value, path[n]];
      }
      values[z * nu + u] = best;
      depths[z * nu + u] = where;
    }
  }
  return { values, depths };
}
