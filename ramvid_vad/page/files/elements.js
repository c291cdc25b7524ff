"use strict";
// Making elements. Everything that comes from outside (names, faults, parts) is set as text.
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);
function put(parent, name, text, attributes = {}, space = parent.namespaceURI) {
  const element = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return parent.appendChild(element);
}
