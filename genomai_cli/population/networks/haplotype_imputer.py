"""Reference haplotypes that impute the genotypes of others, window by window, and nothing else: no network is trained.

A window is imputed by a `KrigingReference` of its sites. Haplotypes are stored once, packed, and the calibration is
shared by all windows, so that memory for whole chromosomes is that of a window.

Shape suffixes: B individuals, N reference individuals, S sites; 2 haplotypes, 3 genotypes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import BundleError
from genomai_cli.population.networks import kriging_fit
from genomai_cli.population.networks.haplotype_copying import (
    CONTIG_GAP,
    Alleles,
    Array,
    Flags,
    Floats,
    HaplotypeReference,
    Shapes,
)
from genomai_cli.population.networks.kriging import (
    Calibration,
    KrigingReference,
    arrays_within,
    copies_of,
)
from genomai_cli.population.packed_haplotypes import SITES_PER_BLOCK, PackedHaplotypes
from genomai_cli.population.panel import Panel, coordinates

KIND = "haplotypes"  # of the network, in configs and recipes
FITTING_WINDOWS = 4  # at most, on which rates and calibration are fitted
ALLELES_PER_BYTE = 8  # of packed alleles: windows begin and end with a byte


@dataclass(frozen=True)
class ImputerConfig:
    """The maximum number of reference individuals, that of sites, and the sites of a window, of which those of the
    `overlap` are in the window before as well."""

    people: int = 4096
    sites: int = 1
    window: int = 4096
    overlap: int = 512

    def __post_init__(self) -> None:
        if self.window % ALLELES_PER_BYTE or self.overlap % (2 * ALLELES_PER_BYTE):
            raise ValueError(
                f"window is a multiple of {ALLELES_PER_BYTE}, overlap one of {2 * ALLELES_PER_BYTE}"
            )
        if not 0 <= self.overlap <= self.window // 2:
            raise ValueError("overlap is at most half of the window")

    @classmethod
    def of(cls, sizes: Mapping[str, Any]) -> "ImputerConfig":
        """The sizes by name; BundleError for others, and where they contradict each other."""
        try:
            return cls(**sizes)
        except (TypeError, ValueError) as error:
            raise BundleError(f"network {KIND!r}: {error}") from error


@dataclass(frozen=True)
class Window:
    """The sites from `begin` to before `end` are the input; the output is that from `first` to before `last`."""

    begin: int
    end: int
    first: int
    last: int

    @classmethod
    def full(cls, sites: int) -> "Window":
        """All sites at once."""
        return cls(0, sites, 0, sites)

    @property
    def input(self) -> slice:
        """The sites that are read, among all."""
        return slice(self.begin, self.end)

    @property
    def output(self) -> slice:
        """The sites that are imputed, among those of the input."""
        return slice(self.first - self.begin, self.last - self.begin)


def windows_of(sites: int, size: int, overlap: int) -> list[Window]:
    """Windows that impute every site once, each in the middle of its input."""
    step = size - overlap
    begins = range(0, max(1, sites - overlap), step)
    firsts = [0, *(begin + overlap // 2 for begin in begins[1:])]
    lasts = [*firsts[1:], sites]
    spans = zip(begins, firsts, lasts, strict=True)
    return [Window(begin, min(begin + size, sites), first, last) for begin, first, last in spans]


class HaplotypeImputer:
    """The haplotypes and the calibration of all windows; `arrays` have these `shapes`."""

    def __init__(self, config: ImputerConfig, arrays: Mapping[str, Array]) -> None:
        self.config, self.arrays = config, arrays
        self.haplotypes = HaplotypeReference(arrays_within(arrays, "haplotypes"))
        self.calibration = Calibration(arrays_within(arrays, "calibration"))
        self.windows = windows_of(config.sites, config.window, config.overlap)

    @staticmethod
    def shapes(config: ImputerConfig) -> Shapes:
        """Its arrays: all that a `KrigingReference` with haplotypes has but the copies, which follow from these."""
        shapes = KrigingReference.shapes(config.people, config.sites, haplotypes=True)
        return {name: shape for name, shape in shapes.items() if "." in name}

    @classmethod
    def fitted(
        cls, config: ImputerConfig, packed: PackedHaplotypes, position_S: NDArray[np.float64]
    ) -> "HaplotypeImputer":
        """An imputer with these haplotypes, the rates of the copying model and the calibration fitted on them.

        The packed haplotypes are not copied: alleles that are unknown are overwritten in them.
        """
        arrays: dict[str, Array] = {"haplotypes.packed": packed.ones}
        for name, (shape, kind) in cls.shapes(config).items():
            arrays.setdefault(name, np.zeros(shape, kind))
        imputer = cls(config, arrays)
        for begin in range(0, config.sites, SITES_PER_BLOCK):
            sites = slice(begin, min(begin + SITES_PER_BLOCK, config.sites))
            alleles_N2S = packed.alleles(sites)
            imputer.haplotypes.part(sites.start, sites.stop).set_haplotypes(
                alleles_N2S, position_S[sites]
            )
            imputer.calibration.part(sites).set_frequencies(copies_of(alleles_N2S))
        imputer.haplotypes.position[...] = position_S - position_S[0]
        windows = imputer._fitting_windows()
        kriging_fit.fit([(imputer.kriging_reference(w), packed.alleles(w.input)) for w in windows])
        return imputer

    def losses(self, packed: PackedHaplotypes) -> Mapping[str, tuple[float, float]]:
        """The mean nats of hidden genotypes, with phase and without, and those of the genotypes' frequencies: of
        reference individuals, each left out in turn, on whom the calibration was not fitted."""
        window = self._fitting_windows()[0]
        return kriging_fit.losses(self.kriging_reference(window), packed.alleles(window.input))

    def kriging_reference(self, window: Window) -> KrigingReference:
        """The kriging of a window, on views of the haplotypes and the calibration of all."""
        haplotypes = self.haplotypes.part(window.begin, window.end)
        alleles_HS = haplotypes.alleles()
        copies_NS = (alleles_HS[::2] + alleles_HS[1::2]).astype(np.int8)
        return KrigingReference(copies_NS, haplotypes, self.calibration.part(window.input))

    def _fitting_windows(self) -> Sequence[Window]:
        """Evenly spaced windows that stand for all."""
        count = min(FITTING_WINDOWS, len(self.windows))
        chosen = np.linspace(0, len(self.windows) - 1, count + 2)[1:-1].round().astype(int)
        return [self.windows[number] for number in chosen]


def evenly_spaced(individuals: int, count: int) -> NDArray[np.int64]:
    """The indices of `count` evenly spaced individuals, of all if there are no more."""
    if count >= individuals:
        return np.arange(individuals)
    return np.linspace(0, individuals - 1, count).astype(np.int64)


def allele_probabilities(
    kriging: KrigingReference,
    alleles_B2S: Alleles,
    phased_BS: Flags,
    likelihoods_BS3: Floats | None = None,
    predict_unordered: Callable[[Alleles, Flags], Array] | None = None,
) -> Array:
    """The probability (B, 2, S) of allele 1 on each haplotype, given the alleles 0 and 1 among alleles (B, 2, S).

    Unphased heterozygotes have no order of alleles; of unphased genotypes half of which is missing it is not known
    which haplotype the other half lies on. Two haplotypes are independent given what is known, as far as genotypes
    allow it; where their order is arbitrary, the first is the one with the higher probability of allele 1.
    Likelihoods of genotypes are used where an allele is unknown. For kriging without haplotypes,
    `predict_unordered` gives the probabilities (B, 2, S) that order them, from the alleles and where phase is unknown.
    """
    known_BS = (alleles_B2S >= 0).all(axis=1)
    alleles_B2S = _without_unplaced(alleles_B2S, phased_BS)
    unordered_BS = ~phased_BS & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
    genotypes_BS3, pairs_BS4 = kriging.genotypes(
        alleles_B2S, ~unordered_BS.any(axis=1), likelihoods_BS3
    )
    if pairs_BS4 is None:
        assert predict_unordered is not None
        unpaired_B2S = predict_unordered(alleles_B2S, unordered_BS)
    else:
        pairs_BS4 = pairs_BS4.astype(np.float64)
        marginals = [pairs_BS4[..., 2:].sum(axis=2), pairs_BS4[..., 1::2].sum(axis=2)]
        unpaired_B2S = np.stack(marginals, axis=1)
    first_BS = unpaired_B2S[:, 0] >= unpaired_B2S[:, 1]
    paired_B2S = haplotypes_of(genotypes_BS3.astype(np.float64), first_BS)
    half_known_B = ((alleles_B2S >= 0).any(axis=1) & ~known_BS).sum(axis=1)
    use_pairs_B = known_BS.sum(axis=1) >= half_known_B
    return np.where(use_pairs_B[:, None, None], paired_B2S, unpaired_B2S)


def _without_unplaced(alleles_B2S: Alleles, phased_BS: Flags) -> Alleles:
    """The alleles, in individuals with phase without those of unphased genotypes half of which is missing: on the wrong
    haplotype they would mislead more than they tell."""
    known_BS = (alleles_B2S >= 0).all(axis=1)
    differing_BS = alleles_B2S[:, 0] != alleles_B2S[:, 1]
    heterozygous_BS, unplaced_BS = known_BS & differing_BS, ~known_BS & differing_BS & ~phased_BS
    ordered_B = (heterozygous_BS & phased_BS).any(axis=1)
    ordered_B &= ~(heterozygous_BS & ~phased_BS).any(axis=1)
    return np.where((unplaced_BS & ordered_B[:, None])[:, None], np.int8(-1), alleles_B2S)


def haplotypes_of(genotypes_BS3: Array, first_BS: Flags) -> Array:
    """The probabilities (B, 2, S) of allele 1 on two independent haplotypes that make genotypes of these probabilities.

    Allele 1 is likelier on the first haplotype where `first_BS`. Where no such pair exists, as heterozygotes are too
    rare, the haplotypes are equal and have the right mean.
    """
    copies_BS = genotypes_BS3[..., 1] + 2 * genotypes_BS3[..., 2]
    difference_BS = np.sqrt(np.maximum(copies_BS**2 - 4 * genotypes_BS3[..., 2], 0))
    larger_BS, smaller_BS = (copies_BS + difference_BS) / 2, (copies_BS - difference_BS) / 2
    one_BS = np.where(first_BS, larger_BS, smaller_BS)
    haplotypes_B2S: Array = np.clip(np.stack([one_BS, copies_BS - one_BS], axis=1), 0, 1)
    return haplotypes_B2S


def linear_positions(panel: Panel) -> NDArray[np.float64]:
    """The sites' positions (S,) on one line, in bases, with contigs far apart."""
    contig_S, position_S = coordinates(panel)
    step_S = np.abs(np.diff(position_S, prepend=position_S[:1])).astype(np.float64)
    step_S[1:][np.diff(contig_S) != 0] = CONTIG_GAP
    return step_S.cumsum()
