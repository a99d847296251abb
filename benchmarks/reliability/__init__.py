"""Attacks on the program: what is broken, hostile or interrupted, and what it does then."""
