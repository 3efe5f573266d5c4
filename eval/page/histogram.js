
/* Small histograms of the distributions that a model predicts */
function outline(probs, scale, width, height) {
  const step = width / probs.length;
  let path = `M0 ${height}`;
  probs.forEach((prob, bin) => { path += `V${(height - Math.min(1, prob / scale) * height).toFixed(2)}H${((bin + 1) * step).toFixed(2)}`; });
  return path + `V${height}Z`;
}

// One scale for all, best first, so that they compare; but those that are near certain must not flatten the others.
function commonScale(peaks) {
  const sorted = [...peaks].sort((a, b) => a - b);
  return Math.min(sorted[sorted.length - 1], 1.6 * sorted[Math.floor(sorted.length / 2)], 1.6 * peaks[0]);
}

// `mean`, if it is to be marked, and `tick` are places between the ends, from 0 to 1.
function smallHistogram({ probs, peak, mean }, scale, tick = 0.5) {
  const line = (x, kind, top) => element("line", { class: kind, x1: 128 * x, x2: 128 * x, y1: top, y2: 25, "vector-effect": "non-scaling-stroke" });
  const drawn = element("svg", { viewBox: "0 0 128 25", preserveAspectRatio: "none", "aria-hidden": "true" },
    line(tick, "grid", 0),
    element("path", { class: "area", d: outline(probs, scale, 128, 22.5), transform: "translate(0 2.5)" }),
    element("line", { class: "grid", x1: 0, x2: 128, y1: 25, y2: 25, "vector-effect": "non-scaling-stroke" }));
  if (peak > scale * 1.001) {
    const x = (128 * (probs.indexOf(Math.max(...probs)) + 0.5)) / probs.length;
    drawn.append(element("path", { class: "area", d: `M${x - 2} 1.8L${x} 0L${x + 2} 1.8Z` }));
  }
  if (mean != null) drawn.append(line(mean, "mean", 4));
  return drawn;
}
