"""DNA and phenotype records in one space: similarities, attributions, tables and pages."""
