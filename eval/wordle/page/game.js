
/* The game: what is typed, asked and shown. All of it but the typed letters is in the address:
   #game=48213&guesses=crane.slate or #advise=crane-bbgyb.slate-bbbbb. */
const TURNS = 6;
let state = { mode: "play", guesses: [], patterns: [], typed: "" }, showsAdvice = false, isBusy = false;

const isWon = ({ patterns }) => patterns.at(-1) === "ggggg";
const isOver = (game) => game.patterns.length === TURNS || isWon(game);
const hasColours = () => state.mode === "advise" && state.typed.length === 5;

// Go to a game with these guesses if the server accepts them; return whether it does.
async function go(game) {
  if (isBusy) return false;
  isBusy = true;
  try {
    const next = { patterns: [], typed: "", ...game, advice: null };
    if (next.mode === "play") Object.assign(next, await post("play", { number: next.number, guesses: next.guesses }));
    if (next.mode === "advise" || (showsAdvice && !isOver(next))) next.advice = await post("advise", { guesses: next.guesses, patterns: next.patterns });
    state = next;
    history.replaceState(null, "", address());
    say("");
    return true;
  } catch (error) {
    say(error.message, true);
    return false;
  } finally {
    isBusy = false;
    draw();
  }
}
function address() {
  const { mode, number, guesses, patterns } = state;
  if (mode === "advise") return `#advise=${guesses.map((word, turn) => `${word}-${patterns[turn]}`).join(".")}`;
  return `#game=${number}${guesses.length ? `&guesses=${guesses.join(".")}` : ""}`;
}
function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1)), list = (key) => (wanted.get(key) || "").split(".").filter(Boolean);
  if (wanted.has("advise")) {
    const turns = list("advise").map((turn) => turn.split("-"));
    return { mode: "advise", guesses: turns.map(([word]) => word), patterns: turns.map(([, pattern]) => pattern ?? "") };
  }
  const game = wanted.get("game"), number = Number(game);
  return { mode: "play", number: (Number.isFinite(number) && number) || game || randomNumber(), guesses: list("guesses") };
}
const randomNumber = () => 1 + (crypto.getRandomValues(new Uint32Array(1))[0] % data.num_games);
async function openAddress() {
  const game = readAddress();
  if (await go(game)) return;
  const fault = message;
  // Its guesses or its number may be wrong.
  if (!(await go({ ...game, guesses: [], patterns: [] }))) await restart("play");
  say(fault, true);
  drawBoard();
}
function restart(mode) {
  byId("boards").focus({ preventScroll: true });
  return go(mode === "play" ? { mode, number: randomNumber(), guesses: [] } : { mode, guesses: [], patterns: [] });
}
function undo() {
  byId("boards").focus({ preventScroll: true });
  return go({ mode: "advise", guesses: state.guesses.slice(0, -1), patterns: state.patterns.slice(0, -1) });
}
async function toggleAdvice() {
  if (isBusy) return;
  showsAdvice = !showsAdvice;
  if (await go(state)) return;
  showsAdvice = !showsAdvice;
  draw();
}

/* Typing */
function press(key) {
  if (isBusy || isOver(state)) return;
  if (key === "Enter") { submit(); return; }
  say("");
  if (key === "Backspace") {
    if (hasColours() && state.cursor > 0) state.colours[--state.cursor] = "b";
    else state.typed = state.typed.slice(0, -1);
  } else if (hasColours()) {
    if (!COLOURS[key]) say("Now the colours: g green, y yellow, b grey.", true);
    else if (state.cursor < 5) state.colours[state.cursor++] = key;
  } else if (state.typed.length < 5) type(state.typed + key);
  drawBoard();
}
function type(word) { Object.assign(state, { typed: word, colours: Array.from("bbbbb"), cursor: 0 }); }
function turnTile(index) {
  const { colours } = state, hadFocus = byId("board").contains(document.activeElement);
  colours[index] = { b: "y", y: "g", g: "b" }[colours[index]];
  drawBoard();
  if (hadFocus) byId("board").querySelectorAll("button")[index].focus();
}
async function submit() {
  const { mode, number, guesses, patterns, typed } = state;
  if (typed.length < 5) { say("A guess has five letters.", true); drawBoard(); return; }
  if (mode === "play" && !data.guesses.includes(typed)) { say(`${typed.toUpperCase()} is not one of the ${allowed}, which are listed below.`, true); drawBoard(); return; }
  if (!(await go({ mode, number, guesses: [...guesses, typed], patterns: [...patterns, mode === "advise" ? state.colours.join("") : ""] }))) return;
  byId("spoken").textContent = `Guess ${state.guesses.length}: ${spelled(typed, state.patterns.at(-1))}. ${byId("title").textContent}`;
}
function choose(word) {
  if (isBusy || isOver(state)) return;
  type(word);
  say("");
  drawBoard();
  byId("boards").focus({ preventScroll: true });
  byId("boards").scrollIntoView({ block: "nearest" });
}
