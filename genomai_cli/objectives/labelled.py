"""Supervised learning: the cross-entropy of every head, a missing label left out."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

MISSING = -1


def cross_entropy(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
    """The sum over the heads of the mean cross-entropy, in nats.

    `logits` holds (B, C) a head, `labels` the class numbers (B,), -1 where there is no label.
    """
    return sum(
        functional.cross_entropy(logits[head].float(), labels[head], ignore_index=MISSING)
        for head in logits
        if bool((labels[head] != MISSING).any())
    )  # type: ignore[return-value]
