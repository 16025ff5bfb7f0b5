// A line chart of the last minutes, drawn as SVG, with the latest values as text.

import { element, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [300, 80];

/**
 * A chart with a title for `series`, {name, label}. `format` writes a value. `draw(points)` shows {ageS, values} of the
 * last `spanS` seconds, oldest first; a value of null interrupts its line.
 */
export function createChart(title, series, format, spanS) {
  const latest = series.map(({ label }, index) => {
    const value = element("b", {}, "–");
    const swatch = element("span", { class: `swatch line-${index}`, "aria-hidden": "true" });
    return { value, content: element("span", {}, swatch, label, " ", value) };
  });
  const lines = series.map((_, index) => svg("path", { class: `line line-${index}` }));
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    svg("path", { class: "grid", d: `M0 0H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT}H${WIDTH}` }),
    ...lines,
  );
  const top = element("span", { class: "top" });
  const content = element(
    "figure",
    { class: "chart" },
    element("figcaption", {}, element("strong", {}, title), element("span", { class: "latest" }, ...latest.map((one) => one.content))),
    element("div", { class: "plot" }, top, drawing),
  );

  function draw(points) {
    const numbers = points.flatMap(({ values }) => series.map(({ name }) => values[name] ?? 0));
    const highest = ceiling(Math.max(0, ...numbers));
    series.forEach(({ name }, index) => {
      lines[index].setAttribute("d", pathOf(points, name, highest, spanS));
      latest[index].value.textContent = written(points.at(-1)?.values[name]);
    });
    top.textContent = numbers.some((value) => value > 0) ? format(highest) : "";
    drawing.setAttribute("aria-label", summary());
  }

  function written(value) {
    return value === null || value === undefined ? "–" : format(value);
  }

  function summary() {
    const now = series.map(({ label }, index) => `${label} ${latest[index].value.textContent}`);
    return `${title}, the last ${spanS / 60} minutes; now ${now.join(", ")}`;
  }

  draw([]);
  return { content, draw };
}

function pathOf(points, name, highest, spanS) {
  let path = "";
  let isOpen = false;
  for (const { ageS, values } of points) {
    const value = values[name];
    if (value === null || ageS > spanS) {
      isOpen = false;
      continue;
    }
    const x = WIDTH * (1 - ageS / spanS);
    const y = HEIGHT * (1 - value / highest);
    path += `${isOpen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    isOpen = true;
  }
  return path;
}

/** The next of 1, 2, 5, 10, … with any exponent; 1 for 0. */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * 0.9999);
}
