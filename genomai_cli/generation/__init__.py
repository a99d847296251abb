"""New samples from a model that was trained by diffusion: what is asked for, how it is drawn, what is written."""
