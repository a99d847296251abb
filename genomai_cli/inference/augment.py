"""Views of records: the random changes of `genomai_cli.augmentations`, asked for one by one.

A view is drawn from (seed, name, which of the records of that name, number of the view) and from nothing else, so it
is the same whatever other records stand in the file and in whatever order. Only a cross depends on others: on the
members of the record's group. The changes come in the order in which the contrastive objective makes them: a cross,
diffusion, substitutions, a crop, the other strand, hidden letters.

Shape suffixes: B sequences (one here), L letters, S sites, A letters that a place can hold.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genomai_cli.alphabet import BASES, Letters, as_letters, letter_set
from genomai_cli.augmentations import Pool, crop, hide_outside, mask, substitute, turn
from genomai_cli.errors import UsageError
from genomai_cli.population.barcode import (
    BarcodeSites,
    is_haplotype,
    join,
    require_sites,
    resolve,
    sites_of,
)
from genomai_cli.records import SequenceRecord

_CHUNK = (
    1 << 20
)  # letters that are changed at once: a chromosome needs no array of numbers of its length
# Letters of two bases become letters of two bases, those of three become others of three.
_KINDS = tuple((as_letters(kind)[None], letter_set(kind)) for kind in (BASES, "RYSWKM", "BDHV"))


@dataclass(frozen=True)
class Changes:
    """What is done to a record: the share of letters hidden, of the length kept, of letters replaced (None: nothing
    of the kind), whether it is read on the other strand, and the time up to which it is blurred by `augmented`'s
    diffuser. UsageError for a share or a time outside of 0 to 1."""

    mask: float | None = None
    crop: float | None = None
    mutate: float | None = None
    revcomp: bool = False
    diffuse: float | None = None

    def __post_init__(self) -> None:
        for name, share in self._shares.items():
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"--{name} {share:g}: a share is a number from 0 to 1")

    @property
    def _shares(self) -> dict[str, float | None]:
        return {
            "diffuse": self.diffuse,
            "mask": self.mask,
            "crop": self.crop,
            "mutate": self.mutate,
        }

    def __str__(self) -> str:
        words = [f"{name}={share:g}" for name, share in self._shares.items() if share is not None]
        return " ".join([*words, *(["revcomp"] if self.revcomp else [])])


@dataclass(frozen=True, eq=False)
class Alignment:
    """What the letters of records are: those of panels' sites, of a reference's positions, or just DNA.

    A record that fits one of `panels` is a barcode of it; if `required`, it has to have the length of the only one.
    `length` is that of the reference in whose coordinates all records are.
    """

    panels: Sequence[BarcodeSites] = ()
    required: bool = False
    length: int | None = None

    def sites(self, record: SequenceRecord) -> BarcodeSites | None:
        """The sites of a barcode, None for other sequences; InputError for one that had to be a barcode."""
        if self.required:
            require_sites(record, len(self.panels[0]))
            return self.panels[0]
        return sites_of(as_letters(record.sequence), self.panels)

    def holds(self, record: SequenceRecord, sites: BarcodeSites | None) -> bool:
        """Whether a letter's place in the record means something, so that what a crop leaves out is hidden."""
        return sites is not None or len(record.sequence) == self.length


class Crosses:
    """New members of the groups that records belong to, each site from another member of the group.

    They are people, or haplotypes if no record has a letter of two bases. A missing letter may be drawn like others.
    """

    def __init__(self, records: Iterable[SequenceRecord], group_of: Mapping[str, str]) -> None:
        # In an order of their own, so that the order in the file does not matter.
        members = sorted(records, key=lambda record: (record.name, record.sequence))
        groups = [group_of[record.name] for record in members]
        names, numbers = np.unique(groups, return_inverse=True)
        letters_BS = np.concatenate([as_letters(record.sequence)[None] for record in members])
        self._number = {str(name): number for number, name in enumerate(names)}
        self._group_of = group_of
        self._pool = Pool.of(resolve(letters_BS), numbers)
        self._haplotypes = is_haplotype(letters_BS)

    def group(self, name: str) -> str:
        """The group of the record of this name; KeyError if it has none."""
        return self._group_of[name]

    def cross(self, name: str, rng: np.random.Generator) -> Letters:
        """A new member (1, S) of the group of the record of this name."""
        number = np.array([self._number[self.group(name)]])
        first = self._pool.cross(number, rng)
        return first if self._haplotypes else join(first, self._pool.cross(number, rng))


def known_name(name: str, known: Container[str]) -> str | None:
    """The name under which a record's labels stand: its own, or that of the person of a haplotype NAME_A or NAME_B."""
    person = name[:-2] if name.endswith(("_A", "_B")) else name
    return next((found for found in (name, person) if found in known), None)


