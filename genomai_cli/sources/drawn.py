"""What a model of sequences or genomes draws, for commands and for Python: by labels, where they are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from genomai_cli.inference.generate_diffusion import (
    SequenceGenerator,
    SequenceRequest,
)
from genomai_cli.phylogeny.generate import GenomeGenerator
from genomai_cli.population.generation.requests import requests_of
from genomai_cli.records import SequenceRecord


@dataclass(frozen=True, eq=False)
class Drawn:
    """So many `records` to come."""

    number: int
    records: Iterator[SequenceRecord]


def drawn(
    generator: SequenceGenerator | GenomeGenerator,
    request: SequenceRequest,
    phenotypes: Sequence[str],
) -> Drawn:
    """The records of a request, for each of the phenotypes, or for those that the model has where none is asked for.

    Raises UsageError for a phenotype that it does not know.
    """
    wanted, requests = phenotypes or generator.default_phenotypes, [request]
    if wanted:
        assert generator.phenotypes is not None  # others are refused beforehand
        requests = [
            replace(request, number=one.individuals, parts=one.parts, name=one.name, text=one.text)
            for one in requests_of(wanted, request.number, generator.phenotypes)
        ]
    records = chain.from_iterable(generator.records(one) for one in requests)
    return Drawn(sum(one.number for one in requests), records)
