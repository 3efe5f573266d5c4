
/* Moves by click and by drag, of a mouse, a finger or a pen */
const PROMOTIONS = ["q", "n", "r", "b"], DRAG = 4;  // pixels, below which a drag is a click
let selected = null, pressed = null, promotion = null;

const movesFrom = (square) => (canPlay() ? positions[ply].moves.map(([uci]) => uci).filter((uci) => uci.startsWith(square)) : []);
const movesBetween = (from, to) => movesFrom(from).filter((uci) => uci.slice(2, 4) === to);
function squareAt({ clientX, clientY }) {
  const box = byId("board").getBoundingClientRect(), across = Math.floor((8 * (clientX - box.left)) / box.width), down = Math.floor((8 * (clientY - box.top)) / box.height);
  if (Math.min(across, down) < 0 || Math.max(across, down) > 7) return null;
  return "abcdefgh"[flipped ? 7 - across : across] + (flipped ? down + 1 : 8 - down);
}
function unselect() { selected = pressed = promotion = null; }

// The squares that the selected piece can go to, or the pieces that a pawn can become.
function drawTargets(position) {
  if (promotion) return drawPromotion(whiteToMove(position));
  if (!selected) return [];
  const taken = new Set(piecesOf(position).map(([square]) => square));
  return [...new Set(movesFrom(selected).map((uci) => uci.slice(2, 4)))].map((square) => {
    const [x, y] = corner(square).map((edge) => edge + 22.5);
    return element("circle", { cx: x, cy: y, r: taken.has(square) ? 19.5 : 7, class: taken.has(square) ? "target capture" : "target" });
  });
}
function drawPromotion(isWhite) {
  const [x, y] = corner(promotion.slice(2, 4)), down = y === 0 ? 45 : -45;
  return [element("rect", { width: 360, height: 360, class: "veil" }), ...PROMOTIONS.map((piece, index) =>
    element("g", { class: "choice", "data-promotion": piece, role: "button", "aria-label": `Promote to a ${NAMES[piece]}` },
      element("rect", { x, y: y + down * index, width: 45, height: 45 }),
      element("use", { href: `#piece-${isWhite ? piece.toUpperCase() : piece}`, x, y: y + down * index, width: 45, height: 45 })))];
}

function tryMove(from, to) {
  const [uci, ...others] = movesBetween(from, to);
  if (!uci) return;
  if (others.length) promotion = uci;
  else playMove(uci);
}
byId("board").addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.isPrimary) return;
  if (promotion) {
    const piece = event.target.closest("[data-promotion]")?.dataset.promotion, squares = promotion.slice(0, 4);
    unselect();
    if (piece) playMove(squares + piece);
    return drawShown();
  }
  const square = squareAt(event);
  pressed = { square, x: event.clientX, y: event.clientY, wasSelected: square === selected, isDragged: false };
  if (!movesFrom(square).length) return;
  byId("board").setPointerCapture(event.pointerId);
  selected = square;
  drawShown();
});
byId("board").addEventListener("pointermove", (event) => {
  if (!pressed || pressed.square !== selected) return;
  pressed.isDragged ||= Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > DRAG;
  const piece = byId("board").querySelector(`[data-square="${selected}"]`), box = byId("board").getBoundingClientRect();
  if (!pressed.isDragged || !piece) return;
  piece.setAttribute("x", ((event.clientX - box.left) * 360) / box.width - 22.5);
  piece.setAttribute("y", ((event.clientY - box.top) * 360) / box.height - 22.5);
  byId("board").append(piece);
});
byId("board").addEventListener("pointerup", (event) => {
  if (!pressed) return;
  const { square, wasSelected, isDragged } = pressed, to = squareAt(event), from = selected;
  pressed = null;
  if (from && to !== from && (isDragged || to === square)) {
    unselect();
    tryMove(from, to);
  } else if (wasSelected || isDragged) selected = null;
  drawShown();
});
byId("board").addEventListener("pointercancel", () => { unselect(); drawShown(); });
