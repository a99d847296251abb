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
from typing import ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from genomai_cli.population.networks.genotype_mlp import Genotypes

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
SURPRISE = "surprise"  # names of scores beside the heads'
MIXTURE = "mixture"


class Evidence(Protocol):
    """What says something about the classes without a network that is trained: an `nn.Module` of buffers.

    `name` is the attribute of the classifier, and so the prefix of the tensors' names.
    """

    name: ClassVar[str]
    needs_float64: ClassVar[bool]

    def scores(self, inputs: Tensor) -> dict[str, Tensor]:
        """The log odds (B, P) under `LIKELIHOOD`, and further scores (B,) under other names than heads'."""

    def log_odds(self, inputs: Tensor) -> Tensor:
        """The log odds (B, P) of the classes, up to a constant a sample, in the evidence's own precision."""


class Classifier(nn.Module):
    """Members that vote by the mean of their logits, beside evidence that needs no network.

    With `genotypes`, ids are turned into copies of the alternate allele first, which is what networks of the
    kinds `OF_GENOTYPES` and their evidence read.
    """

    def __init__(
        self,
        members: list[nn.Module],
        fusion: Fusion,
        genotypes: Genotypes | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.fusion = fusion
        self.genotypes = genotypes
        self._evidence = ""
        if evidence is not None:
            self.add_evidence(evidence)

    def add_evidence(self, evidence: Evidence) -> None:
        """Use this evidence beside the members, in place of any that was there under its name."""
        self._evidence = evidence.name
        self.add_module(evidence.name, cast(nn.Module, evidence))

    @property
    def evidence(self) -> Evidence | None:
        """The evidence beside the members, if there is any."""
        return cast(Evidence, self.get_submodule(self._evidence)) if self._evidence else None

    def inputs(self, ids_BT: Tensor) -> Tensor:
        """What a member network reads: the ids themselves, or allele copies (B, S)."""
        if self.genotypes is None:
            return ids_BT
        copies_BS: Tensor = self.genotypes(ids_BT)
        return copies_BS

    def scores(self, ids_BT: Tensor) -> dict[str, Tensor]:
        """The members' mean logits (B, C) of every head, and the scores of the evidence, if there is any."""
        inputs = self.inputs(ids_BT)
        votes: list[dict[str, Tensor]] = [member(inputs) for member in self.members]
        scores = {head: torch.stack([vote[head] for vote in votes]).mean(0) for head in votes[0]}
        evidence = self.evidence
        return scores if evidence is None else scores | evidence.scores(inputs)

    def forward(self, ids_BT: Tensor) -> dict[str, Tensor]:
        """The scores; see `scores`."""
        return self.scores(ids_BT)

    @property
    def trainable_parameters(self) -> int:
        """How many numbers gradient descent has set."""
        return sum(parameter.numel() for parameter in self.parameters())
