// What goes wrong, said in words that somebody reading PET understands; the server's own words stay at hand.

export class Trouble extends Error {
  /** title: what happened. text: what to do. detail: the server's words. */
  constructor(title, text, status = 0, detail = "") {
    super(text);
    Object.assign(this, { title, text, status, detail });
  }
}

const KNOWN = [
  [/unit|SUVbw/, "Are these values SUV?", "The file does not say what its values are."],
  [/several|series/, "Which series?", "The study holds more than one PET series."],
  [
    /lesion.*weights|weights.*lesion|network.*lesion|lesions?-|lesion network/i,
    "The whole-body network is not installed",
    "Finding all lesions and segmenting by words need it. Click on lesions and organs instead, or ask " +
      "whoever runs the server to install its weights.",
  ],
  [
    /weights/i,
    "A network is missing",
    "This function needs a trained network that is not installed on this server. Clicks, boxes and " +
      "scribbles work without it. Whoever runs the server can install the weights.",
  ],
  [
    /nothing is segmented|empty/,
    "Nothing to save yet",
    "No object holds any voxel. Click on an organ or a lesion first.",
  ],
  [/outside|reaches out|not in the scan/, "Outside of the scan", "Click within the image."],
  [/names nothing|not known|did you mean/i, "That name is not known", null],
  [/other voxels/, "The scan has changed", null],
];

/** Status and the server's words -> [title, text]. */
export function explain(status, detail) {
  if (status === 0)
    return [
      "The server does not answer",
      "It may have been stopped, or the network is down. Your work up to the last click is kept on the " +
        "server; reload this page once it runs again.",
    ];
  if (status === 401 || status === 403)
    return ["Access has ended", "Open the address that was printed when the server was started."];
  if (status === 413) return ["Too large to send", sentence(detail)];
  if (status === 503)
    return ["The server is busy", "Too many requests are waiting. Try again in a few seconds."];
  if (status === 507)
    return ["The server's disk is full", "The last step could not be kept. Free some space, then repeat it."];
  if (status >= 500)
    return ["The server failed", "The last step was not done; earlier work is kept. Try it once more."];
  for (const [pattern, title, text] of KNOWN)
    if (pattern.test(detail)) return [title, text ?? sentence(detail)];
  if (status === 404) return ["No longer there", sentence(detail)];
  return ["That did not work", sentence(detail)];
}

function sentence(text) {
  const told = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(told) ? told : `${told}.`;
}
