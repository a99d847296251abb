"""What the cards of pretrained models say of what they read."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CardText:
    """What the card of a pretrained model says of its kind of input: what it is for, its limits, and what the loss of
    each objective is compared with."""

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
