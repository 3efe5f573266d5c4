// The rules of chess by chess.js, as eval/chess/rules.py and data/chess/fen_files.py have them.

import { Chess, validateFen } from "./chess.js";
import { actionId } from "./tokens.js";

// Of every castling right, the squares of king and rook.
const CASTLING = { K: ["e1", "h1"], Q: ["e1", "a1"], k: ["e8", "h8"], q: ["e8", "a8"] };
const HALFMOVES_OF_DRAW = 100;
// Checks that chess.js leaves out: zeros in the placement, castling rights, and both clocks.
const FIELDS = /^[^0 ]+ \S+ (-|[KQ]{0,2}[kq]{0,2}) \S+ \d+ \d+$/;
// Faults of a position: the messages of chess.js, and those of Python.
const FAULTS = {
  "missing white king": "no white king",
  "missing black king": "no black king",
  "too many white kings": "too many kings",
  "too many black kings": "too many kings",
  "some pawns are on the edge rows": "pawns on the first or last rank",
  "illegal en-passant square": "the en passant square is on the side of the player who moves",
};

// A game: `board` after its moves, their SAN, how often every position occurred, and how the game has ended or null.
export function replay(fen, moves) {
  const board = readFen(fen), played = [], counts = new Map([[key(board.fen()), 1]]);
  for (const move of moves) {
    played.push(makeMove(board, move).san);
    const reached = key(board.fen());
    counts.set(reached, (counts.get(reached) ?? 0) + 1);
  }
  return { board, played, counts, end: gameEnd(board, counts.get(key(board.fen()))) };
}

// Play a move in UCI or SAN.
export function makeMove(board, text) {
  const [, from, to, promotion] = /^([a-h][1-8])([a-h][1-8])([qrbn]?)$/.exec(text) ?? [];
  try {
    if (text !== "--") return board.move(from ? { from, to, promotion: promotion || undefined } : text);
  } catch {} // the same error as for a null move, which chess.js plays
  throw new Error(`${board.moveNumber()}${board.turn() === "w" ? "." : "..."}${text.slice(0, 40)} is not a legal move`);
}

// Read a FEN, which may lack the last fields, or throw an error as data/chess/fen_files.py does. Only Python refuses a
// check that no move can give.
export function readFen(text) {
  const fields = text.trim().split(/\s+/);
  // Some programs count moves from 0.
  const fen = [...fields, ...["w", "-", "-", "0", "1"].slice(fields.length - 1)].join(" ").replace(/ 0+$/, " 1");
  let error = validateFen(fen).error?.replace("Invalid FEN: ", "").replace("too many squares", "not 8 squares");
  if (!error && !FIELDS.test(fen)) error = "expected a position, w or b, castling rights, an en passant square and two numbers";
  if (error && !Object.hasOwn(FAULTS, error)) throw new Error(`FEN: ${error}: '${text.trim()}'; correct it`);
  const board = error ? null : new Chess(fen), fault = error ? FAULTS[error] : positionFault(board, fen);
  if (fault) throw new Error(`FEN: ${text.trim()} cannot occur in chess: ${fault}; correct it`);
  return board;
}

// Why a position that chess.js reads cannot occur in chess, or null.
function positionFault(board, fen) {
  const [placement, turn, castling, enPassant] = fen.split(" ");
  const holds = (square, type, color) => board.get(square)?.type === type && board.get(square).color === color;
  for (const [side, pieces, pawns] of [["white", /[A-Z]/g, /P/g], ["black", /[a-z]/g, /p/g]]) {
    if (placement.match(pieces).length > 16) return `too many ${side} pieces`;
    if (placement.match(pawns)?.length > 8) return `too many ${side} pawns`;
  }
  for (const right of castling.replace("-", "")) {
    const [king, rook] = CASTLING[right], color = right === right.toUpperCase() ? "w" : "b";
    if (!holds(king, "k", color) || !holds(rook, "r", color)) return `castling right ${right} needs a king on ${king} and a rook on ${rook}`;
  }
  if (enPassant !== "-") {
    const [file, rank] = enPassant, [from, to] = rank === "3" ? [2, 4] : [7, 5];
    if (!holds(file + to, "p", turn === "w" ? "b" : "w") || board.get(enPassant) || board.get(file + from)) return `en passant square ${enPassant} needs a pawn that has just passed it in two steps`;
  }
  const [waiting] = board.findPiece({ type: "k", color: turn === "w" ? "b" : "w" });
  return board.isAttacked(waiting, turn) ? "the king of the side that is not to move is in check" : null;
}

// The position of a FEN without its counters.
function key(fen) {
  return fen.split(" ", 4).join(" ");
}

// The legal moves, ordered by action: UCI, SAN, the FEN after the move, and how it ends the game.
export function legalMoves({ board, counts }) {
  const moves = board.moves({ verbose: true }).map(({ lan, san, after }) => ({ uci: lan, san, after, end: endAfter(after, counts) }));
  return moves.sort((a, b) => actionId(a.uci) - actionId(b.uci));
}

function endAfter(fen, counts) {
  const end = gameEnd(new Chess(fen), (counts.get(key(fen)) ?? 0) + 1);
  return end && end !== "checkmate" ? `draw: ${end}` : end;
}

// How the game has ended on a board that occurred so often, or null.
function gameEnd(board, occurrences) {
  if (board.isCheckmate()) return "checkmate";
  if (board.isStalemate()) return "stalemate";
  if (occurrences >= 3) return "threefold repetition";
  if (board.fen().split(" ")[4] >= HALFMOVES_OF_DRAW) return "fifty-move rule";
  return board.isInsufficientMaterial() ? "insufficient material" : null;
}
