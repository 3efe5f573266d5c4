
/* Words about the position, the model and the players */
const strong = (text, kind) => element("b", { class: kind }, text);
function preferred({ moves }) {
  const best = strong(moves[0][1], "best");
  if (moves.length === 1) return [best, " is the only legal move."];
  return [`Of ${moves.length} legal moves the model prefers `, best, `, then ${moves[1][1]} (${behind(moves[0][2] - moves[1][2])}).`];
}
// The move that was played, compared with the model's choice.
function verdict({ moves, played, label, loss }) {
  const name = strong(label, "played");
  if (moves.length === 1) return [name, " is the only legal move."];
  if (played === 0) return [name, ` is the model’s first choice of ${moves.length} moves.`];
  return [name, ` is the model’s ${ordinal(played + 1)} choice of ${moves.length}, ${percent(loss)} behind its first, `, strong(moves[0][1], "best"), "."];
}
function drawStatement() {
  byId("statement").hidden = !game;
  const position = positions[ply], lines = [];
  if (isOver(position)) lines.push([strong(ending(position))]);
  else {
    const value = isPolicy || !showsValues ? [] : [" White’s win probability is ", strong(percent(clip(position.white))), "."];
    lines.push([strong(`Move ${position.fen.split(" ")[5]}, ${mover(position)} to move.`), ...value]);
    if (showsValues && position.played != null) lines.push(verdict(position));
    else if (showsValues) lines.push([source ? "" : "The game ends here. ", ...preferred(position)]);
  }
  // In a game that is played, the person's last move is before the model's answer.
  const last = isLast() && showsValues ? positions.findLastIndex((earlier) => earlier.played != null && isPersons(earlier)) : -1;
  if (last >= 0) lines.push([side === "both" ? "Last move: " : "Your move: ", ...verdict(positions[last])]);
  fill("statement", ...lines.map((line) => element("p", {}, ...line)));
}

function drawHeader() {
  drawModel(data.model);
  if (!game) {
    const [position] = positions;
    fill("title", isPolicy ? `${position.moves[0][1]} has a probability of ${percent(position.moves[0][2])}` : `White’s win probability is ${percent(clip(position.white))}`);
    fill("lede", element("p", { class: "lede" }, element("b", {}, `${mover(position)} to move.`), " ", ...preferred(position)));
  } else {
    const [white, black] = game.players, named = (player) => [player.name, player.rating ? element("span", { class: "rating" }, `\u00a0${player.rating}`) : null];
    fill("title", ...named(white), " – ", ...named(black), game.result === "*" ? null : element("span", { class: "result" }, game.result));
    fill("lede", game.location.length ? element("p", { class: "lede" }, game.location.join(" · ")) : null);
  }
}
function drawFooter() {
  const tip = hasHistograms ? "; all histograms of a table have one scale, and a tip marks those that are cut off" : "";
  fill("footer",
    element("p", {}, isPolicy ? "The model was trained to predict the move that is played; it knows no win probabilities. A checkmate is first, by the rules of chess." : `A value is the mean of the distribution that the model predicts for the mover’s win probability after the move${tip}. Nothing is searched: a model can be wrong, and its losses are losses in its own eyes.${game && !source ? " Step with ← and →; #ply=24 in the address opens the position after 24 half-moves." : ""}`),
    source ? element("p", {}, "Step through the game with ← and →; f flips the board. The address of this page (in a Space, of its frame) holds the game: it survives a reload, and can be kept or sent.") : null,
    data.command ? element("p", {}, element("code", {}, data.command)) : null,
    element("p", {}, paper(), " · arXiv 2403.03950 · pieces by Colin M. L. Burnett, BSD licence"));
}

const button = (label, content, action) => element("button", { type: "button", "aria-label": label, title: label, onclick: action }, content);
const fen = element("input", { readonly: true, "aria-label": "FEN of this position", size: 10, onfocus: () => fen.select() });
const copy = element("button", { type: "button", onclick: () => {
  fen.select();
  // Where the clipboard is out of reach the text stays selected.
  navigator.clipboard?.writeText(fen.value).then(() => { copy.textContent = "Copied"; setTimeout(() => { copy.textContent = "Copy FEN"; }, 1500); }, () => {});
} }, "Copy FEN");
const steps = [
  button("First position (Home)", icon("M1 1h2v10H1zM11 1v10L4 6z"), () => go(0)), button("Back one move (←)", icon("M9 1v10L2 6z"), () => go(ply - 1)),
  button("On one move (→)", icon("M3 1v10l7-5z"), () => go(ply + 1)), button("Last position (End)", icon("M9 1h2v10H9zM1 1v10l7-5z"), () => go(positions.length - 1))];
function drawTools() {
  fen.value = positions[ply].fen;
  steps.forEach((step, index) => { step.disabled = ply === (index < 2 ? 0 : positions.length - 1); });
}
function flip() { flipped = !flipped; drawBar(); drawShown(); writeFragment(); }
