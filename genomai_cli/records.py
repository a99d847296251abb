"""The nouns that travel between the rooms: small frozen records without behaviour of their own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SequenceRecord:
    """One sequence as read from FASTA or FASTQ, or one sample's barcode made from a VCF.

    `sequence` is upper-case ASCII over the IUPAC nucleotide letters (U read as T); `path` and `line` say
    where the record starts, for error messages.
    """

    name: str
    sequence: str
    description: str = ""
    path: str = "-"
    line: int = 0
