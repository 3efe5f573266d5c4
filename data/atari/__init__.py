"""Atari: emulators of ALE and MinAtar, experience that is stored as actions and seeds, recordings."""
