"""Chess data: positions, Stockfish's action values, ChessBench's files and puzzles."""
