"""Which people are asked for: `EUR`, `GBR`, `null`, `reference`, or a mixture, `EUR:0.7,AFR:0.3`.

People asked for by phenotype records: described by any attributes, such as a place, instead of named.

The network that brings DNA and phenotype records into one space (`nets/crossmodal.py`) tells how like a record is to
that of each population; by these likenesses each person's population is drawn.

Shape suffixes: R records asked for, P records of populations, E size of the common space.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import InputError, UsageError
from genomai_cli.population.labels import NULL, REFERENCE, Phenotypes
from genomai_cli.population.networks.phenotype_embedding import Records
from genomai_cli.population.phenotype_encoding import encode
from genomai_cli.population.phenotypes import PhenotypeTable


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


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
LEAST = 0.005  # a population with a smaller share is left out


def asked_by_records(
    table: PhenotypeTable,
    people: int,
    populations: PhenotypeTable,
    bundle: Bundle,
    phenotypes: Phenotypes,
) -> list[Ask]:
    """So many people for each record, of the generator's populations that are most like it.

    The weights are the softmax of the similarities, as sharp as the network of `bundle` has learnt. `populations` are
    the records of populations, under the names that `phenotypes` have. Raises InputError for records that the network
    does not understand or whose names people cannot have, and where no population is known.
    """
    for name, line in zip(table.names, table.lines, strict=True):
        if not NAME.fullmatch(name):
            message = f"{name!r} cannot be part of a name: letters, digits and . _ + - can"
            raise InputError(message, path=table.path, line=line)
    known = [name in phenotypes.names for name in populations.names]
    if not any(known):
        raise InputError("no record of a population that can be generated", path=populations.path)
    network, device = bundle.crossmodal, next(bundle.classifier.parameters()).device
    with torch.inference_mode():
        asked_RE, known_PE = (
            network.records(Records.of(encode(records, network.columns), device))
            for records in (table, populations)
        )
        shares_RP = (asked_RE @ known_PE[torch.tensor(known)].T * network.scale).softmax(1)
    names = [name for name, there in zip(populations.names, known, strict=True) if there]
    return [
        Ask(_parts(names, shares), people, record)
        for record, shares in zip(table.names, shares_RP.double().tolist(), strict=True)
    ]


def _parts(names: list[str], shares: list[float]) -> tuple[tuple[str, float], ...]:
    kept = {name: share for name, share in zip(names, shares, strict=True) if share >= LEAST}
    total = sum(kept.values())
    return tuple((name, share / total) for name, share in kept.items())
