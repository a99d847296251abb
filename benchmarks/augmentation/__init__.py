"""Whether augmented views help where labels are few."""
