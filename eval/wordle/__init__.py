"""Wordle: agents, the protocols that measure them, play in the terminal, and comparisons of value losses."""
