// A request in progress: after a while, how many seconds it has taken and a button to cancel it.

import { element } from "./dom.js";

const PATIENCE_MS = 400;

/** Fill `status` when a wait becomes long. Returns a function that ends the wait. */
export function announceWait(status, cancel) {
  const startedMs = performance.now();
  const seconds = element("span", { "aria-hidden": "true" });
  const button = element("button", { type: "button", onclick: cancel }, "Cancel");
  const count = () => { seconds.textContent = `${Math.floor((performance.now() - startedMs) / 1000)} s`; };
  const begin = setTimeout(() => {
    count();
    status.replaceChildren("Waiting for the server…", seconds, button);
  }, PATIENCE_MS);
  const every = setInterval(count, 1000);
  return () => {
    clearTimeout(begin);
    clearInterval(every);
    if (button.parentNode === status) status.replaceChildren();
  };
}
