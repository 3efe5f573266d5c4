
/* The large histogram of a move */
function drawDetail(shown) {
  const position = positions[ply];
  byId("detail").hidden = !position.moves.length || !showsValues;
  if (!position.moves.length) return;
  const first = move(position, shown ?? 0);
  const secondIndex = shown == null ? position.played : 0;
  const second = secondIndex != null && secondIndex !== first.index ? move(position, secondIndex) : null;
  const colour = (listed) => (listed.index === position.played && listed.index !== 0 ? "played" : "best");
  const name = (listed, role) => element("span", { class: role.startsWith("played") ? "played" : "best", style: listed === second && role === "best" ? "opacity:.75" : null }, element("b", {}, listed.san), ` ${percent(listed.value)}`, role ? ` ${role}` : "", listed.byRule ? ` (${listed.byRule})` : "");
  const role = (listed) => (listed.index === position.played ? (listed.index === 0 ? "best and played" : "played") : listed.index === 0 ? "best" : "");
  const names = element("p", { class: "names" }, name(first, role(first)), second && name(second, role(second)));
  const title = element("h2", {}, `Predicted distribution of ${mover(position)}’s win probability`);
  if (isPolicy) return fill("detail", element("h2", {}, "Probability of the move"), names);
  if (!first.probs) return fill("detail", element("h2", {}, `${mover(position)}’s win probability`), names, element("p", { class: "none" }, "This model was trained to predict the win probability as one number, without a distribution."));

  const width = byId("detail").clientWidth || 500, bottom = game ? 108 : 172, top = 19, height = bottom - top;
  const scale = Math.max(first.peak, second ? second.peak : 0), step = width / first.probs.length;
  const drawn = element("svg", { viewBox: `0 0 ${width} ${bottom + 18}`, height: bottom + 18, role: "img", "aria-label": `Histogram of ${first.san}, mean ${percent(first.value)}` });
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) drawn.append(
    element("line", { class: "grid", x1: tick * width, x2: tick * width, y1: top, y2: bottom + 4 }),
    element("text", { x: tick * width, y: bottom + 16, "font-size": 11, style: "fill:var(--muted)", "text-anchor": tick === 0 ? "start" : tick === 1 ? "end" : "middle" }, `${100 * tick}%`));
  const bars = element("g", { style: `fill:var(--${colour(first) === "played" ? "played" : "model"}-soft)` });
  first.probs.forEach((prob, bin) => { const high = (prob / scale) * height; if (high > 0) bars.append(element("rect", { x: bin * step + 0.5, width: Math.max(0.5, step - 1), y: bottom - high, height: high })); });
  drawn.append(bars);
  if (second) {
    const tone = `var(--${colour(second) === "played" ? "played" : "model"})`;
    drawn.append(element("path", { d: outline(second.probs, scale, width, height), transform: `translate(0 ${top})`, style: `fill:${tone};fill-opacity:.13;stroke:${tone};stroke-width:1.4` }));
  }
  drawn.append(element("line", { class: "grid", x1: 0, x2: width, y1: bottom, y2: bottom }));
  // A value by the rules of chess is not its distribution's mean.
  const marked = [first, second].filter((listed) => listed && !listed.byRule), taken = [];
  for (const listed of marked) {
    const tone = `var(--${colour(listed) === "played" ? "played" : "model"})`, x = width * clip(listed.value), left = x > width - 92;
    // Two labels side by side, or else one below the other.
    const start = left ? x - 92 : x, line = taken.some((other) => Math.abs(other - start) < 96) ? 1 : 0;
    taken.push(start);
    drawn.append(
      element("line", { x1: x, x2: x, y1: 2, y2: bottom + 4, style: `stroke:${tone}`, "stroke-width": 2, "stroke-dasharray": listed === second ? "3 3" : null }),
      element("text", { x: x + (left ? -6 : 6), y: 11 + 15 * line, "text-anchor": left ? "end" : "start", "font-size": 11.5, "font-weight": 600, style: `fill:${tone};paint-order:stroke;stroke:var(--page);stroke-width:4px` }, `mean ${percent(listed.value)}`));
  }
  fill("detail", title, names, drawn);
}
