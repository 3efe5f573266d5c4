"""Where training data comes from: chess positions with action values, and Wordle games."""
