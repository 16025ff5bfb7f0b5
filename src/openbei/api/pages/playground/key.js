// The API key: kept in this tab until it is closed, never shown in requests, and entered in a dialog.

import { element } from "./dom.js";

const NAME = "openbei-api-key";

let inMemory = "";

/** The key, or an empty string. */
export function currentKey() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return inMemory; // the browser allows no storage
  }
}

function keep(key) {
  inMemory = key;
  try {
    sessionStorage.setItem(NAME, key);
  } catch { /* only in memory */ }
}

/** The Authorization header for the key as UTF-8, which a header may only contain byte by byte. */
export function authorization() {
  const key = currentKey();
  return key ? { authorization: "Bearer " + String.fromCharCode(...new TextEncoder().encode(key)) } : {};
}

let asking = null;

/** Ask for a key, once for all who wait. Resolves to whether one was entered. */
export function askKey(problem = "") {
  asking ??= showDialog(problem).finally(() => { asking = null; });
  return asking;
}

function showDialog(problem) {
  const input = element("input", { type: "password", autocomplete: "off", spellcheck: "false", id: "api-key" });
  input.value = currentKey();
  const reason = element("p", { role: "alert" }, problem);
  const form = element(
    "form",
    {},
    element("h2", {}, "API key"),
    reason,
    element("label", { for: "api-key" }, "Key"),
    input,
    element("p", { class: "muted" }, "It is kept in this tab until you close it, and sent only to this server."),
    element(
      "div",
      { class: "buttons" },
      element("button", { type: "submit", class: "primary" }, "Use this key"),
      element("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
    ),
  );
  const dialog = element("dialog", { "aria-label": "API key" }, form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      keep(input.value.trim());
      dialog.close("entered");
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "entered");
    });
    dialog.showModal();
    input.select();
  });
}
