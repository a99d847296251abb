"""What restoring asks of a model, and what the user asks of restoring.

What is done with a posterior: which letters are restored or corrected, and which are left.

What a model says of a known place if that place is hidden: all places in a few rounds, not one by one.

What a file's samples are like at a model's sites, and what may be made of them: known before anything is written.

Shape suffixes: B people or genomes, S sites, T letters of a window, 2 haplotypes; 4 ordered pairs of alleles, 00
01 10 11, or the letters A C G T, K places, A letters that a place can hold, B records, S places, N samples, A
alleles of a record.
"""

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.vcf_rewrite import Addition
from genomai_cli.mapping.reference import Reference, VariableSites
from genomai_cli.population.panel import Panel

Probabilities = NDArray[np.float64]
Alleles = NDArray[np.int8]
Flags = NDArray[np.bool_]
Ids = NDArray[np.int64]
UNKNOWN = -1  # an allele that is not known


@dataclass(frozen=True)
class Settings:
    """`confidence`: a letter is restored or corrected only if it is at least so probable. With an `error_rate` known
    letters are doubted too: so many of them are wrong."""

    confidence: float = 0.0
    error_rate: float | None = None
    seed: int = 0

    def seeds(self, name: str) -> list[int]:
        """What a record's random numbers come from: the seed and its name alone."""
        return [self.seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))]


class PeopleModel(Protocol):
    """Knows people at the sites of a panel."""

    panel: Panel
    batch: int  # the most people at once

    def pairs(self, alleles_B2S: Alleles, phased_BS: Flags) -> Probabilities:
        """The probabilities (B, S, 4) of the ordered pairs of alleles at every site, given the known alleles.

        Of a site that is known in part or whole they need not agree with what is known.
        """


class GenomesModel(Protocol):
    """Knows genomes at the variable sites of a reference."""

    reference: Reference
    sites: VariableSites
    batch: int

    def letters(self, ids_BS: Ids) -> Probabilities:
        """The probabilities (B, S, 4) of A C G T at every site, given those of ids (B, S) that are 0 to 3."""


class DnaModel(Protocol):
    """Knows plain DNA, in windows of at most `longest` letters."""

    longest: int
    batch: int

    def letters(self, ids_BT: Ids) -> Probabilities:
        """The logarithms (B, T, 4) of the probabilities of A C G T, given those of ids (B, T) that are 0 to 3;
        a letter that is not known is -1."""


NOT_SEEN = -1  # among observed letters: missing, or one that cannot be
LIKELIER_THAN_NOT = 0.5


@dataclass(frozen=True, eq=False)
class Proposal:
    """New letters (K,) of a record for those at `numbers` (K,), counted from 0, with their probabilities.

    `missing` counts the letters that were missing where the model could tell.
    """

    numbers: NDArray[np.int64]
    letters: NDArray[np.uint8]
    probabilities: Probabilities
    missing: int

    def sorted(self) -> "Proposal":
        """The same in the order of the record."""
        order = np.argsort(self.numbers, kind="stable")
        return Proposal(
            self.numbers[order], self.letters[order], self.probabilities[order], self.missing
        )


def chosen(
    posterior_KA: Probabilities,
    observed_K: NDArray[np.int64],
    settings: Settings,
) -> tuple[NDArray[np.int64], Flags]:
    """The most probable letter (K,) of each place, and whether it is to be written there.

    In place of an observed letter only another one is written that is likelier than not.
    """
    best_K = posterior_KA.argmax(axis=1)
    p_K = np.take_along_axis(posterior_KA, best_K[:, None], axis=1)[:, 0]
    better_K = (best_K != observed_K) & (p_K > LIKELIER_THAN_NOT)
    taken_K = np.where(observed_K == NOT_SEEN, True, better_K) & (p_K >= settings.confidence)
    return best_K, taken_K


