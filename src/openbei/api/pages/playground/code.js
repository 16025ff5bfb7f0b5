// The request as a curl command and as a Python program, to copy. The key is only named as a variable.

import { element } from "./dom.js";
import { currentKey } from "./key.js";
import { urlOf } from "./server.js";

/** A box with the code of the request that `request()` returns, {path, body}. Call `update` after a change. */
export function codeBox(request) {
  const [curl, python] = [element("pre", { tabindex: "0" }), element("pre", { tabindex: "0" })];
  const content = element(
    "details",
    { class: "code", ontoggle: update },
    element("summary", {}, "Request as curl and Python"),
    heading("curl", curl),
    curl,
    heading("Python", python),
    python,
  );

  function update() {
    const { path, body } = request();
    curl.textContent = curlOf(urlOf(path), body, currentKey() !== "");
    python.textContent = pythonOf(urlOf(path), body, currentKey() !== "");
  }

  return { content, update };
}

function heading(title, code) {
  const button = element("button", { type: "button", onclick: () => copy(code, button) }, "Copy");
  button.setAttribute("aria-label", `Copy the ${title} code`);
  return element("div", { class: "heading" }, element("h3", {}, title), button);
}

/** Copy a text. The clipboard is only there over HTTPS and on this machine; elsewhere the text is selected. */
async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

/** The curl command for a request. */
export function curlOf(url, body, hasKey) {
  const lines = [`curl ${quoted(url)}`];
  if (hasKey) lines.push('-H "Authorization: Bearer $OPENBEI_API_KEY"');
  lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

/** The Python program for a request: the openai client for embeddings, else requests. */
export function pythonOf(url, body, hasKey) {
  const imports = hasKey ? ["import os", ""] : [];
  const key = 'os.environ["OPENBEI_API_KEY"]';
  const call = url.endsWith("/v1/embeddings") ? openaiOf(url, body, hasKey ? key : '"unused"') : requestsOf(url, body, hasKey && key);
  return [...imports, ...call].join("\n");
}

function openaiOf(url, body, key) {
  const base = url.slice(0, -"/embeddings".length);
  const fields = Object.entries(body).map(([name, value]) => `    ${name}=${literal(value)},`);
  return [
    "import openai",
    "",
    `client = openai.OpenAI(base_url=${literal(base)}, api_key=${key})`,
    "answer = client.embeddings.create(",
    ...fields,
    ")",
    "print([len(row.embedding) for row in answer.data])",
  ];
}

function requestsOf(url, body, key) {
  return [
    "import requests",
    "",
    "answer = requests.post(",
    `    ${literal(url)},`,
    `    json=${literal(body)},`,
    ...(key ? [`    headers={"Authorization": "Bearer " + ${key}},`] : []),
    ")",
    "answer.raise_for_status()",
    "print(answer.json())",
  ];
}

/** A word of the shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A value as a Python literal. JSON's strings and numbers are also Python's. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`).join(", ")}}`;
}
