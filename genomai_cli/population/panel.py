"""A panel: an ordered list of biallelic SNP sites with their positions in both genome builds.

Besides its file, measures of its sites: how informative each is about groups of samples (`informativeness`), and which
lie near each other on a chromosome and may be inherited together (`linked_pairs`).

Shape suffixes: S sites, E ordered pairs of sites.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES
from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.outputs import atomic_text
from genomai_cli.formats.tables import Table, parse_table, table_bytes

GRCH37, GRCH38 = "GRCh37", "GRCh38"
BUILDS = (GRCH37, GRCH38)
_POSITION_COLUMNS = {GRCH37: "pos_grch37", GRCH38: "pos_grch38"}
_COLUMNS = ("chrom", "pos_grch37", "pos_grch38", "rsid", "ref", "alt", "panel")
_T = TypeVar("_T")
_BASES = frozenset(BASES)


@dataclass(frozen=True, eq=False)
class Panel:
    """Sites in the order of a barcode's letters; two panels are the same if their digests are.

    `positions` holds for each build an int64 array, 0 where the site has no position in that build.
    `tags` are the published panels that a site comes from.
    """

    full_genomes: ClassVar[Literal[False]] = False  # a sample of a VCF is read at the sites alone

    name: str
    chrom: tuple[str, ...]
    positions: Mapping[str, NDArray[np.int64]]
    rsid: tuple[str, ...]
    ref: tuple[str, ...]
    alt: tuple[str, ...]
    tags: tuple[str, ...]

    @classmethod
    def read(cls, path: str | Path, *, name: str | None = None) -> "Panel":
        """The panel in a TSV file with a header line, as `write` makes it."""
        return _parsed(table_bytes(path), str(path), name or Path(path).name.split(".")[0])

    def write(self, path: str | Path) -> None:
        """Write the TSV file that `read` reads."""
        with atomic_text(path) as handle:
            handle.writelines(self._lines())

    def __len__(self) -> int:
        return len(self.chrom)

    @property
    def sha256(self) -> str:
        """A digest of the sites (not of the panel's name)."""
        return hashlib.sha256("".join(self._lines()).encode()).hexdigest()

    @cached_property
    def ref_codes(self) -> NDArray[np.uint8]:
        """ASCII codes of the reference letters."""
        return np.frombuffer("".join(self.ref).encode(), np.uint8)

    @cached_property
    def alt_codes(self) -> NDArray[np.uint8]:
        """ASCII codes of the alternate letters."""
        return np.frombuffer("".join(self.alt).encode(), np.uint8)

    @cached_property
    def build(self) -> str:
        """The build that has the more of the positions, GRCh37 where both have as many."""
        return max(BUILDS, key=lambda name: int((self.positions[name] > 0).sum()))

    @cached_property
    def shown_positions(self) -> NDArray[np.int64]:
        """The position (sites,) by which each site is named and drawn: that in `build`, or else in the other one."""
        other = next(name for name in BUILDS if name != self.build)
        positions = self.positions[self.build]
        shown: NDArray[np.int64] = np.where(positions > 0, positions, self.positions[other])
        return shown

    @cached_property
    def loci(self) -> tuple[str, ...]:
        """The name CHROM:POS (sites,) of each site, by its shown position."""
        positions = self.shown_positions.tolist()
        return tuple(f"{c}:{p}" for c, p in zip(self.chrom, positions, strict=True))

    def subset(self, indices: Sequence[int] | NDArray[np.int64], *, name: str = "") -> "Panel":
        """The sites at the given indices, in the given order."""
        chosen = np.asarray(indices, np.int64)
        positions = {build: sites[chosen] for build, sites in self.positions.items()}
        columns = (self.rsid, self.ref, self.alt, self.tags)
        subset = [tuple(column[i] for i in chosen) for column in (self.chrom, *columns)]
        return Panel(name or self.name, subset[0], positions, *subset[1:])

    @cached_property
    def _site_keys(self) -> list[tuple[str, int, int, frozenset[str]]]:
        """Keys by which sites are found in another panel: position in both builds, and the two alleles in either
        order."""
        columns = (self.chrom, self.positions[GRCH37].tolist(), self.positions[GRCH38].tolist())
        alleles = [frozenset(pair) for pair in zip(self.ref, self.alt, strict=True)]
        return list(zip(*columns, alleles, strict=True))

    def indices_in(self, other: "Panel") -> NDArray[np.int64]:
        """The index of each site (sites,) in another panel, -1 for those that it lacks."""
        numbers = {key: index for index, key in enumerate(other._site_keys)}
        return np.array([numbers.get(key, -1) for key in self._site_keys], np.int64)

    def by_tag(self) -> dict[str, NDArray[np.bool_]]:
        """Whether each site (sites,) comes from a published panel, by the panel's name, in alphabetical order."""
        tag_sets = [frozenset(tags.split(",")) for tags in self.tags]
        names = sorted(frozenset().union(*tag_sets))
        return {name: np.array([name in tags for tags in tag_sets]) for name in names}

    def index(self, build: str) -> dict[tuple[str, int], int]:
        """The number of the site at (contig, position) in one build."""
        coordinates = zip(self.chrom, self.positions[build].tolist(), strict=True)
        return {
            coordinate: number for number, coordinate in enumerate(coordinates) if coordinate[1]
        }

    def _lines(self) -> Iterator[str]:
        yield "\t".join(_COLUMNS) + "\n"
        positions = [[str(p) if p else "." for p in self.positions[b].tolist()] for b in BUILDS]
        columns = (self.chrom, *positions, self.rsid, self.ref, self.alt, self.tags)
        for row in zip(*columns, strict=True):
            yield "\t".join(row) + "\n"


@lru_cache(maxsize=8)  # large panels of installed models take a tenth of a second each
def _parsed(data: bytes, path: str, name: str) -> Panel:
    return _panel_of(parse_table(data, path), name)


def _panel_of(table: Table, name: str) -> Panel:
    for column in ("chrom", "ref", "alt"):
        table.column(column)  # complains where it is missing
    if not any(column in table.columns for column in _POSITION_COLUMNS.values()):
        message = "a panel needs a column pos_grch37 or pos_grch38"
        raise InputError(message, path=table.path, line=1)
    chrom = tuple(normal_contig(contig) for contig in table.column("chrom"))
    positions = {build: _positions(table, column) for build, column in _POSITION_COLUMNS.items()}
    ref, alt = (_bases(table, column) for column in ("ref", "alt"))
    panel = Panel(name, chrom, positions, _texts(table, "rsid"), ref, alt, _texts(table, "panel"))
    _check_sites(panel, table)
    return panel


def _positions(table: Table, column: str) -> NDArray[np.int64]:
    if column not in table.columns:
        return np.zeros(len(table), np.int64)
    values = _each(table, column, _position)
    return np.array(values, np.int64).reshape(len(table))


def _position(text: str) -> int:
    if text in ("", ".", "0"):
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise ValueError(f"'{text}' is not a position")
    return int(text)


def _bases(table: Table, column: str) -> tuple[str, ...]:
    return tuple(_each(table, column, _base))


def _base(text: str) -> str:
    if text.upper() not in _BASES:
        raise ValueError(f"'{text}' is not one of A C G T: a panel holds SNPs only")
    return text.upper()


def _each(table: Table, column: str, convert: Callable[[str], _T]) -> list[_T]:
    """A column's values converted; what cannot be is reported with its line."""
    values = []
    for line, text in zip(table.lines, table.column(column), strict=True):
        try:
            values.append(convert(text))
        except ValueError as error:
            raise InputError(str(error), path=table.path, line=line) from None
    return values


def _texts(table: Table, column: str) -> tuple[str, ...]:
    if column not in table.columns:
        return (".",) * len(table)
    return tuple(text or "." for text in table.column(column))


def _check_sites(panel: Panel, table: Table) -> None:
    if not len(panel):
        raise InputError("the panel has no sites", path=table.path)
    for row, (ref, alt) in enumerate(zip(panel.ref, panel.alt, strict=True)):
        if ref == alt:
            raise InputError(f"ref and alt are both {ref}", path=table.path, line=table.lines[row])
    for build in BUILDS:
        _check_duplicates(panel, build, table)
    unplaced = np.flatnonzero(panel.positions[GRCH37] + panel.positions[GRCH38] == 0)
    if len(unplaced):
        line = table.lines[unplaced[0]]
        raise InputError("a site without a position in any build", path=table.path, line=line)


def _check_duplicates(panel: Panel, build: str, table: Table) -> None:
    seen: dict[tuple[str, int], int] = {}
    for row, site in enumerate(zip(panel.chrom, panel.positions[build].tolist(), strict=True)):
        if site[1] and site in seen:
            message = f"the site of line {table.lines[seen[site]]} again ({build})"
            raise InputError(message, path=table.path, line=table.lines[row])
        seen[site] = row


def informativeness(copies: NDArray[np.int8], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """I_n of every site, in nats: the mutual information of an allele and its group.

    `copies` (samples, sites) counts alternate alleles, -1 where missing; `groups` (samples,) numbers the
    groups from 0, all of them taken as equally frequent; one without a known allele at a site tells nothing there.
    Source: Rosenberg et al. 2003, Am J Hum Genet 73:1402, equation 4.
    """
    members = [copies[groups == g] for g in np.unique(groups)]
    known_GS = np.stack([(of_group >= 0).sum(axis=0) for of_group in members])
    frequency_GS = np.stack([_frequency(of_group) for of_group in members])
    return allele_information(with_mean_of_others(frequency_GS, known_GS))


def with_mean_of_others(
    frequency_GS: NDArray[np.float64], known_GS: NDArray[Any]
) -> NDArray[np.float64]:
    """Allele frequencies of groups; where a group has no known allele (`known_GS` is 0), as of an array that lacks the
    site, the mean of the groups that have, and 0.5 where none has."""
    seen_GS = known_GS > 0
    if seen_GS.all():
        return frequency_GS
    groups_S = seen_GS.sum(axis=0)
    sum_S = np.where(seen_GS, frequency_GS, 0).sum(axis=0)
    mean_S = np.where(groups_S > 0, sum_S / np.maximum(groups_S, 1), 0.5)
    filled: NDArray[np.float64] = np.where(seen_GS, frequency_GS, mean_S)
    return filled


def smoothed_frequencies(
    alternate_GS: NDArray[np.float64], total_GS: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Allele frequencies (groups, sites), never 0 or 1, from the counts of alternate alleles and of all alleles: half a
    count is added to either allele (Jeffreys' prior); where a group has none, `with_mean_of_others`."""
    return with_mean_of_others((alternate_GS + 0.5) / (total_GS + 1), total_GS)


def allele_information(frequency_GS: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same (S,) from the groups' frequencies of the alternate allele."""
    within_S: NDArray[np.float64] = _entropy(frequency_GS).mean(axis=0)
    return _entropy(frequency_GS.mean(axis=0)) - within_S


def most_informative(
    copies: NDArray[np.int8], groups: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """The indices of the `count` sites with the highest I_n, in panel order."""
    best = np.argsort(-informativeness(copies, groups), kind="stable")[:count]
    return np.sort(best)


def _frequency(copies: NDArray[np.int8]) -> NDArray[np.float64]:
    known = copies >= 0
    alternate = np.where(known, copies, 0).sum(axis=0)
    frequency: NDArray[np.float64] = alternate / np.maximum(2 * known.sum(axis=0), 1)
    return frequency


def _entropy(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(frequency, 1e-12, 1 - 1e-12)
    entropy: NDArray[np.float64] = -inside * np.log(inside) - (1 - inside) * np.log(1 - inside)
    return entropy


# Base pairs, beyond which two sites show no linkage within a population.
LINKAGE_DISTANCE = 2_000_000


def coordinates(panel: Panel) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The number of each site's chromosome (S,) and its position there (S,).

    Positions are those of the panel's `build`; a site without one there is on a chromosome of its own.
    """
    position_S = panel.positions[panel.build].astype(np.float64)
    _, contig_S = np.unique(np.array(panel.chrom), return_inverse=True)
    contig_S = contig_S.astype(np.int64)
    unplaced = np.flatnonzero(position_S == 0)
    contig_S[unplaced] = contig_S.max() + 1 + np.arange(len(unplaced))
    return contig_S, position_S


def linked_pairs(panel: Panel, max_distance: float = LINKAGE_DISTANCE) -> NDArray[np.int64]:
    """All ordered pairs (2, E) of different sites less than `max_distance` base pairs apart."""
    contig_S, position_S = coordinates(panel)
    near_SS = np.abs(position_S[:, None] - position_S) < max_distance
    near_SS &= contig_S[:, None] == contig_S
    np.fill_diagonal(near_SS, False)
    return np.stack(np.nonzero(near_SS)).astype(np.int64)
