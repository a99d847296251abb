"""Wrong letters put into mitochondrial genomes, and how many of them `genomai denoise --error-rate` finds.

Shape suffixes: N genomes, L letters of the reference, S sites.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.mito.masking import UNKNOWN, Codes
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.denoising.base import Settings
from genomai_cli.phylogeny.denoise import model_of, posterior

RATE = 0.001
BLOCK = 32


@dataclass(frozen=True)
class Corrections:
    """Of `n` genomes with `errors` each: how many letters were corrected (`right`), and how many right letters were
    changed (`false`), a genome."""

    n: int
    errors: float
    right: float
    false: float

    def __str__(self) -> str:
        return (
            f"{self.errors:.1f} wrong letters a genome: {self.right / self.errors:.3f} of them corrected, "
            f"{self.false:.2f} right letters changed a genome ({self.n} genomes)"
        )


def corrections(bundle: Bundle, truth_NL: Codes, reference_L: Codes, seed: int) -> Corrections:
    """The corrections of genomes with random errors by `genomai denoise --error-rate`."""
    rng = np.random.default_rng([seed, 0xE7])
    scored_NL = (truth_NL != UNKNOWN) & (reference_L != UNKNOWN)
    wrong_NL = scored_NL & (rng.random(truth_NL.shape) < RATE)
    wrong_letter_NL = (truth_NL + rng.integers(1, 4, truth_NL.shape)) % 4
    observed_NL = np.where(wrong_NL, wrong_letter_NL, truth_NL).astype(np.uint8)
    corrected_NL = correct_genomes(bundle, observed_NL, reference_L)
    true_corrections = (wrong_NL & (corrected_NL == truth_NL)).sum(axis=1)
    false_changes = (scored_NL & ~wrong_NL & (corrected_NL != truth_NL)).sum(axis=1)
    means = (float(x.mean()) for x in (wrong_NL.sum(axis=1), true_corrections, false_changes))
    return Corrections(len(truth_NL), *means)


def correct_genomes(bundle: Bundle, observed_NL: Codes, reference_L: Codes) -> Codes:
    """The genomes (N, L) with every letter replaced that is more likely wrong than not."""
    model = model_of(bundle)
    positions_S = model.sites.positions
    settings = Settings(error_rate=RATE)
    corrected_NL = np.where(observed_NL == UNKNOWN, observed_NL, reference_L)
    for start in range(0, len(observed_NL), BLOCK):
        codes_NS = observed_NL[start : start + BLOCK, positions_S]
        names = [str(start + row) for row in range(len(codes_NS))]
        p_NS4 = posterior(model, codes_NS, names, settings)
        likelier_NS = p_NS4.max(axis=2) > 0.5
        corrected_NL[start : start + BLOCK, positions_S] = np.where(
            likelier_NS & (codes_NS != UNKNOWN), p_NS4.argmax(axis=2), codes_NS
        )
    return corrected_NL
