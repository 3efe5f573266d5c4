
/* Board */
const ARROWS = 3, ARROW_MARGIN = 0.06;
const column = (file) => (flipped ? 7 - file : file) * 45;
const row = (rank) => (flipped ? rank : 7 - rank) * 45;
const corner = (square) => [column(square.charCodeAt(0) - 97), row(+square[1] - 1)];
const NAMES = { p: "pawn", n: "knight", b: "bishop", r: "rook", q: "queen", k: "king" };

function drawBoard(arrows) {
  const position = positions[ply], awaited = pendingMove(), drawn = [], labels = [], spoken = [];
  for (let rank = 0; rank < 8; rank++) for (let file = 0; file < 8; file++) {
    const isLight = (rank + file) % 2 === 1, isMovable = movesFrom("abcdefgh"[file] + (rank + 1)).length > 0;
    drawn.push(element("rect", { x: column(file), y: row(rank), width: 45, height: 45, class: isMovable ? "movable" : null, style: `fill:var(--square-${isLight ? "light" : "dark"})` }));
    const label = (text, x, y, anchor) => element("text", { x: column(file) + x, y: row(rank) + y, "text-anchor": anchor, "font-size": 8, "font-weight": 600, style: `fill:var(--on-${isLight ? "light" : "dark"})` }, text);
    if (column(file) === 0) labels.push(label(rank + 1, 1.6, 8.2, "start"));
    if (row(rank) === 315) labels.push(label("abcdefgh"[file], 44, 43.4, "end"));
  }
  const tint = (square, colour, opacity) => { const [x, y] = corner(square); drawn.push(element("rect", { x, y, width: 45, height: 45, style: `fill:var(${colour})`, opacity })); };
  if (position.last) for (const square of [position.last.slice(0, 2), position.last.slice(2, 4)]) tint(square, "--moved", 0.5);
  if (position.check) tint(position.check, "--check", 0.55);
  if (selected) tint(selected, "--model", 0.65);
  for (const [square, symbol] of piecesOf(position)) {
    const moved = square === awaited?.slice(0, 2) ? awaited.slice(2, 4) : square;
    spoken.push(`${symbol === symbol.toUpperCase() ? "white" : "black"} ${NAMES[symbol.toLowerCase()]} ${square}`);
    if (moved === square && square === awaited?.slice(2, 4)) continue;
    const [x, y] = corner(moved);
    drawn.push(element("use", { href: `#piece-${symbol}`, x, y, width: 45, height: 45, "data-square": square, class: movesFrom(square).length ? "movable" : null }));
  }
  byId("board").setAttribute("aria-label", `Board, ${mover(position)} to move: ${spoken.join(", ")}`);
  fill("board", ...drawn, ...labels, ...arrows.map(drawArrow), ...drawTargets(position));
}

function piecesOf(position) {
  const pieces = [];
  position.fen.split(" ")[0].split("/").forEach((line, index) => {
    let file = 0;
    for (const symbol of line) {
      if (/\d/.test(symbol)) file += +symbol;
      else pieces.push(["abcdefgh"[file++] + (8 - index), symbol]);
    }
  });
  return pieces;
}

function drawArrow({ uci, strength, kind }) {
  const centre = (square) => corner(square).map((edge) => edge + 22.5);
  const [x1, y1] = centre(uci.slice(0, 2)), [x2, y2] = centre(uci.slice(2, 4));
  const length = Math.hypot(x2 - x1, y2 - y1), half = 2 + 2.2 * strength, head = 8 + 4 * strength, wing = half + 4.2 + 1.6 * strength;
  const tail = 9, tip = length - 3;
  const points = [[tail, -half * 0.75], [tip - head, -half], [tip - head, -wing], [tip, 0], [tip - head, wing], [tip - head, half], [tail, half * 0.75]];
  const turn = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
  return element("polygon", {
    points: points.map((point) => point.join(",")).join(" "), transform: `translate(${x1} ${y1}) rotate(${turn})`,
    style: `fill:${kind === "played" ? "#d9650f" : "#1f5fa8"};stroke:${kind === "both" ? "#e8731a" : "#fff"}`,
    "stroke-width": kind === "both" ? 2.2 : 0.8, "stroke-linejoin": "round", opacity: 0.42 + 0.46 * strength, "data-arrow": uci,
  });
}

function arrowsOf(position, shown) {
  if (!position.moves.length || !showsValues || pendingMove() || selected) return [];
  const isPlayed = (uci) => game && position.played != null && position.moves[position.played][0] === uci;
  if (shown != null) {
    const { uci } = move(position, shown);
    return [{ uci, strength: 1, kind: isPlayed(uci) ? "played" : "model" }];
  }
  const best = position.moves[0][2], arrows = [];
  for (const [uci, , value] of position.moves) {
    if (arrows.length === ARROWS || best - value > ARROW_MARGIN) break;
    // The four promotions of a pawn on one square are one arrow.
    if (!arrows.some((arrow) => arrow.uci.slice(0, 4) === uci.slice(0, 4))) arrows.push({ uci, strength: Math.min(1, 1 - (best - value) / ARROW_MARGIN), kind: "model" });
  }
  arrows.slice(1).forEach((arrow) => { arrow.strength *= 0.75; });
  arrows.reverse();
  if (position.played != null) {
    const { uci } = move(position, position.played), same = arrows.findIndex((arrow) => arrow.uci.slice(0, 4) === uci.slice(0, 4));
    if (same >= 0 && position.played === 0) arrows[same].kind = "both";
    else { if (same >= 0) arrows.splice(same, 1); arrows.push({ uci, strength: 0.9, kind: "played" }); }
  }
  return arrows;
}

function drawBar() {
  byId("bar").hidden = isPolicy || !showsValues;
  if (isPolicy) return;
  const white = clip(positions[ply].white), whiteOnTop = flipped, text = Math.round(100 * white);
  const atTop = whiteOnTop === white >= 0.5;
  byId("bar").setAttribute("aria-label", `White’s win probability ${percent(white)}`);
  fill("bar",
    element("i", { style: `height:${100 * white}%;${whiteOnTop ? "top" : "bottom"}:0` }),
    element("span", { style: `${atTop ? "top" : "bottom"}:3px;color:${white >= 0.5 ? "#26292e" : "#f1eee8"}` }, white >= 0.5 ? text : 100 - text));
}
