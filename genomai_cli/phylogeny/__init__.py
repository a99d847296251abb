"""Application on the DNA core: genomes without recombination (mtDNA), their tree and their variants."""
