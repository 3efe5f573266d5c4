"use strict";
// The elements of a page, and numbers as text.
window.onerror = (message, source, line) => { document.documentElement.dataset.error = `${message} (line ${line})`; };
const byId = (id) => document.getElementById(id);

// Text only ever enters the page as text: names, headers and FENs are other people's.
function element(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "rect", "line", "text", "use", "circle", "g", "polygon", "title"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}
const fill = (id, ...children) => { byId(id).replaceChildren(...children.filter((child) => child != null)); };
const icon = (path) => element("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, element("path", { d: path }));
const clip = (value) => Math.min(1, Math.max(0, value));
const percent = (value) => (100 * value).toFixed(1).replace("-", "−").replace(/^−0\.0$/, "0.0") + "%";
const behind = (value) => (value < 0.0005 ? "0.0%" : "−" + percent(value));
const short = (value) => "−" + Math.round(100 * value) + "%";
const ordinal = (n) => n + (["th", "st", "nd", "rd"][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] || "th");

// The facts about the model, at the top of the page.
function drawModel(model) {
  const entry = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, value));
  const size = (n) => (n >= 1e9 ? (n / 1e9).toPrecision(3) + "B" : n >= 1e8 ? Math.round(n / 1e6) + "M" : n >= 1e6 ? (n / 1e6).toFixed(1) + "M" : n >= 1e3 ? Math.round(n / 1e3) + "k" : String(n));
  fill("model", entry("Model", model.name), entry("Parameters", size(model.parameters)), model.value_loss ? entry("Value loss", model.value_loss) : null, model.bins > 1 ? entry("Bins", model.bins) : null);
}
