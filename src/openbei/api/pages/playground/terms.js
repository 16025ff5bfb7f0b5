// Sparse embeddings: the terms of a text by weight.

import { bars } from "./bars.js";
import { element } from "./dom.js";
import { isSparse } from "./models.js";

const HEAVIEST = 100;

export const terms = {
  id: "terms",
  title: "Terms",
  about: "Weighs the terms of the vocabulary for a text, including terms that it does not contain.",
  fits: isSparse,
  fields: [{ name: "text", label: "Text", kind: "text", rows: 6, example: "The bank raised its interest rate." }],

  request({ text }) {
    return { path: "/embed_sparse", body: { inputs: [text] } };
  },

  async show([weighed], values, send) {
    const title = element("h2", {}, weighed.length === 1 ? "1 term" : `${weighed.length} terms`);
    if (weighed.length === 0) return [title];
    const sorted = [...weighed].sort((a, b) => b.value - a.value).slice(0, HEAVIEST);
    const ids = sorted.map(({ index }) => [index]);
    const { answer: words } = await send("/decode", { ids, skip_special_tokens: false });
    const rows = sorted.map(({ index, value }, place) => ({
      label: words[place] || `token ${index}`,
      share: value / sorted[0].value,
      value: value.toFixed(3),
    }));
    const note = weighed.length > HEAVIEST ? [element("p", { class: "muted" }, `The ${HEAVIEST} heaviest`)] : [];
    return [title, ...note, bars(rows)];
  },
};
