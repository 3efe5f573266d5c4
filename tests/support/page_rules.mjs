// Answer questions to the scripts of the folder in the arguments, one a line, as JSON: a game, or a PGN.

import { createInterface } from "node:readline";

const load = (file) => import(`${process.argv[2]}/${file}`);
const [{ readPgn }, { legalMoves, replay }, { actionId, boardTokens }] = await Promise.all(["pgn.js", "rules.js", "tokens.js"].map(load));

function describe({ fen, moves }) {
  const game = replay(fen, moves), reached = game.board.fen(), isBlack = reached.split(" ")[1] === "b";
  const legal = legalMoves(game).map(({ uci, san, end }) => [uci, san, actionId(uci), actionId(uci, isBlack), end]);
  return { fen: reached, tokens: [false, true].map((orient) => boardTokens(reached, orient)), moves: legal, played: game.played };
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  let answer;
  try {
    answer = "pgn" in question ? readPgn(question.pgn) : describe(question);
  } catch (error) {
    answer = { error: error.message };
  }
  console.log(JSON.stringify(answer));
}
