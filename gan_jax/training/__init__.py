"""The training loop: dispatch, feeds, log, checkpoints, devices."""
