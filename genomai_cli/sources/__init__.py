"""From what a user hands in to records as a model reads them, and which model that is: for commands and for Python."""
