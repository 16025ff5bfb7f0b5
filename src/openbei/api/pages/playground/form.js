// The form of a task: the model if several fit, its fields, and the button that runs it.

import { element, newId } from "./dom.js";

/**
 * A form for a task's fields: {name, label, kind, rows, example}. The value of the kind "lines" is a list of texts,
 * that of "line" and "text" a string. `run` is called on submit, `changed` on every input.
 */
export function createForm(task, models, { run, changed }) {
  const picker = modelPicker(models);
  const inputs = task.fields.map((field) => ({ field, input: inputOf(field) }));
  const content = element(
    "form",
    { onsubmit: submit, oninput: changed, onkeydown: submitOnControlEnter },
    ...picker.content,
    ...inputs.flatMap(({ field, input }) => [element("label", { for: input.id }, field.label), input]),
    element(
      "div",
      { class: "buttons" },
      element("button", { type: "submit", class: "primary" }, "Run"),
      element("span", { class: "muted hint" }, "or Ctrl+Enter"),
    ),
  );

  function submit(event) {
    event.preventDefault();
    run();
  }

  function submitOnControlEnter(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  }

  function values() {
    return Object.fromEntries(inputs.map(({ field, input }) => [field.name, valueOf(field, input.value)]));
  }

  return { content, values, model: picker.model };
}

function inputOf(field) {
  const name = field.kind === "line" ? "input" : "textarea";
  const input = element(name, { id: newId(), spellcheck: "false", rows: field.rows });
  input.value = field.example;
  return input;
}

function valueOf(field, value) {
  if (field.kind !== "lines") return value;
  return value.split("\n").map((line) => line.trim()).filter(Boolean);
}

/** A select for several models, or the name of the only one; and the limit of the model's texts. */
function modelPicker(models) {
  const select = element("select", { id: newId(), onchange: showLimit });
  select.append(...models.map((model, index) => element("option", { value: index }, model.served_model_name)));
  const limit = element("p", { class: "muted" });
  const model = () => models[Number(select.value)];

  function showLimit() {
    const { max_input_length: tokens, auto_truncate: truncates } = model();
    const end = truncates ? "truncated" : "refused";
    limit.textContent = `Up to ${tokens.toLocaleString("en")} tokens per text; longer ones are ${end}.`;
  }

  showLimit();
  const label = element("label", { for: select.id }, "Model");
  const name = element("p", { class: "model" }, models[0].served_model_name);
  return { content: models.length > 1 ? [label, select, limit] : [name, limit], model };
}
