"""Records to calls: for every head a label with a calibrated probability, or a number with an interval; what to mind.

Calls as the table that `genomai classify` writes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import islice
from typing import IO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.formats.parquet import (
    COUNT,
    NOTHING,
    NUMBER,
    OPTIONAL_TEXT,
    TEXT,
    ColumnType,
    table_over,
)
from genomai_cli.formats.tables import UNKNOWN_LABEL
from genomai_cli.inference.batching import DEFAULT_BATCHING, Batching, Scores, score
from genomai_cli.inputs.base import InputKind, Measure, ModelInput
from genomai_cli.names import escaped
from genomai_cli.records import SequenceRecord

Item = TypeVar("Item")
CALLS_PER_BATCH = 256  # samples whose probabilities are computed together


@dataclass(frozen=True)
class Number:
    """A predicted number, and the interval in which the true one lies in most cases (90 %)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Call:
    """The answer for one sample: `probabilities[head]` over the head's labels, None if UNKNOWN, and the `numbers` of
    the heads that predict some, None likewise.

    A call is UNKNOWN if nothing entered, or if what entered does not bear a label; the flags say why.
    `measured` are the values of further columns, NaN where there is none.
    """

    name: str
    labels: dict[str, str]
    probabilities: dict[str, NDArray[np.float64] | None]
    used: int
    call_rate: float
    flags: tuple[str, ...]
    measured: tuple[float, ...] = ()
    numbers: Mapping[str, Number | None] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether there is a label, or a number."""
        answers = [*self.probabilities.values(), *self.numbers.values()]
        return any(answer is not None for answer in answers)


def classify_records(
    bundle: Bundle,
    records: Iterable[SequenceRecord],
    *,
    other_inputs: Mapping[str, InputKind] | None = None,
    measures: Sequence[Measure] = (),
    batching: Batching = DEFAULT_BATCHING,
) -> Iterator[Call]:
    """One call a record, in their order; a batch of them is held at a time.

    `other_inputs` are the input kinds of other models, whose records are read too where they hold all that this one
    needs.
    Raises InputError for a record that the model cannot read, BundleError for a model without any head.
    """
    bundle.require_answers()
    reader = bundle.input.reader(bundle, {} if other_inputs is None else other_inputs)
    device = next(bundle.classifier.parameters()).device
    model_inputs = map(reader, records)
    items = (
        (model_input, model_input.windows if model_input.used_letters else [])
        for model_input in model_inputs
    )
    min_tokens = bundle.input.rows_per_batch * (bundle.input.row_length or 0)
    batching = replace(batching, tokens=max(batching.tokens, min_tokens))
    pad_id = bundle.tokenizer.pad_id
    left = bundle.tokenizer.padding_side == "left"
    scored = score(
        bundle.classifier,
        items,
        pad_id=pad_id,
        device=device,
        batching=batching,
        left=left,
        likelihoods=lambda model_input: (
            model_input.likelihoods if model_input.used_letters else None
        ),
    )
    for group in _batched(scored, CALLS_PER_BATCH):
        yield from _with_measures(_calls(bundle, group), group, measures)


def _with_measures(
    calls: Iterator[Call],
    group: list[tuple[ModelInput, Scores | None]],
    measures: Sequence[Measure],
) -> Iterator[Call]:
    """The calls with the values of the measures."""
    call_list = list(calls)
    columns = [np.empty((len(call_list), 0))]
    for measure in measures:
        rows = [
            number
            for number, (call, (_, scores)) in enumerate(zip(call_list, group, strict=True))
            if scores is not None and (call.is_known or not measure.needs_label)
        ]
        columns.append(np.full((len(call_list), len(measure.columns)), np.nan))
        if rows:
            columns[-1][rows] = measure([group[number][0] for number in rows])
    table = np.concatenate(columns, axis=1).tolist()
    return (replace(call, measured=tuple(row)) for call, row in zip(call_list, table, strict=True))


def _batched(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while group := list(islice(items, size)):
        yield group


def _calls(bundle: Bundle, group: list[tuple[ModelInput, Scores | None]]) -> Iterator[Call]:
    """The calls of a group of inputs, whose probabilities are computed together."""
    scored_inputs = [(model_input, scores) for model_input, scores in group if scores is not None]
    rows = iter(_probabilities(bundle, scored_inputs) if scored_inputs else ())
    for model_input, scores in group:
        yield (
            _unknown(bundle, model_input)
            if scores is None
            else _call(bundle, model_input, scores, next(rows))
        )


def _probabilities(
    bundle: Bundle, scored_inputs: list[tuple[ModelInput, Scores]]
) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Every read's probabilities of every head."""
    names = scored_inputs[0][1]
    stacked = {name: torch.stack([s[name] for _, s in scored_inputs]).double() for name in names}
    share = torch.tensor(
        [model_input.share for model_input, _ in scored_inputs], dtype=torch.float64
    )
    with torch.inference_mode():
        logs = bundle.fusion(stacked, share)
    tables = {head: rows.exp().numpy() for head, rows in logs.items()}
    return (
        {head: table[row] for head, table in tables.items()} for row in range(len(scored_inputs))
    )


