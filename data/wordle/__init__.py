"""Wordle data: rules, word lists, environments, scripted players and their games."""
