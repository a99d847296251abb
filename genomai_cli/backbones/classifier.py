"""A classifier as it is shipped: networks of a family with heads, evidence attached to them, and their fusion.

Ids in, scores out, and scores to probabilities: in between, the scores of a record's sequences (two haplotypes, several
windows) are averaged by whoever calls. It knows no letters, names or files.

`Fusion` joins the logits of the networks with the evidence into calibrated log-probabilities. Every source has a weight
that depends on the share c of the input that is known, or of its information where the evidence tells that:
w(c) = exp(a0 + a1 log c + a2 log^2 c), a temperature (Guo et al. 2017, arXiv:1706.04599) that knows how much was seen.
The evidence speaks about the classes of one head; a coarser head that its classes nest in gets their sum. The weights
are fitted on samples that the networks have not seen. An
evidence may doubt that a sample is of any of its classes: the coarsest head then is in part what it says without them,
and the more likely an outsider is, the wider are all probabilities.

`by_group`, the classes of a finer head are compared within each class of the coarsest, a group, with weights of its
own: what tells admixed populations apart is not what tells neighbours apart. The networks' weights then follow the
share of the input, the evidence's that of the information, and whether few sites tell it and how evenly these lie.

Shape suffixes: B samples, T tokens, C classes of a head, P classes of the evidence, G groups, F features of the share,
D hidden size, E members times hidden size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from genomai_cli.backbones.base import Backbone, Network
from genomai_cli.backbones.heads import logits
from genomai_cli.errors import UsageError

MEAN, CLS, MAX, POOLER = "mean", "cls", "max", "pooler"
POOLS = (MEAN, CLS, MAX, POOLER)
FEATURES = 3  # of the share, of which the logarithm of a weight is a linear function
EVIDENCE_FEATURES = 5  # of share, information and evenness, by group
SMALLEST_SHARE = 0.005
SMALLEST_INFORMATION = 2e-4
LARGEST_LOG_WEIGHT = 10.0  # where few held-out samples are all right, no weight would be too large
LIKELIHOOD, KNOWN = (
    "likelihood",
    "known",
)  # the log odds, and the share of all information that is known
EVEN = "even"  # how evenly what is known lies among all, 1 if as at random
GROUPS, DOUBT = "groups", "doubt"  # log odds of the coarsest head's classes, and their weight
OUTSIDE = "outside"  # the probability that a sample is of none of the evidence's classes
VOTES = "votes"  # score of an evidence that weighs the networks' logits, 0 to 1


class Features(NamedTuple):
    """What the weights of the networks and of the evidence depend on, both (B, F)."""

    networks: Tensor
    evidence: Tensor


class Fusion(nn.Module):
    """Scores of a sample and its share of known sites to log-probabilities of every head.

    `nesting` tells for each head which of its classes each class of the likelihood belongs to; a head
    that is not in it is left to the networks alone. With `by_group`, the heads whose classes nest in those of the
    coarsest have weights (G, F) for each of these, and others (F,).
    """

    def __init__(
        self,
        classes: Mapping[str, int],
        nesting: Mapping[str, list[int]],
        *,
        by_group: bool = False,
    ) -> None:
        super().__init__()
        self.classes = dict(classes)
        self.nesting = {head: list(parents) for head, parents in nesting.items()}
        counts = {head: len(set(parents)) for head, parents in self.nesting.items()}
        self.coarsest = min(counts, key=lambda head: counts[head], default=None)
        self.by_group = by_group
        self.group_of = self._groups() if by_group else {}
        for head in self.classes:
            self.register_buffer(f"network_{head}", self._zero_weights(head, FEATURES))
        for head in self.nesting:
            features = EVIDENCE_FEATURES if by_group else FEATURES
            self.register_buffer(f"likelihood_{head}", self._zero_weights(head, features))

    def _groups(self) -> dict[str, list[int]]:
        """The group of each class, of the heads whose classes lie in one each."""
        groups = {}
        for head, parents in self.nesting.items():
            pairs = set(zip(parents, self.nesting[str(self.coarsest)], strict=True))
            if head != self.coarsest and len(pairs) == len(set(parents)):
                groups[head] = [group for _, group in sorted(pairs)]
        return groups

    def _zero_weights(self, head: str, features: int) -> Tensor:
        groups = (len(set(self.nesting[str(self.coarsest)])),) if head in self.group_of else ()
        return torch.zeros(*groups, features)

    def forward(self, scores: Mapping[str, Tensor], share_B: Tensor) -> dict[str, Tensor]:
        """Log-probabilities (B, C) of every head."""
        features = self._features(scores, share_B)
        log_probabilities = {head: self._combined(head, scores, features) for head in self.classes}
        if GROUPS in scores:
            head = str(self.coarsest)
            groups_BG = scores[GROUPS] * self._weight(f"likelihood_{head}", features.evidence)
            log_probabilities[head] = _mixture(
                log_probabilities[head], groups_BG.log_softmax(1), scores[DOUBT]
            )
        for head, group_C in self.group_of.items():
            log_probabilities[head] = _within_groups(
                log_probabilities[head], log_probabilities[str(self.coarsest)], group_C
            )
        if OUTSIDE in scores:
            for head in self.nesting:
                uniform_BC = torch.full_like(
                    log_probabilities[head], -math.log(log_probabilities[head].shape[1])
                )
                log_probabilities[head] = _mixture(
                    log_probabilities[head], uniform_BC, scores[OUTSIDE]
                )
        return log_probabilities

    def _features(self, scores: Mapping[str, Tensor], share_B: Tensor) -> "Features":
        information_B = scores.get(KNOWN)
        minimum = SMALLEST_SHARE if information_B is None else SMALLEST_INFORMATION
        log_B = (share_B if information_B is None else information_B).clamp(min=minimum).log()
        one_B = torch.ones_like(log_B)
        curve_BF = torch.stack([one_B, log_B, log_B.square()], dim=1)
        if not self.by_group:
            return Features(curve_BF, curve_BF)
        share_B = share_B.clamp(min=minimum).log().to(log_B)
        even_B = scores.get(EVEN, one_B).log()
        extra_BF = torch.stack([share_B, even_B], dim=1)
        return Features(
            torch.stack([one_B, share_B, share_B.square()], dim=1),
            torch.cat([curve_BF, extra_BF], dim=1),
        )

    def _combined(self, head: str, scores: Mapping[str, Tensor], features: "Features") -> Tensor:
        """Log-probabilities (B, C) by networks and evidence, each with its weight."""
        group_C = self.group_of.get(head, ())
        logits_BC = scores[head] * self._weight(f"network_{head}", features.networks, group_C)
        if head in self.nesting:
            group_P = self.nesting[str(self.coarsest)] if group_C else ()
            weight_BP = self._weight(f"likelihood_{head}", features.evidence, group_P)
            evidence_BP = scores[LIKELIHOOD] * weight_BP
            logits_BC = logits_BC + self._class_sums(head, evidence_BP.log_softmax(1))
        return logits_BC.log_softmax(1)

    def _weight(self, name: str, features_BF: Tensor, group_of: Sequence[int] = ()) -> Tensor:
        """The weight of a source for samples with these features: (B, 1), or (B, C) if it depends on the group of each
        class."""
        weights_GF = self.get_buffer(name).view(-1, features_BF.shape[1])
        weight_BG = (features_BF @ weights_GF.T).clamp(max=LARGEST_LOG_WEIGHT).exp()
        return weight_BG[:, group_of] if group_of else weight_BG

    def _class_sums(self, head: str, evidence_BP: Tensor) -> Tensor:
        """Log of the summed probability of the likelihood's classes inside each class of the head."""
        parent_P = torch.tensor(self.nesting[head], device=evidence_BP.device)
        columns = [evidence_BP[:, parent_P == c].logsumexp(1) for c in range(self.classes[head])]
        return torch.stack(columns, dim=1)


