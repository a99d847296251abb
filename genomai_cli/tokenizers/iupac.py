"""Diploid barcodes: one word a site, A C G T homozygous, R Y S W K M heterozygous, N missing."""

from genomai_cli.tokenizers.characters import Characters

KIND = "iupac"
BARCODE_LETTERS = "ACGTRYSWKMN"


def iupac() -> Characters:
    """The tokenizer of barcodes; the letters for three or four bases (B D H V) count as missing."""
    return Characters(kind=KIND, letters=BARCODE_LETTERS)
