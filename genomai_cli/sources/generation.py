"""New records from a model of sequences or genomes, for commands and for Python: by labels, where some are named."""

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
class GeneratedRecords:
    """New `records`, generated as they are read, and their `number`."""

    number: int
    records: Iterator[SequenceRecord]


def generated_records(
    generator: SequenceGenerator | GenomeGenerator,
    request: SequenceRequest,
    phenotypes: Sequence[str],
) -> GeneratedRecords:
    """The records of a request, for each of the phenotypes, or where none is named for the model's usual ones.

    Raises UsageError for a phenotype that it does not know.
    """
    names, requests = phenotypes or generator.default_phenotypes, [request]
    if names:
        assert generator.phenotypes is not None  # others are refused beforehand
        requests = [
            replace(
                request,
                number=group.individuals,
                parts=group.parts,
                name=group.name,
                text=group.text,
            )
            for group in requests_of(names, request.number, generator.phenotypes)
        ]
    records = chain.from_iterable(generator.records(request) for request in requests)
    return GeneratedRecords(sum(request.number for request in requests), records)
