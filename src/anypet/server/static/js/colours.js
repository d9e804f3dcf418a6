// The colour scales of PET and CT, as control points and as tables of 256 colours.

export const SCALES = {
  inverted: {
    title: "Inverted grey",
    points: [
      [0, 255, 255, 255],
      [255, 0, 0, 0],
    ],
    paper: "#ffffff",
  },
  grey: {
    title: "Grey",
    points: [
      [0, 0, 0, 0],
      [255, 255, 255, 255],
    ],
    paper: "#000000",
  },
  hot: {
    title: "Hot",
    points: [
      [0, 0, 0, 0],
      [95, 255, 0, 0],
      [190, 255, 255, 0],
      [255, 255, 255, 255],
    ],
    paper: "#000000",
  },
};

export const PET_WINDOWS = [
  [0, 5],
  [0, 7],
  [0, 10],
  [0, 15],
  [0, 20],
  [0, 40],
];
export const CT_WINDOWS = {
  "Soft tissue": [-160, 240],
  Lung: [-1350, 150],
  Bone: [-450, 1050],
  Brain: [0, 80],
};

/** As niivue wants it: opaque throughout. */
export function colormap(name) {
  const points = SCALES[name].points;
  const column = (n) => points.map((point) => point[n]);
  return { I: column(0), R: column(1), G: column(2), B: column(3), A: points.map(() => 255) };
}

/** 256 colours as 0xAABBGGRR, which is how canvas pixels lie in memory. */
export function table(name) {
  const points = SCALES[name].points;
  const colours = new Uint32Array(256);
  for (let n = 0, p = 0; n < 256; n++) {
    if (n > points[p + 1][0]) p++;
    const [from, to] = [points[p], points[p + 1]];
    const part = (n - from[0]) / (to[0] - from[0]);
    const [r, g, b] = [1, 2, 3].map((c) => Math.round(from[c] + part * (to[c] - from[c])));
    colours[n] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return colours;
}

export function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}
