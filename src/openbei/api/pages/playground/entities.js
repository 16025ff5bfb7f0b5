// Named entities: the text with its entities marked, and a table of them.

import { element } from "./dom.js";
import { isTokenClassifier } from "./models.js";

const HUES = 8; // colors of results.css

export const entities = {
  id: "entities",
  title: "Entities",
  about: "Finds named entities in a text. Tokens of one entity are joined.",
  fits: isTokenClassifier,
  fields: [
    {
      name: "text",
      label: "Text",
      kind: "text",
      rows: 6,
      example: "Marie Curie was born in Warsaw and worked at the University of Paris.",
    },
  ],

  request({ text }) {
    return { path: "/predict_tokens", body: { inputs: [[text]], aggregation_strategy: "max" } };
  },

  show([found], { text }) {
    const spans = found.map(spanOf);
    const hues = huesOf(spans);
    const title = element("h2", {}, spans.length === 1 ? "1 entity" : `${spans.length} entities`);
    return [title, marked(text, spans, hues), ...(spans.length > 0 ? [tableOf(spans)] : [])];
  },
};

function spanOf({ token, start, end, results }) {
  const [label, score] = Object.entries(results).reduce((best, one) => (one[1] > best[1] ? one : best));
  return { token, start, end, label, score };
}

/** A color for each label, in the order of their names, so that the same labels have the same colors. */
function huesOf(spans) {
  const labels = [...new Set(spans.map(({ label }) => label))].sort();
  return new Map(labels.map((label, index) => [label, index % HUES]));
}

/** The text with its spans marked. Their bounds count code points, of which a JavaScript string may need two units. */
function marked(text, spans, hues) {
  const characters = Array.from(text);
  const slice = (start, end) => characters.slice(start, end).join("");
  const box = element("p", { class: "marked" });
  let done = 0;
  for (const { start, end, label } of spans) {
    const name = element("small", {}, label);
    box.append(slice(done, start), element("mark", { class: `hue-${hues.get(label)}` }, slice(start, end), name));
    done = end;
  }
  box.append(slice(done));
  return box;
}

function tableOf(spans) {
  const names = ["Entity", "Label", "Score", "Position"];
  const rows = spans.map(({ token, label, score, start, end }) => [token, label, score.toFixed(4), `${start}–${end}`]);
  return element(
    "table",
    { class: "rows" },
    element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((value) => element("td", {}, value))))),
  );
}
