// A list of labels with bars: ranked documents, classes, terms, pairs.

import { element } from "./dom.js";

const SHOWN = 25;

/**
 * An ordered list of `rows`: {label, mark, share, value}. `label` is a text or a list of elements, `mark` a short text
 * before it, `share` the length of the bar from 0 to 1, `value` the text at its end. Long lists are cut, with a button.
 */
export function bars(rows) {
  const list = element("ol", { class: "bars" }, ...rows.slice(0, SHOWN).map(row));
  if (rows.length <= SHOWN) return list;
  const rest = element("button", {
    type: "button",
    onclick() {
      list.append(...rows.slice(SHOWN).map(row));
      rest.remove();
    },
  }, `Show all ${rows.length}`);
  return element("div", {}, list, rest);
}

function row({ label, mark, share, value }) {
  const bar = element("span", { class: "bar", "aria-hidden": "true" }, element("span"));
  bar.firstChild.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  const name = element("span", { class: "label" }, ...(typeof label === "string" ? [label] : label));
  return element("li", {}, element("span", { class: "mark" }, mark ?? ""), name, element("b", {}, value), bar);
}
