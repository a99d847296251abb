"""A model in memory, and its way to a folder and back: config, weights, panel, recipe, card.

Weights are safetensors, everything else is text; nothing in a bundle can run.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from genomai_cli import device as devices
from genomai_cli import registry, tokenizers
from genomai_cli.backbones.base import build_network
from genomai_cli.backbones.classifier import Classifier, Fusion
from genomai_cli.backbones.heads import attach_heads, build_auxiliary
from genomai_cli.bundles import adapters, catalog
from genomai_cli.bundles.adapters import RenamedTensors, adapter_of, config_and_tensors
from genomai_cli.bundles.skeleton import Budget, without_memory
from genomai_cli.bundles.stored import HasConfig, StoredBundle, bundle_errors, require_same_names
from genomai_cli.bundles.weights import (
    TensorSubset,
    Weights,
    digest_of,
    fill,
    is_finite,
    weights_file,
)
from genomai_cli.bundles.writing import Extras, require_finite, write_bundle
from genomai_cli.errors import BundleError, GenomaiError
from genomai_cli.inputs.base import InputKind, input_class

AUXILIARY_PREFIX = "companions."  # begins the names of their tensors


@dataclass(frozen=True)
class Bundle(HasConfig):
    """A model ready to use: `config` is what config.json holds, `input` what a record is to it.

    The auxiliary heads, trained with its network and counted apart, are in `auxiliary` by objective.
    """

    config: dict[str, Any]
    classifier: Classifier
    input: InputKind
    weights_sha256: str = ""
    auxiliary: Mapping[str, nn.Module] = field(default_factory=dict)
    remarks: Sequence[str] = ()  # what users should know of a released checkpoint, a line each

    @property
    def heads(self) -> dict[str, list[str]]:
        """The labels of every head, in the order of its logits."""
        return {head: list(labels) for head, labels in self.config["heads"].items()}

    @property
    def numbers(self) -> dict[str, float]:
        """The heads that are numbers, and how far from the truth each is at most, in as large a share of the cases as
        their `coverage` in the config says."""
        sections = self.config.get("numbers", {})
        return {head: float(section["half_width"]) for head, section in sections.items()}

    def require_heads(self) -> None:
        """BundleError for a model that has no classes to choose from: only pretrained, or of numbers."""
        if not self.heads and self.numbers:
            raise BundleError(f"the model {self.name!r} predicts numbers: it has no head of labels")
        self.require_answers()

    def require_answers(self) -> None:
        """BundleError for a model that was only pretrained."""
        if not self.heads and not self.numbers:
            raise BundleError(
                f"the model {self.name!r} has no heads: it was only pretrained; "
                "`genomai train --model DIR` gives it some"
            )

    @property
    def coordinates(self) -> Any:
        """The panel or reference by which a VCF is read; BundleError for a model that reads plain DNA."""
        if self.input.coordinates is None:
            raise BundleError(f"the model {self.name!r} has no panel: it does not read VCF")
        return self.input.coordinates

    @cached_property
    def fusion(self) -> Fusion:
        """The classifier's fusion on the CPU in double precision, whatever the rest runs in."""
        return copy.deepcopy(self.classifier.fusion).cpu().double()

    @property
    def tokenizer(self) -> tokenizers.Tokenizer:
        return tokenizers.from_config(self.config["tokenizer"])


def build(config: Mapping[str, Any], kind: InputKind) -> Classifier:
    """The classifier that a config describes, with no values in it yet.

    Raises BundleError for a config that lacks something or contradicts itself.
    """
    try:
        classes = {head: len(labels) for head, labels in config["heads"].items()}
        outputs = classes | dict.fromkeys(config.get("numbers", {}), 1)
        members = [
            attach_heads(build_network(config["network"]), outputs)
            for _ in range(config["members"])
        ]
        sections = [config[name] for name in registry.EVIDENCE if config.get(name)]
        evidence = sections[0] if sections else {}
        fusion = Fusion(
            classes, evidence.get("nesting", {}), by_group=evidence.get("by_group", False)
        )
        return Classifier(members, fusion, kind.encoder(config), kind.evidence(config))
    except GenomaiError:
        raise
    except Exception as error:  # whatever sizes that contradict each other come to
        lines = str(error).splitlines() or [""]
        problem = f"{type(error).__name__}: {lines[0][:200]}"
        raise BundleError(f"{config.get('name')}: damaged config: {problem}") from error


