"""Hidden genotypes restored: at the sites of the panel, and at linked sites of chromosome 22."""
