"""Wordle: the model as a player, the protocols that measure players, and play in the terminal."""
