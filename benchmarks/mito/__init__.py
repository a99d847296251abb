"""Mitochondrial genomes: labels told, and hidden letters restored."""
