"""Compares a model's outputs with stored ones, for `genomai models verify MODEL --against FOLDER`.

The folder holds inputs, `input_ids*.npy` with `attention_mask*.npy` and `token_type_ids*.npy` where they matter,
and what another implementation made of them: `expected_hidden_states*`, `expected_last_hidden*`, `expected_logits*`,
`expected_pooled*`, `expected_filters*`, `expected_scores.json`, `expected_greedy.json`, `tokenizer_cases.json`,
`official_full_size_keys.json`. Each is compared by its largest deviation relative to its largest value. Where a name
ends in `_if_SETTING_true` or `_false`, a network of this setting with the model's tensors is compared.

Of a network with `stages`, any of them may be stored, as `expected_STAGE*`: for the bases of `input_index.npy` (-1 for
no base), at the `positions_1bp.npy` only where an output has one value a base.

Shape suffixes: B sequences, T tokens.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genomai_cli.alphabet import BASES, UNKNOWN, as_letters, as_text, reverse_complement
from genomai_cli.backbones.base import Backbone, Network, build_network
from genomai_cli.backbones.heads import next_token_logs
from genomai_cli.bundles import catalog, golden
from genomai_cli.bundles.adapters import adapted_config, adapter_of
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.bundles.bundle import shapes as shapes_of
from genomai_cli.errors import InputError
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.inputs.base import input_class

OUTPUTS = ("hidden_states", "last_hidden", "logits", "pooled", "filters", "long_filters")
BOTH_STRANDS = "short_record_mean_loglik_averaged_with_reverse_complement"
SETTING = re.compile(r"(?P<output>.+?)_if_(?P<name>\w+)_(?P<value>true|false)")
RELEASED_SUFFIX = "original"  # ends the name of what the released code gives, faults included


@dataclass(frozen=True)
class Comparison:
    """One stored output: its largest deviation relative to its maximum, None where the model gives no such output.

    A published figure is compared as it is, with a `tolerance` of its own.
    """

    name: str
    deviation: float | None
    tolerance: float | None = None

    def passes(self, tolerance: float) -> bool:
        """Whether the deviation, if there is one, is within the tolerance."""
        allowed = tolerance if self.tolerance is None else self.tolerance
        return self.deviation is None or self.deviation <= allowed


def compare(bundle: Bundle, folder: Path) -> list[Comparison]:
    """Compares all stored outputs of the folder with the model; InputError if there is nothing to compare with."""
    stages = list(_stages(bundle, folder))
    comparisons = [
        *(stages or _outputs(bundle, folder)),
        *_scores(bundle, folder),
        *_greedy(bundle, folder),
        *_published(bundle, folder),
        *_tokenizer(bundle, folder),
        *_key_lists(folder),
    ]
    if not any(comparison.deviation is not None for comparison in comparisons):
        raise InputError("no stored outputs that this model gives", path=folder)
    return comparisons


def _outputs(bundle: Bundle, folder: Path) -> Iterator[Comparison]:
    suffixes = sorted(
        (file.stem.removeprefix("input_ids") for file in folder.glob("input_ids*.npy")), key=len
    )
    for file in sorted(folder.glob("expected_*.npy")):
        name = file.stem.removeprefix("expected_")
        trained = bundle.classifier.networks[0]
        network: Network | None = trained
        plain = name
        if setting := SETTING.fullmatch(name):
            plain = setting["output"]
            network = _with_setting(bundle, trained, setting["name"], setting["value"] == "true")
        output = next((o for o in OUTPUTS if plain == o or plain.startswith(f"{o}_")), None)
        rest = plain.removeprefix(output or "")
        matching = [suffix for suffix in suffixes if rest.startswith(suffix)]
        variant = rest.removeprefix(matching[-1]) if matching else rest
        if output is None or not matching or (matching[-1] == "" and variant):
            yield Comparison(name, None)
            continue
        stored = StoredOutput(folder, output, matching[-1], variant)
        yield Comparison(name, _deviation(bundle, network, stored, _read(file)))


def _stages(bundle: Bundle, folder: Path) -> Iterator[Comparison]:
    """Compares every stored output with the network's stage of that name; of integers those that differ are counted."""
    file, network = folder / "input_index.npy", bundle.classifier.networks[0]
    if not file.is_file() or not isinstance(network, Backbone):
        return
    device = next(network.parameters()).device
    code_ids = [*bundle.tokenizer.encode(BASES), *bundle.tokenizer.encode(UNKNOWN)]
    ids_BT = torch.tensor(code_ids, device=device)[torch.from_numpy(_read(file)).long()]
    arrays = {name: _optional(folder / f"{name}.npy", device) for name in network.features_read}
    features = {name: tensor for name, tensor in arrays.items() if tensor is not None}
    positions = _optional(folder / "positions_1bp.npy", torch.device("cpu"))
    try:
        with torch.inference_mode():
            stages = network.stages(ids_BT, features)
    except (IndexError, RuntimeError) as error:
        raise InputError(f"the model cannot read this: {error}", path=file) from error
    for stored in sorted(folder.glob("expected_*.npy")) if stages else ():
        name = stored.stem.removeprefix("expected_")
        if name not in stages:
            yield Comparison(name, None)
            continue
        output = stages[name].cpu()
        if positions is not None and output.shape[1] == ids_BT.shape[1]:
            output = output[:, positions.long()]
        yield Comparison(
            name, _stage_deviation(output, _read(stored), name in network.half_precision_stages)
        )