def _call(
    bundle: Bundle,
    model_input: ModelInput,
    scores: Scores,
    probabilities: dict[str, NDArray[np.float64]],
) -> Call:
    flags = tuple(bundle.input.flags(model_input, scores))
    if bundle.input.withholds_label(model_input, scores):
        return replace(
            _unknown(bundle, model_input),
            used=model_input.used_letters,
            call_rate=model_input.call_rate,
            flags=flags,
        )
    labels = {head: bundle.heads[head][int(p.argmax())] for head, p in probabilities.items()}
    call = Call(
        model_input.name,
        labels,
        dict(probabilities),
        model_input.used_letters,
        model_input.call_rate,
        flags,
    )
    return replace(call, numbers=_numbers(bundle, scores)) if bundle.numbers else call


def _numbers(bundle: Bundle, scores: Scores) -> dict[str, Number]:
    values = {head: float(scores[head]) for head in bundle.numbers}
    return {
        head: Number(values[head], values[head] - width, values[head] + width)
        for head, width in bundle.numbers.items()
    }


def _unknown(bundle: Bundle, model_input: ModelInput) -> Call:
    labels = dict.fromkeys(bundle.heads, UNKNOWN_LABEL)
    no_probabilities, flag = dict.fromkeys(bundle.heads), bundle.input.unknown_flag(model_input)
    return Call(
        model_input.name,
        labels,
        no_probabilities,
        0,
        0.0,
        (flag,),
        numbers=dict.fromkeys(bundle.numbers),
    )


DIGITS = 4
SIGNIFICANT = 6  # digits of numbers


@dataclass(frozen=True)
class CallCounts:
    """How many calls have labels, how many are UNKNOWN, and how many have each flag."""

    known: int
    unknown: int
    flags: dict[str, int]


def write_calls(
    out: IO[bytes],
    calls: Iterable[Call],
    bundle: Bundle,
    *,
    with_probabilities: bool = False,
    measures: Sequence[Measure] = (),
    header: bool = True,
    parquet: bool = False,
) -> CallCounts:
    """Write a row a call under a `header`, or as Parquet, and count them; `measures` are the first of those that were
    measured."""
    extra_columns = [(column, NUMBER) for measure in measures for column in measure.columns]
    typed = [*columns(bundle, with_probabilities), *extra_columns]
    metadata = _model_metadata(bundle) if parquet else None
    known, unknown, flags = 0, 0, Counter[str]()
    with table_over(out, typed, header=header, parquet=metadata) as table:
        for call in calls:
            table.write(_row(call, bundle, with_probabilities, len(extra_columns)))
            known += call.is_known
            unknown += not call.is_known
            flags.update(call.flags)
    return CallCounts(known, unknown, dict(flags))


