// Where voxels are. "ijk" is the file's index; "ras" is the index along the patient's right, front and head.

export class Grid {
  /**
   * @param {number[]} shape voxels along i, j, k
   * @param {number[][]} affine ijk to RAS millimetres
   * @param {number[]} perm for each of R, A, S: 1 + the file axis along it, negative where it runs backwards
   */
  constructor(shape, affine, perm) {
    this.shape = shape;
    this.affine = affine;
    this.inverse = inverted(affine);
    this.axis = perm.map((p) => Math.abs(p) - 1);
    this.flip = perm.map((p) => p < 0);
    const length = (j) => Math.hypot(affine[0][j], affine[1][j], affine[2][j]);
    this.rasShape = this.axis.map((j) => shape[j]);
    this.spacing = this.axis.map(length);
    this.strides = [1, shape[0], shape[0] * shape[1]];
    this.voxelMl = (this.spacing[0] * this.spacing[1] * this.spacing[2]) / 1000;
  }

  toIjk(ras) {
    const ijk = [0, 0, 0];
    for (let a = 0; a < 3; a++) ijk[this.axis[a]] = this.flip[a] ? this.rasShape[a] - 1 - ras[a] : ras[a];
    return ijk;
  }

  toRas(ijk) {
    return this.axis.map((j, a) => (this.flip[a] ? this.rasShape[a] - 1 - ijk[j] : ijk[j]));
  }

  toMm(ras) {
    return times(this.affine, this.toIjk(ras));
  }

  fromMm(mm) {
    return this.toRas(times(this.inverse, mm));
  }

  /** Index of a voxel in the file's array, or -1 outside of it; ras may have fractions. */
  offset(ras) {
    let at = 0;
    for (let a = 0; a < 3; a++) {
      const r = Math.round(ras[a]);
      if (!(r >= 0 && r < this.rasShape[a])) return -1;
      at += (this.flip[a] ? this.rasShape[a] - 1 - r : r) * this.strides[this.axis[a]];
    }
    return at;
  }

  /** Steps in the file's array for a step along R, A, S, and the place of ras (0, 0, 0). */
  walk() {
    const steps = this.axis.map((j, a) => (this.flip[a] ? -1 : 1) * this.strides[j]);
    return { origin: this.offset([0, 0, 0]), steps };
  }

  clamp(ras) {
    return ras.map((r, a) => Math.min(this.rasShape[a] - 1, Math.max(0, r)));
  }
}

function times(matrix, [x, y, z]) {
  return [0, 1, 2].map((r) => matrix[r][0] * x + matrix[r][1] * y + matrix[r][2] * z + matrix[r][3]);
}

function inverted(m) {
  const cofactor = (r, c) => {
    const [a, b] = [0, 1, 2].filter((n) => n !== r);
    const [d, e] = [0, 1, 2].filter((n) => n !== c);
    return ((r + c) % 2 ? -1 : 1) * (m[a][d] * m[b][e] - m[a][e] * m[b][d]);
  };
  const det = [0, 1, 2].reduce((sum, c) => sum + m[0][c] * cofactor(0, c), 0);
  return [0, 1, 2].map((r) => {
    const row = [0, 1, 2].map((c) => cofactor(c, r) / det);
    return [...row, -row.reduce((sum, value, c) => sum + value * m[c][3], 0)];
  });
}
