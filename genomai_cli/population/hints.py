"""The log odds of groups of samples given a letter of a barcode: hints to the tokens of a network in training.

A label is one target for hundreds of letters at once, and a network needs many samples to find which of them
mattered. A hint is a target token by token (deep supervision, Lee et al. 2015, arXiv:1409.5185; the teacher is naive
Bayes on the same training samples, as in distillation, Hinton et al. 2015, arXiv:1503.02531). Nothing is added to the
network, and nothing of it is needed afterwards.

Shape suffixes: N samples, B sequences, S sites, T tokens, A alleles (reference, alternate), G groups.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.inputs.samples import Letters, Rows
from genomai_cli.population.barcode import letters_to_genotypes
from genomai_cli.population.networks.likelihood_fit import population_counts
from genomai_cli.population.panel import Panel, smoothed_frequencies


@dataclass(frozen=True, eq=False)
class LetterHints:
    """The evidence of either allele of every site for the groups.

    `log_odds` (A, S, G) are its log frequencies in the groups less their mean, in units of the root mean square of all.
    """

    panel: Panel
    log_odds: NDArray[np.float32]

    @classmethod
    def fit(cls, letters_NS: Letters, groups_N: Rows, panel: Panel) -> "LetterHints":
        """From barcodes of samples whose groups are numbered from 0, by `smoothed_frequencies`."""
        copies_NS = letters_to_genotypes(letters_NS, panel)
        alternate_GS, total_GS = population_counts(copies_NS, groups_N, int(groups_N.max()) + 1)
        frequency_GS = smoothed_frequencies(alternate_GS, total_GS)
        log_AGS = np.log(np.stack([1 - frequency_GS, frequency_GS]))
        log_AGS -= log_AGS.mean(axis=1, keepdims=True)
        log_AGS /= max(np.sqrt(np.mean(log_AGS**2)), 1e-9)
        return cls(panel, log_AGS.transpose(0, 2, 1).astype(np.float32))

    def of(self, letters_BS: Letters, tokens: int) -> Tensor:
        """The log odds (B, T, G) of the letters in the middle of each of the overlapping tokens: NaN for N, the mean of
        both alleles for a heterozygote."""
        start = (letters_BS.shape[1] - tokens) // 2
        middle = slice(start, start + tokens)
        copies_BT = letters_to_genotypes(letters_BS, self.panel)[:, middle]
        share_BT1 = np.where(copies_BT < 0, np.nan, copies_BT / 2).astype(np.float32)[:, :, None]
        reference_TG, alternate_TG = self.log_odds[:, middle]
        return torch.from_numpy((1 - share_BT1) * reference_TG + share_BT1 * alternate_TG)