def columns(bundle: Bundle, with_probabilities: bool) -> list[tuple[str, ColumnType]]:
    """The names of the columns, and what they hold; scripts depend on them."""
    heads = [column for h in bundle.heads for column in ((h, TEXT), (f"{h}_p", NUMBER))]
    heads += [(f"{head}{end}", NUMBER) for head in bundle.numbers for end in ("", "_low", "_high")]
    label_columns = [
        (f"{head}:{label}", NUMBER) for head, labels in bundle.heads.items() for label in labels
    ]
    of_sample = [("used", COUNT), ("call_rate", NUMBER), ("flags", OPTIONAL_TEXT), ("model", TEXT)]
    return [("sample", TEXT), *heads, *of_sample, *(label_columns if with_probabilities else [])]


def _model_metadata(bundle: Bundle) -> dict[str, str]:
    """Metadata of a file: the model that made it."""
    return {
        "model_name": bundle.name,
        "model_version": bundle.version,
        "model_sha256": bundle.weights_sha256,
    }


MULTIQC = """\
# id: "genomai_classify"
# section_name: "genomai classify"
# description: "Labels by {model} with calibrated probabilities: similarity to reference groups, not race."
# plot_type: "table"
# pconfig:
#     id: "genomai_classify_table"
#     title: "genomai classify"
#     namespace: "genomai"
"""


def multiqc_header(bundle: Bundle) -> bytes:
    """The lines that make the table custom content of MultiQC, which reads files that are called *_mqc.tsv."""
    return MULTIQC.format(model=f"{bundle.name} {bundle.version}").encode()


def _row(call: Call, bundle: Bundle, with_probabilities: bool, num_extra: int) -> Iterator[str]:
    yield call.name
    for head, label in call.labels.items():
        probabilities = call.probabilities[head]
        yield label
        yield NOTHING if probabilities is None else f"{probabilities.max():.{DIGITS}f}"
    for number in call.numbers.values():
        for value in (None, None, None) if number is None else astuple(number):
            yield NOTHING if value is None else f"{value:.{SIGNIFICANT}g}"
    yield str(call.used)
    yield f"{call.call_rate:.{DIGITS}f}"
    yield ",".join(call.flags) or NOTHING
    yield f"{bundle.name}@{bundle.version}"
    if with_probabilities:
        for head, labels in bundle.heads.items():
            probabilities = call.probabilities[head]
            for index in range(len(labels)):
                yield NOTHING if probabilities is None else f"{probabilities[index]:.{DIGITS}f}"
    for value in call.measured[:num_extra]:
        yield NOTHING if np.isnan(value) else f"{value:.{DIGITS}f}"


def write_fractions(
    fractions: IO[bytes], samples: IO[bytes], calls: Iterable[Call], count: int
) -> Iterator[Call]:
    """The calls as they come; the first `count` values of those that have some go into ADMIXTURE's .Q, space-separated
    without a header, and the samples' names into a list beside it."""
    for call in calls:
        if not np.isnan(call.measured[0]):
            row = " ".join(f"{value:.6f}" for value in call.measured[:count])
            fractions.write(f"{row}\n".encode())
            samples.write(f"{escaped(call.name)}\n".encode("utf-8", "surrogateescape"))
        yield call


def write_axes(
    file: IO[bytes], calls: Iterable[Call], measures: Sequence[Measure]
) -> Iterator[Call]:
    """The calls as they come; the coordinates PC1 ... of those that have some go into a table as plink2 --pca writes
    it (.eigenvec): `#IID` and the axes, separated by tabs."""
    columns = [column for measure in measures for column in measure.columns]
    axes = [index for index, column in enumerate(columns) if re.fullmatch(r"PC\d+", column)]
    names = "\t".join(["#IID", *(columns[index] for index in axes)])
    file.write(f"{names}\n".encode())
    for call in calls:
        values = [call.measured[index] for index in axes]
        if not np.isnan(values).any():
            row = "\t".join([escaped(call.name), *(f"{value:.6g}" for value in values)])
            file.write(f"{row}\n".encode("utf-8", "surrogateescape"))
        yield call