def proposal(
    numbers_K: NDArray[np.int64],
    posterior_KA: Probabilities,
    observed_K: NDArray[np.int64],
    alphabet_KA: NDArray[np.uint8],
    missing_K: Flags,
    settings: Settings,
) -> Proposal:
    """What is to be written at some letters of a record, whose A possible letters are in the alphabet."""
    best_K, taken_K = chosen(posterior_KA, observed_K, settings)
    rows, best = np.flatnonzero(taken_K), best_K[taken_K]
    p = posterior_KA[rows, best]
    return Proposal(numbers_K[rows], alphabet_KA[rows, best], p, int(missing_K.sum())).sorted()


ROUNDS = 16  # in each of them a sixteenth of the places is hidden


def left_out(
    predict: Callable[[Flags], Probabilities],
    known_BS: Flags,
    seeds: Sequence[list[int]],
) -> Probabilities:
    """The predictions (B, S, ...) for every known place, each made without it; 0 elsewhere.

    `predict` is called with the places (B, S) to be hidden. Each record's places fall into disjoint random groups, by
    its own seed.
    """
    size = known_BS.shape[1]
    groups = [np.random.default_rng(seed).permutation(size) % ROUNDS for seed in seeds]
    group_BS = np.stack(groups)
    found: Probabilities | None = None
    for number in range(ROUNDS):
        hidden_BS = known_BS & (group_BS == number)
        if not hidden_BS.any():
            continue
        predicted = predict(hidden_BS)
        found = np.zeros_like(predicted) if found is None else found
        found[hidden_BS] = predicted[hidden_BS]
    return predict(known_BS) * 0 if found is None else found


def corrected(found: Probabilities, observed: np.ndarray, error_rate: float) -> Probabilities:
    """Posterior probabilities (..., A) of A letters, of which the `observed` (...) one was read: it is the true one
    with the probability 1 - `error_rate`, each other one with an equal share of the rest. An observed -1 tells
    nothing."""
    count = found.shape[-1]
    likelihood = np.where(
        np.arange(count) == observed[..., None], 1 - error_rate, error_rate / (count - 1)
    )
    likelihood = np.where(observed[..., None] < 0, 1.0, likelihood)
    return normalised(found * likelihood)


def normalised(weights: Probabilities) -> Probabilities:
    """The weights (..., A) divided by their sum; all alike where the sum is 0."""
    total = weights.sum(axis=-1, keepdims=True)
    shares: Probabilities = np.full_like(weights, 1 / weights.shape[-1])
    np.divide(weights, total, out=shares, where=total > 0)
    return shares


Shares = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Site:
    """What is written of a site that the file does not have."""

    identifier: str
    ref: str
    alts: tuple[str, ...]


class Plan(Protocol):
    """The samples of one file at the sites of a model."""

    haploid: bool  # whether a call that is a single dot is one allele
    usable: Flags  # (N,) who has anything known
    phased: Flags  # (N,) of whom it is known which allele lies on which haplotype
    there: Collection[str]  # contigs that the file has a site of
    lengths: Mapping[str, int]  # of contigs, by their normal names

    def wanted(self, contig: str) -> Mapping[int, int]:
        """The sites of a contig by their positions."""

    def alternates(self, site: int, ref: str, alts: Sequence[str]) -> tuple[str, ...] | None:
        """The alternate alleles of a record of the site, after it has been restored; None if it is about something
        else."""

    def pairs(self, site: int, alleles: Sequence[str]) -> Shares:
        """The probabilities (N, A, A) of ordered pairs of a record's alleles; what they lack to 1 is other alleles."""

    def known(self, site: int) -> Flags:
        """Who (N,) has something known there that the pairs are about."""

    def closed(self, site: int) -> Flags:
        """Whose (N,) call is not to be changed, whatever it is."""

    def site(self, number: int) -> Site:
        """How a record of the site begins."""

    @property
    def additions(self) -> Iterable[Addition]:
        """The sites that the file does not have."""