def groups_of(names: Iterable[str], labels: Mapping[str, str]) -> dict[str, str]:
    """The label of every name that has one."""
    known = {name: known_name(name, labels) for name in names}
    return {name: labels[found] for name, found in known.items() if found is not None}


@dataclass(frozen=True, eq=False)
class Begun:
    """A view before its changes: the letters (1, L) of its record, or of a cross, and what it is drawn by."""

    record: SequenceRecord
    letters: Letters
    number: int
    seed: tuple[int, ...]
    rng: np.random.Generator
    sites: BarcodeSites | None
    aligned: bool


Diffuser = Callable[[Iterable[Begun]], Iterator[Begun]]
"""Views with other letters, in their order."""


def augmented(
    records: Iterable[SequenceRecord],
    changes: Changes,
    *,
    views: int = 1,
    seed: int = 0,
    alignment: Alignment | None = None,
    crosses: Crosses | None = None,
    diffuser: Diffuser | None = None,
) -> Iterator[SequenceRecord]:
    """The views of every record, NAME_view1 to NAME_viewN, with what was done as their description.

    Raises UsageError for the other strand of a barcode, which has none. A few dozen bytes are kept of every record, to
    tell those of one name apart.
    """
    begun = _begun(records, changes, views, seed, alignment or Alignment(), crosses)
    for view in begun if diffuser is None else diffuser(begun):
        words = [str(changes), f"seed={seed}"]
        if crosses is not None:
            words.insert(0, f"cross={crosses.group(view.record.name)}")
        changed_BL = _changed(view.letters, changes, view.sites, view.aligned, view.rng)
        yield replace(
            view.record,
            name=f"{view.record.name}_view{view.number}",
            sequence=changed_BL.tobytes().decode("ascii"),
            description=" ".join(filter(None, words)),
        )


def _begun(
    records: Iterable[SequenceRecord],
    changes: Changes,
    views: int,
    seed: int,
    alignment: Alignment,
    crosses: Crosses | None,
) -> Iterator[Begun]:
    seen: Counter[int] = Counter()
    for record in records:
        sites = alignment.sites(record)
        aligned = alignment.holds(record, sites)
        if aligned and changes.revcomp:
            raise UsageError(
                f"--revcomp: {record.name} is aligned to sites, which have no other strand"
            )
        digest = _digest(record.name)
        seen[digest] += 1
        for view in range(1, views + 1):
            seeds = (seed, digest, seen[digest], view)
            rng = np.random.default_rng(seeds)
            letters_BL = (
                crosses.cross(record.name, rng) if crosses else as_letters(record.sequence)[None]
            )
            yield Begun(record, letters_BL, view, seeds, rng, sites, aligned)


def _changed(
    letters_BL: Letters,
    changes: Changes,
    sites: BarcodeSites | None,
    aligned: bool,
    rng: np.random.Generator,
) -> Letters:
    if changes.mutate is not None:
        letters_BL = _mutated(letters_BL, changes.mutate, sites, rng)
    if changes.crop is not None:
        letters_BL = (hide_outside if aligned else crop)(letters_BL, changes.crop, rng)
    if changes.revcomp:
        letters_BL = turn(letters_BL, np.ones(1, np.bool_))
    if changes.mask is not None:
        share = changes.mask
        letters_BL = _in_chunks(letters_BL, lambda part, _: mask(part, share, rng))
    return letters_BL


def _mutated(
    letters_BL: Letters, share: float, sites: BarcodeSites | None, rng: np.random.Generator
) -> Letters:
    """Letters replaced by others of their site, or of their kind where no sites are known."""
    if sites is not None:
        choices_SA = sites.alleles if is_haplotype(letters_BL) else sites.genotypes
        return _in_chunks(
            letters_BL,
            lambda part, place: substitute(part, share, rng, choices=choices_SA[place]),
        )

    def one_of_its_kind(part_BL: Letters, _: slice) -> Letters:
        for kind_1A, is_of_kind in _KINDS:
            if is_of_kind[part_BL].any():
                part_BL = substitute(part_BL, share, rng, choices=kind_1A)
        return part_BL

    return _in_chunks(letters_BL, one_of_its_kind)


def _in_chunks(letters_BL: Letters, change: Callable[[Letters, slice], Letters]) -> Letters:
    """The letters, every stretch of them changed by itself."""
    changed_BL = letters_BL.copy()
    for start in range(0, letters_BL.shape[1], _CHUNK):
        place = slice(start, start + _CHUNK)
        changed_BL[:, place] = change(letters_BL[:, place], place)
    return changed_BL


def _digest(name: str) -> int:
    """A number of 64 bits."""
    data = name.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
