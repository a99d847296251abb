"""What the subjects share: samples in folds, results that are kept, baselines on genotypes, subsets of the labels."""
