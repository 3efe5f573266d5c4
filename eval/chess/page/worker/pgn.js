// The main line of the first game of a PGN file. chess.js has a reader, which refuses comments after variations.

import { makeMove, readFen } from "./rules.js";

const START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1";
const TOKEN = /\[\s*(?<name>\w+)\s+"(?<value>(?:[^"\\]|\\.)*)"\s*\]|\{[^}]*\}|;[^\n]*|^%[^\n]*|(?<bracket>[()])|(?<result>1-0|0-1|1\/2-1\/2|½-½|\*)|\$\d+|(?<number>\d+)(?:\s*\.+|(?=\s))|e\.p\.|(?<word>--|[a-z\d][^\s(){}[\];]*)|\S/gim;

export function readPgn(text) {
  let game;
  try {
    game = readGame(text);
  } catch (error) {
    throw new Error(`the game cannot be read: ${error.message}`);
  }
  if (!game.moves.length) throw new Error("the text has no game: give its moves, such as 1. e4 e5");
  return game;
}

function readGame(text) {
  const tags = {}, moves = [];
  let board = null, depth = 0, first = "1";
  for (const { groups } of text.matchAll(TOKEN)) {
    const { name, value, bracket, result, number, word } = groups;
    if (name && board) break; // the next game
    if (name) tags[name] = value.replace(/\\(.)/g, "$1");
    else if (number && !board) first = number;
    else if (bracket) depth += bracket === "(" ? 1 : -1;
    else if (result && depth === 0) break;
    else if (word && depth === 0) {
      if (first !== "1" && !tags.FEN) throw new Error(`the first move is number ${first}, but there is no tag FEN`);
      board ??= firstBoard(tags);
      moves.push(makeMove(board, word.replace(/[!?]+$/, "")).lan);
    }
  }
  const known = (name) => (/^[?.*\s-]*$/.test(name) ? "" : name.trim());
  return { fen: tags.FEN ?? START, moves, white: known(tags.White ?? ""), black: known(tags.Black ?? "") };
}

function firstBoard(tags) {
  const variant = tags.Variant ?? "Standard";
  if (!/^(standard|from position|chess)$/i.test(variant)) throw new Error(`the variant ${variant} is not supported`);
  return readFen(tags.FEN ?? START);
}
