// Tabs as WAI-ARIA describes them: one is in the tab order, arrow keys, Home and End select the others.

import { element } from "./dom.js";

/**
 * Fill the tab list and the panels with `tabs`: {id, title, content, onshow, onhide}. The URL's fragment selects one.
 */
export function createTabs(list, panels, tabs) {
  const buttons = tabs.map(({ id, title }, index) => element("button", {
    type: "button",
    role: "tab",
    id: `tab-${id}`,
    "aria-controls": `panel-${id}`,
    onclick: () => select(index),
  }, title));
  const contents = tabs.map(({ id, content }) =>
    element("div", { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}` }, content));
  let shown = null;

  function select(index) {
    if (shown) shown.onhide?.();
    buttons.forEach((button, other) => {
      button.setAttribute("aria-selected", String(other === index));
      button.tabIndex = other === index ? 0 : -1;
      contents[other].hidden = other !== index;
    });
    shown = tabs[index];
    history.replaceState(null, "", `#${shown.id}`);
    shown.onshow?.();
  }

  list.onkeydown = (event) => {
    const current = buttons.indexOf(document.activeElement);
    const next = {
      ArrowRight: (current + 1) % buttons.length,
      ArrowLeft: (current + buttons.length - 1) % buttons.length,
      Home: 0,
      End: buttons.length - 1,
    }[event.key];
    if (current < 0 || next === undefined) return;
    event.preventDefault();
    select(next);
    buttons[next].focus();
  };
  list.replaceChildren(...buttons);
  panels.replaceChildren(...contents);
  select(Math.max(0, tabs.findIndex(({ id }) => `#${id}` === location.hash)));
}
