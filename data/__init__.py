"""Training data: chess positions with action values, and Wordle games."""
