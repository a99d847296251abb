"""What pretraining is worth, and that a run which was killed ends as an undisturbed one."""
