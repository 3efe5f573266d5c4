"""Evaluation: how well a model values moves, solves puzzles and plays."""

from data.command_line import end_imports_on_interrupt


end_imports_on_interrupt()
