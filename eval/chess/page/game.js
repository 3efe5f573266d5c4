
/* The moves of a game, and what they lost */
function drawGame() {
  const item = (at, kind, ...content) => element("button", { type: "button", "data-ply": at, class: kind, onclick: () => go(at) }, ...content);
  const last = positions.length - 1, { over } = positions[last], mistakes = isPolicy || !showsValues ? [] : largestLosses(positions);
  fill("mistakes", ...mistakes.map((at) => {
    const { label, loss, moves } = positions[at];
    return element("li", {}, item(at, null, element("b", {}, label, element("span", {}, short(loss))), element("small", {}, `best ${moves[0][1]}`)));
  }));
  const listed = [];
  positions.forEach((position, at) => {
    if (position.played == null) return;
    if (whiteToMove(position) || at === 0) listed.push(element("span", {}, `${position.fen.split(" ")[5]}.`));
    if (!whiteToMove(position) && at === 0) listed.push(element("span", {}, "…"));
    const lost = showsValues && !isPolicy && position.loss >= 0.005 ? element("small", {}, short(position.loss)) : null;
    listed.push(item(at, mistakes.includes(at) ? "lost" : null, position.moves[position.played][1], lost));
  });
  fill("moves", ...listed, item(last, "end", over ? `${over} ${game.result}` : game.result === "*" ? (source ? "now" : "end") : game.result));
  const records = ["White", "Black"].map((side) => {
    const { moves, first, meanLoss } = record(positions, side);
    return `${side} ${percent(meanLoss)}, first choice in ${first} of ${moves}`;
  });
  fill("record", element("span", {}, mistakes.length ? "Largest losses" : "No large losses"), element("span", {}, `Mean loss: ${records.join(" · ")}`));
  for (const id of ["curve", "losses"]) byId(id).hidden = isPolicy || !showsValues || last === 0;
  byId("moves").hidden = last === 0;
  if (!byId("curve").hidden) drawCurve(mistakes);
}
