"""The training loop and its parts: dispatch, data feeds, log, checkpoints, devices."""
