
/* Tiles and the keyboard */
const COLOURS = { g: "green", y: "yellow", b: "grey" };
const KEYS = ["qwertyuiop", "asdfghjkl", "zxcvbnm"];
const spelled = (word, pattern) => Array.from(word, (letter, index) => `${letter.toUpperCase()} ${COLOURS[pattern[index]]}`).join(", ");

// A guess as five tiles; without a word only the colours are known, without a pattern the row is empty.
function tileRow(word, pattern) {
  const label = !pattern ? "no guess yet" : word ? spelled(word, pattern) : Array.from(pattern, (colour) => COLOURS[colour]).join(", ");
  return element("div", { class: "row", role: "img", "aria-label": label },
    ...[0, 1, 2, 3, 4].map((index) => element("span", { class: `tile ${pattern ? COLOURS[pattern[index]] : ""}` }, word?.[index])));
}

// The row in which the person types. With `colours`, its tiles are buttons that change them.
function typedRow(typed, colours, cursor, turn) {
  const label = `Guess: ${typed.toUpperCase() || "empty"}`;
  return element("div", { class: "row", role: "group", "aria-label": label }, ...[0, 1, 2, 3, 4].map((index) => {
    const letter = typed[index];
    if (!colours) return element("span", { class: `tile ${letter ? "typed" : ""}` }, letter);
    return element("button", {
      type: "button", class: `tile ${COLOURS[colours[index]]} ${index === cursor ? "next" : ""}`,
      "aria-label": `${letter.toUpperCase()} is ${COLOURS[colours[index]]}; change`, onclick: () => turn(index),
    }, letter);
  }));
}

// The best colour that each letter got.
function letterColours(guesses, patterns) {
  const best = {};
  guesses.forEach((word, turn) => Array.from(word, (letter, index) => {
    const colour = patterns[turn][index];
    if (!best[letter] || "byg".indexOf(colour) > "byg".indexOf(best[letter])) best[letter] = colour;
  }));
  return best;
}

function drawKeyboard(colours, press) {
  const key = (letter) => element("button", {
    type: "button", class: `key ${COLOURS[colours[letter]] ?? ""}`, "data-key": letter, onclick: () => press(letter),
    "aria-label": colours[letter] ? `${letter}, ${COLOURS[colours[letter]]}` : letter,
  }, letter);
  const rows = KEYS.map((row) => Array.from(row, key));
  const backspace = element("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, element("path", { d: "M5.5 3.5h8v9h-8l-4-4.5zM7.5 6l4 4m0-4l-4 4" }));
  rows[2].unshift(element("button", { type: "button", class: "key wide", "data-key": "Enter", onclick: () => press("Enter") }, "Enter"));
  rows[2].push(element("button", { type: "button", class: "key wide", "data-key": "Backspace", "aria-label": "Delete", onclick: () => press("Backspace") }, backspace));
  fill("keyboard", ...rows.map((row) => element("div", {}, ...row)));
}
