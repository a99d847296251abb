"""DNA and phenotype records: found for each other, for populations never seen, and explained."""
