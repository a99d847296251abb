"""Likelihoods of DNA under small models, beside Markov models."""
