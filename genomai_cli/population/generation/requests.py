"""Requests to a generator: `EUR`, `GBR`, `null`, `reference`, or a mixture, `EUR:0.7,AFR:0.3`; or phenotype records.

Records have any attributes, such as a location, instead of names. A generator that was trained with records reads them
itself. For another one each individual's population is drawn by the similarities of the record to those of populations,
from the network that embeds DNA and phenotype records in one space (`networks/crossmodal.py`).

Shape suffixes: R records requested, P records of populations, E size of the common space.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion.phenotypes import NULL, REFERENCE, Phenotypes
from genomai_cli.errors import InputError, UsageError
from genomai_cli.names import first_duplicate
from genomai_cli.population.networks.crossmodal import crossmodal_of
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords
from genomai_cli.population.phenotype_encoding import EncodedPhenotypes, encode, ignored
from genomai_cli.population.phenotypes import Columns, PhenotypeTable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
MIN_SHARE = 0.005  # a population with a smaller share is left out


@dataclass(frozen=True)
class Request:
    """A number of `individuals` of one phenotype, or of a mixture of several; the weights in `parts` add up to 1.

    `name` is part of their names, `text` of their descriptions. With the name of a `record`, each individual is of one
    of the parts, drawn by their weights, instead of a mixture of all. `encoded` is the record for a generator that
    reads records.
    """

    parts: tuple[tuple[str, float], ...]
    individuals: int
    record: str = ""
    encoded: EncodedPhenotypes | None = None

    @property
    def name(self) -> str:
        return self.record or "-".join(name for name, _ in self.parts)

    @property
    def text(self) -> str:
        if self.record:
            return self.record
        if len(self.parts) == 1:
            return self.parts[0][0]
        return ",".join(f"{name}:{weight:g}" for name, weight in self.parts)


def requests_of(texts: Sequence[str], individuals: int, phenotypes: Phenotypes) -> list[Request]:
    """The requests of several `--phenotype`, each for so many individuals; UsageError where two give the same names."""
    requests = [
        request for text in texts for request in parsed_request(text, individuals, phenotypes)
    ]
    if name := first_duplicate(request.name for request in requests):
        raise UsageError(f"--phenotype asks for {name} twice: people would have the same names")
    return requests


def parsed_request(text: str, individuals: int, phenotypes: Phenotypes) -> list[Request]:
    """The requests of one `--phenotype`.

    `reference` is all labels: each finest label with its share of the individuals, by largest remainders. Raises
    UsageError for a name that is not known, with those that are, and for weights that are none.
    """
    if text == REFERENCE:
        shares = phenotypes.finest_labels(REFERENCE)
        quotas = quotas_of(list(shares.values()), individuals)
        pairs = zip(shares, quotas, strict=True)
        return [Request(((name, 1.0),), quota) for name, quota in pairs if quota]
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = part.strip().partition(":")
        if name not in phenotypes.names:
            raise UsageError(f"no phenotype {name!r}: the model knows {known_names(phenotypes)}")
        if not phenotypes.is_trained(name):
            raise UsageError(f"no phenotype {name!r}: the model was trained on nobody of it")
        if name in weights:
            raise UsageError(f"--phenotype {text}: {name} is there twice")
        weights[name] = _weight(number, text) if colon else 1.0
    total = sum(weights.values())
    parts = tuple((name, weight / total) for name, weight in weights.items())
    return [Request(parts, individuals)]


def known_names(phenotypes: Phenotypes) -> str:
    """Everything that can be requested, in words: `reference` and `null`, then the labels of each column."""
    columns = (" ".join(labels) for labels in phenotypes.labels.values())
    return "; ".join([f"{REFERENCE} {NULL}", *columns])


def quotas_of(shares: list[int], individuals: int) -> list[int]:
    """Integers in the proportions of the shares that add up to `individuals` (largest remainders)."""
    exact = [share * individuals / sum(shares) for share in shares]
    quotas = [math.floor(value) for value in exact]
    order = sorted(range(len(shares)), key=lambda i: (quotas[i] - exact[i], i))
    for index in order[: individuals - sum(quotas)]:
        quotas[index] += 1
    return quotas


def _weight(number: str, text: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UsageError(f"--phenotype {text}: a weight is a number above 0, not {number!r}")
    return weight


def requests_by_similarity(
    table: PhenotypeTable,
    individuals: int,
    populations: PhenotypeTable,
    bundle: Bundle,
    phenotypes: Phenotypes,
) -> list[Request]:
    """So many individuals for each record, of the generator's populations that are most similar to it.

    The weights are the softmax of the similarities, at the temperature of the network of `bundle`. `populations` are
    the records of populations, under the names that `phenotypes` have. Raises InputError for records that the network
    does not understand or whose names cannot be part of a name, and where no population is known.
    """
    _check_names(table)
    known = [name in phenotypes.names and phenotypes.is_trained(name) for name in populations.names]
    if not any(known):
        raise InputError("no record of a population that can be generated", path=populations.path)
    network, device = crossmodal_of(bundle), next(bundle.classifier.parameters()).device
    with torch.inference_mode():
        requested_RE, known_PE = (
            network.record_vectors(PhenotypeRecords.of(encode(records, network.columns), device))
            for records in (table, populations)
        )
        shares_RP = (requested_RE @ known_PE[torch.tensor(known)].T * network.scale).softmax(1)
    names = [name for name, is_known in zip(populations.names, known, strict=True) if is_known]
    return [
        Request(_parts(names, shares), individuals, record)
        for record, shares in zip(table.names, shares_RP.double().tolist(), strict=True)
    ]


def requests_for_records(
    table: PhenotypeTable, individuals: int, columns: Columns
) -> list[Request]:
    """So many individuals for each record, which a generator with these columns reads itself.

    Raises InputError for a column or a value that it does not know, and for names that cannot be part of a name.
    """
    _check_names(table)
    if unknown := ignored(table, columns):
        message = f"no column {unknown[0]!r} in the model, which knows {', '.join(columns.fields)}"
        raise InputError(message, path=table.path, line=1)
    encoded = encode(table, columns)
    return [
        Request(((NULL, 1.0),), individuals, record, encoded.rows(np.array([row])))
        for row, record in enumerate(table.names)
    ]


def _check_names(table: PhenotypeTable) -> None:
    """InputError for a record whose name cannot be part of a name."""
    for name, line in zip(table.names, table.lines, strict=True):
        if not NAME.fullmatch(name):
            message = f"{name!r} cannot be part of a name: letters, digits and . _ + - can"
            raise InputError(message, path=table.path, line=line)


def _parts(names: list[str], shares: list[float]) -> tuple[tuple[str, float], ...]:
    retained = {
        name: share for name, share in zip(names, shares, strict=True) if share >= MIN_SHARE
    }
    total = sum(retained.values())
    return tuple((name, share / total) for name, share in retained.items())
