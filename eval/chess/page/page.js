
/* Moving about, and the start */
function go(to) {
  ply = to;
  pinned = hovered = null;
  unselect();
  draw();
  writeFragment();
}
function draw() {
  drawTools();
  drawBar();
  drawTable();
  drawShown();
  drawStatement();
  if (!game) return;
  if (!byId("curve").hidden) drawCurve.place();
  for (const button of document.querySelectorAll("button[data-ply]")) {
    if (+button.dataset.ply === ply) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  const list = byId("moves"), current = list.querySelector("[aria-current]");
  if (list.scrollHeight > list.clientHeight) list.scrollTop = current.offsetTop - list.offsetTop - list.clientHeight / 2;
}
const isFlippedAtFirst = () => (source ? side === "black" : !game && !whiteToMove(positions[0]));
// #ply=24&move=c6b7&flip=on: the position after 24 half-moves, one move of it shown, on a board turned by hand.
function writeFragment() {
  const parts = [...(source ? gameFragment() : []), flipped === isFlippedAtFirst() ? null : "flip=on", game && !(source && isLast()) ? `ply=${ply}` : null, pinned == null ? null : `move=${positions[ply].moves[pinned][0]}`];
  history.replaceState(null, "", "#" + parts.filter(Boolean).join("&"));
}
function readFragment() {
  const wanted = new URLSearchParams(location.hash.slice(1)), at = Number(wanted.get("ply"));
  ply = game && Number.isInteger(at) ? Math.max(0, Math.min(positions.length - 1, at)) : 0;
  flipped = wanted.has("flip") !== isFlippedAtFirst();
  pin(wanted.get("move"));
  hovered = null;
}
function pin(wanted) {
  const index = positions[ply].moves.findIndex(([uci]) => uci === wanted);
  pinned = index < 0 ? null : index;
}

document.addEventListener("keydown", (event) => {
  const { target, key } = event, isTyped = target.matches?.("input:not([type=checkbox]), select, textarea");
  // An empty field has no use for arrows.
  if (!positions.length || event.altKey || event.ctrlKey || event.metaKey || (isTyped && (target.id !== "typed" || target.value || !key.startsWith("Arrow")))) return;
  const last = positions.length - 1, inTable = target.closest?.("tbody tr");
  if (game && key === "ArrowLeft" && ply > 0) go(ply - 1);
  else if (game && key === "ArrowRight" && ply < last) go(ply + 1);
  else if (game && key === "Home") go(0);
  else if (game && key === "End") go(last);
  else if (key === "f") flip();
  else if (key === "Escape" && (selected || promotion)) { unselect(); drawShown(); }
  else if (inTable && key === "ArrowDown") inTable.nextElementSibling?.focus();
  else if (inTable && key === "ArrowUp") inTable.previousElementSibling?.focus();
  else if (inTable && (key === "Enter" || key === " ")) inTable.click();
  else return;
  event.preventDefault();
});
byId("table").addEventListener("mouseleave", () => hover(null));
addEventListener("hashchange", async () => {
  if (source) await restoreGame();
  else { readFragment(); draw(); }
});
addEventListener("resize", () => {
  if (game) drawGame();
  if (positions.length) draw();
});

async function begin() {
  fill("tools", ...(game || source ? steps : []), button("Flip the board (f)", icon("M3.5 0L7 4H4.5v7h-2V4H0zM8.5 12L5 8h2.5V1h2v7H12z"), flip), fen, copy);
  byId("main").classList.toggle("game", Boolean(game || source));
  byId("main").classList.toggle("playing", Boolean(source));
  drawFooter();
  if (source) {
    byId("main").classList.add("loading");
    fill("title", document.title);
    drawControls();
    await restoreGame();
  } else {
    drawHeader();
    if (game) drawGame();
    readFragment();
    draw();
  }
  document.documentElement.dataset.ready = "true";
}
begin();
