"""FASTA entries on their way: read as what some model knows, restored in batches, and passed on in their order.

The restorer of FASTA entries that suits a bundle.

By what a bundle has, what it can restore: people at a panel's sites, anchored genomes, or plain DNA.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.denoising.base import Proposal, Settings
from genomai_cli.denoising.sequences import DnaRestorer, GuessedDna
from genomai_cli.errors import BundleError
from genomai_cli.formats.fasta import Entry
from genomai_cli.phylogeny.denoise import GenomeRestorer, GuessedGenomes
from genomai_cli.population.imputation.barcodes import BarcodeRestorer
from genomai_cli.population.imputation.models import PeopleOfHaplotypes, PeopleOfPopulations
from genomai_cli.population.labels import Phenotypes
from genomai_cli.population.networks.denoiser import DenoiserNetwork
from genomai_cli.population.panel import Panel

LETTERS_AT_ONCE = 1 << 23
ENTRIES_AT_ONCE = 1024
FIRST, SECOND = "_A", "_B"  # end the names of a person's haplotypes


class Restorer(Protocol):
    """A model's way to read entries and to restore them; `batch` is how many readings it takes at once."""

    name: str
    batch: int

    def read(self, entries: Sequence[Entry]) -> Any | None:
        """What one entry, or two that belong together, are to the model; None if it does not know them."""

    def restore(self, readings: Sequence[Any]) -> list[list[Proposal] | None]:
        """For every reading a proposal an entry; None for one in which nothing is known."""


@dataclass(frozen=True, eq=False)
class Passed:
    """An entry, and what is to be changed in it; without a `model` none knows it, without a proposal nothing in it is
    known."""

    entry: Entry
    model: str | None = None
    proposal: Proposal | None = None

    @property
    def restored(self) -> Entry:
        """The entry as it leaves."""
        if self.proposal is None:
            return self.entry
        return self.entry.changed(self.proposal.numbers, self.proposal.letters)


@dataclass(frozen=True, eq=False)
class _Unit:
    """Entries that are read together, by whom, and what they are to it."""

    entries: list[Entry]
    restorer: Restorer | None = None
    reading: Any = None


def passed(entries: Iterable[Entry], restorers: Sequence[Restorer]) -> Iterator[Passed]:
    """Every entry in its order; the first restorer that knows it restores it."""
    batch: list[_Unit] = []
    letters = 0
    for unit in _units(entries, restorers):
        batch.append(unit)
        letters += sum(len(entry.body) for entry in unit.entries)
        if letters >= LETTERS_AT_ONCE or len(batch) >= ENTRIES_AT_ONCE:
            yield from _restored(batch)
            batch, letters = [], 0
    yield from _restored(batch)


def _units(entries: Iterable[Entry], restorers: Sequence[Restorer]) -> Iterator[_Unit]:
    held: Entry | None = None
    for entry in entries:
        if held is not None:
            both = _read([held, entry], restorers) if _belong(held, entry) else None
            if both is not None and both.restorer is not None:
                yield both
                held = None
                continue
            yield _read([held], restorers)
        held = entry
    if held is not None:
        yield _read([held], restorers)


def _belong(first: Entry, second: Entry) -> bool:
    """Whether the names are those of the two haplotypes of one person."""
    one, other = first.name, second.name
    stem = one.removesuffix(FIRST)
    return stem != one and other == stem + SECOND


def _read(entries: list[Entry], restorers: Sequence[Restorer]) -> _Unit:
    for restorer in restorers:
        reading = restorer.read(entries)
        if reading is not None:
            return _Unit(entries, restorer, reading)
    return _Unit(entries)


def _restored(units: list[_Unit]) -> Iterator[Passed]:
    proposals: dict[int, list[Proposal] | None] = {}
    for restorer in {id(unit.restorer): unit.restorer for unit in units}.values():
        if restorer is None:
            continue
        theirs = [number for number, unit in enumerate(units) if unit.restorer is restorer]
        for at in range(0, len(theirs), restorer.batch):
            some = theirs[at : at + restorer.batch]
            found = restorer.restore([units[number].reading for number in some])
            proposals.update(zip(some, found, strict=True))
    for number, unit in enumerate(units):
        name = unit.restorer.name if unit.restorer else None
        ours = proposals.get(number)
        for place, entry in enumerate(unit.entries):
            yield Passed(entry, name, ours[place] if ours else None)


PEOPLE_MODEL = "ancestry-generator"  # who restores what, where nobody says
GENOMES_MODEL = "mito-denoiser"
COMPANIONS = ("denoiser", "diffusion", "masked")  # who may guess hidden words, the best first
Model = PeopleOfHaplotypes | PeopleOfPopulations | GuessedGenomes | GuessedDna


def model_of(bundle: Bundle) -> Model:
    """What the bundle restores with; BundleError for one that cannot."""
    device = next(iter(bundle.classifier.state_dict().values())).device
    if isinstance(bundle.input.coordinates, Panel):
        return _people(bundle, bundle.input.coordinates, device)
    network = bundle.classifier.members[0]
    companion = _companion(bundle, network)
    if bundle.input.coordinates is not None:
        if bundle.input.columns is None:
            raise BundleError(f"the model {bundle.name!r} restores nothing: it has no sites")
        return GuessedGenomes(
            network,
            companion,
            (bundle.input.reference, bundle.input.sites),  # type: ignore[attr-defined]
            device,
        )
    tokenizer = bundle.tokenizer
    if not (tokenizer.kind == "characters" and network.has_token_vectors):
        raise BundleError(
            f"the model {bundle.name!r} restores nothing: its words, {tokenizer.kind!r}, are not single letters"
        )
    longest = int(bundle.config["network"]["positions"])
    return GuessedDna(network, companion, tokenizer.mask_id, longest, device)


def _people(
    bundle: Bundle, panel: Panel, device: torch.device
) -> PeopleOfHaplotypes | PeopleOfPopulations:
    network = bundle.classifier.members[0]
    if isinstance(network, DenoiserNetwork):
        return PeopleOfPopulations(network, panel, Phenotypes.from_config(bundle.config))
    able = [network, *(bundle.auxiliary[name] for name in sorted(bundle.auxiliary))]
    for module in able:
        if hasattr(module, "allele_probabilities"):
            return PeopleOfHaplotypes(module, panel, device)
    raise BundleError(
        f"the model {bundle.name!r} restores nothing: it tells people apart, not alleles"
    )


def _companion(bundle: Bundle, network: nn.Module) -> nn.Module:
    found = next((name for name in COMPANIONS if name in bundle.auxiliary), None)
    if found is None:
        raise BundleError(
            f"the model {bundle.name!r} restores nothing: it was not trained to guess hidden letters "
            "(genomai pretrain --objective masked)"
        )
    return bundle.auxiliary[found]


def restorer_of(bundle: Bundle, settings: Settings, panels: Iterable[Panel] = ()) -> Restorer:
    """What reads and restores entries for this model; `panels` are others whose barcodes are accepted where they
    share its sites. BundleError for a model that restores nothing."""
    model = model_of(bundle)
    if isinstance(model, GuessedGenomes):
        return GenomeRestorer(model, settings, bundle.name)
    if isinstance(model, GuessedDna):
        return DnaRestorer(model, settings, bundle.name)
    return BarcodeRestorer(model, panels, settings, bundle.name)