def _within_groups(log_BC: Tensor, log_BG: Tensor, group_of: Sequence[int]) -> Tensor:
    """Log-probabilities (B, C): of each group, and of each class within its group."""
    group_C = torch.tensor(group_of, device=log_BC.device)
    groups = range(log_BG.shape[1])
    group_BG = torch.stack([log_BC[:, group_C == group].logsumexp(1) for group in groups], dim=1)
    return log_BC + (log_BG - group_BG)[:, group_C]


def _mixture(log_BC: Tensor, other_BC: Tensor, weight_B: Tensor) -> Tensor:
    """Log-probabilities of a mixture of two answers, of which the other has the weight."""
    weight_B1 = weight_B.unsqueeze(1).clamp(1e-9, 1 - 1e-9)
    return torch.logaddexp(log_BC + torch.log1p(-weight_B1), other_BC + weight_B1.log())


class Evidence(Protocol):
    """A module that says something about the classes of one head and needs no network: a likelihood, a regression."""

    name: ClassVar[str]  # begins the names of its tensors in a bundle
    needs_float64: ClassVar[bool]

    def scores(self, inputs: Tensor) -> dict[str, Tensor]:
        """The log odds (B, P) under the name `LIKELIHOOD`, whatever else flags are raised by (B,), and under `VOTES`
        how much the networks' logits count, if not always fully."""

    def fused(self, inputs: Tensor) -> dict[str, Tensor]:
        """The scores that a fusion reads: the log odds, and perhaps `KNOWN`, the known share of the information, and
        `EVEN`."""

    def state_dict(self) -> dict[str, Tensor]:
        """As of a module."""

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object:
        """As of a module."""


