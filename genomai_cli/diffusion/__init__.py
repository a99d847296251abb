"""Discrete diffusion: how letters are hidden little by little, what that makes of a loss, and the way back."""
