"""A model in memory, and its way to a folder and back: config, weights, panel, recipe, card.

Weights are safetensors, everything else is text; nothing in a bundle can run.
"""

import copy
import json
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from genomai_cli import tokenizers
from genomai_cli.backbones import heads
from genomai_cli.backbones.classifier import OF_GENOTYPES, Classifier, Evidence, Fusion
from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError
from genomai_cli.mapping.reference import Reference, VariableSites
from genomai_cli.phylogeny.regression import VariantRegression
from genomai_cli.population.networks.crossmodal import CrossmodalNetwork
from genomai_cli.population.networks.genotype_mlp import Genotypes
from genomai_cli.population.networks.likelihood import PopulationLikelihood
from genomai_cli.population.panel import Panel
from genomai_cli.registry import build_network

RECIPE = "recipe.toml"
COMPANIONS = "companions."  # begins the names of their tensors
PLACES = (catalog.PANEL, catalog.REFERENCE, catalog.SITES)
NEEDED = ("name", "version", "input", "tokenizer", "network", "members", "heads")


@dataclass(frozen=True)
class Bundle:
    """A model ready to use: `config` is what config.json holds.

    A model of barcodes has a `panel`; one of anchored genomes has a `reference` and its variable `sites`. What was
    trained beside its network, by objective, is in `companions`; it is counted apart.
    """

    config: dict[str, Any]
    classifier: Classifier
    panel: Panel | None = None
    reference: Reference | None = None
    sites: VariableSites | None = None
    weights_sha256: str = ""
    companions: Mapping[str, nn.Module] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def version(self) -> str:
        return str(self.config["version"])

    @property
    def heads(self) -> dict[str, list[str]]:
        """The labels of every head, in the order of its logits."""
        return {head: list(labels) for head, labels in self.config["heads"].items()}

    def require_heads(self) -> None:
        """BundleError for a model that was only pretrained, and has no classes to choose from."""
        if not self.config["heads"]:
            raise BundleError(
                f"the model {self.name!r} has no heads: it was only pretrained; "
                "`genomai train --model DIR` gives it some"
            )

    @property
    def required_panel(self) -> Panel:
        """The panel, for reading a VCF; BundleError for a model that reads plain DNA."""
        if self.panel is None:
            raise BundleError(f"the model {self.name!r} has no panel: it does not read VCF")
        return self.panel

    @property
    def crossmodal(self) -> CrossmodalNetwork:
        """The network of DNA and phenotypes: the model's own, or that beside it; BundleError if there is none."""
        networks = (self.classifier.members[0], *self.companions.values())
        for network in networks:
            if isinstance(network, CrossmodalNetwork) and self.panel is not None:
                return network
        raise BundleError(
            f"the model {self.name!r} knows no phenotypes: "
            "`genomai pretrain --objective crossmodal` makes one that does"
        )

    @cached_property
    def fusion(self) -> Fusion:
        """The classifier's fusion on the CPU in double precision, whatever the rest runs in."""
        return copy.deepcopy(self.classifier.fusion).cpu().double()

    @property
    def tokenizer(self) -> tokenizers.Tokenizer:
        return tokenizers.from_config(self.config["tokenizer"])


@dataclass(frozen=True)
class Extras:
    """The files beside a bundle's weights: those that only people read, and those of an application.

    `recorded` names the ones among the others that a program reads again: their checksums go into the config.
    """

    card: str
    recipe: str
    others: Mapping[str, str | bytes] = field(default_factory=dict)
    recorded: Collection[str] = ()