def _stage_deviation(output: Tensor, expected: NDArray[Any], half: bool) -> float:
    """As `_relative`; a value that the original rounded to `half` precision stands for all that it is nearest to."""
    values = output.double().numpy() if output.is_floating_point() else output.numpy()
    if values.shape != expected.shape:
        return float("inf")
    if expected.dtype.kind in "biu":
        return float((values.astype(np.int64) != expected).sum())
    if half:
        rounding = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64) / 2
        values = np.clip(values, expected - rounding, expected + rounding)
        values = expected + (output.double().numpy() - values)
    return _relative(values, expected)


@dataclass(frozen=True)
class StoredOutput:
    """A stored output: its kind, the suffix of its inputs, and the variant of the network that gave it."""

    folder: Path
    output: str
    suffix: str
    variant: str


def _with_setting(bundle: Bundle, network: Network, name: str, value: bool) -> Network | None:
    """A network with the tensors of this one, of which a setting is another; None if it has no such setting."""
    config = bundle.config["network"]
    if not isinstance(config.get(name), bool):
        return None
    changed = build_network({**config, name: value})
    tensors = network.state_dict()
    changed.load_state_dict(
        {tensor_name: tensors[tensor_name] for tensor_name in changed.state_dict()}, assign=True
    )
    return changed.eval()


def _deviation(
    bundle: Bundle, network: Network | None, stored: StoredOutput, expected: NDArray[Any]
) -> float | None:
    if not isinstance(network, Backbone):
        return None
    output, suffix, variant = stored.output, stored.suffix, stored.variant
    # Logits are those of the released code, with its faults; so is what says so in its name.
    exact = output == "logits" or variant.endswith(RELEASED_SUFFIX)
    try:
        with torch.inference_mode(), network.as_released(exact):
            result = _model_output(bundle, network, stored, len(expected))
    except (IndexError, RuntimeError) as error:
        file = stored.folder / f"input_ids{suffix}.npy"
        raise InputError(f"the model cannot read this: {error}", path=file) from error
    if result is None:
        return None
    return _relative(result.double().cpu().numpy(), expected)


