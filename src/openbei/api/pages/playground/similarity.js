// Similarity: the cosines of all pairs of texts as a heat map, and the nearest pairs.

import { bars } from "./bars.js";
import { element } from "./dom.js";
import { heatMap } from "./heatmap.js";
import { isEmbedding } from "./models.js";

const MAX_TEXTS = 50; // a heat map of more is unreadable
const NEAREST = 10;

export const similarity = {
  id: "similarity",
  title: "Similarity",
  about: "Compares texts with each other by the cosine of their embeddings.",
  fits: isEmbedding,
  fields: [
    {
      name: "texts",
      label: "Texts, one per line",
      kind: "lines",
      rows: 8,
      example: [
        "How do I bake bread?",
        "Knead the dough and heat the oven.",
        "The bank raised its interest rate.",
        "Mortgages will become more expensive.",
        "A sourdough starter needs flour and water.",
        "The river bank was flooded.",
      ].join("\n"),
    },
  ],

  request({ texts }) {
    return { path: "/v1/embeddings", body: { input: texts.slice(0, MAX_TEXTS) } };
  },

  show({ data }, { texts }) {
    const vectors = data.map(({ embedding }) => normalized(embedding));
    const compared = texts.slice(0, MAX_TEXTS);
    const pairs = pairsOf(vectors);
    const note = texts.length > MAX_TEXTS ? `The first ${MAX_TEXTS} of ${texts.length} texts, ` : "";
    const size = element("p", { class: "muted" }, `${note}${vectors[0].length} dimensions`);
    if (pairs.length === 0) return [size, element("p", {}, "Enter two texts or more to compare them.")];
    const nearest = [...pairs].sort((a, b) => b.cosine - a.cosine).slice(0, NEAREST);
    return [
      element("h2", {}, "Cosine similarity"),
      heatMap(compared, pairs),
      size,
      element("h2", {}, "Nearest pairs"),
      bars(nearest.map(({ left, right, cosine }) => ({
        label: [element("span", {}, compared[left]), element("span", {}, compared[right])],
        mark: `${left + 1}, ${right + 1}`,
        share: cosine,
        value: cosine.toFixed(3),
      }))),
    ];
  },
};

function normalized(vector) {
  const norm = Math.hypot(...vector) || 1;
  return vector.map((x) => x / norm);
}

function pairsOf(vectors) {
  const pairs = [];
  for (let right = 1; right < vectors.length; right++) {
    for (let left = 0; left < right; left++) {
      pairs.push({ left, right, cosine: dot(vectors[left], vectors[right]) });
    }
  }
  return pairs;
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
