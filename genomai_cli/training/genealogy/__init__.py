"""The tree of genomes that are inherited without recombination, and its leaves summed up."""
