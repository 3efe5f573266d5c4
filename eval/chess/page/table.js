
/* Table of legal moves */
function drawTable() {
  const position = positions[ply];
  const [columns, head, body] = byId("table").children;
  byId("table").hidden = !position.moves.length || !showsValues;
  if (!position.moves.length) return;
  const scale = hasHistograms ? commonScale(position.moves.map((listed) => listed[3])) : 0, best = position.moves[0][2];
  const axis = element("svg", { "aria-hidden": "true" }, ...[[0, "start"], [50, "middle"], [100, "end"]].map(([tick, anchor]) => element("text", { x: `${tick}%`, y: 10, "text-anchor": anchor }, `${tick}%`)));
  const names = hasHistograms ? ["rank", "san", "value", "share", "histogram", "loss"] : ["rank", "san", "value", "share last", "loss"];
  columns.replaceChildren(...names.map((name) => element("col", { class: `col-${name}` })));
  head.replaceChildren(element("tr", {},
    element("th", { scope: "col", class: "rank" }, element("span", { class: "hidden-text" }, "Rank")),
    element("th", { scope: "col", class: "san" }, "Move"),
    element("th", { scope: "col", class: "share", colspan: 2 }, isPolicy ? "Probability of the move" : "Win probability"),
    hasHistograms ? element("th", { scope: "col", class: "histogram" }, element("span", { class: "hidden-text" }, "Predicted distribution of the win probability"), axis) : null,
    element("th", { scope: "col", class: "loss" }, "vs best")));
  body.replaceChildren(...position.moves.map((listed, index) => {
    const shownMove = move(position, index), isPlayed = index === position.played;
    return element("tr", {
      class: isPlayed ? "is-played" : null, tabindex: index === 0 ? 0 : -1, "data-move": shownMove.uci,
      onmouseenter: () => hover(index), onfocus: () => hover(index), onblur: () => hover(null),
      onclick: () => { pinned = pinned === index ? null : index; drawShown(); writeFragment(); },
    },
      element("td", { class: "rank" }, index + 1),
      element("td", { class: "san" }, element("span", { class: isPlayed ? "played" : null }, shownMove.san, isPlayed ? element("span", { class: "hidden-text" }, " (played)") : null)),
      element("td", { class: "value" }, shownMove.byRule ? element("abbr", { title: `By the rules of chess: ${shownMove.byRule}` }, percent(shownMove.value)) : percent(shownMove.value)),
      element("td", { class: "share" }, element("i", {}, element("i", { style: `width:${100 * clip(shownMove.value)}%` }))),
      hasHistograms ? element("td", { class: "histogram" }, smallHistogram({ ...shownMove, mean: shownMove.byRule ? null : clip(shownMove.value) }, scale)) : null,
      element("td", { class: "loss" }, index === 0 ? "" : behind(best - shownMove.value)));
  }));
}
function hover(index) { hovered = index; drawShown(); }
function drawShown() {
  const shown = hovered ?? pinned;
  drawBoard(arrowsOf(positions[ply], shown));
  drawDetail(shown);
  [...byId("table").tBodies[0].rows].forEach((line, index) => { line.classList.toggle("shown", index === shown); line.tabIndex = index === (shown ?? 0) ? 0 : -1; });
}
