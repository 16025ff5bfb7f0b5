// Classification: the classes of a text, or of a pair of texts, with their probabilities.

import { bars } from "./bars.js";
import { element } from "./dom.js";
import { isClassifier } from "./models.js";

export const classes = {
  id: "classes",
  title: "Classes",
  about: "Classifies a text, or a pair of texts if the model was trained on pairs.",
  fits: isClassifier,
  fields: [
    { name: "text", label: "Text", kind: "text", rows: 4, example: "What a fine day!" },
    { name: "second", label: "Second text of a pair (optional)", kind: "text", rows: 2, example: "" },
  ],

  request({ text, second }) {
    return { path: "/predict", body: { inputs: second ? [[text, second]] : [[text]] } };
  },

  show([labels]) {
    return [
      element("h2", {}, "Classes"),
      bars(labels.map(({ label, score }) => ({ label, share: score, value: score.toFixed(4) }))),
    ];
  },
};
