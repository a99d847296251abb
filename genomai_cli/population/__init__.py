"""Application on the DNA core: panels, genotypes, phenotypes and the models of them."""
