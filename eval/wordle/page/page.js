
/* Drawing */
let message = "", isWrong = false;
function say(text, wrong = false) { message = text; isWrong = wrong; }
function hint() {
  if (isOver(state)) return "";
  if (hasColours()) return "Click the tiles until they have the colours that you got, or type g, y and b; then Enter.";
  if (state.guesses.length || state.typed) return "";
  return state.mode === "play" ? "Type a word of five letters, then Enter." : "Play elsewhere, and type the word that you guessed there.";
}
function drawBoard() {
  const { guesses, patterns, typed, own } = state;
  const rows = guesses.map((word, turn) => tileRow(word, patterns[turn]));
  if (!isOver(state)) rows.push(typedRow(typed, hasColours() && state.colours, state.cursor, turnTile));
  const filled = (listed) => [...listed, ...Array.from({ length: TURNS - listed.length }, () => tileRow())];
  fill("board", ...filled(rows));
  byId("own").hidden = !own;
  if (own) fill("own-board", ...filled(state.own_turns?.map((turn) => tileRow(turn.word, turn.pattern)) ?? own.map((pattern) => tileRow(null, pattern))));
  const shown = message || hint();
  if (byId("message").textContent !== shown) byId("message").textContent = shown;
  byId("message").classList.toggle("error", isWrong);
  byId("message").hidden = !shown && isOver(state);
}
const capital = (word) => element("b", {}, word.toUpperCase());
function headline() {
  const { mode, guesses, secret, own_turns, advice } = state;
  if (mode === "advise") {
    if (isWon(state)) return [`Found in ${guesses.length}`, ["The word is ", capital(guesses.at(-1)), "."]];
    if (isOver(state)) return ["Not found", [`${words(advice.num_left)} left: `, capital(advice.left.join(", ")), advice.num_left > advice.left.length ? ", …" : "."]];
    return [advice ? `The model would guess ${advice.words[0].word.toUpperCase()}` : "Advice", [`Guess ${guesses.length + 1} of ${TURNS}`, advice ? ` · ${words(advice.num_left)} left` : ""]];
  }
  if (!secret) return ["Find the word", [`Game ${state.number ?? ""} · guess ${guesses.length + 1} of ${TURNS} · the model plays the same word`]];
  const own = own_turns.at(-1).word === secret ? `the model in ${own_turns.length}` : "the model did not";
  return [isWon(state) ? `You found it in ${guesses.length}, ${own}` : own.endsWith("not") ? "Nobody found it" : `You did not find it, ${own}`, ["The word was ", capital(secret), ` · game ${state.number}`]];
}
function draw() {
  const [title, lede] = headline(), { mode } = state, over = isOver(state), focused = document.activeElement?.dataset.key;
  fill("title", title);
  fill("lede", ...lede);
  const tool = (text, action, more = {}) => element("button", { type: "button", "data-key": text, onclick: action, ...more }, text);
  fill("tools",
    tool("Play", () => restart("play"), { "aria-pressed": String(mode === "play") }), tool("Advise me", () => restart("advise"), { "aria-pressed": String(mode === "advise") }),
    mode === "advise" ? tool("Undo", undo, { class: "apart", disabled: !state.guesses.length }) : null,
    tool("New game", () => restart(mode), { class: mode === "play" ? "apart" : null }));
  byId("board-title").textContent = mode === "play" ? "You" : "Your game";
  drawBoard();
  drawKeyboard(letterColours(state.guesses, state.patterns), press);
  byId("keyboard").hidden = over;
  byId("turns").hidden = !state.secret;
  if (state.secret) drawTurns(state);
  byId("advice").hidden = over;
  fill("advice-tools", mode === "play" ? tool(showsAdvice ? "Hide advice" : "Show the model’s advice", toggleAdvice, { "data-key": "advice", "aria-expanded": String(showsAdvice) }) : null,
    state.advice ? element("span", { class: "legend" }, element("b", {}, words(state.advice.num_left)), " left, ", element("i", {}, "●"), " may be the secret") : element("span", { class: "legend" }, "Its best words, their values, and how many words are left."));
  drawAdvice(state.advice ?? {}, choose);
  // The button that was pressed has been drawn again.
  if (focused) document.querySelector(`[data-key="${focused}"]`)?.focus();
}

/* The keyboard of the computer, and the start */
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, onButton = event.target.closest?.("button, a, summary");
  if (!/^([a-z]|Backspace)$/.test(key) && (key !== "Enter" || onButton)) return;
  // From here on, Enter submits the guess.
  if (onButton) byId("boards").focus({ preventScroll: true });
  press(key);
  event.preventDefault();
});
// A button that was clicked leaves the keyboard to the game.
document.addEventListener("mousedown", (event) => { if (event.target.closest("button")) event.preventDefault(); });
addEventListener("hashchange", openAddress);
addEventListener("resize", () => drawAdvice(state.advice ?? {}, choose));

drawModel(data.model);
fill("footer",
  element("p", {}, `Wordle with ${words(data.num_answers)} as secrets, ${allowed} and the ${data.rule} rule. Words are in the order of their advantage: how far their letters are valued below the best allowed ones; the model guesses the first. A value is the return that the model expects after the word; that of a word which was rarely guessed may be far too high.`),
  element("details", {}, element("summary", {}, `The ${allowed}`), element("p", { class: "allowed" }, data.guesses.join(" "))),
  element("p", {}, paper(), " · arXiv 2403.03950"));
openAddress().then(() => { document.documentElement.dataset.ready = "true"; });
