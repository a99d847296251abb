"""Reference haplotypes that restore the genotypes of others, window by window, and nothing else: no network is trained.

What is told of a window is that of a `KrigingReference` of its sites. Haplotypes are kept once, packed, and the
calibration is one for all windows, so that memory for whole chromosomes is that of a window.

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
    APART,
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
    copies_of,
    within,
)
from genomai_cli.population.packed_haplotypes import SITES_PER_BLOCK, PackedHaplotypes
from genomai_cli.population.panel import Panel, coordinates

KIND = "haplotypes"  # of the network, in configs and recipes
FITTED = 4  # windows, at most, that rates and calibration are fitted on
LETTERS = 8  # alleles of a packed byte: windows begin and end with one


@dataclass(frozen=True)
class ImputerConfig:
    """How many individuals are kept, at most, of how many sites, and how many sites are read at once, of which those of
    the `overlap` are read with the window before as well."""

    people: int = 4096
    sites: int = 1
    window: int = 4096
    overlap: int = 512

    def __post_init__(self) -> None:
        if self.window % LETTERS or self.overlap % (2 * LETTERS):
            raise ValueError(f"window is a multiple of {LETTERS}, overlap one of {2 * LETTERS}")
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
    """The sites from `begin` to before `end` are read together; what is told is taken from `first` to before `last`."""

    begin: int
    end: int
    first: int
    last: int

    @classmethod
    def whole(cls, sites: int) -> "Window":
        """All sites at once."""
        return cls(0, sites, 0, sites)

    @property
    def read(self) -> slice:
        """The sites that are read."""
        return slice(self.begin, self.end)

    @property
    def told(self) -> slice:
        """Which of the sites that are read (not of all) are told."""
        return slice(self.first - self.begin, self.last - self.begin)


def windows_of(sites: int, size: int, overlap: int) -> list[Window]:
    """Windows that tell every site once, each in the middle of what is read."""
    step = size - overlap
    begins = range(0, max(1, sites - overlap), step)
    firsts = [0, *(begin + overlap // 2 for begin in begins[1:])]
    lasts = [*firsts[1:], sites]
    spans = zip(begins, firsts, lasts, strict=True)
    return [Window(begin, min(begin + size, sites), first, last) for begin, first, last in spans]


class HaplotypeImputer:
    """The haplotypes and the calibration of all windows; `arrays` are as `shapes` says."""

    def __init__(self, config: ImputerConfig, arrays: Mapping[str, Array]) -> None:
        self.config, self.arrays = config, arrays
        self.haplotypes = HaplotypeReference(within(arrays, "haplotypes"))
        self.calibration = Calibration(within(arrays, "calibration"))
        self.windows = windows_of(config.sites, config.window, config.overlap)

    @staticmethod
    def shapes(config: ImputerConfig) -> Shapes:
        """What it is made of: all that a `KrigingReference` with haplotypes has but the copies, which follow."""
        shapes = KrigingReference.shapes(config.people, config.sites, haplotypes=True)
        return {name: told for name, told in shapes.items() if "." in name}

    @classmethod
    def learnt(
        cls, config: ImputerConfig, kept: PackedHaplotypes, place_S: NDArray[np.float64]
    ) -> "HaplotypeImputer":
        """One that holds these haplotypes, with the rates of the copying model and the calibration fitted on them.

        The packed ones become its own: alleles that are unknown are overwritten there.
        """
        arrays: dict[str, Array] = {"haplotypes.packed": kept.ones}
        for name, (shape, kind) in cls.shapes(config).items():
            arrays.setdefault(name, np.zeros(shape, kind))
        made = cls(config, arrays)
        for begin in range(0, config.sites, SITES_PER_BLOCK):
            some = slice(begin, min(begin + SITES_PER_BLOCK, config.sites))
            alleles_N2S = kept.alleles(some)
            made.haplotypes.part(some.start, some.stop).learn(alleles_N2S, place_S[some])
            made.calibration.part(some).learn(copies_of(alleles_N2S))
        made.haplotypes.place[...] = place_S - place_S[0]
        kriging_fit.fit([(made.library(w), kept.alleles(w.read)) for w in made._fitted()])
        return made

    def losses(self, kept: PackedHaplotypes) -> Mapping[str, tuple[float, float]]:
        """For individuals with phase and without, the nats a hidden genotype, and those of how frequent genotypes are:
        of some of the individuals that it holds, each left out in turn.

        They were not among those whom the calibration was fitted on.
        """
        window = self._fitted()[0]
        return kriging_fit.losses(self.library(window), kept.alleles(window.read))

    def library(self, window: Window) -> KrigingReference:
        """What restores the genotypes of a window, on the haplotypes and the calibration of all."""
        haplotypes = self.haplotypes.part(window.begin, window.end)
        alleles_HS = haplotypes.alleles()
        copies_NS = (alleles_HS[::2] + alleles_HS[1::2]).astype(np.int8)
        return KrigingReference(copies_NS, haplotypes, self.calibration.part(window.read))

    def _fitted(self) -> Sequence[Window]:
        """Windows that stand for all."""
        count = min(FITTED, len(self.windows))
        chosen = np.linspace(0, len(self.windows) - 1, count + 2)[1:-1].round().astype(int)
        return [self.windows[number] for number in chosen]


def evenly(individuals: int, people: int) -> NDArray[np.int64]:
    """The numbers of so many of the individuals, evenly chosen, of all if there are no more."""
    if people >= individuals:
        return np.arange(individuals)
    return np.linspace(0, individuals - 1, people).astype(np.int64)


def restored(
    library: KrigingReference,
    alleles_B2S: Alleles,
    phased_BS: Flags,
    likelihoods_BS3: Floats | None = None,
    alone: Callable[[Alleles, Flags], Array] | None = None,
) -> Array:
    """The probability (B, 2, S) of allele 1 on each haplotype, given the alleles 0 and 1 among alleles (B, 2, S).

    Heterozygotes that are not phased may stand either way round. Two haplotypes are independent given what is known, as
    far as genotypes allow it; where it does not matter which is which, the first has allele 1 rather. Likelihoods of
    genotypes count where the alleles are unknown. Of a library without haplotypes `alone` tells them, from the alleles
    and where phase is unknown.
    """
    known_BS = (alleles_B2S >= 0).all(axis=1)
    unordered_BS = known_BS & ~phased_BS & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
    genotypes_BS3, pairs_BS4 = library.genotypes(
        alleles_B2S, ~unordered_BS.any(axis=1), likelihoods_BS3
    )
    if pairs_BS4 is None:
        assert alone is not None
        alone_B2S = alone(alleles_B2S, unordered_BS)
    else:
        pairs_BS4 = pairs_BS4.astype(np.float64)
        either = [pairs_BS4[..., 2:].sum(axis=2), pairs_BS4[..., 1::2].sum(axis=2)]
        alone_B2S = np.stack(either, axis=1)
    first_BS = alone_B2S[:, 0] >= alone_B2S[:, 1]
    paired_B2S = haplotypes_of(genotypes_BS3.astype(np.float64), first_BS)
    halves_B = ((alleles_B2S >= 0).any(axis=1) & ~known_BS).sum(axis=1)
    by_library_B = known_BS.sum(axis=1) >= halves_B
    return np.where(by_library_B[:, None, None], paired_B2S, alone_B2S)


def haplotypes_of(genotypes_BS3: Array, first_BS: Flags) -> Array:
    """The probabilities (B, 2, S) of allele 1 on two independent haplotypes that make genotypes of these probabilities.

    Allele 1 is likelier on haplotype A where `first_BS`. Where there are none such, as heterozygotes are too rare, the
    haplotypes are equal and have the right mean.
    """
    copies_BS = genotypes_BS3[..., 1] + 2 * genotypes_BS3[..., 2]
    apart_BS = np.sqrt(np.maximum(copies_BS**2 - 4 * genotypes_BS3[..., 2], 0))
    more_BS, less_BS = (copies_BS + apart_BS) / 2, (copies_BS - apart_BS) / 2
    one_BS = np.where(first_BS, more_BS, less_BS)
    found_B2S: Array = np.clip(np.stack([one_BS, copies_BS - one_BS], axis=1), 0, 1)
    return found_B2S


def places(panel: Panel) -> NDArray[np.float64]:
    """Where the sites lie (S,), in bases, contigs far apart."""
    contig_S, position_S = coordinates(panel)
    step_S = np.abs(np.diff(position_S, prepend=position_S[:1])).astype(np.float64)
    step_S[1:][np.diff(contig_S) != 0] = APART
    return step_S.cumsum()
