"""Runs: trainings of a game, their folders, and everything that is done with them."""
