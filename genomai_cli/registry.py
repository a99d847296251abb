"""Names in configs and recipes, and the networks and objectives that they name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from genomai_cli.backbones.transformer import TransformerConfig, TransformerNetwork
from genomai_cli.errors import BundleError
from genomai_cli.objectives import contrastive, diffusion, masked
from genomai_cli.objectives.base import Alphabet, Objective
from genomai_cli.objectives.contrastive import Contrastive, ContrastiveSettings
from genomai_cli.objectives.diffusion import Diffusion, DiffusionSettings
from genomai_cli.objectives.masked import Masked, MaskedSettings
from genomai_cli.phylogeny.lineage_mixture import LineageNetwork, LineagesConfig
from genomai_cli.phylogeny.variant_network import ProfileConfig, ProfileNetwork
from genomai_cli.population.alignment import objective
from genomai_cli.population.alignment.objective import Crossmodal, CrossmodalSettings
from genomai_cli.population.networks.crossmodal import CrossmodalNetwork
from genomai_cli.population.networks.denoiser import DenoiserConfig, DenoiserNetwork
from genomai_cli.population.networks.genotype_mlp import (
    SitesConfig,
    SitesNetwork,
)
from genomai_cli.population.networks.towers import CrossmodalConfig
from genomai_cli.population.networks.windowed_imputer import RegionConfig, RegionNetwork

NETWORKS: dict[str, tuple[type, type]] = {
    "transformer": (TransformerConfig, TransformerNetwork),
    "sites": (SitesConfig, SitesNetwork),
    "profile": (ProfileConfig, ProfileNetwork),
    "denoiser": (DenoiserConfig, DenoiserNetwork),
    "region": (RegionConfig, RegionNetwork),
    "lineages": (LineagesConfig, LineageNetwork),
    "crossmodal": (CrossmodalConfig, CrossmodalNetwork),
}


def build_network(config: Mapping[str, Any], classes: Mapping[str, int]) -> nn.Module:
    """One untrained network of the kind and sizes that `config` gives.

    Raises BundleError for an unknown kind or size.
    """
    sizes = {name: value for name, value in config.items() if name != "kind"}
    try:
        settings, network = NETWORKS[config["kind"]]
        built: nn.Module = network(settings(**sizes), dict(classes))
    except (KeyError, TypeError) as error:
        raise BundleError(f"network {config.get('kind')!r}: {error}") from error
    return built


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every size spelled out, defaults included."""
    sizes = {name: value for name, value in config.items() if name != "kind"}
    try:
        settings, _ = NETWORKS[config["kind"]]
        return {"kind": config["kind"], **asdict(settings(**sizes))}
    except (KeyError, TypeError) as error:
        raise BundleError(f"network {config.get('kind')!r}: {error}") from error


@dataclass(frozen=True)
class Kind:
    """An objective's class and that of its settings, with the least and the largest value of each."""

    settings: type
    objective: Callable[[Any, Alphabet], Objective]
    limits: Mapping[str, tuple[float, float]]


OBJECTIVES: dict[str, Kind] = {
    "contrastive": Kind(ContrastiveSettings, Contrastive, contrastive.LIMITS),
    "masked": Kind(MaskedSettings, Masked, masked.LIMITS),
    "diffusion": Kind(DiffusionSettings, Diffusion, diffusion.LIMITS),
    "crossmodal": Kind(CrossmodalSettings, Crossmodal, objective.LIMITS),
}


def check_objective(name: str, weight: object) -> None:
    """ValueError unless there is such an objective and its weight is a positive number."""
    if name not in OBJECTIVES:
        raise ValueError(f"no objective {name!r} (there are: {', '.join(OBJECTIVES)})")
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 < float(weight) < math.inf:  # type: ignore[arg-type]
        raise ValueError(f"objectives.{name} is a weight above 0, not {weight!r}")
