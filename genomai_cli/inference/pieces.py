"""What of a record the network reads: a barcode, its two haplotypes, an anchored genome, or a sequence's windows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.anchoring.anchor import Anchored, Anchorer
from genomai_cli.anchoring.coordinates import FEWEST_LETTERS
from genomai_cli.anchoring.reference import Reference
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import InputError
from genomai_cli.panels.barcode import genotypes_to_letters, letters_to_genotypes
from genomai_cli.panels.panel import GRCH37, GRCH38, Panel
from genomai_cli.panels.phase import resolve
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers.base import Ids

_MISSING = ord("N")
LEAST_IDENTITY = 0.95  # of people 0.993, Neanderthals 0.988, the chimpanzee 0.91
MOST_EXPECTED, EXPECTED = (
    10,
    0.04,
)  # differences of people in the control region, and their share of letters
WINDOW_OVERLAP = 2  # a window shares half its words with the next


@dataclass(frozen=True, eq=False)
class Reading:
    """A record as the network reads it: ids of its pieces, and how many letters there are to use.

    `letters` are those that mean something to the model, of `known` that it could use; `heterozygous`
    of them stand for two bases. `identity` is how like the model's reference an anchored genome is, 0 for a
    record that does not belong to it, None for a model without a reference and a record without letters.
    """

    name: str
    pieces: list[Ids]
    letters: int
    known: int
    heterozygous: int = 0
    identity: float | None = None

    @property
    def share(self) -> float:
        """The part of what the model can use that the record has."""
        return self.letters / self.known if self.known else 0.0


Reader = Callable[[SequenceRecord], Reading]


def reader(bundle: Bundle, panels: Mapping[str, Panel]) -> Reader:
    """What turns records into readings for this model.

    `panels` are other panels whose barcodes are accepted too, where they hold the model's sites.
    """
    if bundle.panel is not None:
        return BarcodeReader(bundle, bundle.panel, panels)
    if bundle.reference is not None:
        return AnchoredReader(bundle, bundle.reference)
    return SequenceReader(bundle)


class BarcodeReader:
    """Reads barcodes of the model's panel, or of a larger panel that contains it."""

    def __init__(self, bundle: Bundle, panel: Panel, panels: Mapping[str, Panel]) -> None:
        self.model, self.panel = bundle.name, panel
        self.tokenizer = bundle.tokenizer
        self.haplotypes = bool(bundle.config["input"]["haplotypes"])
        self.places = {len(panel): np.arange(len(panel))}
        for other in panels.values():
            places = _places(panel, other)
            if places is not None:
                self.places.setdefault(len(other), places)

    def __call__(self, record: SequenceRecord) -> Reading:
        letters = np.frombuffer(record.sequence.encode("ascii"), np.uint8)
        places = self.places.get(len(letters))
        if places is None:
            sizes = " or ".join(map(str, sorted(self.places)))
            raise InputError(
                f"{record.name} has {len(letters)} letters: a barcode for the model {self.model} "
                f"has {sizes}",
                path=record.path,
                line=record.line or None,
            )
        copies = letters_to_genotypes(letters[places], self.panel)
        letters = genotypes_to_letters(copies, self.panel)
        strands = resolve(letters) if self.haplotypes else letters[None]
        pieces = [self.tokenizer.encode(row.tobytes().decode("ascii")) for row in strands]
        used = int((copies >= 0).sum())
        return Reading(record.name, pieces, used, len(self.panel), int((copies == 1).sum()))


class AnchoredReader:
    """Reads the letters at the model's sites of genomes that belong to its reference, complete or partial.

    A record that does not belong to the reference, or not to its species, has no pieces.
    """

    def __init__(self, bundle: Bundle, reference: Reference) -> None:
        self.tokenizer = bundle.tokenizer
        self.anchorer = Anchorer(reference)
        everywhere = np.arange(len(reference))
        self.sites = everywhere if bundle.sites is None else bundle.sites.positions

    def __call__(self, record: SequenceRecord) -> Reading:
        anchored = self.anchorer(record.sequence)
        nothing = Reading(record.name, [], 0, len(self.sites))
        if anchored is None:
            letters = sum(map(record.sequence.count, "ACGT"))
            return replace(nothing, identity=0.0) if letters >= FEWEST_LETTERS else nothing
        identity = identity_of(anchored)
        if identity < LEAST_IDENTITY:
            return replace(nothing, identity=identity)
        letters_S = anchored.letters[self.sites]
        used = int((letters_S != _MISSING).sum())
        ids = self.tokenizer.encode(letters_S.tobytes().decode("ascii"))
        return replace(nothing, pieces=[ids], letters=used, identity=identity)


def identity_of(anchored: Anchored) -> float:
    """How like the reference, 0 to 1. A few differences say nothing: in the control region people have them, and
    a short sequence may hold nothing else. A record that is mostly something else has 0."""
    if anchored.left_out > anchored.aligned:
        return 0.0
    expected = min(MOST_EXPECTED, EXPECTED * anchored.compared)
    return 1 - max(0.0, anchored.differences - expected) / max(1, anchored.compared)


class SequenceReader:
    """Reads sequences of any length; a long one in windows that overlap by half.

    A window without a single known word has nothing to say and is left out.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.tokenizer = bundle.tokenizer
        unknown = self.tokenizer.unk_id
        self.unknown = self.tokenizer.mask_id if unknown is None else unknown
        self.longest = int(bundle.config["network"]["positions"])

    def __call__(self, record: SequenceRecord) -> Reading:
        letters = np.frombuffer(record.sequence.encode("ascii"), np.uint8)
        ids = self.tokenizer.encode(record.sequence)
        used = int(np.isin(letters, np.frombuffer(b"ACGT", np.uint8)).sum())
        windows = [window for window in self._windows(ids) if (window != self.unknown).any()]
        return Reading(record.name, windows, used, len(letters))

    def _windows(self, ids: Ids) -> list[Ids]:
        if len(ids) <= self.longest:
            return [ids] if len(ids) else []
        step = self.longest // WINDOW_OVERLAP
        starts = [*range(0, len(ids) - self.longest, step), len(ids) - self.longest]
        return [ids[start : start + self.longest] for start in starts]


def _places(panel: Panel, other: Panel) -> NDArray[np.int64] | None:
    """Where the sites of `panel` stand in `other`; None unless all of them do."""
    keys = [site_keys(p) for p in (panel, other)]
    index = {key: place for place, key in enumerate(keys[1])}
    found = [index.get(key) for key in keys[0]]
    if None in found:
        return None
    return np.array(found, np.int64)


def site_keys(panel: Panel) -> list[tuple[str, int, int, frozenset[str]]]:
    """What tells the sites of one panel in another: where they are, and their two alleles in either order."""
    columns = (panel.chrom, panel.positions[GRCH37].tolist(), panel.positions[GRCH38].tolist())
    alleles = [frozenset(pair) for pair in zip(panel.ref, panel.alt, strict=True)]
    return list(zip(*columns, alleles, strict=True))
