// The load of the server as live charts, from /metrics. It is only read while they are shown.

import { createChart } from "./chart.js";
import { element, newId } from "./dom.js";
import { between, parse, reading } from "./metrics.js";
import { errorBox } from "./problem.js";
import { getText } from "./server.js";

const INTERVAL_MS = 2000;
const SPAN_S = 300;
const WINDOW = 5; // rates and percentiles are over this many intervals
const ALL = "";

const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
const percent = (value) => `${Math.round(value * 100)} %`;
const milliseconds = (seconds) => `${number(seconds * 1000)} ms`;

const CHARTS = [
  ["Requests per second", [{ name: "succeeded", label: "answered" }, { name: "failed", label: "failed" }], number],
  ["Latency", [{ name: "p50", label: "p50" }, { name: "p95", label: "p95" }, { name: "p99", label: "p99" }], milliseconds],
  ["Tokens per second", [{ name: "tokens", label: "processed" }], number],
  ["Batch fill", [{ name: "fill", label: "mean" }], percent],
  ["Queue, requests", [{ name: "queue", label: "waiting or running" }], number],
  ["Queue, tokens", [{ name: "queueTokens", label: "waiting or running" }], number],
];

/** The panel with the charts: its content, and functions to start and stop reading. */
export function createLoad(models) {
  const charts = CHARTS.map(([title, series, format]) => createChart(title, series, format, SPAN_S));
  const problem = element("div");
  const select = element("select", { id: newId(), onchange: draw }, element("option", { value: ALL }, "All models"));
  select.append(...models.map(({ served_model_name: name }) => element("option", { value: name }, name)));
  const picker = element("p", { class: "picker" }, element("label", { for: select.id }, "Model"), select);
  const content = element(
    "div",
    {},
    ...(models.length > 1 ? [picker] : []),
    problem,
    element("div", { class: "charts" }, ...charts.map((chart) => chart.content)),
    element("p", { class: "muted" }, `The last ${SPAN_S / 60} minutes. Rates and percentiles are over ${WINDOW * INTERVAL_MS / 1000} s.`),
  );
  let history = []; // {timeMs, samples}
  let timer = null;

  async function read() {
    if (document.hidden) return;
    try {
      const samples = parse(await getText("/metrics"));
      const timeMs = performance.now();
      history = [...history.filter((one) => timeMs - one.timeMs < SPAN_S * 1000), { timeMs, samples }];
      draw();
    } catch (error) {
      stop();
      const again = element("button", { type: "button", onclick: start }, "Try again");
      problem.replaceChildren(errorBox(error), again);
    }
  }

  function draw() {
    const points = pointsOf(history, select.value === ALL ? null : select.value);
    for (const chart of charts) chart.draw(points);
  }

  function start() {
    stop();
    problem.replaceChildren();
    timer = setInterval(read, INTERVAL_MS);
    read();
  }

  function stop() {
    clearInterval(timer);
  }

  return { content, start, stop };
}

/** A point for each reading but the first: its age, and what happened since `WINDOW` readings before. */
function pointsOf(history, model) {
  const readings = history.map(({ samples }) => reading(samples, model));
  const last = history.at(-1)?.timeMs;
  return history.slice(1).map(({ timeMs }, index) => {
    const first = Math.max(0, index + 1 - WINDOW);
    const values = between(readings[first], readings[index + 1], (timeMs - history[first].timeMs) / 1000);
    return { ageS: (last - timeMs) / 1000, values };
  });
}
