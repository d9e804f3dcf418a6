// Masks as boxes of voxels: decoded from the server's changes, kept, cut into slices and outlined.

/** A box of bytes on a grid; grows where a change reaches out of it. */
export class Mask {
  constructor() {
    this.start = [0, 0, 0];
    this.shape = [0, 0, 0];
    this.data = new Uint8Array(0);
    this.outlines = new Map();
  }

  /** Lays a changed box over the mask. */
  put(box) {
    if (!this.data.length) Object.assign(this, { start: box.start, shape: box.shape, data: box.data });
    else {
      this.reach(box);
      copy(box, this);
    }
    this.outlines.clear();
  }

  reach(box) {
    const low = this.start.map((s, a) => Math.min(s, box.start[a]));
    const high = this.start.map((s, a) => Math.max(s + this.shape[a], box.start[a] + box.shape[a]));
    if (low.every((l, a) => l === this.start[a] && high[a] === l + this.shape[a])) return;
    const shape = high.map((h, a) => h - low[a]);
    const grown = { start: low, shape, data: new Uint8Array(shape[0] * shape[1] * shape[2]) };
    copy(this, grown);
    Object.assign(this, grown);
  }

  /** A plane of the box at ras[normal] = index -> {u, v, width, height, bits} along R, A, S axes, or null. */
  slice(grid, normal, index) {
    const [U, V] = [0, 1, 2].filter((a) => a !== normal);
    const low = lowRas(grid, this);
    const shape = grid.axis.map((j) => this.shape[j]);
    if (!this.data.length || index < low[normal] || index >= low[normal] + shape[normal]) return null;
    const { origin, steps } = walk(grid, this.shape);
    const [width, height] = [shape[U], shape[V]];
    const bits = new Uint8Array(width * height);
    const base = origin + (index - low[normal]) * steps[normal];
    let any = false;
    for (let v = 0, n = 0; v < height; v++)
      for (let u = 0; u < width; u++, n++)
        any = (bits[n] = this.data[base + u * steps[U] + v * steps[V]]) || any;
    return any ? { u: low[U], v: low[V], width, height, bits } : null;
  }

  /** Closed lines around the mask in a plane, [u, v, u, v, ...] with voxel n from n to n + 1. */
  outline(grid, normal, index) {
    const key = normal * 65536 + index;
    let found = this.outlines.get(key);
    if (found === undefined) {
      const plane = this.slice(grid, normal, index);
      found = plane ? outlined(plane) : [];
      this.outlines.set(key, found);
    }
    return found;
  }

  /** Calls back with ras of every voxel. */
  each(grid, call) {
    const low = lowRas(grid, this);
    const shape = grid.axis.map((j) => this.shape[j]);
    const { origin, steps } = walk(grid, this.shape);
    for (let z = 0; z < shape[2]; z++)
      for (let y = 0; y < shape[1]; y++) {
        const row = origin + y * steps[1] + z * steps[2];
        for (let x = 0; x < shape[0]; x++)
          if (this.data[row + x * steps[0]]) call(low[0] + x, low[1] + y, low[2] + z);
      }
  }
}

function lowRas(grid, box) {
  return grid.axis.map((j, a) => (grid.flip[a] ? grid.shape[j] - box.start[j] - box.shape[j] : box.start[j]));
}

function walk(grid, shape) {
  const strides = [1, shape[0], shape[0] * shape[1]];
  const steps = grid.axis.map((j, a) => (grid.flip[a] ? -strides[j] : strides[j]));
  const origin = grid.axis.reduce((sum, j, a) => sum + (grid.flip[a] ? (shape[j] - 1) * strides[j] : 0), 0);
  return { origin, steps };
}

function copy(from, to) {
  const [di, dj, dk] = from.start.map((s, a) => s - to.start[a]);
  const [ni, nj, nk] = from.shape;
  for (let k = 0; k < nk; k++)
    for (let j = 0; j < nj; j++) {
      const at = (k * nj + j) * ni;
      to.data.set(from.data.subarray(at, at + ni), ((k + dk) * to.shape[1] + j + dj) * to.shape[0] + di);
    }
}

/** The server's box (see anypet/server/boxes.py) -> {start, shape, data, highest}. */
export async function decoded(box) {
  const packed = Uint8Array.from(atob(box.data), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const { start, shape, highest } = box;
  if (box.encoding === "u8") return { start, shape, data: raw, highest };
  const data = new Uint8Array(shape[0] * shape[1] * shape[2]);
  for (let n = 0; n < data.length; n++) data[n] = (raw[n >> 3] >> (n & 7)) & 1;
  return { start, shape, data };
}

/** Follows the edges between inside and outside; a corner is cut by joining the middles of its edges. */
function outlined({ u, v, width, height, bits }) {
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && bits[y * width + x];
  const corner = (x, y) => y * (width + 1) + x;
  const next = new Map(); // corner -> corners that edges with the inside on their left lead to
  const edge = (from, to) => (next.get(from) ?? next.set(from, []).get(from)).push(to);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      if (!inside(x, y)) continue;
      if (!inside(x, y - 1)) edge(corner(x, y), corner(x + 1, y));
      if (!inside(x + 1, y)) edge(corner(x + 1, y), corner(x + 1, y + 1));
      if (!inside(x, y + 1)) edge(corner(x + 1, y + 1), corner(x, y + 1));
      if (!inside(x - 1, y)) edge(corner(x, y + 1), corner(x, y));
    }
  const lines = [];
  for (const [first, ends] of next)
    while (ends.length) {
      const line = [];
      let from = first;
      do {
        const to = next.get(from).pop();
        const [fx, fy] = [from % (width + 1), Math.floor(from / (width + 1))];
        const [tx, ty] = [to % (width + 1), Math.floor(to / (width + 1))];
        line.push(u + (fx + tx) / 2, v + (fy + ty) / 2);
        from = to;
      } while (from !== first);
      lines.push(line);
    }
  return lines;
}
