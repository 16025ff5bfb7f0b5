// Ranking: documents sorted by their scores for a query, of a reranker, late interaction, or an embedding model.

import { bars } from "./bars.js";
import { element } from "./dom.js";
import { isEmbedding, isReranker } from "./models.js";

export const ranking = {
  id: "ranking",
  title: "Ranking",
  about: "Sorts documents by their relevance to a query: the score of a reranker, late interaction, or the cosine of embeddings.",
  fits: (model) => isReranker(model) || isEmbedding(model),
  prefers: isReranker,
  fields: [
    { name: "query", label: "Query", kind: "line", example: "What is the capital of France?" },
    {
      name: "documents",
      label: "Documents, one per line",
      kind: "lines",
      rows: 7,
      example: [
        "Bread is made of flour, water and salt.",
        "Lyon is the third largest city of France.",
        "Paris is the capital of France.",
        "The capital of Germany is Berlin.",
        "France has won the World Cup twice.",
      ].join("\n"),
    },
  ],

  request({ query, documents }, model) {
    if (isReranker(model)) return { path: "/v1/rerank", body: { query, documents, return_documents: false } };
    return { path: "/v1/score", body: { text_1: query, text_2: documents } };
  },

  show(answer, { documents }) {
    const scored = (answer.results ?? answer.data).map((one) => ({ index: one.index, score: one.relevance_score ?? one.score }));
    scored.sort((a, b) => b.score - a.score);
    const longest = Math.max(1, ...scored.map(({ score }) => score));
    return [
      element("h2", {}, "Best first"),
      bars(scored.map(({ index, score }, place) => ({
        label: documents[index],
        mark: moved(index, place),
        share: score / longest,
        value: score.toFixed(4),
      }))),
    ];
  },
};

/** The place of a document, and how far it has moved from its place in the request. */
function moved(index, place) {
  const by = index - place;
  const change = by === 0 ? "" : by > 0 ? ` ↑${by}` : ` ↓${-by}`;
  return `${place + 1}${change}`;
}
