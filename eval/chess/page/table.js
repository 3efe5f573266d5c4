
/* Table of legal moves */
function drawTable() {
  const position = positions[ply];
  byId("table").hidden = !position.moves.length || !showsValues;
  if (!position.moves.length) return;
  const scale = hasHistograms ? commonScale(position.moves.map((listed) => listed[3])) : 0, best = position.moves[0][2];
  const axis = element("svg", { "aria-hidden": "true" }, ...[[0, "start"], [50, "middle"], [100, "end"]].map(([tick, anchor]) => element("text", { x: `${tick}%`, y: 10, "text-anchor": anchor }, `${tick}%`)));
  const names = hasHistograms ? ["rank", "san", "value", "share", "histogram", "loss"] : ["rank", "san", "value", "share last", "loss"];
  const headings = [heading("rank", hiddenText("Rank")), heading("san", "Move"),
    element("th", { scope: "col", class: "share", colspan: 2 }, isPolicy ? "Probability of the move" : "Win probability"),
    hasHistograms && heading("histogram", hiddenText("Predicted distribution of the win probability"), axis), heading("loss", "vs best")];
  fillTable(byId("table"), names, headings, position.moves.map((listed, index) => {
    const shownMove = move(position, index), isPlayed = index === position.played;
    return element("tr", {
      class: isPlayed ? "is-played" : null, tabindex: index === 0 ? 0 : -1, "data-move": shownMove.uci,
      onmouseenter: () => hover(index), onfocus: () => hover(index), onblur: () => hover(null),
      onclick: () => { pinned = pinned === index ? null : index; drawShown(); writeFragment(); },
    },
      element("td", { class: "rank" }, index + 1),
      element("td", { class: "san" }, element("span", { class: isPlayed ? "played" : null }, shownMove.san, isPlayed ? hiddenText(" (played)") : null)),
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
  markRow(byId("table"), shown);
}
