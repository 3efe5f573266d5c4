"""Evaluation on Atari: mean returns, human-normalised scores, films, aggregates over games."""
