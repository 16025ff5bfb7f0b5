// Creates elements. Text is only ever inserted as text: nothing that a user or a server sends is parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. An attribute `onclick` adds a listener; true is an empty value, false and undefined are omitted. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice("on".length), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

let count = 0;

/** An id that no other element has. */
export function newId() {
  return `id-${++count}`;
}
