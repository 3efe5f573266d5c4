
/* Playing against the model: `source` has the rules and the values, see server_source.js */
const START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1";
const POSITION = /^\s*[1-8pnbrqk]+(\/[1-8pnbrqk]+)+(\s|$)/i;
const SIDES = { white: "White", black: "Black", both: "both sides" };
// `side` is played; `own`, which the person chose, is it again after a game that is loaded to look at.
let side = "white", own = side, level = 0, start = START, names = ["White", "Black"];
let pending = null;  // the move whose position is awaited, and where it was played
let isLoading = false;
let change = 0;      // answers of the source to earlier changes of the game come too late

const isPersons = (position) => source != null && (side === "both" || mover(position).toLowerCase() === side);
const canPlay = () => source != null && !pending && !isLoading && !isOver(positions[ply]) && isPersons(positions[ply]);
const pendingMove = () => (pending?.at === ply ? pending.uci : null);
const playedMoves = (count) => positions.slice(0, count).map((position) => position.moves[position.played][0]);
function say(line, isError = false) {
  byId("message").classList.toggle("error", isError);
  fill("message", line);
}

// The best move at level 0, else a sample of the softmax of values / level, as MoveChoice of eval/chess/engines.py.
// The page has no preferences of a ranking head, which MoveChoice adds to the values.
function chooseMove(position) {
  const mates = position.moves.filter((_, index) => position.by_rule?.[index] === "checkmate"), moves = mates.length ? mates : position.moves;
  if (level === 0) return moves[0][0];
  const scores = moves.map(([, , value]) => (isPolicy ? Math.log(Math.max(value, 1e-38)) : value)), best = Math.max(...scores);
  const weights = scores.map((score) => Math.exp((score - best) / level));
  let drawn = Math.random() * weights.reduce((sum, weight) => sum + weight);
  const index = weights.findIndex((weight) => (drawn -= weight) < 0);
  return moves[Math.max(0, index)][0];
}

async function load({ fen, moves = [], at = Infinity, players = ["White", "Black"], as, shown }) {
  const mine = ++change;
  let fault = null;
  pending = null;
  isLoading = true;
  pinned = hovered = null;
  unselect();
  if (!positions.length) say("Loading the model.");
  try {
    for (let count = 0; count <= moves.length; count++) {
      const position = await source.position({ fen, moves: moves.slice(0, count) });
      if (mine !== change) return;
      if (count === 0) {
        [positions, start, names, side] = [[position], position.fen, players, as ?? own];
        if (byId("loading").open) byId("board").scrollIntoView({ block: "nearest" });
        byId("loading").open = false;
      } else {
        setPlayed(positions[count - 1], moves[count - 1]);
        positions.push(position);
      }
      ply = Math.min(at, count);
      say(count < moves.length ? `Valuing the game: ${count} of ${moves.length} moves.` : "");
      drawAll();
    }
  } catch (error) {
    fault = error.message;
  }
  if (mine !== change) return;
  isLoading = false;
  if (positions.length) {
    pin(shown);
    drawAll();
    writeFragment();
    await answer();
  }
  if (fault && change <= mine + 1) say(fault, true);  // the model's answer, if there was one, is the only change
}

// Play a move in the position shown; later moves are forgotten, unless it is the next of them.
function playMove(uci) {
  const { moves, played } = positions[ply];
  return played != null && moves[played][0] === uci ? go(ply + 1) : extend(ply, uci);
}
async function extend(at, uci) {
  const mine = ++change;
  pending = { at, uci };
  unselect();
  say("");
  drawShown();
  try {
    const position = await source.position({ fen: start, moves: [...playedMoves(at), uci] });
    if (mine !== change) return;
    setPlayed(positions[at], uci);
    positions.splice(at + 1, Infinity, position);
    if (ply >= at) ply = at + 1;
    say(`${isPersons(positions[at]) ? "You play" : `${data.model.name} plays`} ${positions[at].label}.`);
  } catch (error) {
    if (mine === change) say(error.message, true);
    return;
  } finally {
    if (mine === change) {
      pending = null;
      pinned = hovered = null;
      drawAll();
      writeFragment();
    }
  }
  await answer();
}
async function answer() {
  if (isLoading) return;
  const position = positions.at(-1);
  if (!isOver(position) && !isPersons(position)) await extend(positions.length - 1, chooseMove(position));
}

const lastOfPerson = () => positions.slice(0, -1).findLastIndex(isPersons);
function takeBack() {
  const at = lastOfPerson();
  change++;
  pending = null;
  isLoading = false;
  positions.length = at + 1;
  setPlayed(positions[at], null);
  ply = at;
  pinned = hovered = null;
  unselect();
  say("");
  drawAll();
  writeFragment();
}
function setSide(wanted) {
  if (pending) change++;
  pending = null;
  side = own = wanted;
  flipped = side === "black" || (side === "both" && flipped);
  drawAll();
  writeFragment();
}
async function loadText(text) {
  if (POSITION.test(text)) return load({ fen: text.trim() });
  try {
    const { fen, moves, white, black } = await source.pgn({ text });
    await load({ fen, moves, players: [white || "White", black || "Black"], as: "both" });
  } catch (error) { say(error.message, true); }
}

