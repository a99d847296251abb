"""Measures of how good predictions are, in numpy alone."""
