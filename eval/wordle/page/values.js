
/* Values, distributions of returns, and the tables of words */
const data = JSON.parse(byId("data").textContent), { ends } = data;
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const place = (value) => clip((value - ends[0]) / (ends[1] - ends[0]));
const ticks = () => Array.from({ length: Math.floor(ends[1]) - Math.ceil(ends[0]) + 1 }, (_, index) => Math.ceil(ends[0]) + index).filter((tick) => tick % 2 === 0);
const words = (number) => `${number.toLocaleString("en")} word${number === 1 ? "" : "s"}`;
const allowed = `${data.guesses.length.toLocaleString("en")} allowed guesses`;
const minus = (number) => String(number).replace("-", "−");

const small = (listed, scale) => smallHistogram({ probs: listed.probs, peak: Math.max(...listed.probs), mean: place(listed.value) }, scale, place(0));
const scaleOf = (listed) => commonScale(listed.map(({ probs }) => Math.max(...probs)));
const anchor = (tick) => (place(tick) === 0 ? "start" : place(tick) === 1 ? "end" : "middle");
const axis = () => element("svg", { "aria-hidden": "true" }, ...ticks().map((tick) => element("text", { x: `${100 * place(tick)}%`, y: 10, "text-anchor": anchor(tick) }, minus(tick))));

function drawDetail(listed) {
  const title = element("h2", {}, "Expected return: −1 for every wrong guess, 0 for the right one");
  const names = element("p", { class: "names" }, element("span", {}, element("b", {}, listed.word.toUpperCase()), ` ${signed(listed.value)}`));
  if (!ends) return fill("detail", title, names, element("p", { class: "none" }, "This model was trained to predict the return as one number, without a distribution."));
  const width = byId("detail").clientWidth || 500, bottom = 118, top = 19, step = width / listed.probs.length, scale = Math.max(...listed.probs);
  const x = width * place(listed.value), isLeft = x > width - 92;
  const bars = element("g", { style: "fill:var(--model-soft)" });
  listed.probs.forEach((prob, bin) => { const high = (prob / scale) * (bottom - top); bars.append(element("rect", { x: bin * step + 0.5, width: Math.max(0.5, step - 1), y: bottom - high, height: high })); });
  fill("detail", title, names, element("svg", { viewBox: `0 0 ${width} ${bottom + 18}`, height: bottom + 18, role: "img", "aria-label": `Predicted distribution of the return of ${listed.word}, mean ${signed(listed.value)}` },
    ...ticks().flatMap((tick) => [
      element("line", { class: "grid", x1: width * place(tick), x2: width * place(tick), y1: top, y2: bottom + 4 }),
      element("text", { x: width * place(tick), y: bottom + 16, "font-size": 11, style: "fill:var(--muted)", "text-anchor": anchor(tick) }, minus(tick))]),
    bars, element("line", { class: "grid", x1: 0, x2: width, y1: bottom, y2: bottom }),
    element("line", { x1: x, x2: x, y1: 2, y2: bottom + 4, style: "stroke:var(--model)", "stroke-width": 2 }),
    element("text", { x: x + (isLeft ? -6 : 6), y: 11, "text-anchor": isLeft ? "end" : "start", "font-size": 11.5, "font-weight": 600, style: "fill:var(--model);paint-order:stroke;stroke:var(--page);stroke-width:4px" }, `mean ${signed(listed.value)}`)));
}

const histogramHeading = () => heading("histogram", hiddenText("Predicted distribution of the return"), axis());

function drawAdvice({ words: listed }, choose) {
  byId("table").hidden = !listed;
  byId("detail").hidden = !listed;
  if (!listed) return;
  const scale = ends && scaleOf(listed);
  const show = (index) => { drawDetail(listed[index]); markRow(byId("table"), index); };
  fillTable(byId("table"), ["rank", "word", "fits", "number", "number", ...(ends ? ["histogram"] : [])],
    [heading("rank", hiddenText("Rank")), heading("word", "Word"), heading("fits", hiddenText("May be the secret")), heading("number", "Advantage"), heading("number", "Value"), ends && histogramHeading()],
    listed.map((advice, index) => element("tr", {
      class: advice.may_be ? null : "ruled-out", "data-word": advice.word, tabindex: -1,
      onmouseenter: () => show(index), onfocus: () => show(index), onclick: () => choose(advice.word),
      onkeydown: (event) => {
        const next = { ArrowDown: event.currentTarget.nextElementSibling, ArrowUp: event.currentTarget.previousElementSibling }[event.key];
        if (next) next.focus();
        else if (event.key === "Enter" || event.key === " ") choose(advice.word);
        else return;
        event.preventDefault();
        event.stopPropagation();
      },
    },
      element("td", { class: "rank" }, index + 1), element("td", { class: "word" }, advice.word),
      element("td", { class: "fits" }, advice.may_be ? element("span", { title: "may be the secret" }, "●") : null),
      element("td", { class: "number" }, advice.advantage.toFixed(2).replace(/^-0\.00$/, "0.00").replace("-", "−")), element("td", { class: "number" }, signed(advice.value)),
      ends ? element("td", { class: "histogram" }, small(advice, scale)) : null)));
  show(0);
}

// The two games of an answer that has them, turn by turn.
function drawTurns({ turns, own_turns }) {
  const table = (title, listed) => {
    const scale = ends && scaleOf([...turns, ...own_turns]);
    return [element("h2", {}, title), fillTable(element("table", { "aria-label": title }), ["tiles", "number", ...(ends ? ["histogram"] : []), "left"],
      [heading("", "Guess"), heading("number", "Value"), ends && histogramHeading(), heading("left-words", "Left")],
      listed.map((turn) => element("tr", {},
        element("td", {}, element("div", { class: "tiles" }, tileRow(turn.word, turn.pattern))), element("td", { class: "number" }, signed(turn.value)),
        ends ? element("td", { class: "histogram" }, small(turn, scale)) : null, element("td", { class: "left-words" }, turn.num_left.toLocaleString("en")))))];
  };
  fill("turns", ...table("Your guesses", turns), ...table("The model’s guesses", own_turns));
}