def _relative(values: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest deviation relative to the largest expected value."""
    if values.shape != expected.shape:
        return float("inf")
    distance = np.abs(values - expected).max(initial=0.0)
    return float(distance / max(np.abs(expected).max(initial=0.0), 1e-30))


def _model_output(
    bundle: Bundle, network: Backbone, stored: StoredOutput, count: int
) -> Tensor | None:
    """The model's output for the inputs of that suffix; of hidden states the first `count`."""
    folder, output, suffix = stored.folder, stored.output, stored.suffix
    device = next(network.parameters()).device
    ids_BT = torch.from_numpy(_read(folder / f"input_ids{suffix}.npy")).long().to(device)
    mask = _optional(folder / f"attention_mask{suffix}.npy", device)
    mask_BT = None if mask is None else mask.bool()
    files = {name: folder / f"{name}{suffix}.npy" for name in network.features_read}
    arrays = {name: _optional(file, device) for name, file in files.items()}
    features = {name: tensor for name, tensor in arrays.items() if tensor is not None}
    options = {"features": features} if features else {}

    def hidden(layer: int | None) -> Tensor:
        states: Tensor = network(ids_BT, mask_BT, layer=layer, **options)
        return states

    if output.endswith("filters"):
        return network.long_filters(ids_BT.shape[1])
    if output == "hidden_states":
        # Not every release counts the final norm among its layers.
        layers = range(min(count, network.num_layers + 1))
        return torch.stack([hidden(layer) for layer in layers])
    if output == "last_hidden":
        return hidden(None)
    if output == "pooled":
        return network.pooler_output(hidden(None)) if network.has_pooler else None
    head: nn.Module | None = next(iter(bundle.auxiliary.values()), None)
    return None if head is None else network.lm_logits(head, hidden(None))


def _scores(bundle: Bundle, folder: Path) -> Iterator[Comparison]:
    """The stored log-likelihoods of the records of inputs.fa, each token given those before it.

    The first records have a `mean_loglik` and a `sum_loglik`; the last the mean of the means of both strands.
    """
    file, network = folder / "expected_scores.json", bundle.classifier.networks[0]
    head = bundle.auxiliary.get("causal")
    if not file.is_file() or not isinstance(network, Backbone):
        return
    stored = _json(file)
    if head is None:
        yield Comparison("scores", None)
        return
    with open_input(folder / "inputs.fa") as source:
        texts = [
            record.held
            for record in read_sequences(
                source,
                case_sensitive=bundle.tokenizer.case_sensitive,
                any_text=bundle.tokenizer.any_text,
            )
        ]

    def token_logs(text: str) -> Tensor:
        """The log-likelihoods (1, T - 1) of all tokens but the first."""
        ids_BT = torch.from_numpy(bundle.tokenizer.encode(text)).long().unsqueeze(0)
        with torch.inference_mode():
            return next_token_logs(network, head, ids_BT)

    scores: dict[str, Callable[[str], float]] = {
        "mean_loglik": lambda text: token_logs(text).mean().item(),
        "sum_loglik": lambda text: token_logs(text).sum().item(),
        BOTH_STRANDS: lambda text: (
            (token_logs(text).mean() + token_logs(_reverse_complement(text)).mean()).item() / 2
        ),
    }
    for name, score in scores.items():
        if name in stored:
            expected = np.asarray(stored[name], np.float64)
            selected = texts[-len(expected) :] if name == BOTH_STRANDS else texts[: len(expected)]
            yield Comparison(
                name, _relative(np.array([score(text) for text in selected]), expected)
            )


def _reverse_complement(text: str) -> str:
    return as_text(reverse_complement(as_letters(text)))


def _greedy(bundle: Bundle, folder: Path) -> Iterator[Comparison]:
    """How many tokens of the stored continuation, each the likeliest, differ where it is decoded token by token."""
    file, network = folder / "expected_greedy.json", bundle.classifier.networks[0]
    head = bundle.auxiliary.get("causal")
    if not file.is_file() or not isinstance(network, Backbone):
        return
    if head is None or not network.causal:
        yield Comparison("greedy", None)
        return
    stored = _json(file)
    ids_BT, cache, decoded = torch.tensor([stored["prompt_ids"]]), None, []
    with torch.inference_mode():
        for _ in stored["continuation_ids"]:
            hidden_BTD, cache = network.decode(ids_BT, cache)
            ids_BT = network.lm_logits(head, hidden_BTD[:, -1:]).argmax(2)
            decoded.append(int(ids_BT))
    mismatches = sum(a != b for a, b in zip(decoded, stored["continuation_ids"], strict=True))
    yield Comparison("greedy", float(mismatches))


def _published(bundle: Bundle, folder: Path) -> Iterator[Comparison]:
    """The mean loss of a release of Evo 2 over the prompts of its own test, if they are in the folder."""
    agreement = golden.loss_agreement(bundle, folder)
    if agreement is not None:
        yield Comparison(agreement.source, agreement.deviation, agreement.tolerance)


def _tokenizer(bundle: Bundle, folder: Path) -> Iterator[Comparison]:
    """How many of the tokenizer's cases differ."""
    file = folder / "tokenizer_cases.json"
    if not file.is_file():
        return
    try:
        cases = json.loads(file.read_text(encoding="utf-8"))
        mismatches = [
            case["sequence"]
            for case in cases
            if bundle.tokenizer.released_ids(case["sequence"]).tolist() != case["ids"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"damaged: {error!r}", path=file) from error
    yield Comparison("tokenizer_cases", float(len(mismatches)))


def _key_lists(folder: Path) -> Iterator[Comparison]:
    """How many tensors of each released size do not fit the network of that size, built without memory."""
    file = folder / "official_full_size_keys.json"
    adapted = adapter_of(folder) if (folder / catalog.CONFIG).is_file() else None
    if not file.is_file() or adapted is None:
        return
    adapter, released = adapted
    for name, shapes in _shape_lists(file).items():
        sized = released | adapter.released_sizes(shapes)
        config = adapted_config(adapter, sized, Path(name), set(shapes))
        keys = adapter.keys(config)
        kind = input_class(config["input"]["kind"]).read(folder, config)
        expected = shapes_of(config, kind)
        released_shapes = {
            target: keys.shape_in_bundle(target, tuple(shapes[n]))
            for n, target in keys.renamed.items()
            if n in shapes
        }
        mismatches = keys.unexpected(shapes)
        mismatches += [
            n for n in {*expected, *released_shapes} if expected.get(n) != released_shapes.get(n)
        ]
        yield Comparison(f"keys {name}", float(len(mismatches)))


def _shape_lists(file: Path) -> dict[str, dict[str, list[int]]]:
    """The tensors' shapes of each released size; a file may be of one size, with more than the shape of a tensor."""
    stored = _json(file)
    if all("shape" in entry for entry in stored.values()):
        return {"official": {name: entry["shape"] for name, entry in stored.items()}}
    return dict(stored)


def _read(file: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise InputError(f"no array: {error}", path=file) from error


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"damaged: {error}", path=file) from error


def _optional(file: Path, device: torch.device) -> Tensor | None:
    return torch.from_numpy(_read(file)).to(device) if file.is_file() else None
