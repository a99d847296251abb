"""A classifier as it is shipped: one or more networks of a kind, a population likelihood, their fusion.

Ids in, scores out, and scores to probabilities: in between, the scores of a record's sequences (two
haplotypes, several windows) are averaged by whoever calls. It knows no letters, names or files.

Joins the networks' logits with the population likelihood into calibrated log-probabilities.

Every source of evidence has a weight that depends on the share c of the sites that are known:
w(c) = exp(a0 + a1 log c + a2 log^2 c), a temperature (Guo et al. 2017) that knows how much was seen.
The likelihood speaks about the classes of one head; a coarser head that its classes nest in (populations
in super-populations) gets their sum. The weights are fitted on people that the networks have not seen.

Shape suffixes: B samples, C classes of a head, P classes of the likelihood, F features of the share.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from genomai_cli.phylogeny.regression import VariantRegression
from genomai_cli.population.networks.genotype_mlp import (
    Genotypes,
    allele_counts,
)
from genomai_cli.population.networks.likelihood import PopulationLikelihood, mixture_gain

FEATURES = 3
SMALLEST_SHARE = 0.005
LARGEST_LOG_WEIGHT = 10.0  # where few held-out samples are all right, no weight would be too large
LIKELIHOOD = "likelihood"


class Fusion(nn.Module):
    """Scores of a sample and its share of known sites to log-probabilities of every head.

    `nesting` tells for each head which of its classes each class of the likelihood belongs to; a head
    that is not in it is left to the networks alone.
    """

    def __init__(self, classes: Mapping[str, int], nesting: Mapping[str, list[int]]) -> None:
        super().__init__()
        self.classes = dict(classes)
        self.nesting = {head: list(parents) for head, parents in nesting.items()}
        for head in self.classes:
            self.register_buffer(f"network_{head}", torch.zeros(FEATURES))
        for head in self.nesting:
            self.register_buffer(f"likelihood_{head}", torch.zeros(FEATURES))

    def forward(self, scores: Mapping[str, Tensor], share_B: Tensor) -> dict[str, Tensor]:
        """Log-probabilities (B, C) of every head."""
        return {head: self._head(head, scores, share_B) for head in self.classes}

    def _head(self, head: str, scores: Mapping[str, Tensor], share_B: Tensor) -> Tensor:
        logits_BC = scores[head] * self._weight(f"network_{head}", share_B)
        if head in self.nesting:
            evidence_BP = scores[LIKELIHOOD] * self._weight(f"likelihood_{head}", share_B)
            logits_BC = logits_BC + self._sums(head, evidence_BP.log_softmax(1))
        return logits_BC.log_softmax(1)

    def _weight(self, name: str, share_B: Tensor) -> Tensor:
        """The weight (B, 1) of a source of evidence for samples of which so much is known."""
        log_B = share_B.clamp(min=SMALLEST_SHARE).log()
        features_BF = torch.stack([torch.ones_like(log_B), log_B, log_B.square()], dim=1)
        log_weight_B = (features_BF @ self.get_buffer(name)).clamp(max=LARGEST_LOG_WEIGHT)
        return log_weight_B.exp().unsqueeze(1)

    def _sums(self, head: str, evidence_BP: Tensor) -> Tensor:
        """Log of the summed probability of the likelihood's classes inside each class of the head."""
        parent_P = torch.tensor(self.nesting[head], device=evidence_BP.device)
        columns = [evidence_BP[:, parent_P == c].logsumexp(1) for c in range(self.classes[head])]
        return torch.stack(columns, dim=1)


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
