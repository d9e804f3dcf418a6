// A NIfTI-1 image in memory around an array, which is what the viewer takes.

const HEADER = 352;

/**
 * @param {Float32Array} array i fastest
 * @param {number[]} shape voxels along i, j, k
 * @param {number[][]} affine ijk to RAS millimetres
 * @param {number[]} window lowest and highest value to show, which spares the viewer its histogram
 */
export function nifti(array, shape, affine, [low, high]) {
  const buffer = new ArrayBuffer(HEADER + array.byteLength);
  const view = new DataView(buffer);
  const spacing = [0, 1, 2].map((j) => Math.hypot(affine[0][j], affine[1][j], affine[2][j]));
  view.setInt32(0, 348, true);
  [3, ...shape, 1, 1, 1, 1].forEach((n, at) => view.setInt16(40 + 2 * at, n, true));
  view.setInt16(70, 16, true); // float32
  view.setInt16(72, 32, true);
  [1, ...spacing, 1, 1, 1, 1].forEach((n, at) => view.setFloat32(76 + 4 * at, n, true));
  view.setFloat32(108, HEADER, true);
  view.setFloat32(112, 1, true); // slope
  view.setUint8(123, 2); // millimetres
  view.setFloat32(124, high, true);
  view.setFloat32(128, low, true);
  view.setInt16(254, 2, true); // sform_code: aligned
  for (let row = 0; row < 3; row++)
    for (let column = 0; column < 4; column++)
      view.setFloat32(280 + 16 * row + 4 * column, affine[row][column], true);
  [0x6e, 0x2b, 0x31, 0].forEach((byte, at) => view.setUint8(344 + at, byte)); // "n+1"
  new Float32Array(buffer, HEADER).set(array);
  return buffer;
}
