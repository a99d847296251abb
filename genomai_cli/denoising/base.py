"""Restoring tokens: the protocols of models (`Denoiser`, `SiteModel`), and proposals from a posterior.

A denoiser reads the entries of a FASTA file and the samples of a VCF as its model's input, and predicts the
probabilities of tokens; which are restored or corrected then follows from `Settings` alone. The registry names the
denoiser of each kind of input.

Shape suffixes: B records, N samples, S positions or sites, K tokens of a record, V tokens that can stand there, A
alleles of a VCF record.
"""

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli import registry
from genomai_cli.alphabet import MISSING
from genomai_cli.errors import BundleError
from genomai_cli.formats.call_quality import DEFAULT_RULES, CallRules
from genomai_cli.formats.fasta import Entry
from genomai_cli.formats.vcf_replay import Reopen
from genomai_cli.formats.vcf_rewrite import Addition

if TYPE_CHECKING:
    from torch import nn

    from genomai_cli.bundles.bundle import Bundle

Probabilities = NDArray[np.float64]
Shares = NDArray[np.float32]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int64]
CORRECTED_ABOVE = 0.5  # probability: a correction is likelier than not
GROUPS = 16  # in which known positions are left out: each is a sixteenth of them
AUXILIARY_HEADS = ("denoiser", "diffusion", "masked")  # which predict masked tokens, the best first


@dataclass(frozen=True)
class Settings:
    """`confidence`: a token is restored or corrected only if it is at least so probable. With an `error_rate` known
    tokens may be corrected too: so many of them are wrong."""

    confidence: float = 0.0
    error_rate: float | None = None
    seed: int = 0

    def seeds(self, name: str) -> list[int]:
        """The seeds of a record's random numbers, which depend on the seed and its name alone."""
        return [self.seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))]


@dataclass(frozen=True)
class VcfOptions:
    """`absent_is_ref`: sites that the file does not have are homozygous reference. `only_present`: none is added.
    `rules`: which calls count."""

    settings: Settings
    absent_is_ref: bool = False
    only_present: bool = False
    rules: CallRules = DEFAULT_RULES


# --- protocols


class Denoiser(Protocol):
    """A model's way to restore tokens; `batch_size` is how many readings it takes at once."""

    name: str
    batch_size: int

    def read(self, entries: Sequence[Entry]) -> Any | None:
        """The model's input from one entry, or from the two of a sample; None if it cannot read them."""

    def restore(self, readings: Sequence[Any]) -> "list[list[Proposal] | None]":
        """For every reading a proposal an entry; None for one in which nothing is known."""

    def read_vcf(self, reopen: Reopen, options: VcfOptions) -> "VcfSamples":
        """The samples of a VCF at the model's sites; BundleError for a model that reads none."""


class SiteModel(Protocol):
    """A model's predictions for the samples of one VCF at its sites, made before anything is written."""

    reports_quality: bool  # of each site it restores, see `vcf_calls.dosage_r2`
    usable: Flags  # (N,) who has anything known
    phased: Flags  # (N,) of whom it is known which allele lies on which haplotype
    file_contigs: Collection[str]  # contigs that the file has a site of
    contig_lengths: Mapping[str, int]  # of contigs, by their normal names

    def sites(self, contig: str) -> Mapping[int, int]:
        """The sites of a contig by their positions."""

    def alternates(self, site: int, ref: str, alts: Sequence[str]) -> tuple[str, ...] | None:
        """The alternate alleles of a record of the site, after it has been restored; None for a record of another
        variant."""

    def pair_probabilities(self, site: int, alleles: Sequence[str]) -> Shares:
        """The probabilities (N, A, A) of ordered pairs of a record's alleles; what they lack to 1 is other alleles."""

    def haploid_at(self, site: int) -> Flags:
        """Which samples (N,) have one allele there, in a record that lacks the site or where their call is a dot."""

    def known(self, site: int) -> Flags:
        """Which samples (N,) have a known allele there."""

    def locked(self, site: int) -> Flags:
        """Which samples' (N,) calls must not be changed."""

    def site(self, number: int) -> "Site":
        """The first columns of a record of the site."""

    @property
    def additions(self) -> Iterable[Addition]:
        """The sites that the file does not have."""


@dataclass(frozen=True, slots=True)
class Site:
    """ID, REF and ALT of a record for a site that the file does not have."""

    identifier: str
    ref: str
    alts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class VcfSamples:
    """The samples of a VCF, and the model of its sites; None for a file that has none of the model's sites."""

    samples: list[str]
    model: SiteModel | None
    messages: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


# --- the denoiser of a bundle


