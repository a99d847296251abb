"""`InputKind`: what a record is to a network. The core asks an input kind, and never which one it is.

A bundle holds one, and so does a run that makes a bundle. It reads records; names the sizes that follow from the
data and the values a network has before training; makes batches; and keeps its files in the bundle. Sequences
implement it here, barcodes and haplotypes of a panel in `population`, genomes mapped to a reference in
`phylogeny`; `registry.INPUT_KINDS` finds them by the name in configs and recipes.

Shape suffixes: B samples, P classes of the evidence.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from genomai_cli import registry
from genomai_cli.backbones.base import Network
from genomai_cli.backbones.classifier import Classifier, Evidence
from genomai_cli.errors import BundleError, TrainingError
from genomai_cli.formats.track_table import Track
from genomai_cli.inputs.card_text import BASELINES, OF_VECTORS, PRETRAINED, CardText
from genomai_cli.inputs.samples import Letters, Rows, Samples, TrainingRows, Views
from genomai_cli.objectives.base import Alphabet
from genomai_cli.records import SequenceRecord
from genomai_cli.reports.sections import ReferenceGroup
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import Ids

VALIDATION_MASKED_SHARES = (0.0, 0.5, 0.85)  # shares of sites masked in the validation loss
CALIBRATION_MASKED_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.96, 0.99)
LOW_CALL_RATE_BELOW = 0.5


@dataclass(frozen=True, eq=False)
class ModelInput:
    """A record as a network reads it: ids of its windows; of `usable_letters` that the model could use the record has
    `used_letters`."""

    name: str
    windows: list[Ids]
    used_letters: int
    usable_letters: int

    @property
    def likelihoods(self) -> NDArray[np.float32] | None:
        """Genotype likelihoods (S, 3), which are read besides the ids; None where genotypes are certain."""
        return None

    @property
    def share(self) -> float:
        """The part of what the model can use that the record has."""
        return self.used_letters / self.usable_letters if self.usable_letters else 0.0

    @property
    def call_rate(self) -> float:
        """The part of it that was observed, and not only assumed."""
        return self.share


Reader = Callable[[SequenceRecord], ModelInput]


class Recipe(Protocol):
    """What an input kind reads of a recipe; see `training.recipe.Recipe`."""

    @property
    def name(self) -> str: ...
    @property
    def network(self) -> dict[str, Any]: ...
    @property
    def tokenizer(self) -> dict[str, Any]: ...
    @property
    def objectives(self) -> dict[str, float]: ...
    @property
    def corpus(self) -> Any: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def input(self) -> Any: ...
    @property
    def views(self) -> Any: ...
    @property
    def evidence(self) -> Any: ...


class Model(Protocol):
    """What an input kind reads of a model; see `bundles.bundle.Bundle`."""

    @property
    def name(self) -> str: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def classifier(self) -> Classifier: ...


class Measure(Protocol):
    """Extra columns of numbers in a table of calls.

    `needs_label` is whether they mean something only for samples that have a label.
    """

    needs_label: ClassVar[bool]

    @property
    def columns(self) -> Sequence[str]:
        """The names of the columns."""

    def __call__(self, model_inputs: Sequence[ModelInput]) -> NDArray[np.float64]:
        """A row (B, columns) for each input that has something to read; NaN where nothing can be said."""


@dataclass(frozen=True, eq=False)
class ReferenceSpace:
    """Where a report shows samples: their `coordinates` among groups of reference individuals, and the `fractions` of
    their ancestry by the labels of the head `head`; `remark` says what these are not."""

    head: str
    coordinates: Measure
    fractions: Measure
    fraction_labels: Sequence[str]
    groups: Sequence[ReferenceGroup]
    remark: str


@dataclass(frozen=True)
class FlagText:
    """What a flag means, and what to do about it."""

    meaning: str
    advice: str


FEW_LETTERS = FlagText(
    "Less than half of what the model can use is known, so the label may well be wrong.",
    "Give longer or better sequences; read the probability as what it is, and do not act on the label alone.",
)


class InputKind(ABC):
    """What a record is to a network; see the top of the file."""

    name: ClassVar[str]
    settings: ClassVar[type]  # the [input] of a recipe
    views_settings: ClassVar[type]  # the [views] of a recipe
    evidence_kind: ClassVar[str | None] = None  # the section of a recipe, in `registry.EVIDENCE`
    files_used: ClassVar[frozenset[str]] = frozenset()  # options whose files `from_files` takes

    explain_alternative: ClassVar[str] = ""  # what there is instead of `genomai explain`
    holds_out_records: ClassVar[bool] = (
        False  # whole records are validated on, however few there are
    )
    merges_near_duplicates: ClassVar[bool] = (
        False  # near-duplicates count as one individual in a split
    )
    calibration_masked_shares: ClassVar[tuple[float, ...]] = (0.0,)  # shares of letters
    rows_per_batch: ClassVar[int] = 1  # at least, where a row is long
    flag_texts: ClassVar[Mapping[str, FlagText]] = {"LOW_CALL_RATE": FEW_LETTERS}

    tracks: Sequence[Track] = ()  # that lie over the DNA, if the model names them

    # --- in a bundle

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The input kind of the bundle in the folder."""

    def write(self, folder: Path) -> None:
        """Write what a bundle needs besides its weights."""
        del folder

    def config(self) -> dict[str, Any]:
        """The `input` of a bundle's config."""
        return {"kind": self.name}

    @property
    def coordinates(self) -> Any:
        """What a VCF is read by, a panel or a reference; None for input that is not read from VCF."""
        return None

    def encoder(self, config: Mapping[str, Any]) -> nn.Module | None:
        """The empty module between ids and networks, for `Classifier`."""
        del config
        return None

    def evidence(self, config: Mapping[str, Any]) -> nn.Module | None:
        """The empty evidence attached to the networks, for `Classifier`."""
        del config
        return None

    # --- inference

    def mapped(self, record: SequenceRecord) -> SequenceRecord | None:
        """The record in the coordinates of rows; None if it does not belong there."""
        return record

    @abstractmethod
    def reader(self, model: Model, other_inputs: Mapping[str, "InputKind"]) -> Reader:
        """What turns records into model input; `other_inputs` are the kinds of input of other models, whose records may
        be read too."""

    def reads_likelihoods(self, model: Model) -> bool:
        """Whether the model takes genotypes that are not certain by their likelihoods."""
        del model
        return False

    def flags(self, model_input: ModelInput, scores: Mapping[str, Tensor]) -> Iterator[str]:
        """What to mind about a call; docs/outputs.md says what each flag means."""
        if self.has_low_call_rate(model_input, scores):
            yield "LOW_CALL_RATE"

    def has_low_call_rate(self, model_input: ModelInput, scores: Mapping[str, Tensor]) -> bool:
        """Whether so little is known that labels may well be wrong: here less than half of what could be."""
        del scores
        return model_input.share < LOW_CALL_RATE_BELOW

    def withholds_label(self, model_input: ModelInput, scores: Mapping[str, Tensor]) -> bool:
        """Whether a call gets no label (UNKNOWN) though something could be read; the flags say why."""
        del model_input, scores
        return False

    def faults(self, record: SequenceRecord) -> Iterator[str]:
        """What is wrong with how a record came about, by the names of flags, whichever model reads it."""
        del record
        return iter(())

    def advice(self, fault: str) -> str:
        """What to tell the user, once, about a fault."""
        del fault
        return ""

    def unknown_flag(self, model_input: ModelInput) -> str:
        """Why a record in which nothing can be read gets no label."""
        del model_input
        return "LOW_CALL_RATE"

    def measures(self, requests: Mapping[str, str | int]) -> Sequence[Measure]:
        """The measures that are requested, by name with an argument; see docs/outputs.md.

        Raises BundleError where there is nothing of the kind, UsageError for an argument that does not fit.
        """
        names = " and ".join(f"--{name}" for name in requests)
        raise BundleError(f"{names}: only for models of barcodes, not of {self.name} input")

    def reference_space(self) -> ReferenceSpace | None:
        """Where a report shows samples; None where a model keeps nothing of its training samples."""
        return None

    # --- training

    @classmethod
    @abstractmethod
    def from_files(
        cls, recipe: Recipe, files: Mapping[str, Path | None], initial_input: "InputKind | None"
    ) -> "InputKind":
        """The input kind of a run: from the files that the user gave by option, those in `files_used`, and from
        `initial_input`, that of the model to begin from.

        Raises UsageError where one is missing.
        """

    def corpus_rows(
        self, records: Iterable[SequenceRecord], warn: Callable[[str], None]
    ) -> Iterator[tuple[str, Letters]]:
        """The rows of a corpus: names and letters as ASCII codes. Raises InputError for a record that is none."""
        del warn
        for record in records:
            self.check_record(record)
            yield record.name, np.frombuffer(record.held.encode("ascii"), np.uint8)

    @property
    def row_length(self) -> int | None:
        """How many letters a row has; None for sequences of any length."""
        return None

    def check_record(self, record: SequenceRecord) -> None:
        """InputError for a record that cannot be a row."""
        del record

    def require_same(self, other: "InputKind", name: str) -> None:
        """TrainingError unless the ids mean here what they mean to the model `name` to begin from."""
        if self.signature().keys() != other.signature().keys():
            raise TrainingError(f"the model to begin from, {name}, reads another kind of input")

    def signature(self) -> dict[str, str]:
        """What must be the same when a run is resumed: digests of its files by name."""
        return {}

    def validation_masked_shares(self, recipe: Recipe) -> tuple[float, ...]:
        """The shares of letters that are masked in turn for the validation loss."""
        del recipe
        return (0.0,)

    @property
    def columns(self) -> Rows | None:
        """The positions of a row that networks read; None for all."""
        return None

    def check(self, recipe: Recipe) -> None:
        """TrainingError for a recipe whose network or objectives do not fit this input."""
        del recipe

    def fitted(self, rows: TrainingRows, recipe: Recipe) -> "InputKind":
        """The input kind with what follows from the rows to train on, and nothing else."""
        del rows, recipe
        return self

    def prepared(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> "InputKind":
        """The same with what follows from the rows as networks read them, at `columns`."""
        del rows, recipe, tokenizer
        return self

    def select_sites(
        self, samples: Samples, train: Rows, recipe: Recipe
    ) -> tuple["InputKind", Samples]:
        """The same for labelled samples, and the samples as it reads them."""
        del train, recipe
        return self, samples

    @abstractmethod
    def sizes(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
        """The sizes of a network that follow from the data, as its config names them."""

    def initialize(
        self, classifier: Classifier, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer
    ) -> None:
        """Give the networks what they know without training."""
        del classifier, rows, recipe, tokenizer

    def fit_evidence(self, samples: Samples, rows: Rows, recipe: Recipe) -> Evidence:
        """What these rows say about the classes without a network, as the recipe asks for."""
        raise TrainingError(
            f"recipe {recipe.name}: {self.name} input has no evidence beside networks"
        )

    def complete_evidence(self, evidence: Evidence, samples: Samples, recipe: Recipe) -> None:
        """Add to the evidence of the finished model what that of folds does without."""
        del evidence, samples, recipe

    def with_training_summary(self, samples: Samples, recipe: Recipe) -> "InputKind":
        """The same with what a finished model keeps of its training samples besides its weights."""
        del samples, recipe
        return self

    @abstractmethod
    def views(self, samples: Samples, train: Rows, recipe: Recipe, tokenizer: Tokenizer) -> Views:
        """Batches of labelled samples, of which the rows `train` may be mixed with each other."""

    def alphabet(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> Alphabet:
        """The alphabet of the rows, for self-supervised objectives."""
        del rows, recipe
        return Alphabet(tokenizer)

    def baseline(
        self, network: Network, objective: str, views: Mapping[str, Tensor]
    ) -> float | None:
        """The loss of guesses of its own, which need no training, in nats; None if it has no better than the core."""
        del network, objective, views
        return None

    def card(
        self, config: Mapping[str, Any], objectives: Sequence[str], network: Network
    ) -> CardText:
        """What the card of a pretrained model says of it."""
        del config, objectives, network
        return CardText(PRETRAINED, OF_VECTORS, BASELINES)

    def extra_config(self, rows: TrainingRows) -> dict[str, Any]:
        """Further keys of a pretrained bundle's config."""
        del rows
        return {}

    def extra_files(self, rows: TrainingRows, recipe: Recipe) -> dict[str, bytes]:
        """Further files of a pretrained bundle."""
        del rows, recipe
        return {}


def input_class(kind: object) -> type[InputKind]:
    """The class of the input kind of that name; BundleError if there is none."""
    try:
        kind_class: type[InputKind] = registry.find(registry.INPUT_KINDS, kind)
    except KeyError as error:
        raise BundleError(f"input kind: {error.args[0]}") from error
    return kind_class
