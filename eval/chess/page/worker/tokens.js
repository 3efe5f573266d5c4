// Chess positions and moves as the model's tokens: models/chess_tokens.py in JavaScript.

const CHARACTERS = "0123456789abcdefghpnrkqPBNRQKw.";

// All moves in ChessBench's order: per square queen moves, then knight moves; promotions last.
const ACTION_IDS = new Map(listActions().map((move, action) => [move, action]));

function listActions() {
  const names = [..."12345678"].flatMap((rank) => [..."abcdefgh"].map((file) => file + rank));
  const moves = [], promotions = [], squares = [...names.keys()];
  for (const start of squares) {
    const step = (end) => [Math.abs((end % 8) - (start % 8)), Math.abs((end >> 3) - (start >> 3))];
    const queen = squares.filter((end) => { const [x, y] = step(end); return end !== start && (x === y || x === 0 || y === 0); });
    const knight = squares.filter((end) => { const [x, y] = step(end); return x * y === 2; });
    moves.push(...[...queen, ...knight].map((end) => names[start] + names[end]));
  }
  for (const [rank, lastRank] of ["21", "78"]) {
    for (let file = 0; file < 8; file++) {
      for (const target of [file, file - 1, file + 1]) {
        if (target < 0 || target > 7) continue;
        for (const piece of "qrbn") promotions.push("abcdefgh"[file] + rank + "abcdefgh"[target] + lastRank + piece);
      }
    }
  }
  return [...moves, ...promotions];
}

// The id of a move in UCI notation; `mirrored` as positions with Black to move are, oriented.
export function actionId(move, mirrored = false) {
  return ACTION_IDS.get(mirrored ? move.replace(/[1-8]/g, (rank) => 9 - rank) : move);
}

// The 77 board tokens of a FEN; with `orient` seen by the side to move.
export function boardTokens(fen, orient) {
  let [board, side, castling, enPassant, clock, number] = fen.split(" ");
  if (orient && side === "b") {
    board = swapCase(board.split("/").reverse().join("/"));
    castling = [..."KQkq"].filter((right) => castling.includes(swapCase(right))).join("");
    enPassant = enPassant.replace(/[36]/, (rank) => 9 - rank);
    side = "w";
  }
  const squares = board.replaceAll("/", "").replace(/[1-8]/g, (width) => ".".repeat(width));
  const field = (text, length) => (text === "-" ? "" : text).padEnd(length, ".");
  const count = (text) => field(String(Math.min(text, 999)), 3);
  return Array.from(side + squares + field(castling, 4) + field(enPassant, 2) + count(clock) + count(number), (c) => CHARACTERS.indexOf(c));
}

function swapCase(text) {
  return text.replace(/[a-z]/gi, (c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()));
}
