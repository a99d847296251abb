"""New haplotypes by discrete diffusion, conditioned on phenotypes."""
