"""Motifs in the minimal format of the MEME suite, which its programs (`tomtom`), Biopython and others read.

https://meme-suite.org/meme/doc/meme-format.html
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES

HEADER = """\
MEME version 5

ALPHABET= ACGT

strands: + -

Background letter frequencies
"""


@dataclass(frozen=True, eq=False)
class MemeMotif:
    """A name without spaces, another one, the share (M, 4) of each base in each column, of how many sites, and the
    E-value."""

    name: str
    alternate: str
    frequencies: NDArray[np.float64]
    sites: int
    e_value: float


def write_meme(out: IO[bytes], motifs: Iterable[MemeMotif], background: Sequence[float]) -> None:
    """Write the motifs under the background's shares of A C G T."""
    shares = " ".join(f"{base} {share:.5f}" for base, share in zip(BASES, background, strict=True))
    out.write(f"{HEADER}{shares}\n".encode())
    for motif in motifs:
        out.write(_motif(motif).encode("utf-8", "surrogateescape"))


def _motif(motif: MemeMotif) -> str:
    rows = "".join("".join(f" {share:.6f}" for share in row) + "\n" for row in motif.frequencies)
    sizes = f"alength= {len(BASES)} w= {len(motif.frequencies)}"
    statistics = f"nsites= {motif.sites} E= {motif.e_value:.1e}"
    return f"\nMOTIF {motif.name} {motif.alternate}\nletter-probability matrix: {sizes} {statistics}\n{rows}"
