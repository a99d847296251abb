"""A classifier as it is shipped: one or more networks of a kind, a population likelihood, their fusion.

Ids in, scores out, and scores to probabilities: in between, the scores of a record's sequences (two
haplotypes, several windows) are averaged by whoever calls. It knows no letters, names or files.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from genomai_cli.errors import BundleError
from genomai_cli.nets.admixture import mixture_gain
from genomai_cli.nets.crossmodal import CrossmodalNetwork
from genomai_cli.nets.denoiser import DenoiserConfig, DenoiserNetwork
from genomai_cli.nets.fusion import LIKELIHOOD, Fusion
from genomai_cli.nets.genotypes import Genotypes, allele_counts
from genomai_cli.nets.likelihood import PopulationLikelihood
from genomai_cli.nets.lineages import LineageNetwork, LineagesConfig
from genomai_cli.nets.profile import ProfileConfig, ProfileNetwork
from genomai_cli.nets.region import RegionConfig, RegionNetwork
from genomai_cli.nets.regression import VariantRegression
from genomai_cli.nets.sites import SitesConfig, SitesNetwork
from genomai_cli.nets.towers import CrossmodalConfig
from genomai_cli.nets.transformer import TransformerConfig, TransformerNetwork

NETWORKS: dict[str, tuple[type, type]] = {
    "transformer": (TransformerConfig, TransformerNetwork),
    "sites": (SitesConfig, SitesNetwork),
    "profile": (ProfileConfig, ProfileNetwork),
    "denoiser": (DenoiserConfig, DenoiserNetwork),
    "region": (RegionConfig, RegionNetwork),
    "lineages": (LineagesConfig, LineageNetwork),
    "crossmodal": (CrossmodalConfig, CrossmodalNetwork),
}
OF_GENOTYPES = ("sites", "crossmodal")  # kinds that read allele copies instead of ids
Evidence = PopulationLikelihood | VariantRegression
SURPRISE = "surprise"  # names of scores beside the heads'
MIXTURE = "mixture"


class Classifier(nn.Module):
    """Members that vote by the mean of their logits, beside evidence that needs no network.

    That is a population likelihood for barcodes, a logistic regression for genomes, or nothing. With
    `genotypes`, ids are turned into copies of the alternate allele first, which is what networks of the
    kinds `OF_GENOTYPES` and the likelihood read.
    """

    def __init__(
        self,
        members: list[nn.Module],
        fusion: Fusion,
        genotypes: Genotypes | None = None,
        likelihood: PopulationLikelihood | None = None,
        regression: VariantRegression | None = None,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.fusion = fusion
        self.genotypes = genotypes
        self.likelihood = likelihood
        self.regression = regression

    def add_evidence(self, evidence: Evidence) -> None:
        """Use this population likelihood, or this regression, beside the members."""
        if isinstance(evidence, VariantRegression):
            self.regression = evidence
        else:
            self.likelihood = evidence

    def inputs(self, ids_BT: Tensor) -> Tensor:
        """What a member network reads: the ids themselves, or allele copies (B, S)."""
        if self.genotypes is None:
            return ids_BT
        copies_BS: Tensor = self.genotypes(ids_BT)
        return copies_BS

    def scores(self, ids_BT: Tensor) -> dict[str, Tensor]:
        """The members' mean logits (B, C) of every head and the log odds (B, P) of the evidence, if there is any.

        A likelihood adds the surprise at the sample (B,) and the gain of seeing it as a mixture of groups (B,).
        """
        inputs = self.inputs(ids_BT)
        votes: list[dict[str, Tensor]] = [member(inputs) for member in self.members]
        scores = {head: torch.stack([vote[head] for vote in votes]).mean(0) for head in votes[0]}
        if self.likelihood is not None:
            scores |= self._of_populations(self.likelihood, inputs)
        if self.regression is not None:
            scores[LIKELIHOOD] = self.regression(inputs)
        return scores

    def _of_populations(
        self, likelihood: PopulationLikelihood, copies_BS: Tensor
    ) -> dict[str, Tensor]:
        theta = likelihood.theta  # may lie on another device than the networks
        counts = allele_counts(copies_BS.to(theta.device), theta.dtype)
        log_BP = likelihood(*counts)
        groups_GS = self._group_frequencies(likelihood)
        return {
            LIKELIHOOD: log_BP,
            SURPRISE: likelihood.surprise(*counts, log_BP.argmax(1)),
            MIXTURE: mixture_gain(*counts, groups_GS),
        }

    def _group_frequencies(self, likelihood: PopulationLikelihood) -> Tensor:
        """Allele frequencies (G, S) of the classes of the coarsest head that the populations nest in."""
        parents = min(self.fusion.nesting.values(), key=lambda parents: len(set(parents)))
        parent_P = torch.tensor(parents, device=likelihood.theta.device)
        frequency_PS = torch.sigmoid(likelihood.theta)
        return torch.stack([frequency_PS[parent_P == g].mean(0) for g in range(max(parents) + 1)])

    def forward(self, ids_BT: Tensor) -> dict[str, Tensor]:
        """The scores; see `scores`."""
        return self.scores(ids_BT)

    @property
    def trainable_parameters(self) -> int:
        """How many numbers gradient descent has set."""
        return sum(parameter.numel() for parameter in self.parameters())


def log_odds(evidence: Evidence, inputs: Tensor) -> Tensor:
    """What the evidence says about samples in the form that networks read: (B, P)."""
    if isinstance(evidence, VariantRegression):
        odds_BP: Tensor = evidence(inputs)
        return odds_BP
    return evidence(*allele_counts(inputs, torch.float64))  # type: ignore[no-any-return]


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
