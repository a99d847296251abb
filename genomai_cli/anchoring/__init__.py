"""Sequences brought to the coordinates of a reference, linear or circular: no torch, no panel."""
