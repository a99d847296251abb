"""People asked for by phenotype records: described by any attributes, such as a place, instead of named.

The network that brings DNA and phenotype records into one space (`nets/crossmodal.py`) tells how like a record is to
that of each population; by these likenesses each person's population is drawn.

Shape suffixes: R records asked for, P records of populations, E size of the common space.
"""

import re

import torch

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import InputError
from genomai_cli.generation.asking import Ask
from genomai_cli.nets.records import Records
from genomai_cli.panels.phenotypes import Phenotypes
from genomai_cli.phenotypes.encoding import encode
from genomai_cli.phenotypes.table import PhenotypeTable

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
