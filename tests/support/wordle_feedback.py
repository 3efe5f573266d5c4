"""The colours of one guess in plain Python, to verify the code for many guesses."""

from collections import Counter


def feedback(secret: str, guess: str, rule: str = "official") -> str:
    """Return the colours of `guess`: five of g, y and b."""
    left = Counter(secret)
    colours = ["b"] * 5
    for i in range(5):
        if guess[i] == secret[i]:
            colours[i] = "g"
            left[guess[i]] -= 1
    for i in range(5):
        is_yellow = left[guess[i]] > 0 if rule == "official" else guess[i] in secret
        if colours[i] == "b" and is_yellow:
            colours[i] = "y"
            left[guess[i]] -= 1
    return "".join(colours)
