// Line icons, 24 units wide.

const PATHS = {
  undo: "M9 4 4 9l5 5M4 9h10a5 5 0 0 1 0 10h-3",
  redo: "m15 4 5 5-5 5m5-5H10a5 5 0 0 0 0 10h3",
  help: "M9.2 9a3 3 0 1 1 4.2 2.8c-.9.4-1.4 1-1.4 2.2M12 17.4v.1M12 2.8a9.2 9.2 0 1 1 0 18.4 9.2 9.2 0 0 1 0-18.4Z",
  theme: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z",
  look: "M12 3v18M3 12h18M12 8.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7Z",
  point: "M12 5v14M5 12h14",
  box: "M5 5h14v14H5z",
  scribble: "M4 17c3-9 5-11 7-8s-2 8 1 8 4-8 8-9",
  reject: "M5 12h14",
  grid: "M4 4h16v16H4zM12 4v16M4 12h8",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  smooth: "M4 20 20 4M4 12l8-8M12 20l8-8",
  expand: "M14 4h6v6M10 20H4v-6M20 4l-7 7M4 20l7-7",
  shrink: "M20 10h-6V4M4 14h6v6M14 10l6-6M10 14l-6 6",
  play: "M7 5v14l12-7z",
  pause: "M8 5v14M16 5v14",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12ZM12 9a3 3 0 1 1 0 6 3 3 0 0 1 0-6Z",
  hidden:
    "M4 4l16 16M9.5 5.9A9 9 0 0 1 12 5.5c6 0 9.5 6.5 9.5 6.5a16 16 0 0 1-3 3.7M6 7.5A15 15 0 0 0 2.5 12S6 18.5 12 18.5a9 9 0 0 0 3.5-.7",
  clock: "M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17ZM12 7.5V12l3 2",
  bin: "M5 7h14M10 7V4.5h4V7M7 7l1 13h8l1-13M10.5 11v5.5M13.5 11v5.5",
  clear: "M6 6l12 12M18 6 6 18",
};

export function icon(name, size = 18) {
  return `<svg width="${size}" height="${size}" viewBox="0 0 24 24" aria-hidden="true"><path d="${PATHS[name]}"/></svg>`;
}
