
/* The curve of a game */
function drawCurve(mistakes) {
  const width = byId("curve").clientWidth || 640, left = 40, right = width - 8, high = 112, tier = 16, last = positions.length - 1;
  const labels = mistakes.map((at) => ({ at, x: left + ((right - left) * at) / last, text: `${positions[at].label} ${short(positions[at].loss)}` }));
  // Flags stand to the right of their poles; from the right, each takes the lowest tier where it covers neither
  // another flag nor the pole of a higher one.
  labels.reverse().forEach((label, index) => {
    label.width = measure(label.text);
    label.start = Math.max(left, Math.min(label.x - 2, right - label.width));
    label.tier = 0;
    const end = label.start + label.width + 10;
    const covers = (other) => (other.tier === label.tier && label.start < other.start + other.width + 10 && other.start < end) || (other.tier > label.tier && label.start < other.x && other.x < end);
    while (labels.slice(0, index).some(covers)) label.tier++;
  });
  const top = 8 + tier * (labels.length ? 1 + Math.max(...labels.map((label) => label.tier)) : 0), bottom = top + high;
  const X = (at) => left + ((right - left) * at) / last, Y = (at) => bottom - high * clip(positions[at].white);
  const drawn = element("svg", { viewBox: `0 0 ${width} ${bottom + 20}`, height: bottom + 20, role: "img", "aria-label": "White’s win probability over the game" });
  drawn.append(element("rect", { x: left, y: top, width: right - left, height: high, style: "fill:var(--curve-black)" }));
  let line = "";
  positions.forEach((position, at) => { line += `${at ? "L" : "M"}${X(at).toFixed(1)} ${Y(at).toFixed(1)}`; });
  drawn.append(element("path", { d: `${line}V${bottom}H${left}Z`, style: "fill:var(--white-side)" }));
  for (const tick of [0, 0.5, 1]) {
    const y = bottom - high * tick;
    drawn.append(element("text", { x: left - 7, y: y + 4, "text-anchor": "end" }, `${100 * tick}%`));
    drawn.append(element("line", { x1: left, x2: right, y1: y, y2: y, style: "stroke:var(--muted)", "stroke-width": tick === 0.5 ? 1 : 0.5, "stroke-dasharray": tick === 0.5 ? "2 3" : null, opacity: tick === 0.5 ? 0.8 : 0.6 }));
  }
  const numbers = positions.map((position) => +position.fen.split(" ")[5]), every = [1, 2, 5, 10, 20, 50].find((step) => ((right - left) * 2 * step) / last > 42) || 100;
  positions.forEach((position, at) => { if (at && whiteToMove(position) && numbers[at] % every === 0 && X(at) > left + 60) drawn.append(element("text", { x: X(at), y: bottom + 15, "text-anchor": "middle" }, numbers[at])); });
  drawn.append(element("text", { x: left, y: bottom + 15 }, `move ${numbers[0]}`));
  for (const { at, x, tier: level } of labels) drawn.append(element("line", { x1: x, x2: x, y1: top - 5 - level * tier, y2: Y(at), style: "stroke:var(--played)", "stroke-width": 1 }));
  drawn.append(element("path", { d: line, style: "fill:none;stroke:var(--curve-line);stroke-width:1.6;stroke-linejoin:round" }));
  for (const { at } of labels) drawn.append(element("circle", { cx: X(at), cy: Y(at), r: 3.6, style: "fill:var(--played);stroke:var(--page)", "stroke-width": 1.2 }));
  drawn.append(element("line", { id: "cursor", y1: top, y2: bottom, style: "stroke:var(--model)", "stroke-width": 1.5 }), element("circle", { id: "cursor-dot", r: 4.5, style: "fill:var(--model);stroke:var(--page)", "stroke-width": 1.5 }));
  for (const { at, start, tier: level, text } of labels) drawn.append(element("text", { class: "mistake", x: start, y: top - 6 - level * tier, "data-ply": at, onclick: (event) => { event.stopPropagation(); go(at); } }, text));
  const pick = (event) => { const box = drawn.getBoundingClientRect(); go(Math.max(0, Math.min(last, Math.round(((event.clientX - box.left - left) / (right - left)) * last)))); };
  drawn.addEventListener("click", pick);
  drawn.addEventListener("pointermove", (event) => { if (event.buttons) pick(event); });
  fill("curve", element("h2", {}, "White’s win probability"), drawn);
  drawCurve.place = () => {
    for (const key of ["x1", "x2"]) byId("cursor").setAttribute(key, X(ply));
    byId("cursor-dot").setAttribute("cx", X(ply));
    byId("cursor-dot").setAttribute("cy", Y(ply));
  };
}
function measure(text) {
  const context = (measure.context ??= document.createElement("canvas").getContext("2d"));
  context.font = `600 11.5px ${getComputedStyle(document.body).fontFamily}`;
  return context.measureText(text).width + 2;
}
