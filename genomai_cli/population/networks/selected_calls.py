"""Calls chosen by genotype: a list of variants only, or of heterozygotes only, taken for all that is known of a person.

Where a file names the sites that differ from the reference genome and no others, the homozygous reference calls are not
missing at random: read as they are, the rest looks like somebody with alternate alleles everywhere. Such samples are
recognised by what they lack, and their calls are judged *given* that they were called: with the frequency f of the
alternate allele, a site that has one is heterozygous with the probability 2 f (1 - f) / (1 - (1 - f)^2), which still
tells populations apart. Of heterozygotes alone, or of one haplotype, nothing is left.

Shape suffixes: B samples, P populations, S sites.
"""

from typing import Any

import torch
from torch import Tensor

SELECTED_CALLS = 20  # with fewer, people without a homozygous reference call are not rare enough
WEIGHT = 0.6  # by calibration on members, five folds, at 55 to 23,530 sites
MOST_REFERENCE = (
    0.05  # of further calls: sites whose reference base differs between builds, and errors
)


def lacks_reference(reference: Any, calls: Any) -> Any:
    """Whether next to no call is homozygous for the reference, from counts: integers, or arrays or tensors of them.

    People are at 29 % or more of 967 ancestry-informative sites, and at three quarters of exome sites.
    """
    return (calls >= SELECTED_CALLS) & (reference <= MOST_REFERENCE * (calls - SELECTED_CALLS))


def is_selected(copies_BS: Tensor) -> Tensor:
    """Whether the calls of each barcode (B,) were chosen by genotype; from copies of the alternate allele, or -1."""
    selected_B: Tensor = lacks_reference((copies_BS == 0).sum(1), (copies_BS >= 0).sum(1))
    return selected_B


def log_likelihood_given_called(copies_BS: Tensor, frequency_PS: Tensor) -> Tensor:
    """Log likelihood (B, P) of genotypes given that the sites are called since one allele is not the reference's.

    A heterozygote has 2 (1 - f) / (2 - f) then, a homozygote f / (2 - f). The few that are homozygous for the panel's
    reference are of sites whose reference is the other allele in the file's build, where the roles are exchanged.
    """
    remains_PS = (2 - frequency_PS).log()
    heterozygote_PS = (2 - 2 * frequency_PS).log() - remains_PS
    homozygote_PS = frequency_PS.log() - remains_PS
    exchanged_PS = torch.log1p(-frequency_PS) - torch.log1p(frequency_PS)
    log_BP: Tensor = torch.zeros(len(copies_BS), len(frequency_PS), dtype=frequency_PS.dtype)
    log_BP = log_BP.to(frequency_PS.device)
    for copies, log_PS in enumerate((exchanged_PS, heterozygote_PS, homozygote_PS)):
        log_BP = log_BP + (copies_BS == copies).to(log_PS.dtype) @ log_PS.T
    return log_BP
