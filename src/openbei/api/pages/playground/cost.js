// What a request cost: tokens, truncation, and the time of each stage.

import { element } from "./dom.js";

const STAGES = ["tokenization", "queue", "inference", "serialization"];

/** A box with the cost of a request; see `post`. */
export function costBox(cost) {
  const facts = [
    ["Tokens", cost.tokens.toLocaleString("en")],
    ["Truncated texts", cost.truncated.toLocaleString("en")],
    ["Engine", cost.device],
    ["Response", `${cost.characters.toLocaleString("en")} characters`],
    ["Time in the server", inMilliseconds(cost.stages.total ?? 0)],
    ["Round trip", inMilliseconds(cost.roundTripMs)],
  ];
  return element(
    "section",
    { class: "cost", "aria-label": "Cost of this request" },
    element("h2", {}, "This request"),
    ...(cost.truncated > 0 ? [element("p", { class: "warning" }, "Some texts are longer than the model's limit, and were truncated.")] : []),
    pairs(facts),
    stages(cost),
  );
}

/** The stages as parts of one bar, with their times below; "other" is the rest of the time in the server. */
function stages(cost) {
  const { total = 0, ...timed } = cost.stages;
  const known = STAGES.filter((name) => name in timed).map((name) => [name, timed[name]]);
  const other = Math.max(0, total - known.reduce((sum, [, milliseconds]) => sum + milliseconds, 0));
  const all = [...known, ["other", other]];
  const bar = element("div", { class: "stages", "aria-hidden": "true" });
  for (const [name, milliseconds] of all) {
    const part = element("span", { class: `stage ${name}` });
    part.style.flexGrow = milliseconds;
    bar.append(part);
  }
  const rows = all.map(([name, milliseconds]) => [name, inMilliseconds(milliseconds), `stage ${name}`]);
  return element("div", {}, bar, pairs(rows));
}

function pairs(rows) {
  const list = element("dl", { class: "facts" });
  for (const [name, value, mark] of rows) {
    const swatch = mark ? [element("span", { class: `swatch ${mark}`, "aria-hidden": "true" })] : [];
    list.append(element("div", {}, element("dt", {}, ...swatch, name), element("dd", {}, value)));
  }
  return list;
}

function inMilliseconds(milliseconds) {
  return `${milliseconds.toFixed(milliseconds < 10 ? 2 : 0)} ms`;
}
