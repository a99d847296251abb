"""Classifiers from labelled samples: what there is to learn from, the members, their calibration."""
