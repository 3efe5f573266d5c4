"""Wordle data: rules, word lists, an environment, players and their games."""
