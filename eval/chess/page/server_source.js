
/* The server of eval/chess/serve.py as the source of rules and values */
const source = { position: (body) => post("position", body), pgn: (body) => post("pgn", body) };
