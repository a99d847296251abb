"""Joins the networks' logits with the population likelihood into calibrated log-probabilities.

Every source of evidence has a weight that depends on the share c of the sites that are known:
w(c) = exp(a0 + a1 log c + a2 log^2 c), a temperature (Guo et al. 2017) that knows how much was seen.
The likelihood speaks about the classes of one head; a coarser head that its classes nest in (populations
in super-populations) gets their sum. The weights are fitted on people that the networks have not seen.

Shape suffixes: B samples, C classes of a head, P classes of the likelihood, F features of the share.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

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
