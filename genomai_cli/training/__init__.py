"""Learning from labelled samples: splits, views, the loop, checkpoints, calibration."""
