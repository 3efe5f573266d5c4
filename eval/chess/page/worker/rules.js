// The rules of chess by chess.js, as eval/chess/rules.py and data/chess/fen_files.py have them.

import { Chess, validateFen } from "./chess.js";
import { actionId } from "./tokens.js";

// Of every castling right, the squares of king and rook.
const CASTLING = { K: ["e1", "h1"], Q: ["e1", "a1"], k: ["e8", "h8"], q: ["e8", "a8"] };
const HALFMOVES_OF_DRAW = 100;

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

// Text may lack the last fields. A FEN that chess.js reads although the position is impossible is refused.
export function readFen(text) {
  const fields = text.trim().split(/\s+/);
  const fen = [...fields, ...["w", "-", "-", "0", "1"].slice(fields.length - 1)].join(" ");
  const { ok, error } = validateFen(fen);
  if (!ok) throw new Error(`${error.replace("Invalid FEN: ", "")}: ${text}`);
  const board = new Chess(fen), [, turn, castling, enPassant] = fen.split(" ");
  const holds = (square, type, color) => board.get(square)?.type === type && board.get(square).color === color;
  for (const right of castling.replace("-", "")) {
    const [king, rook] = CASTLING[right], color = right === right.toUpperCase() ? "w" : "b";
    if (!holds(king, "k", color) || !holds(rook, "r", color)) throw new Error(`castling right ${right} needs a king on ${king} and a rook on ${rook}: ${text}`);
  }
  if (enPassant !== "-") {
    const [file, rank] = enPassant, [from, to] = rank === "3" ? [2, 4] : [7, 5];
    if (!holds(file + to, "p", turn === "w" ? "b" : "w") || board.get(enPassant) || board.get(file + from)) throw new Error(`en passant square ${enPassant} needs a pawn that has just passed it in two steps: ${text}`);
  }
  const [waiting] = board.findPiece({ type: "k", color: turn === "w" ? "b" : "w" });
  if (board.isAttacked(waiting, turn)) throw new Error(`the king of the side that is not to move is in check: ${text}`);
  return board;
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
