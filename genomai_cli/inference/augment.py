"""Views of records: the random changes of `genomai_cli.augmentations`, asked for one by one.

A view is drawn from (seed, name, which of the records of that name, number of the view) and from nothing else, so it
is the same whatever other records stand in the file and in whatever order. Only a cross depends on others: on the
members of the record's group. The changes come in the order in which the contrastive objective makes them: a cross,
diffusion, substitutions, a crop, the other strand, masked letters.

Shape suffixes: B sequences (one here), L letters, S sites, A letters that a site can hold.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from genomai_cli.alphabet import BASES, Letters, as_letters, letter_set
from genomai_cli.augmentations import crop, mask, mask_outside, reverse_complement_rows, substitute
from genomai_cli.errors import UsageError
from genomai_cli.records import SequenceRecord

# Letters that are changed at once: a chromosome needs no array of numbers of its length.
_CHUNK = 1 << 20
# Letters of two bases become letters of two bases, those of three become others of three.
_KINDS = tuple((as_letters(kind)[None], letter_set(kind)) for kind in (BASES, "RYSWKM", "BDHV"))


@dataclass(frozen=True)
class Changes:
    """What is done to a record: the share of letters masked, of the length kept, of letters replaced (None: nothing
    of the kind), whether it is read on the other strand, and the time up to which it is noised by `augmented`'s
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


class Sites(Protocol):
    """What can stand at the sites of a record whose letters are those of sites."""

    def choices(self, letters_BL: Letters) -> Letters:
        """The letters (S, A) that can take the place of such letters at each site, from the left, filled up with 0."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """What the letters of records are: just DNA, or the positions of a reference of so many letters."""

    length: int | None = None

    @property
    def in_coordinates(self) -> bool:
        """Whether every record's positions mean something, so that gaps are missing letters."""
        return self.length is not None

    def sites(self, record: SequenceRecord) -> Sites | None:
        """What the record's letters are letters of; None for other sequences."""
        del record
        return None

    def holds(self, record: SequenceRecord, sites: Sites | None) -> bool:
        """Whether a letter's position in the record means something, so that what a crop leaves out is masked."""
        return sites is not None or len(record.sequence) == self.length


class Crosses(Protocol):
    """New members of the groups that records belong to."""

    def group(self, name: str) -> str:
        """The group of the record of this name; KeyError if it has none."""

    def cross(self, name: str, rng: np.random.Generator) -> Letters:
        """The letters (1, S) of a new member of the group of the record of this name."""


@dataclass(frozen=True, eq=False)
class UnchangedView:
    """A view before its changes: the letters (1, L) of its record, or of a cross, and what it is drawn by."""

    record: SequenceRecord
    letters: Letters
    number: int
    seed: tuple[int, ...]
    rng: np.random.Generator
    sites: Sites | None
    aligned: bool


Diffuser = Callable[[Iterable[UnchangedView]], Iterator[UnchangedView]]
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
    unchanged = _unchanged(records, changes, views, seed, alignment or Alignment(), crosses)
    for view in unchanged if diffuser is None else diffuser(unchanged):
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


def _unchanged(
    records: Iterable[SequenceRecord],
    changes: Changes,
    views: int,
    seed: int,
    alignment: Alignment,
    crosses: Crosses | None,
) -> Iterator[UnchangedView]:
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
                crosses.cross(record.name, rng) if crosses else as_letters(record.held)[None]
            )
            yield UnchangedView(record, letters_BL, view, seeds, rng, sites, aligned)


def _changed(
    letters_BL: Letters,
    changes: Changes,
    sites: Sites | None,
    aligned: bool,
    rng: np.random.Generator,
) -> Letters:
    if changes.mutate is not None:
        letters_BL = _mutated(letters_BL, changes.mutate, sites, rng)
    if changes.crop is not None:
        letters_BL = (mask_outside if aligned else crop)(letters_BL, changes.crop, rng)
    if changes.revcomp:
        letters_BL = reverse_complement_rows(letters_BL, np.ones(1, np.bool_))
    if changes.mask is not None:
        share = changes.mask
        letters_BL = _in_chunks(letters_BL, lambda part, _: mask(part, share, rng))
    return letters_BL


def _mutated(
    letters_BL: Letters, share: float, sites: Sites | None, rng: np.random.Generator
) -> Letters:
    """Letters replaced by others of their site, or of their kind where no sites are known."""
    if sites is not None:
        choices_SA = sites.choices(letters_BL)
        return _in_chunks(
            letters_BL,
            lambda part, at: substitute(part, share, rng, choices=choices_SA[at]),
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
        at = slice(start, start + _CHUNK)
        changed_BL[:, at] = change(letters_BL[:, at], at)
    return changed_BL


def _digest(name: str) -> int:
    """A number of 64 bits."""
    data = name.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
