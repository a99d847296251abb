"""Super-population and population of people, from genotypes."""
