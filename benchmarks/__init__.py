"""Speed figures, each next to a naive baseline."""
