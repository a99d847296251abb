"""Which people are asked for: `EUR`, `GBR`, `null`, `reference`, or a mixture, `EUR:0.7,AFR:0.3`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from genomai_cli.errors import UsageError
from genomai_cli.panels.phenotypes import NULL, REFERENCE, Phenotypes


@dataclass(frozen=True)
class Ask:
    """So many people of one phenotype, or of a mixture of several; the weights in `parts` add up to 1.

    `word` is what their names contain, `text` what their descriptions say. With the name of a `record`, each person is
    of one of the parts, drawn by their weights, instead of a mixture of all.
    """

    parts: tuple[tuple[str, float], ...]
    people: int
    record: str = ""

    @property
    def word(self) -> str:
        return self.record or "-".join(name for name, _ in self.parts)

    @property
    def text(self) -> str:
        if self.record:
            return self.record
        if len(self.parts) == 1:
            return self.parts[0][0]
        return ",".join(f"{name}:{weight:g}" for name, weight in self.parts)


def all_asked(texts: Sequence[str], people: int, phenotypes: Phenotypes) -> list[Ask]:
    """What several `--phenotype` ask for, each for so many people; UsageError where two would give the same names."""
    asks = [ask for text in texts for ask in asked(text, people, phenotypes)]
    words = [ask.word for ask in asks]
    for word in words:
        if words.count(word) > 1:
            raise UsageError(f"--phenotype asks for {word} twice: people would have the same names")
    return asks


def asked(text: str, people: int, phenotypes: Phenotypes) -> list[Ask]:
    """What one `--phenotype` asks for.

    `reference` is everybody: each finest label with its share of the people, by largest remainders. Raises UsageError
    for a name that is not known, with those that are, and for weights that are none.
    """
    if text == REFERENCE:
        shares = phenotypes.parts(REFERENCE)
        quotas = quotas_of(list(shares.values()), people)
        pairs = zip(shares, quotas, strict=True)
        return [Ask(((name, 1.0),), quota) for name, quota in pairs if quota]
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = part.strip().partition(":")
        if name not in phenotypes.names:
            raise UsageError(f"no phenotype {name!r}: the model knows {known_names(phenotypes)}")
        if name in weights:
            raise UsageError(f"--phenotype {text}: {name} is there twice")
        weights[name] = _weight(number, text) if colon else 1.0
    total = sum(weights.values())
    return [Ask(tuple((name, weight / total) for name, weight in weights.items()), people)]


def known_names(phenotypes: Phenotypes) -> str:
    """Everything that can be asked for, in words: `reference` and `null`, then the labels of each column."""
    columns = (" ".join(labels) for labels in phenotypes.labels.values())
    return "; ".join([f"{REFERENCE} {NULL}", *columns])


def quotas_of(shares: list[int], people: int) -> list[int]:
    """Whole numbers in the proportions of the shares that add up to `people` (largest remainders)."""
    exact = [share * people / sum(shares) for share in shares]
    quotas = [math.floor(value) for value in exact]
    order = sorted(range(len(shares)), key=lambda i: (quotas[i] - exact[i], i))
    for place in order[: people - sum(quotas)]:
        quotas[place] += 1
    return quotas


def _weight(number: str, text: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UsageError(f"--phenotype {text}: a weight is a number above 0, not {number!r}")
    return weight
