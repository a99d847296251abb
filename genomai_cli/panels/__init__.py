"""Panels of SNP sites, and barcodes: how a VCF becomes a sequence."""
