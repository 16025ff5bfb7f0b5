// Requests to the server: with the API key, the messages of its errors, and what its headers say about the cost.

import { askKey, authorization } from "./key.js";

/** A request that failed. `status` is 0 if there was no response; `retryAfter` is in seconds, or null. */
export class RequestError extends Error {
  constructor(status, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The absolute URL of a route, also behind a path prefix. */
export function urlOf(path) {
  return new URL(path.slice(1), document.baseURI).href;
}

/** The JSON of a GET route. */
export async function getJson(path) {
  return (await request(path)).json();
}

/** The text of a GET route. */
export async function getText(path) {
  return (await request(path)).text();
}

/** Send a body. Resolves to the JSON of the response and its cost. */
export async function post(path, body, signal) {
  const startedMs = performance.now();
  const options = { method: "POST", body: JSON.stringify(body), signal };
  const response = await request(path, options, { "content-type": "application/json" });
  const text = await response.text();
  const cost = { ...costOf(response.headers), roundTripMs: performance.now() - startedMs, characters: text.length };
  return { answer: JSON.parse(text), cost };
}

/** Send a request, and again with another key as long as the user enters one. Throws RequestError. */
async function request(path, options = {}, headers = {}) {
  for (;;) {
    const response = await respond(path, { ...options, cache: "no-store", headers: { ...headers, ...authorization() } });
    if (response.ok) return response;
    const error = new RequestError(response.status, await messageOf(response), retryAfterOf(response));
    if (response.status !== 401 || !await askKey(error.message)) throw error;
  }
}

async function respond(path, options) {
  try {
    return await fetch(urlOf(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError(0, "The connection failed. Is the server still running?");
  }
}

/** The message of an error in any of the server's formats; a proxy may answer anything else. */
async function messageOf(response) {
  const text = await response.text();
  try {
    const body = JSON.parse(text);
    const message = body.error?.message ?? body.error ?? body.message;
    if (typeof message === "string") return message;
  } catch { /* not JSON */ }
  return text.slice(0, 500);
}

function retryAfterOf(response) {
  const value = response.headers.get("retry-after");
  return value === null ? null : Number(value);
}

/** What the headers of a response say: tokens, truncated inputs, device, and milliseconds by stage. */
function costOf(headers) {
  return {
    tokens: Number(headers.get("x-compute-tokens") ?? 0),
    truncated: Number(headers.get("x-truncated-inputs") ?? 0),
    device: headers.get("x-compute-type") ?? "",
    stages: stagesOf(headers.get("server-timing") ?? ""),
  };
}

function stagesOf(serverTiming) {
  const stages = serverTiming.matchAll(/([\w-]+);dur=([\d.]+)/g);
  return Object.fromEntries([...stages].map(([, name, milliseconds]) => [name, Number(milliseconds)]));
}
