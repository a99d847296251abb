"""Command-line tool and Python package for DNA sequence models."""

__version__ = "0.1.0"
