"""Networks from unlabelled DNA: its letters on disk, what rows of them stand for, the run and its card."""
