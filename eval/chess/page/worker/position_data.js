// The data of a position that the page shows: position_data of eval/chess/analyse.py, with the model as `run`.

import { legalMoves, replay } from "./rules.js";
import { actionId, boardTokens } from "./tokens.js";

const DISPLAY_BINS = 64, HEIGHTS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

// Of each kind of model, how it values the moves of a position, as eval/chess/move_values.py does: `value` and
// `logits` have one entry for each move.
const VALUES = {
  ValueTransformerForActionValue: valueActions,
  ValueTransformerForStateValue: valueStates,
  ValueTransformerForMovePrediction: predictMoves,
};

// `network` has the facts of the model; `run` takes its inputs, rows of integers, and returns its outputs, each
// with `data` and `dims`.
export async function positionData({ fen, moves: line }, network, run) {
  const game = replay(fen, line), { board } = game, isWhite = board.turn() === "w", isPolicy = network.is_policy;
  const data = { fen: board.fen(), moves: [], played_san: game.played }, legal = legalMoves(game);
  if (line.length) data.last = line.at(-1);
  if (board.isCheck()) [data.check] = board.findPiece({ type: "k", color: board.turn() });
  if (game.end) data.over = game.end;
  const white = (best) => (isPolicy ? {} : { white: round(isWhite ? best : 1 - best, 5) });
  if (!legal.length) return { ...data, ...white(data.check ? 0 : 0.5) };
  const valued = await VALUES[network.architecture](board.fen(), legal, network, run);
  const ranked = legal.map(({ uci, san, end }, index) => {
    const byRule = isPolicy && end !== "checkmate" ? null : end;
    const value = byRule && !isPolicy ? (byRule === "checkmate" ? 1 : 0.5) : valued.values[index];
    const histogram = network.support ? encodeHistogram(displayHistogram(valued.probs[index], network.support)) : [];
    return { entry: [uci, san, round(value, 5), ...histogram], byRule, score: value + (valued.preferences?.[index] ?? 0) };
  });
  ranked.sort((a, b) => (b.byRule === "checkmate") - (a.byRule === "checkmate") || b.score - a.score);
  data.moves = ranked.map(({ entry }) => entry);
  const ends = [...ranked.entries()].filter(([, { byRule }]) => byRule).map(([rank, { byRule }]) => [rank, byRule]);
  if (ends.length) data.by_rule = Object.fromEntries(ends);
  return { ...data, ...white(game.end ? 0.5 : data.moves[0][2]) };
}

async function valueActions(fen, legal, network, run) {
  const isMirrored = network.orient && fen.split(" ")[1] === "b", ids = legal.map(({ uci }) => actionId(uci, isMirrored));
  const { value, logits, preference } = await run({ input_ids: [boardTokens(fen, network.orient)], action_ids: [ids] });
  return { values: value.data, probs: network.support && distributions(logits), preferences: preference?.data };
}

async function valueStates(fen, legal, network, run) {
  const { value, logits } = await run({ input_ids: legal.map(({ after }) => boardTokens(after, network.orient)) });
  const probs = network.support && distributions(logits).map((row) => row.reverse());
  return { values: value.data.map((state) => 1 - state), probs };
}

async function predictMoves(fen, legal, network, run) {
  const isMirrored = network.orient && fen.split(" ")[1] === "b";
  const { logits } = await run({ input_ids: [boardTokens(fen, network.orient)] });
  return { values: softmax(Float32Array.from(legal, ({ uci }) => logits.data[actionId(uci, isMirrored)])) };
}

function distributions({ data, dims }) {
  const bins = dims.at(-1);
  return Array.from({ length: data.length / bins }, (_, row) => softmax(data.slice(row * bins, (row + 1) * bins)));
}

function softmax(logits) {
  const largest = Math.max(...logits), weights = logits.map((logit) => Math.exp(logit - largest));
  const total = weights.reduce((sum, weight) => sum + weight);
  return weights.map((weight) => weight / total);
}

// Regroup probabilities of bins with centres `support` to equal bins of [0, 1]; mass outside goes to the outermost.
function displayHistogram(probs, support) {
  const width = support[1] - support[0], sums = [0];
  for (const prob of probs) sums.push(sums.at(-1) + prob);
  const below = (value) => {
    const place = Math.min(Math.max((value - support[0]) / width + 0.5, 0), probs.length), bin = Math.min(Math.floor(place), probs.length - 1);
    return sums[bin] + (place - bin) * probs[bin];
  };
  const edges = Array.from({ length: DISPLAY_BINS + 1 }, (_, edge) => below(edge / DISPLAY_BINS));
  edges[0] = 0;
  edges[DISPLAY_BINS] = sums.at(-1);
  return edges.slice(1).map((edge, bin) => edge - edges[bin]);
}

function encodeHistogram(bars) {
  const peak = Math.max(...bars);
  return [round(peak, 4), bars.map((bar) => HEIGHTS[Math.round((bar / peak) * (HEIGHTS.length - 1))]).join("")];
}

function round(value, digits) {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
