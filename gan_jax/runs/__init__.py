"""Runs: a game trained in a folder, and what is done with it."""
