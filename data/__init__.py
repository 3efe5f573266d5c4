"""Where training data comes from: chess positions with action values, and Wordle games."""

from data.command_line import end_imports_on_interrupt


end_imports_on_interrupt()