def build(config: Mapping[str, Any], panel: Panel | None) -> Classifier:
    """The classifier that a config describes, with no values in it yet.

    Raises BundleError for a config that lacks something or contradicts itself.
    """
    try:
        classes = {head: len(labels) for head, labels in config["heads"].items()}
        members = [build_network(config["network"], classes) for _ in range(config["members"])]
        likelihood = config.get("likelihood")
        regression = config.get("regression")
        evidence = likelihood or regression
        fusion = Fusion(classes, evidence["nesting"] if evidence else {})
        return Classifier(
            members,
            fusion,
            _genotypes(config, panel) if config["network"]["kind"] in OF_GENOTYPES else None,
            _evidence(config, panel) if evidence else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{config.get('name')}: damaged config: {error!r}") from error


def _genotypes(config: Mapping[str, Any], panel: Panel | None) -> Genotypes:
    if panel is None:
        raise BundleError(f"{config.get('name')}: a network of sites needs a panel")
    words = len(tokenizers.from_config(config["tokenizer"]).vocabulary)
    return Genotypes(torch.zeros(len(panel), words))


def _evidence(config: Mapping[str, Any], panel: Panel | None) -> Evidence:
    if not config.get("likelihood"):
        settings, network = config["regression"], config["network"]
        classes = len(settings["nesting"][settings["head"]])
        return VariantRegression(classes, network["sites"], network["variants"])
    if panel is None:
        raise BundleError("a population likelihood needs a panel")
    settings = config["likelihood"]
    populations = len(settings["nesting"][settings["head"]])
    return PopulationLikelihood(populations, len(panel), settings["axes"], settings["nesting"])


def load(name: str | Path, device: torch.device, dtype: torch.dtype = torch.float32) -> Bundle:
    """The bundle called `name` or in the folder `name`, on the device, ready for inference.

    Raises BundleError if it is not there, damaged, incomplete, or made for a newer program.
    """
    path = catalog.find(name)
    config = catalog.read_config(path)
    absent = [key for key in NEEDED if key not in config]
    if absent:
        raise BundleError(f"{path / catalog.CONFIG}: damaged config: no {absent[0]}")
    damaged = catalog.problems(path)
    if damaged:
        raise BundleError(damaged[0])
    panel, reference, sites = _read_places(path)
    classifier = build(config, panel)
    beside = heads.build(config.get("companions", {}), classifier.members[0])
    _fill(classifier, beside, path / catalog.WEIGHTS)
    classifier = classifier.to(device=device, dtype=dtype).eval().requires_grad_(False)
    beside = beside.to(device=device, dtype=dtype).eval().requires_grad_(False)
    evidence = classifier.evidence
    if evidence is not None and evidence.needs_float64 and device.type == "mps":
        # Apple's GPUs have neither double precision nor all of the linear algebra.
        classifier.get_submodule(evidence.name).to(device="cpu", dtype=torch.float64)
    digest = catalog.sha256(path / catalog.WEIGHTS)
    modules = dict(beside.items())
    return Bundle(config, classifier, panel, reference, sites, digest, modules)


def _read_places(path: Path) -> tuple[Panel | None, Reference | None, VariableSites | None]:
    """What of its panel, its reference and the sites of that a bundle has."""
    panel, reference, sites = (
        path / name for name in (catalog.PANEL, catalog.REFERENCE, catalog.SITES)
    )
    return (
        Panel.read(panel) if panel.is_file() else None,
        Reference.read(reference) if reference.is_file() else None,
        VariableSites.read(sites) if sites.is_file() else None,
    )


def _fill(classifier: Classifier, beside: nn.ModuleDict, file: Path) -> None:
    try:
        tensors = safetensors.torch.load_file(file)
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{file}: {error}") from error
    expected = classifier.state_dict() | _prefixed(beside)
    missing, unknown = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or unknown:
        what, which = ("missing", missing) if missing else ("unknown", unknown)
        raise BundleError(f"{file}: {what} tensor {min(which)} ({len(which)} in all)")
    for tensor_name, tensor in tensors.items():
        if tensor.shape != expected[tensor_name].shape:
            raise BundleError(
                f"{file}: tensor {tensor_name} has another shape than the config says"
            )
    names = classifier.state_dict().keys()
    classifier.load_state_dict({name: tensors[name] for name in names})
    begin = len(COMPANIONS)
    beside.load_state_dict({n[begin:]: t for n, t in tensors.items() if n not in names})


def _prefixed(beside: nn.Module) -> dict[str, Tensor]:
    """The companions' tensors under the names that they are stored by."""
    return {f"{COMPANIONS}{name}": tensor for name, tensor in beside.state_dict().items()}


def save(bundle: Bundle, target: Path, extras: Extras) -> None:
    """Write the bundle as the folder `target`, which appears whole or not at all.

    An existing bundle there is replaced; any other existing folder is left alone (BundleError).
    """
    if target.exists() and not (target / catalog.CONFIG).is_file():
        raise BundleError(f"{target}: exists and is not a model bundle: not replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        written = Path(folder) / target.name
        written.mkdir()
        _write(bundle, written, extras)
        if target.exists():
            target.rename(Path(folder) / "replaced")
        shutil.move(written, target)


def _write(bundle: Bundle, folder: Path, extras: Extras) -> None:
    (folder / catalog.WEIGHTS).write_bytes(safetensors.torch.save(_stored(bundle)))
    if bundle.panel is not None:
        bundle.panel.write(folder / catalog.PANEL)
    if bundle.reference is not None:
        bundle.reference.write(folder / catalog.REFERENCE)
    if bundle.sites is not None:
        bundle.sites.write(folder / catalog.SITES)
    texts = {catalog.CARD: extras.card, RECIPE: extras.recipe, **extras.others}
    for name, content in texts.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    config = {
        "format_version": catalog.FORMAT_VERSION,
        **bundle.config,
        "trainable_parameters": bundle.classifier.trainable_parameters,
        "files": _checksums(folder, (catalog.WEIGHTS, *PLACES, *extras.recorded, RECIPE)),
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / catalog.CONFIG).write_text(text, encoding="utf-8")


def _stored(bundle: Bundle) -> dict[str, Tensor]:
    """The tensors as they are stored: floating point as float32, contiguous, on the CPU."""
    beside = _prefixed(nn.ModuleDict(bundle.companions))
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in (bundle.classifier.state_dict() | beside).items()
    }


def _checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: catalog.sha256(folder / name) for name in names if (folder / name).is_file()}