def load(
    name: str | Path,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    sha256: Callable[[Path], str] = catalog.sha256,
) -> Bundle:
    """The bundle called `name` or in the folder or file `name`, on the device, ready for inference.

    It computes in `dtype` if a model of its size can afford that, see `device.affordable_precision`. `sha256` is asked
    once for every file that has a checksum. Raises BundleError if the bundle is not there, damaged, incomplete, or made
    for a newer program.
    """
    path = adapters.checkpoint_of(catalog.find(name))
    released = adapter_of(path)
    tensors: Weights | RenamedTensors
    if released is None:
        config, tensors, digest = _stored_bundle(path, sha256)
        remarks = config.get("remarks", ())
    else:
        config, tensors = config_and_tensors(*released, path)
        digest = digest_of({file: sha256(file) for file in tensors.files})
        remarks = adapters.remarks(released[0], config, digest)
    with bundle_errors(path / catalog.CONFIG):
        kind = input_class(config["input"].get("kind")).read(path, config)
    budget = Budget.of(path, len(tensors), sum(file.stat().st_size for file in tensors.files))
    classifier, auxiliary = skeleton_of(config, kind, budget)
    _fill(classifier, auxiliary, tensors, path)
    precision = devices.affordable_precision(dtype, sum(t.numel() for t in classifier.parameters()))
    classifier = classifier.to(device=device, dtype=precision).eval().requires_grad_(False)
    auxiliary = auxiliary.to(device=device, dtype=precision).eval().requires_grad_(False)
    evidence = classifier.evidence
    if evidence is not None and evidence.needs_float64 and device.type == "mps":
        # Apple's GPUs have neither double precision nor all of the linear algebra.
        classifier.get_submodule(evidence.name).to(device="cpu", dtype=torch.float64)
    return Bundle(config, classifier, kind, digest, dict(auxiliary.items()), remarks)


def skeleton_of(
    config: Mapping[str, Any], kind: InputKind, budget: Budget | None = None
) -> tuple[Classifier, nn.ModuleDict]:
    """The classifier and the auxiliary heads that a config describes, without values; BundleError as `build`, and where
    they are more than the budget."""
    with without_memory(budget):
        classifier = build(config, kind)
        with bundle_errors(Path(str(config.get("name")))):
            return classifier, build_auxiliary(config.get("companions", {}), classifier.networks[0])


def shapes(config: Mapping[str, Any], kind: InputKind) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a bundle with this config, under the name that it is stored by."""
    classifier, auxiliary = skeleton_of(config, kind)
    tensors = classifier.state_dict() | _auxiliary_tensors(auxiliary)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _stored_bundle(
    path: Path, sha256: Callable[[Path], str]
) -> tuple[dict[str, Any], Weights, str]:
    """The config, the tensors and the weights' SHA-256 of a bundle, whose files are as recorded."""
    stored = StoredBundle.open(path, sha256)
    weights = Weights.open(path)
    digests = {file: stored.sha256(file.name) for file in weights.files}
    return stored.config, weights, digest_of(digests)


def _fill(
    classifier: Classifier, auxiliary: nn.ModuleDict, tensors: Mapping[str, Tensor], source: Path
) -> None:
    """Give both their tensors, which must be exactly those of the two."""
    classifier_names, auxiliary_names = (
        classifier.state_dict().keys(),
        _auxiliary_tensors(auxiliary).keys(),
    )
    file = weights_file(source)
    require_same_names([*classifier_names, *auxiliary_names], tensors, file)
    fill(classifier, TensorSubset(tensors, {name: name for name in classifier_names}), file)
    fill(
        auxiliary,
        TensorSubset(
            tensors, {name.removeprefix(AUXILIARY_PREFIX): name for name in auxiliary_names}
        ),
        file,
    )


def _auxiliary_tensors(auxiliary: nn.Module) -> dict[str, Tensor]:
    """The auxiliary heads' tensors under the names that they are stored by."""
    return {f"{AUXILIARY_PREFIX}{name}": tensor for name, tensor in auxiliary.state_dict().items()}


def save(bundle: Bundle, target: Path, extras: Extras) -> None:
    """Write the bundle as the folder `target`, which appears whole or not at all.

    An existing bundle there is replaced; any other existing folder is left alone (BundleError). One that could not be
    loaded, because a weight or a number of its config is NaN or infinite, is not written (BundleError).
    """
    tensors = _stored_tensors(bundle)
    for name, tensor in tensors.items():
        require_finite(target, name, finite=is_finite(tensor))
    write_bundle(
        target,
        bundle.config,
        extras,
        write_weights=lambda file: safetensors.torch.save_file(tensors, file),
        write_input=bundle.input.write,
        trainable_parameters=bundle.classifier.trainable_parameters,
    )


def _stored_tensors(bundle: Bundle) -> dict[str, Tensor]:
    """The tensors as they are stored: double precision as float32, contiguous, on the CPU."""
    auxiliary = _auxiliary_tensors(nn.ModuleDict(bundle.auxiliary))
    return {
        name: (tensor.float() if tensor.dtype == torch.float64 else tensor).cpu().contiguous()
        for name, tensor in (bundle.classifier.state_dict() | auxiliary).items()
    }
