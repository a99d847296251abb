"""The nouns that travel between the rooms: small frozen records without behaviour of their own.

Shape suffix: S sites.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class UncertainGenotypes:
    """What is known of genotypes that are not certain, at the sites of a barcode.

    `values` (S, 3) are of 0, 1 and 2 alternate alleles: likelihoods of which the largest is 1, or where `posterior`
    (S,) says so, probabilities given what was known besides the reads. Three equal ones say nothing: there the letter
    counts.
    """

    values: NDArray[np.float16]
    posterior: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SequenceRecord:
    """One sequence as read from FASTA or FASTQ, or one sample's barcode made from a VCF.

    `sequence` is upper-case ASCII over the IUPAC nucleotide letters (U read as T); `path` and `line` say
    where the record starts, for error messages. A barcode may come with what a file says of its `uncertain` genotypes.
    """

    name: str
    sequence: str
    description: str = ""
    path: str = "-"
    line: int = 0
    uncertain: UncertainGenotypes | None = field(default=None, compare=False, repr=False)
