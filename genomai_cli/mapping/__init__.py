"""Sequences in the coordinates of a reference, linear or circular."""
