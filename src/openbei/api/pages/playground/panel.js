// The panel of a task: its form, the result, the cost of the request, and the request as code.

import { codeBox } from "./code.js";
import { costBox } from "./cost.js";
import { element } from "./dom.js";
import { createForm } from "./form.js";
import { errorBox } from "./problem.js";
import { post } from "./server.js";
import { announceWait } from "./wait.js";

/** The panel of a task for the models that fit it. With `several` models in the server, every request names its own. */
export function createPanel(task, models, several) {
  const result = element("div", { class: "result", role: "region", "aria-label": "Result" });
  const status = element("p", { class: "waiting", role: "status" });
  const cost = element("div");
  const code = codeBox(() => requestOf(form.values(), form.model()));
  const form = createForm(task, models, { run, changed: code.update });
  let controller = null;

  function requestOf(values, model) {
    const { path, body } = task.request(values, model);
    return { path, body: named(path, body, model) };
  }

  function named(path, body, model) {
    return several || path.startsWith("/v1/") ? { model: model.served_model_name, ...body } : body;
  }

  /** Send the request and show its result, unless another run begins before. */
  async function run() {
    controller?.abort();
    const mine = controller = new AbortController();
    const endWait = announceWait(status, () => mine.abort());
    result.setAttribute("aria-busy", "true");
    const shown = await outcome(mine.signal);
    endWait();
    if (controller !== mine) return;
    result.replaceChildren(...shown.result);
    cost.replaceChildren(...shown.cost);
    result.removeAttribute("aria-busy");
  }

  async function outcome(signal) {
    const [values, model] = [form.values(), form.model()];
    const send = (path, body) => post(path, named(path, body, model), signal);
    try {
      const { path, body } = task.request(values, model);
      const { answer, cost: spent } = await send(path, body);
      return { result: await task.show(answer, values, send), cost: [costBox(spent)] };
    } catch (error) {
      const isCancelled = error.name === "AbortError";
      return { result: [isCancelled ? element("p", {}, "Cancelled.") : errorBox(error)], cost: [] };
    }
  }

  result.append(element("p", { class: "muted" }, "The result will appear here."));
  code.update();
  return element(
    "div",
    { class: "panel" },
    element("section", { class: "input" }, element("p", {}, task.about), form.content),
    element("section", { class: "output" }, status, result, cost, code.content),
  );
}