def denoiser_of(
    bundle: "Bundle", settings: Settings, other_coordinates: Iterable[Any] = ()
) -> Denoiser:
    """The denoiser of a bundle's kind of input; `other_coordinates` are those of other models, whose records may be
    read too. BundleError for a model that restores nothing."""
    try:
        factory = registry.find(registry.DENOISERS, bundle.config["input"]["kind"])
    except KeyError as error:
        raise BundleError(f"the model {bundle.name!r} restores nothing") from error
    denoiser: Denoiser = factory(bundle, settings, other_coordinates)
    return denoiser


def auxiliary_head(bundle: "Bundle") -> "nn.Module":
    """The bundle's head for masked tokens; BundleError if it has none."""
    found = next((name for name in AUXILIARY_HEADS if name in bundle.auxiliary), None)
    if found is None:
        raise BundleError(
            f"the model {bundle.name!r} restores nothing: it was not trained to guess hidden letters "
            "(genomai pretrain --objective masked)"
        )
    return bundle.auxiliary[found]


# --- from a posterior to proposals


@dataclass(frozen=True, eq=False)
class Proposal:
    """New letters (K,) of a record for those at `positions` (K,), counted from 0, with their probabilities.

    `missing` counts the missing letters at positions that the model predicts.
    """

    positions: NDArray[np.int64]
    letters: NDArray[np.uint8]
    probabilities: Probabilities
    missing: int


def propose(
    positions_K: NDArray[np.int64],
    posterior_KV: Probabilities,
    observed_K: Codes,
    alphabet_KV: NDArray[np.uint8],
    missing_K: Flags,
    settings: Settings,
) -> Proposal:
    """The letters to write at some positions of a record, in the order of the record; the alphabet holds the letters
    that can stand there."""
    best_K, accepted_K = choose(posterior_KV, observed_K, settings)
    rows, best = np.flatnonzero(accepted_K), best_K[accepted_K]
    order = np.argsort(positions_K[rows], kind="stable")
    rows, best = rows[order], best[order]
    return Proposal(
        positions_K[rows], alphabet_KV[rows, best], posterior_KV[rows, best], int(missing_K.sum())
    )


def choose(
    posterior_KV: Probabilities, observed_K: Codes, settings: Settings
) -> tuple[NDArray[np.int64], Flags]:
    """The most probable token (K,) of each position, and whether it is to be written there.

    In place of an observed token only another one is written that is likelier than not.
    """
    best_K = posterior_KV.argmax(axis=1)
    probability_K = np.take_along_axis(posterior_KV, best_K[:, None], axis=1)[:, 0]
    correction_K = (best_K != observed_K) & (probability_K > CORRECTED_ABOVE)
    accepted_K = np.where(observed_K == MISSING, True, correction_K) & (
        probability_K >= settings.confidence
    )
    return best_K, accepted_K


def leave_out(
    predict: Callable[[Flags], Probabilities],
    known_BS: Flags,
    seeds: Sequence[list[int]],
) -> Probabilities:
    """The predictions (B, S, ...) for every known position, each made without it; 0 elsewhere.

    `predict` is called with the positions (B, S) to be masked: all in a few rounds, not one by one. Each record's
    positions fall into disjoint random groups, by its own seed.
    """
    size = known_BS.shape[1]
    groups = [np.random.default_rng(seed).permutation(size) % GROUPS for seed in seeds]
    group_BS = np.stack(groups)
    left_out: Probabilities | None = None
    for number in range(GROUPS):
        masked_BS = known_BS & (group_BS == number)
        if not masked_BS.any():
            continue
        predicted = predict(masked_BS)
        left_out = np.zeros_like(predicted) if left_out is None else left_out
        left_out[masked_BS] = predicted[masked_BS]
    return predict(known_BS) * 0 if left_out is None else left_out


def posterior_given_observed(
    predicted: Probabilities, observed: np.ndarray, error_rate: float
) -> Probabilities:
    """Posterior probabilities (..., V) of V tokens, of which the `observed` (...) one was read: it is the true one with
    the probability 1 - `error_rate`, each other one with an equal share of the rest. `MISSING` is no evidence."""
    count = predicted.shape[-1]
    likelihood = np.where(
        np.arange(count) == observed[..., None], 1 - error_rate, error_rate / (count - 1)
    )
    likelihood = np.where(observed[..., None] < 0, 1.0, likelihood)
    return normalised(predicted * likelihood)


def normalised(weights: Probabilities) -> Probabilities:
    """The weights (..., V) divided by their sum; all alike where the sum is 0."""
    total = weights.sum(axis=-1, keepdims=True)
    shares: Probabilities = np.full_like(weights, 1 / weights.shape[-1])
    np.divide(weights, total, out=shares, where=total > 0)
    return shares
