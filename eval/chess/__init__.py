"""Chess: how well a model values moves, solves puzzles and plays."""