class Classifier(nn.Module):
    """Members that vote by the mean of their logits, and evidence attached to them.

    The `encoder` turns ids into what the members and the evidence read, for instance allele counts; without one they
    read the ids. Encoder and evidence are stored under names of their own (`name`).
    """

    def __init__(
        self,
        members: list[Network],
        fusion: Fusion,
        encoder: nn.Module | None = None,
        evidence: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.fusion = fusion
        self._attached: dict[str, str] = {}
        for role, module in (("encoder", encoder), ("evidence", evidence)):
            if module is not None:
                self._attached[role] = str(module.name)
                self.add_module(str(module.name), module)

    @property
    def networks(self) -> list[Network]:
        """The members."""
        return [cast(Network, member) for member in self.members]

    @property
    def encoder(self) -> nn.Module | None:
        """The module between ids and networks, if there is one."""
        return self._module("encoder")

    @property
    def evidence(self) -> Evidence | None:
        """The evidence attached to the networks, if there is any."""
        return cast(Evidence | None, self._module("evidence"))

    def _module(self, role: str) -> nn.Module | None:
        name = self._attached.get(role)
        return None if name is None else self.get_submodule(name)

    def inputs(self, ids_BT: Tensor, likelihood_BS3: Tensor | None = None) -> Tensor:
        """What a member network reads: the ids themselves, what the encoder makes of them, or instead of that
        likelihoods of genotypes, which only networks of allele counts can."""
        if likelihood_BS3 is not None:
            return likelihood_BS3
        return ids_BT if self.encoder is None else self.encoder(ids_BT)

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        likelihood_BS3: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The members' mean logits (B, C) of every head, and the scores of the evidence."""
        inputs = self.inputs(ids_BT, likelihood_BS3)
        member_logits = [logits(member, inputs, mask_BT) for member in self.members]
        scores = {
            head: torch.stack([by_head[head] for by_head in member_logits]).mean(0)
            for head in member_logits[0]
        }
        if self.evidence is None:
            return scores
        evidence_scores = self.evidence.scores(inputs)
        vote_weight = evidence_scores.pop(VOTES, None)
        if vote_weight is not None:
            scores = {
                head: rows * vote_weight.to(rows).unsqueeze(1) for head, rows in scores.items()
            }
        return scores | evidence_scores

    @property
    def trainable_parameters(self) -> int:
        """How many numbers gradient descent has set."""
        return sum(parameter.numel() for parameter in self.parameters())

    # Vectors: those of the members, concatenated.

    @property
    def has_vectors(self) -> bool:
        """Whether the networks have any; those that only restore tokens do not."""
        return all(network.has_vectors for network in self.networks)

    @property
    def has_token_vectors(self) -> bool:
        """Whether there are vectors of tokens, and not of whole sequences only."""
        return all(network.has_token_vectors for network in self.networks)

    @property
    def has_pooler(self) -> bool:
        """Whether there is a trained vector of the sequence."""
        return all(isinstance(n, Backbone) and n.has_pooler for n in self.networks)

    @property
    def hidden_size(self) -> int:
        """The size E of the vectors."""
        return sum(network.hidden_size for network in self.networks)

    @property
    def max_length(self) -> int | None:
        """How many tokens the networks can read at once; None if there is no bound."""
        bounds = [n.max_length for n in self.networks if n.max_length is not None]
        return min(bounds, default=None)

    def depth(self, layer: int) -> int:
        """The layer counted from the embeddings, 0; negative numbers count from the last, -1.

        Raises UsageError for a layer that the networks do not have.
        """
        layers = min(network.num_layers for network in self.networks)
        if not -layers - 1 <= layer <= layers:
            raise UsageError(
                f"--layer {layer}: the model's layers are 0 (the embeddings) to {layers}, or from the end "
                f"-1 to {-layers - 1}"
            )
        return layer if layer >= 0 else layers + 1 + layer

    def sequence_vectors(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None,
        layer: int,
        pool: str = MEAN,
        likelihood_BS3: Tensor | None = None,
    ) -> Tensor:
        """One vector (B, E) a sequence: as the network pools, of its tokens the first (cls) or the maximum, or
        that of a trained pooler, which reads the last layer."""
        inputs = self.inputs(ids_BT, likelihood_BS3)
        if pool == MEAN:
            found = [network.pooled(inputs, mask_BT, layer) for network in self.networks]
            return torch.cat(found, dim=1)
        if pool == POOLER:
            poolers = [cast(Backbone, network) for network in self.networks]
            last = [n.pooler_output(n(inputs, mask_BT)) for n in poolers]
            return torch.cat(last, dim=1)
        tokens_BTE = self.token_vectors(ids_BT, mask_BT, layer)
        if mask_BT is None:
            mask_BT = torch.ones_like(ids_BT, dtype=torch.bool)
        if pool == CLS:
            first_B = mask_BT.int().argmax(1)  # behind padding on the left
            return tokens_BTE[torch.arange(len(first_B), device=first_B.device), first_B]
        return tokens_BTE.masked_fill(~mask_BT.unsqueeze(2), -torch.inf).amax(1)

    def token_vectors(self, ids_BT: Tensor, mask_BT: Tensor | None, layer: int) -> Tensor:
        """One vector a token (B, T, E); those of padding mean nothing."""
        return torch.cat([m(ids_BT, mask_BT, layer=layer) for m in self.networks], dim=2)
