
/* Positions: what is shown, and what the moves between them lost */
const HEIGHTS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
const MISTAKE = 0.05, MAX_MISTAKES = 5;  // win probability, moves
const data = JSON.parse(byId("data").textContent), isPolicy = data.model.is_policy, hasHistograms = data.model.bins > 0;
let { positions, game } = data, ply = 0, pinned = null, hovered = null, flipped = false, showsValues = true;

function whiteToMove(position) { return position.fen.split(" ")[1] === "w"; }
const mover = (position) => (whiteToMove(position) ? "White" : "Black");
const isLast = () => ply === positions.length - 1;
// One move as an object; the histogram is missing if the model predicts no distribution.
function move(position, index) {
  const [uci, san, value, peak, heights] = position.moves[index];
  const probs = heights && Array.from(heights, (c) => (HEIGHTS.indexOf(c) / 63) * peak);
  return { index, uci, san, value, peak, probs, byRule: position.by_rule?.[index] };
}

// The move that was played in a position, as `position_data` of eval/chess/analyse.py adds it; null takes it back.
function setPlayed(position, uci) {
  for (const key of ["played", "label", "loss"]) delete position[key];
  if (uci == null) return;
  position.played = position.moves.findIndex(([listed]) => listed === uci);
  const [, san, value] = position.moves[position.played];
  position.label = `${position.fen.split(" ")[5]}${whiteToMove(position) ? "." : "…"}${san}`;
  position.loss = Math.max(0, position.moves[0][2] - value);  // the first may not be the highest
}
// The indices of the positions with the largest mistakes, in order.
function largestLosses(all) {
  const lost = [...all.keys()].filter((at) => (all[at].loss ?? 0) >= MISTAKE);
  return lost.sort((a, b) => all[b].loss - all[a].loss).slice(0, MAX_MISTAKES).sort((a, b) => a - b);
}
// How the moves of White or Black compare with the model's.
function record(all, side) {
  const losses = all.filter((position) => position.played != null && mover(position) === side).map((position) => position.loss);
  const first = all.filter((position) => position.played === 0 && mover(position) === side).length;
  return { moves: losses.length, first, meanLoss: losses.reduce((sum, loss) => sum + loss, 0) / (losses.length || 1) };
}
// A game can go on after a draw by the rules that nobody claimed.
const isOver = (position) => position.over && position.played == null;
function ending(position) {
  if (position.over === "checkmate") return `Checkmate: ${whiteToMove(position) ? "Black" : "White"} wins.`;
  return position.over === "stalemate" ? "Stalemate: a draw." : `A draw: ${position.over}.`;
}
