"""Calls chosen by genotype: a list of variants only, or of heterozygotes only, as all calls of a sample.

Where a file has the sites that differ from the reference genome and no others, the homozygous reference calls are not
missing at random: the rest looks like a sample with alternate alleles everywhere. Such samples are recognised by the
missing calls: where frequencies are known, by a likelihood ratio, which needs ten calls or so, else by a count. Their
calls are scored *given* that they were called: with the frequency f of the alternate allele, a site that has one is
heterozygous with the probability 2 f (1 - f) / (1 - (1 - f)^2), which still distinguishes populations. Heterozygotes
alone, or one haplotype, have no information left.

Shape suffixes: B samples, P populations, S sites.
"""

import math

import torch
from torch import Tensor

from genomai_cli.population.call_patterns import MAX_REFERENCE_SHARE
from genomai_cli.population.networks.genotype_mlp import allele_counts, naive_bayes

MIN_LOG_RATIO = 1.5  # nats, which one sample in five exceeds by chance
EXCHANGED = (
    0.02  # of chosen calls, the share in which the panel's reference is the file's other allele
)
WEIGHT = 0.6  # by calibration on members, five folds, at 55 to 23,530 sites
# Members of mixed ancestry at the edge of their group get the label of another one with confidence: six in a thousand
# at 967 sites. So much of the probability is spread over all labels that none of five has more than 0.9.
UNCERTAIN = 0.13


def is_selected(copies_BS: Tensor, theta_PS: Tensor) -> Tensor:
    """Whether the calls of each barcode (B,) are likelier to have been chosen by genotype than to be there by chance.

    From copies of the alternate allele, or -1, and the logits of its frequencies. Each hypothesis has the likelihood of
    its best population: where hardly anybody is homozygous for the reference, nothing follows from that.
    """
    calls_B, reference_B = (copies_BS >= 0).sum(1), (copies_BS == 0).sum(1)
    selected_B = (calls_B > 0) & (reference_B <= MAX_REFERENCE_SHARE * calls_B)
    if not selected_B.any():
        return selected_B
    copies_CS, frequency_PS = copies_BS[selected_B], torch.sigmoid(theta_PS)
    selected_CP = log_likelihood_given_called(copies_CS, frequency_PS)
    chosen_C = selected_CP.amax(1) + (reference_B * math.log(EXCHANGED))[selected_B]
    chosen_C = chosen_C + ((calls_B - reference_B) * math.log1p(-EXCHANGED))[selected_B]
    counts = allele_counts(copies_CS, theta_PS.dtype)
    orders_C = (copies_CS == 1).sum(1) * math.log(2)  # a heterozygote comes about in two ways
    by_chance_C = naive_bayes(*counts, frequency_PS).amax(1) + orders_C
    selected_B[selected_B.clone()] = chosen_C - by_chance_C > MIN_LOG_RATIO
    return selected_B


def log_likelihood_given_called(copies_BS: Tensor, frequency_PS: Tensor) -> Tensor:
    """Log likelihood (B, P) of genotypes given that the sites are called since one allele is not the reference's.

    A heterozygote has 2 (1 - f) / (2 - f) then, a homozygote f / (2 - f). The few that are homozygous for the panel's
    reference are of sites whose reference is the other allele in the file's build, where the roles are exchanged.
    """
    log_called_PS = (2 - frequency_PS).log()
    heterozygote_PS = (2 - 2 * frequency_PS).log() - log_called_PS
    homozygote_PS = frequency_PS.log() - log_called_PS
    exchanged_PS = torch.log1p(-frequency_PS) - torch.log1p(frequency_PS)
    log_BP: Tensor = torch.zeros(len(copies_BS), len(frequency_PS), dtype=frequency_PS.dtype)
    log_BP = log_BP.to(frequency_PS.device)
    for copies, log_PS in enumerate((exchanged_PS, heterozygote_PS, homozygote_PS)):
        log_BP = log_BP + (copies_BS == copies).to(log_PS.dtype) @ log_PS.T
    return log_BP
