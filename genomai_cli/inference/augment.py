"""Views of records: the random changes of `genomai_cli.augmentations`, each chosen by an option.

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
_CHUNK_LETTERS = 1 << 20
# Letters of two bases become letters of two bases, those of three become others of three.
_LETTER_KINDS = tuple(
    (as_letters(kind)[None], letter_set(kind)) for kind in (BASES, "RYSWKM", "BDHV")
)


@dataclass(frozen=True)
class Changes:
    """The changes made to a record: the share of letters masked, of the length retained, of letters replaced (None:
    nothing of the kind), whether it is read on the other strand, and the time up to which it is noised by `augmented`'s
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
        options = [f"{name}={share:g}" for name, share in self._shares.items() if share is not None]
        return " ".join([*options, *(["revcomp"] if self.revcomp else [])])


class Sites(Protocol):
    """What can stand at the sites of a record whose letters are those of sites."""

    def choices(self, letters_BL: Letters) -> Letters:
        """The letters (S, A) that can take the place of such letters at each site, from the left, filled up with 0."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """How records are aligned: not at all, as plain DNA, or to a reference of `length` letters."""

    length: int | None = None

    @property
    def in_coordinates(self) -> bool:
        """Whether every record's positions mean something, so that gaps are missing letters."""
        return self.length is not None

    def sites(self, record: SequenceRecord) -> Sites | None:
        """The sites that the record's letters stand at; None for a record that is not aligned to sites."""
        del record
        return None

    def is_aligned(self, record: SequenceRecord, sites: Sites | None) -> bool:
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
    is_aligned: bool


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
    unchanged = _unchanged_views(records, changes, views, seed, alignment or Alignment(), crosses)
    for view in unchanged if diffuser is None else diffuser(unchanged):
        description = [str(changes), f"seed={seed}"]
        if crosses is not None:
            description.insert(0, f"cross={crosses.group(view.record.name)}")
        changed_BL = _apply_changes(view.letters, changes, view.sites, view.is_aligned, view.rng)
        yield replace(
            view.record,
            name=f"{view.record.name}_view{view.number}",
            sequence=changed_BL.tobytes().decode("ascii"),
            description=" ".join(filter(None, description)),
        )


def _unchanged_views(
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
        aligned = alignment.is_aligned(record, sites)
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


def _apply_changes(
    letters_BL: Letters,
    changes: Changes,
    sites: Sites | None,
    aligned: bool,
    rng: np.random.Generator,
) -> Letters:
    if changes.mutate is not None:
        letters_BL = _apply_mutations(letters_BL, changes.mutate, sites, rng)
    if changes.crop is not None:
        letters_BL = (mask_outside if aligned else crop)(letters_BL, changes.crop, rng)
    if changes.revcomp:
        letters_BL = reverse_complement_rows(letters_BL, np.ones(1, np.bool_))
    if changes.mask is not None:
        share = changes.mask
        letters_BL = _in_chunks(letters_BL, lambda part, _: mask(part, share, rng))
    return letters_BL


def _apply_mutations(
    letters_BL: Letters, share: float, sites: Sites | None, rng: np.random.Generator
) -> Letters:
    """Letters replaced by others of their site, or of their kind where no sites are known."""
    if sites is not None:
        choices_SA = sites.choices(letters_BL)
        return _in_chunks(
            letters_BL,
            lambda part, chunk: substitute(part, share, rng, choices=choices_SA[chunk]),
        )

    def mutate_chunk(part_BL: Letters, _: slice) -> Letters:
        for letters_1A, is_of_kind in _LETTER_KINDS:
            if is_of_kind[part_BL].any():
                part_BL = substitute(part_BL, share, rng, choices=letters_1A)
        return part_BL

    return _in_chunks(letters_BL, mutate_chunk)


def _in_chunks(letters_BL: Letters, change: Callable[[Letters, slice], Letters]) -> Letters:
    """The letters, every stretch of them changed by itself."""
    changed_BL = letters_BL.copy()
    for start in range(0, letters_BL.shape[1], _CHUNK_LETTERS):
        chunk = slice(start, start + _CHUNK_LETTERS)
        changed_BL[:, chunk] = change(letters_BL[:, chunk], chunk)
    return changed_BL


def _digest(name: str) -> int:
    """A number of 64 bits."""
    data = name.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
