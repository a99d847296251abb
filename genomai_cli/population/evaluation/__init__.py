"""How generated genotypes compare with real ones: frequencies, linkage, structure, privacy."""
