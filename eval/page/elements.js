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
const hiddenText = (text) => element("span", { class: "hidden-text" }, text);
const heading = (kind, ...content) => element("th", { scope: "col", class: kind }, ...content);
const icon = (path) => element("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, element("path", { d: path }));
function fillTable(table, columns, headings, rows) {
  table.replaceChildren(
    element("colgroup", {}, ...columns.map((name) => element("col", { class: `col-${name}` }))),
    element("thead", {}, element("tr", {}, ...headings.filter(Boolean))), element("tbody", {}, ...rows));
  return table;
}
// Highlight the row of an index; Tab reaches that row, or the first without an index.
function markRow(table, index) {
  [...table.tBodies[0].rows].forEach((row, at) => { row.classList.toggle("shown", at === index); row.tabIndex = at === (index ?? 0) ? 0 : -1; });
}
const paper = () => element("a", { href: "https://arxiv.org/abs/2403.03950" }, "Stop Regressing: value functions trained by classification");
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
