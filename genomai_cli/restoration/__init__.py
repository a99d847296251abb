"""Missing letters and genotypes restored by a model, and doubtful ones corrected, each with its probability."""
