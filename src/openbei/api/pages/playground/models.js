// What a model of /info can do.

/** Whether a model makes dense embeddings. */
export function isEmbedding(model) {
  return "embedding" in model.model_type && !isSparse(model);
}

/** Whether a model makes term weights. */
export function isSparse(model) {
  return model.model_type.embedding?.pooling === "splade";
}

/** Whether a model scores documents for a query. */
export function isReranker(model) {
  return "reranker" in model.model_type;
}

/** Whether a model classifies texts. */
export function isClassifier(model) {
  return "classifier" in model.model_type;
}

/** Whether a model labels tokens. */
export function isTokenClassifier(model) {
  return "token_classifier" in model.model_type;
}
