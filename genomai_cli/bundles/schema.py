"""What a bundle's config.json may say: types, bounds, and names that are text; checked before anything is built.

Pydantic does the checking, which Typer brings along. Sizes of networks are bounded here only so far that nothing
overflows: `bundles.skeleton` compares them with the weights.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from genomai_cli.errors import BundleError
from genomai_cli.names import first_duplicate, is_plain
from genomai_cli.registry import EVIDENCE

MAX_BYTES = 1 << 23  # of a config; those of the largest models have some thousand
_MAX_NUMBER = 1 << 40  # no number of a config is larger
_UNCHECKED = (
    "provenance",
    "files",
    "trainable_parameters",
    "numbers",
)  # what no network is built from


def _plain(text: str) -> str:
    if not is_plain(text):
        raise ValueError("control characters, or what is no Unicode")
    return text


def _file_name(name: str) -> str:
    if name in (".", "..") or "/" in name or "\\" in name:
        raise ValueError("no name of a file in the model's folder")
    return _plain(name)


def _unique(names: list[str]) -> list[str]:
    if duplicate := first_duplicate(names):
        raise ValueError(f"{duplicate} is there twice")
    return names


Text = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_plain)]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=300)]
FileName = Annotated[
    str, StringConstraints(min_length=1, max_length=255), AfterValidator(_file_name)
]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Labels = Annotated[list[Name], Field(min_length=1, max_length=100_000), AfterValidator(_unique)]
Index = Annotated[int, Field(ge=0, le=100_000)]


class _Section(BaseModel):
    """A table of the config; what it has besides is for the class that it describes to judge."""

    model_config = ConfigDict(extra="allow", strict=True, hide_input_in_errors=True)


class _Kind(_Section):
    kind: Name


class _Input(_Kind):
    haplotypes: bool = False
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.5


class _Tokenizer(_Kind):
    k: Annotated[int, Field(ge=1, le=64)] = 1
    stride: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    size: Annotated[int, Field(ge=1, le=1 << 24)] = 1


class _Network(_Kind):
    @model_validator(mode="after")
    def _tokens_have_ids(self) -> Self:
        sizes = self.model_extra or {}
        vocabulary, pad = sizes.get("vocabulary"), sizes.get("pad_id")
        if isinstance(vocabulary, int) and isinstance(pad, int) and not 0 <= pad < vocabulary:
            raise ValueError(f"pad_id {pad} is no token of a vocabulary of {vocabulary}")
        return self


class _Number(_Section):
    coverage: Annotated[float, Field(gt=0, lt=1)]
    half_width: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Evidence(_Section):
    head: Name
    axes: Annotated[int, Field(ge=1, le=1000)] = 1
    novelty_axes: Annotated[int, Field(ge=0, le=1000)] = 0
    nesting: dict[Name, list[Index]] = {}
    by_group: bool = False
    information: bool = False


class Config(_Section):
    """The whole of it."""

    format_version: Annotated[int, Field(ge=1)]
    name: Name = "model"
    version: Name = "?"
    description: Text = ""
    input: _Input | None = None
    tokenizer: _Tokenizer | None = None
    network: _Network | None = None
    members: Annotated[int, Field(ge=1, le=1000)] = 1
    heads: dict[Name, Labels] = {}
    numbers: dict[Name, _Number] = {}
    likelihood: _Evidence | None = None
    regression: _Evidence | None = None
    novelty: _Kind | None = None
    companions: dict[Name, _Kind] = {}
    remarks: list[Text] = []
    trainable_parameters: Annotated[int, Field(ge=0)] | None = None
    files: dict[FileName, Sha256] = {}

    @model_validator(mode="after")
    def _heads_have_names_of_their_own(self) -> Self:
        if shared := self.heads.keys() & self.numbers.keys():
            raise ValueError(f"{min(shared)} is a head of labels and of numbers")
        return self

    @model_validator(mode="after")
    def _evidence_fits_heads(self) -> Self:
        for section in EVIDENCE:
            evidence: _Evidence | None = getattr(self, section)
            if evidence is None:
                continue
            if evidence.head not in self.heads:
                raise ValueError(f"{section} is of a head {evidence.head} that is not there")
            for head, parents in evidence.nesting.items():
                self._check_nesting(section, evidence.head, head, parents)
        return self

    def _check_nesting(self, section: str, fine: str, head: str, parents: list[int]) -> None:
        if head not in self.heads or len(parents) != len(self.heads[fine]):
            raise ValueError(f"{section}: nesting of {head} is not that of the classes of {fine}")
        if set(parents) != set(range(len(self.heads[head]))):
            raise ValueError(f"{section}: nesting of {head} names other classes than it has")


def parsed(data: bytes, file: Path) -> Any:
    """The parsed JSON; BundleError for damaged JSON, for a key that is there twice, and for tables too deep."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_table, parse_constant=_no_number)
    except RecursionError:
        raise BundleError(f"{file}: not JSON: too deep") from None
    except ValueError as error:
        raise BundleError(f"{file}: not JSON: {error}") from error


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if duplicate := first_duplicate(name for name, _ in pairs):
        raise ValueError(f"{duplicate!r} is there twice")
    return dict(pairs)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def check(config: Mapping[str, Any], file: Path) -> None:
    """BundleError for a config that says something which no model can be; what it leaves out may be left out."""
    if problem := _problem(config):
        raise BundleError(f"{file}: damaged config: {problem}")


def _problem(config: Mapping[str, Any]) -> str:
    try:
        Config.model_validate(config)
        _check_numbers({name: value for name, value in config.items() if name not in _UNCHECKED}, 0)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        return f"{location or 'as a whole'}: {message[:300]}"
    except ValueError as error:
        return str(error)
    return ""


def _check_numbers(value: Any, depth: int) -> None:
    """ValueError for numbers that are not finite or beyond all sizes, text that is none, and tables too deep."""
    if depth > 16:
        raise ValueError("too deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            _plain(name)
            _check_numbers(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(inner, depth + 1)
    elif isinstance(value, str):
        _plain(value)
    elif isinstance(value, int | float) and not (
        math.isfinite(value) and abs(value) <= _MAX_NUMBER
    ):
        raise ValueError(f"{value:g} is larger than any size")
