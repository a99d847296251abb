"""Missing genotypes from reference haplotypes or allele frequencies."""
