"""Files in and out: one door for inputs, atomic outputs, sequences, variants, tables."""
