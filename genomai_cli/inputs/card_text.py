"""Texts of the cards of pretrained models, by their kind of input."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CardText:
    """Texts of the card of a pretrained model: its purpose, its limits, and the baseline that the loss of each
    objective is compared with."""

    purpose: str
    limits: str
    baselines: Mapping[str, str]


PRETRAINED = """\
Pretrained without labels: it has no heads and classifies nothing. `genomai train --model DIR` gives it some."""
OF_VECTORS = """\
What the network knows is what the corpus shows. A low loss says that masked letters or views are predicted well, not
that the vectors help a task: measure that."""
BASELINES = {
    "contrastive": "any sample of the batch: log(batch)",
    "causal": "a Markov model of the letters, interpolated up to order 10",
    "masked": "the tokens' frequencies, given the letters still visible",
    "diffusion": "independent sites, at the frequencies of their tokens",
}