// A move as people type it: e4, Nf3, exd5, e8=Q, O-O, or e2e4; capitals and signs may be missing.
function readMove(text) {
  const plain = (move) => move.replace(/[-+#=!?x\s]/g, "").replaceAll("0", "O"), { moves } = positions[ply];
  const typed = plain(text), lower = typed.toLowerCase();
  const exact = moves.filter(([uci, san]) => plain(san) === typed || uci === lower);
  const found = exact.length ? exact : moves.filter(([, san]) => plain(san).toLowerCase() === lower);
  return found.length === 1 ? found[0][0] : null;
}
function typeMove() {
  const field = byId("typed"), text = field.value.trim();
  if (!text || pending || isLoading) return;
  if (!canPlay()) return say(isOver(positions[ply]) ? ending(positions[ply]) : "It is not your turn in this position.", true);
  const uci = readMove(text);
  if (!uci) return say(`${text} is not a legal move here: type one such as ${positions[ply].moves.at(-1)[1]}.`, true);
  field.value = "";
  playMove(uci);
}

/* The controls */
const choice = (id, label, options, action) => element("label", {}, label, element("select", { id, onchange: (event) => action(event.target.value) }, ...options.map(([value, text]) => element("option", { value }, text))));
const levelName = ([temperature, elo]) => (temperature === 0 ? "best move" : `temperature ${temperature}`) + (elo == null ? "" : ` (Elo ${elo})`);
function drawControls() {
  const text = element("textarea", { id: "text", rows: 5, spellcheck: "false", "aria-label": "FEN or PGN", placeholder: "A position (FEN) or a game (PGN)" });
  fill("play",
    choice("side", "You play ", Object.entries(SIDES), (value) => { setSide(value); answer(); }),
    choice("level", "Level ", data.levels.map((listed) => [listed[0], levelName(listed)]), (value) => { level = +value; writeFragment(); }),
    element("button", { type: "button", id: "new", onclick: () => load({ fen: START }) }, "New game"),
    element("button", { type: "button", id: "back", onclick: takeBack }, "Take back"),
    element("form", { onsubmit: (event) => { event.preventDefault(); typeMove(); } },
      element("label", {}, "Move ", element("input", { id: "typed", size: 9, autocomplete: "off", autocapitalize: "off", spellcheck: "false", placeholder: "e4 or e2e4", enterkeyhint: "go" })),
      element("button", {}, "Play")),
    element("label", {}, element("input", { id: "values", type: "checkbox", onchange: (event) => { showsValues = event.target.checked; drawAll(); writeFragment(); } }), " Show values"),
    element("details", { id: "loading" }, element("summary", {}, "Load a position or a game"), text, element("div", {},
      element("button", { type: "button", id: "load", onclick: () => loadText(text.value) }, "Load"),
      element("input", { type: "file", id: "file", accept: ".pgn,.fen,.txt", "aria-label": "Load a file", onchange: async (event) => { const [file] = event.target.files; if (file) loadText(await file.text()); event.target.value = ""; } }))));
  byId("play").hidden = byId("message").hidden = false;
}
function drawAll() {
  byId("main").classList.remove("loading");
  const { model } = data, last = positions.at(-1);
  const players = names.map((name, index) => ({ name: side === "both" ? name : side === ["white", "black"][index] ? "You" : model.name }));
  game = { players, location: [], result: !last.over ? "*" : last.over !== "checkmate" ? "½–½" : whiteToMove(last) ? "0–1" : "1–0" };
  [byId("side").value, byId("level").value, byId("values").checked] = [side, level, showsValues];
  byId("back").disabled = lastOfPerson() < 0;
  drawHeader();
  drawGame();
  draw();
}

// #side=black&level=0.05&fen=…&moves=e2e4.e7e5&ply=1&values=off: all of the game, so that it survives a reload.
function gameFragment() {
  const moves = playedMoves(positions.length - 1), players = ["white", "black"].map((colour, index) => (names[index] === SIDES[colour] ? null : `${new URLSearchParams({ [colour]: names[index] })}`));
  return [`side=${side}`, own === side ? null : `own=${own}`, ...players, level ? `level=${level}` : null, start === START ? null : `fen=${start.replaceAll(" ", "_")}`,
    moves.length ? `moves=${moves.join(".")}` : null, showsValues ? null : "values=off"];
}
async function restoreGame() {
  const wanted = new URLSearchParams(location.hash.slice(1)), at = wanted.get("ply");
  const sideOf = (key, other) => (Object.hasOwn(SIDES, wanted.get(key)) ? wanted.get(key) : other);
  level = data.levels.map(([temperature]) => temperature).find((temperature) => temperature === Number(wanted.get("level"))) ?? 0;
  side = sideOf("side", "white");
  own = sideOf("own", side);
  flipped = wanted.has("flip") !== isFlippedAtFirst();
  showsValues = wanted.get("values") !== "off";
  await load({
    fen: wanted.get("fen")?.replaceAll("_", " ") ?? START, moves: wanted.get("moves")?.split("."), at: /^\d+$/.test(at ?? "") ? Number(at) : Infinity,
    players: ["white", "black"].map((colour) => wanted.get(colour) || SIDES[colour]), as: side === own ? null : side, shown: wanted.get("move"),
  });
  if (positions.length) return;
  const { textContent } = byId("message");
  await load({ fen: START });
  say(textContent, true);
}
