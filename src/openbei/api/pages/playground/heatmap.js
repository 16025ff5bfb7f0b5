// A heat map of pairs: a table, so that it can be read without colors, whose colors span the values of the pairs.

import { element } from "./dom.js";

/** The heat map of `pairs`, {left, right, cosine}, of texts. A text has a cosine of 1 with itself. */
export function heatMap(texts, pairs) {
  const cosines = texts.map(() => texts.map(() => 1));
  for (const { left, right, cosine } of pairs) cosines[left][right] = cosines[right][left] = cosine;
  const values = pairs.map(({ cosine }) => cosine);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const table = element(
    "table",
    {},
    element("caption", { class: "hidden" }, "Cosine similarity of each pair of texts"),
    element("thead", {}, element("tr", {}, element("td"), ...texts.map((text, index) => header("col", index)))),
    element("tbody", {}, ...texts.map((text, row) => element(
      "tr",
      {},
      header("row", row, text),
      ...texts.map((_, column) => cell(cosines[row][column], row === column ? null : shareOf(cosines[row][column]))),
    ))),
  );

  function shareOf(cosine) {
    return high > low ? (cosine - low) / (high - low) : 1;
  }

  return element(
    "div",
    {},
    element("div", { class: "heatmap", tabindex: "0", role: "region", "aria-label": "Heat map" }, table),
    element("p", { class: "scale" }, low.toFixed(2), element("span", { "aria-hidden": "true" }), high.toFixed(2)),
  );
}

function header(scope, index, text) {
  const number = element("b", {}, String(index + 1));
  const content = text === undefined ? [number] : [number, element("span", { title: text }, text)];
  return element("th", { scope }, ...content);
}

/** A cell; `share` is its place between the lowest and the highest value, null on the diagonal. */
function cell(cosine, share) {
  const made = element("td", { class: share === null ? "self" : undefined }, cosine.toFixed(2));
  if (share !== null) made.style.setProperty("--share", `${Math.round(share * 100)}%`);
  return made;
}
