"""How a step ended its episode, in arrays of steps."""

NOT_OVER = 0
TERMINATED = 1  # the game is over
TRUNCATED = 2  # a time limit: the game would have continued
