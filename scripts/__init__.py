"""Converters of foreign weights, and shell recipes."""
