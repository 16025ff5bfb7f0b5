// How an error is shown: what happened, the server's own message, and when to try again.

import { element } from "./dom.js";

const TITLES = {
  0: "The server cannot be reached",
  401: "An API key is needed",
  403: "Access is forbidden",
  408: "The request took too long",
  413: "The request is too large",
  429: "The server is busy",
  503: "The server is not available",
};

/** A box with an error; errors without a status are faults of the page itself. */
export function errorBox(error) {
  const title = TITLES[error.status] ?? titleOf(error.status);
  const box = element("div", { class: "problem", role: "alert" }, element("strong", {}, title));
  box.append(element("p", {}, error.message));
  if (error.retryAfter) box.append(element("p", {}, `Try again in ${error.retryAfter} s.`));
  return box;
}

function titleOf(status) {
  if (status === undefined) return "The page failed";
  return status < 500 ? `The request was refused (${status})` : `The server failed (${status})`;
}
