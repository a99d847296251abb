"""From the inputs of `pretrain` to the corpus of its run, which a resumed run finds again without reading them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli import described, people
from genomai_cli.cli.run import STANDARD_INPUT, Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.inputs.base import Places
    from genomai_cli.population.phenotypes import PhenotypeTable
    from genomai_cli.records import SequenceRecord
    from genomai_cli.training.corpus import Corpus
    from genomai_cli.training.corpus_writer import Record
    from genomai_cli.training.recipe import Recipe

FOR_VARIANTS, FOR_SEQUENCES = "barcodes", "dna"
FOR_PEOPLE, FOR_DNA, FOR_DESCRIBED = "ancestry-generator", "dna-diffusion", "crossmodal"
CORPUS = "corpus"  # the folder of the letters, inside that of the run


@dataclass(frozen=True)
class HaplotypeRegions:
    """Where haplotype sequences are made from a VCF: in the regions of a BED file, on a reference."""

    reference: Path
    regions: Path


class Unlabelled:
    """The inputs of a run, opened once."""

    def __init__(self, run: Run, regions: HaplotypeRegions | None, *, absent_is_ref: bool) -> None:
        from genomai_cli.cli import inputs

        self._run, self._regions, self._absent_is_ref = run, regions, absent_is_ref
        first, self._sources = inputs.open_run_inputs(run)
        self.preset = FOR_VARIANTS if first.has_variants and not regions else FOR_SEQUENCES

    def write(
        self,
        folder: Path,
        recipe: "Recipe",
        places: "Places",
        seed: int,
        told: "LabelTable | PhenotypeTable | None" = None,
    ) -> "Corpus":
        """Read everything into the folder's corpus; `told` are the labels or the phenotypes of people."""
        from genomai_cli.training import corpus_writer
        from genomai_cli.training.pretraining import cut_for

        records = self._run.console.progress(self._records(recipe, places), "reading")
        rows = self._rows(records, recipe, places, told)
        cut = cut_for(recipe, places)
        holdout = recipe.split.holdout
        corpus = corpus_writer.write(folder, rows, cut, holdout=holdout, seed=seed)
        self._run.count(used=corpus.about.records)
        about = corpus.about
        self._run.console.say(
            f"{about.records:,} records, {about.letters:,} letters; {about.pieces:,} pieces, "
            f"{about.held_out:,} of them held out"
        )
        return corpus

    def _rows(
        self,
        records: "Iterable[SequenceRecord]",
        recipe: "Recipe",
        places: "Places",
        told: "LabelTable | PhenotypeTable | None",
    ) -> "Iterator[Record]":
        """The rows of the corpus: letters, and whatever is told of people."""
        from genomai_cli.population.phenotypes import PhenotypeTable

        if isinstance(told, PhenotypeTable):
            return described.described(self._run, _rows(records, recipe, places), places, told)
        if places.phenotypes is not None:
            return people.rows(self._run, records, places, told)
        return _rows(records, recipe, places)

    def _records(self, recipe: "Recipe", places: "Places") -> "Iterator[SequenceRecord]":
        from genomai_cli.cli import inputs

        run, sources = self._run, self._sources
        if self._regions is not None:
            _require_variants_for(recipe)
            where = self._regions
            return inputs.read_haplotype_sequences(run, sources, where.reference, where.regions)
        panel, reference = places.panel, places.reference
        if reference is not None:
            genomes = inputs.read_records(
                run, sources, lambda: reference, absent_is_ref=self._absent_is_ref
            )
            return inputs.in_coordinates(run, genomes, reference)
        return inputs.read_records(
            run,
            _without_variants(sources, recipe) if panel is None else sources,
            lambda: panel,  # type: ignore[arg-type, return-value]
            absent_is_ref=self._absent_is_ref,
            haplotypes=recipe.input.haplotypes,
        )


def signature(inputs: list[Path]) -> list[list[object]]:
    """Name and size of every input, to tell whether a run is resumed with the same ones."""
    given = inputs or [STANDARD_INPUT]
    return [[path.name if path.is_file() else "-", _size(path)] for path in given]


def regions_of(reference: Path | None, regions: Path | None) -> HaplotypeRegions | None:
    """The regions of haplotype sequences, if they are asked for; UsageError if only half of it is."""
    if regions is None:
        return None
    if reference is None:
        raise UsageError("--regions needs a --reference")
    return HaplotypeRegions(reference, regions)


def _rows(
    records: "Iterable[SequenceRecord]", recipe: "Recipe", places: "Places"
) -> "Iterator[Record]":
    """The records as letters; barcodes with the letters of their sites only, as haplotypes if the recipe says so."""
    import numpy as np

    from genomai_cli.population.barcode import (
        genotypes_to_letters,
        letters_to_genotypes,
        require_sites,
        resolve,
    )

    for record in records:
        letters = np.frombuffer(record.sequence.encode("ascii"), np.uint8)
        wanted = places.row if places.panel is None else len(places.panel)
        if wanted is not None:
            require_sites(record, wanted)
        if places.panel is not None:
            copies = letters_to_genotypes(letters[None], places.panel)
            letters = genotypes_to_letters(copies, places.panel)[0]
        if not recipe.input.haplotypes or np.isin(letters, np.frombuffer(b"ACGTN", np.uint8)).all():
            yield record.name, letters
            continue
        for ending, haplotype in zip("AB", resolve(letters), strict=True):
            yield f"{record.name}_{ending}", haplotype


def _without_variants(sources: "Iterable[Input]", recipe: "Recipe") -> "Iterator[Input]":
    for source in sources:
        if source.has_variants:
            raise UsageError(
                f"the recipe {recipe.name} reads sequences: of a VCF they are made with --reference and --regions"
            )
        yield source


def _require_variants_for(recipe: "Recipe") -> None:
    from genomai_cli.inputs.base import SEQUENCE

    if recipe.input.kind != SEQUENCE:
        raise UsageError(f"--regions make sequences; the recipe {recipe.name} reads none")


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
