// What a model of /info can do.

const poolingOf = (model) => model.model_type.embedding?.pooling;

/** Whether a model makes a dense embedding of a text. */
export function isEmbedding(model) {
  return "embedding" in model.model_type && !["splade", "colbert"].includes(poolingOf(model));
}

/** Whether a model makes term weights. */
export function isSparse(model) {
  return poolingOf(model) === "splade";
}

/** Whether a model scores documents for a query: as pairs, or by late interaction. */
export function isReranker(model) {
  return "reranker" in model.model_type || poolingOf(model) === "colbert";
}

/** Whether a model classifies texts. */
export function isClassifier(model) {
  return "classifier" in model.model_type;
}

/** Whether a model labels tokens. */
export function isTokenClassifier(model) {
  return "token_classifier" in model.model_type;
}
