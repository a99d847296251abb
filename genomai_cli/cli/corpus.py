"""From the inputs of `pretrain` to the corpus of its run, which a resumed run finds again without reading them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.options import VariantOptions
from genomai_cli.cli.run import STANDARD_INPUT, Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.inputs.base import InputKind
    from genomai_cli.records import SequenceRecord
    from genomai_cli.training.corpus import Corpus
    from genomai_cli.training.recipe import Recipe

VARIANTS_PRESET, SEQUENCES_PRESET = "barcodes", "dna"
INDIVIDUALS_PRESET, DNA_DIFFUSION_PRESET, PHENOTYPES_PRESET = (
    "ancestry-generator",
    "dna-diffusion",
    "crossmodal",
)
CAUSAL_PRESET, OMICS_PRESET, COVERAGE_PRESET = (
    "hyenadna-tiny",
    "omicsfusion-tiny",
    "alphagenome-tiny",
)
MAX_HEAD = 1 << 24  # bytes in which the names of two records are looked for
CORPUS = "corpus"  # the folder of the letters, inside that of the run


@dataclass(eq=False, repr=False)
class HaplotypeRegions:
    """The reference and the BED file of regions for which haplotype sequences are made from a VCF."""

    reference: Path
    regions: Path


class UnlabelledInputs:
    """The inputs of a run, opened once; sequences with labels are people if the first two are haplotypes."""

    def __init__(
        self,
        run: Run,
        regions: HaplotypeRegions | None,
        variants: VariantOptions,
        *,
        labelled: bool = False,
    ) -> None:
        from genomai_cli.cli.inputs import open_run_inputs

        self._run, self._regions, self._variants = run, regions, variants
        first, sources = open_run_inputs(run)
        self.preset = VARIANTS_PRESET if first.has_variants and not regions else SEQUENCES_PRESET
        if labelled and self.preset == SEQUENCES_PRESET and regions is None:
            are_haplotypes, first = _begins_with_haplotypes(first)
            self.preset = INDIVIDUALS_PRESET if are_haplotypes else SEQUENCES_PRESET
            sources = chain([first], islice(sources, 1, None))
        self._sources = sources

    def write(self, folder: Path, recipe: "Recipe", kind: "InputKind", seed: int) -> "Corpus":
        """Read everything into the folder's corpus."""
        return _write_corpus(self._run, self._records(recipe, kind), folder, recipe, kind, seed)

    def _records(self, recipe: "Recipe", kind: "InputKind") -> "Iterator[SequenceRecord]":
        from genomai_cli.cli.inputs import read_haplotype_sequences
        from genomai_cli.sources.records import in_coordinates, read_records

        run, sources = self._run, self._sources
        if self._regions is not None:
            if kind.coordinates is not None:
                raise UsageError(f"--regions make sequences; the recipe {recipe.name} reads none")
            haplotype_regions = self._regions
            return read_haplotype_sequences(
                run, sources, haplotype_regions.reference, haplotype_regions.regions, self._variants
            )
        if kind.coordinates is None:
            sources = _without_variants(sources, recipe)
        records = read_records(
            run,
            sources,
            lambda: kind.coordinates,
            variants=self._variants,
            haplotypes=recipe.input.haplotypes,
            plain=lambda: kind.coordinates is None,
        )
        return in_coordinates(run, records, kind)


class ReferenceInputs:
    """The rows of a reference that tracks lie over, instead of inputs."""

    preset = OMICS_PRESET

    def __init__(self, run: Run, inputs: list[Path] | None) -> None:
        if inputs:
            raise UsageError(f"{inputs[0]}: with --tracks the DNA is that of --reference")
        self._run = run

    def write(self, folder: Path, recipe: "Recipe", kind: "InputKind", seed: int) -> "Corpus":
        """Read everything into the folder's corpus."""
        from genomai_cli.inputs.tracks import TrackInput

        assert isinstance(kind, TrackInput)
        return _write_corpus(self._run, kind.records(), folder, recipe, kind, seed)


def _write_corpus(
    run: Run,
    records: "Iterable[SequenceRecord]",
    folder: Path,
    recipe: "Recipe",
    kind: "InputKind",
    seed: int,
) -> "Corpus":
    from genomai_cli.training import corpus_writer
    from genomai_cli.training.pretraining import piece_cutter

    rows = kind.corpus_rows(run.console.progress(records, "reading"), run.console.warn)
    cut = piece_cutter(recipe, kind)
    corpus = corpus_writer.write(folder, rows, cut, holdout=recipe.split.holdout, seed=seed)
    counts = corpus.info
    run.count(used=counts.records)
    run.console.say(
        f"{counts.records:,} records, {counts.letters:,} letters; {counts.pieces:,} pieces, "
        f"{counts.held_out:,} of them held out"
    )
    return corpus


def signature(inputs: list[Path]) -> list[list[object]]:
    """Name and size of every input, to tell whether a run is resumed with the same ones."""
    paths = inputs or [STANDARD_INPUT]
    return [[path.name if path.is_file() else "-", _size(path)] for path in paths]


def regions_of(reference: Path | None, regions: Path | None) -> HaplotypeRegions | None:
    """The regions of haplotype sequences, if they are asked for; UsageError if only half of it is."""
    if regions is None:
        return None
    if reference is None:
        raise UsageError("--regions needs a --reference")
    return HaplotypeRegions(reference, regions)


def _begins_with_haplotypes(source: "Input") -> tuple[bool, "Input"]:
    """Whether the first two sequences are haplotypes of a person, NAME_A and NAME_B; and the input, of which nothing is
    lost."""
    from genomai_cli.formats.streams import peeked

    titles = re.compile(rb"^>(\S*).*\n", re.MULTILINE)
    head, reopened = peeked(source, lambda head, _: len(titles.findall(head)) > 1, MAX_HEAD)
    first, second, *_ = (*titles.findall(head), b"", b"")
    return first.endswith(b"_A") and second == first[:-1] + b"B", reopened


def _without_variants(sources: "Iterable[Input]", recipe: "Recipe") -> "Iterator[Input]":
    for source in sources:
        if source.has_variants:
            raise UsageError(
                f"the recipe {recipe.name} reads sequences: of a VCF they are made with --reference and --regions"
            )
        yield source


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
