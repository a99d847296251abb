"""Fits the bounds beyond which a sequence is unlike the training sequences, by training sequences that are held out of
those that they are compared with.

Each part of the training sequences is measured by the others, as new sequences will be by all. Beyond the first bounds
of surprise and distance lie `FALSE_ALARMS` of the held-out sequences, together 1 % at most, and `WITHHELD_SHARE` beyond
the second; of few sequences a bound is that of an exponential tail like theirs. Lengths may differ from those of all
but a few by `LENGTHS` times.

Shape suffixes: N samples, W places of a k-mer, K k-mers, F frequencies, M measures.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from genomai_cli.alphabet import BASES
from genomai_cli.backbones.kmer_counts import kmer_indices, reverse_complements
from genomai_cli.backbones.sequence_novelty import CONTEXT, SequenceNovelty
from genomai_cli.inputs.samples import Rows
from genomai_cli.training.sequence_parts import ROWS_AT_ONCE, LabelledCodes

FALSE_ALARMS = (0.008, 0.002)  # of held-out sequences: by surprise, by distance
WITHHELD_SHARE = 0.0001
LENGTHS = (1.1, 2.0)  # how many times shorter or longer than ...
USUAL_LENGTHS = 0.001  # ... all but this share at either end
PSEUDOCOUNT = (
    20.0  # of a context, spread as the letters after the context that is shorter by one are
)
RIDGE = 0.1  # of the mean variance, added to each
ROUNDING = 1e-3  # bounds are stored as float32
UNBOUNDED = 100.0  # nats: more than any sequence has
TAIL = 0.1  # of the values: those that a tail is fitted to


@torch.no_grad()
def fit_novelty(data: LabelledCodes, parts: Sequence[Rows]) -> SequenceNovelty:
    """The novelty of sequences unlike the samples in these parts, of which no sample is in two."""
    counts = torch.stack([_kmers(data, rows) for rows in parts])
    measured = []
    for number, rows in enumerate(parts):
        other_rows = np.concatenate([other for at, other in enumerate(parts) if at != number])
        fold_novelty = _fit_chain_and_composition(data, other_rows, counts.sum(0) - counts[number])
        measured += [fold_novelty.measures(codes_BL) for codes_BL in _codes(data, rows)]
    novelty = _fit_chain_and_composition(data, np.concatenate(parts), counts.sum(0))
    novelty.bounds.copy_(_bounds(torch.cat(measured)))
    return novelty


def _fit_chain_and_composition(
    data: LabelledCodes, rows: Rows, counts_K: Tensor
) -> SequenceNovelty:
    """The chain and the composition of the samples in these rows, bounds aside."""
    novelty = SequenceNovelty().double()
    both_strands_K = counts_K + counts_K[reverse_complements(CONTEXT)]
    surprise_K = -_chain(both_strands_K).log()
    novelty.surprises.copy_((surprise_K + surprise_K[reverse_complements(CONTEXT)]) / 2)
    x_NF = torch.cat([novelty.composition(codes_BL) for codes_BL in _codes(data, rows)])
    novelty.centre.copy_(x_NF.mean(0))
    centred_NF = x_NF - novelty.centre
    covariance_FF = centred_NF.T @ centred_NF / len(x_NF)
    ridge = RIDGE * covariance_FF.diagonal().mean().clamp(min=1e-9)
    covariance_FF.diagonal().add_(ridge)
    novelty.whitening.copy_(torch.linalg.inv(torch.linalg.cholesky(covariance_FF)))
    return novelty


def _codes(data: LabelledCodes, rows: Rows) -> Iterator[Tensor]:
    """The codes of the samples in these rows, `ROWS_AT_ONCE` at a time."""
    return (data.batch(block)[0] for block in torch.split(torch.from_numpy(rows), ROWS_AT_ONCE))


def _kmers(data: LabelledCodes, rows: Rows) -> Tensor:
    """How often each k-mer (K,) of the chain occurs in the samples in these rows."""
    counts_K = torch.zeros(len(BASES) ** CONTEXT, dtype=torch.float64)
    for codes_BL in _codes(data, rows):
        number_BW, known_BW = kmer_indices(codes_BL, CONTEXT)
        counts_K += torch.bincount(number_BW[known_BW], minlength=len(counts_K))
    return counts_K


def _chain(counts_K: Tensor) -> Tensor:
    """The probability (K,) of a k-mer's last letter given those before it, smoothed by shorter contexts in turn."""
    uniform = torch.full((len(BASES),), 1 / len(BASES), dtype=counts_K.dtype)
    shorter_K = uniform if len(counts_K) == len(BASES) else _chain(_suffixes(counts_K)).repeat(4)
    next_K4 = counts_K.view(-1, len(BASES))
    prior_K4 = shorter_K.view(-1, len(BASES))
    total_K1 = next_K4.sum(1, keepdim=True) + PSEUDOCOUNT
    return ((next_K4 + PSEUDOCOUNT * prior_K4) / total_K1).flatten()


def _suffixes(counts_K: Tensor) -> Tensor:
    """The counts of the k-mers without their first letter."""
    return counts_K.view(len(BASES), -1).sum(0)


def _bounds(measured_NM: Tensor) -> Tensor:
    """Both bounds (M, 2) of every measure."""
    columns = [column_N.sort().values for column_N in measured_NM.T]
    of_surprise_and_distance = [
        [_bound(column_N, share) + ROUNDING for share in (alarms, WITHHELD_SHARE)]
        for column_N, alarms in zip(columns[:2], FALSE_ALARMS, strict=True)
    ]
    of_length = [
        [_bound(column_N, USUAL_LENGTHS) + math.log(t) for t in LENGTHS] for column_N in columns[2:]
    ]
    bounds_M2 = torch.tensor(of_surprise_and_distance + of_length, dtype=torch.float64)
    bounds_M2[:, 1] = torch.maximum(bounds_M2[:, 1], bounds_M2[:, 0] + 1e-3)
    return bounds_M2


def _bound(ascending_N: Tensor, share: float) -> float:
    """The bound beyond which this share of the values lies, as that of new ones will; -inf is no value."""
    ascending_N = ascending_N[ascending_N.isfinite()]
    count = len(ascending_N)
    if not count:
        return UNBOUNDED
    rank = math.ceil((count + 1) * (1 - share))
    if rank <= count:
        return float(ascending_N[rank - 1])
    beyond = max(1, round(TAIL * count))
    begin = float(ascending_N[-1 - beyond]) if count > beyond else float(ascending_N[0])
    excess = float(ascending_N[-beyond:].mean()) - begin
    return begin + excess * math.log(max(1.0, beyond / count / share))
