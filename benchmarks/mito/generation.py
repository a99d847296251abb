"""Mitochondrial genomes that `mito-denoiser` makes, beside the world's genomes that it was not trained on.

    python -m benchmarks.mito.generation --markdown benchmarks/mito/generation.md > benchmarks/mito/generation.tsv

`real` are the world's genomes that `pretrain` has held out, by the hashes of their names; every row has as many.
`independent` genomes have every variant by its frequency, those of `mosaic` are two genomes of the training part, cut
at two places; `by haplogroup` are generated genomes of every haplogroup, ten for each. Genomes are compared at the
model's variants; what is unknown of a real one counts as the most frequent letter. `haplogroup of the nearest` says how
often the haplogroup that was asked for (a letter) is HaploGrep's of the nearest genome of the training part. The last
columns are the halves of the adversarial accuracy (AATS) beside `real`, 0.5 where nothing tells the two sets apart.

Shape suffixes: N genomes, M genomes of the training part, V variants.
"""

import argparse
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.command_line import DATA, MITO, parser_of, write_optional
from genomai_cli.alphabet import BASE_LETTERS, as_letters
from genomai_cli.bundles import bundle as bundles
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input, open_inputs
from genomai_cli.formats.tables import read_labels
from genomai_cli.inference.generate_diffusion import SequenceRequest, Settings
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.vcf_genomes import read_genomes
from genomai_cli.phylogeny.generate import GenomeGenerator
from genomai_cli.records import SequenceRecord
from genomai_cli.training.corpus import splitmix64

MODEL, HOLDOUT, SEED = "mito-denoiser", 0.02, 0
REAL = "real"
PER_HAPLOGROUP = 10
FIGURES = (
    "genomes",
    "variants",
    "variants_sd",
    "apart",
    "nearest",
    "same",
    "private",
    "own",
    "own_made",
    "own_real",
)
TITLES = (
    *(
        "",
        "genomes",
        "variants",
        "sd",
        "differences of two",
        "from the nearest (median)",
        "equal to some",
    ),
    *(
        "to one person's",
        "haplogroup of the nearest",
        "a made one's nearest is made",
        "a real one's is real",
    ),
)
BLOCK = 4000  # genomes
Presence = NDArray[np.bool_]
Names = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class World:
    """The world's genomes at the model's variants, training and held-out ones, and their haplogroups."""

    generator: GenomeGenerator
    train: Presence
    held_out: Presence
    haplogroup: Names  # of the training genomes

    @classmethod
    def read(cls, options: argparse.Namespace) -> "World":
        """From the files; the names of the people count in what is held out."""
        bundle = bundles.load(MODEL, torch.device("cpu"))
        generator = GenomeGenerator(bundle, Settings(seed=SEED))
        reference = Reference.read(options.reference, circular=True)
        (world,) = read_genomes(open_inputs([options.world]), reference, absent_is_ref=True)
        presence_NV = np.stack([presence(generator, record) for record in world.records()])
        with open_input(options.data) as source:
            sample_names = [record.name for record in read_sequences(source)]
        is_held_out = held_out([*world.samples, *sample_names])
        expected = bundle.config["provenance"]["corpus"]["held_out"]
        assert is_held_out.sum() == expected, (
            f"{is_held_out.sum()} genomes held out, not {expected}"
        )
        held_out_N = is_held_out[: len(presence_NV)]
        haplogroup_of = read_labels(options.haplogroups).column("haplogroup")
        letters = np.array([haplogroup_of.get(name, "?")[0] for name in world.samples])
        return cls(
            generator, presence_NV[~held_out_N], presence_NV[held_out_N], letters[~held_out_N]
        )


def held_out(names: Sequence[str]) -> NDArray[np.bool_]:
    """Which of all genomes `pretrain` has held out: a share, by the hashes of their names."""
    hashes = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    mixed = splitmix64(np.array([int.from_bytes(h, "little") for h in hashes], np.uint64), SEED)
    selected: NDArray[np.bool_] = mixed <= np.sort(mixed)[round(HOLDOUT * len(names)) - 1]
    return selected


def presence(generator: GenomeGenerator, record: SequenceRecord) -> Presence:
    """Which of the model's variants (V,) a genome has."""
    table = generator.network.table
    position_V = generator.positions[table.site.numpy()]
    found: Presence = as_letters(record.held)[position_V] == BASE_LETTERS[table.letter.numpy()]
    return found


def generate_presence(generator: GenomeGenerator, request: SequenceRequest) -> Presence:
    """The variants (N, V) of new genomes."""
    return np.stack([presence(generator, record) for record in generator.records(request)])


# --- rows


def rows_of(world: World, number: int) -> Iterator[tuple[str, Presence, Names | None]]:
    """Names and genomes of the rows, and the haplogroups requested."""
    rng, generator = np.random.default_rng(SEED), world.generator
    yield REAL, world.held_out, None
    frequency_V = world.train.mean(axis=0)
    yield "independent", rng.random((number, len(frequency_V))) < frequency_V, None
    yield "mosaic", mosaics(world, number, rng), None
    yield "generated", generate_presence(generator, SequenceRequest(number)), None
    names = generator.phenotypes.names[1:]
    requests = [
        SequenceRequest(PER_HAPLOGROUP, None, "", ((name, 1.0),), name, name) for name in names
    ]
    by_haplogroup = [generate_presence(generator, request) for request in requests]
    yield "by haplogroup", np.concatenate(by_haplogroup), np.repeat(names, PER_HAPLOGROUP)


def mosaics(world: World, number: int, rng: np.random.Generator) -> Presence:
    """Genomes of which an arc is another one's."""
    parents = rng.integers(len(world.train), size=(2, number))
    size = world.train.shape[1]
    cuts = np.sort(rng.integers(size, size=(number, 2)), axis=1)
    columns = np.arange(size)
    from_first_NV = (columns >= cuts[:, :1]) & (columns < cuts[:, 1:])
    return np.where(from_first_NV, world.train[parents[0]], world.train[parents[1]])


# --- what is measured


def measures_of(
    world: World, presence_NV: Presence, requested: Names | None, *, real: bool
) -> dict[str, float]:
    """By the names in `FIGURES`; NaN where there is nothing to measure."""
    compared = not real and requested is None
    own_generated, own_real = (
        adversarial_accuracy(presence_NV, world.held_out) if compared else [math.nan, math.nan]
    )
    distance_NM = differences(presence_NV, world.train)
    nearest_N = distance_NM.min(axis=1)
    equal_N = (distance_NM == 0).sum(axis=1)
    nearest_haplogroup_N = world.haplogroup[distance_NM.argmin(axis=1)]
    distance_NN = differences(presence_NV, presence_NV)
    count_N = presence_NV.sum(axis=1)
    return {
        "genomes": len(presence_NV),
        "variants": float(count_N.mean()),
        "variants_sd": float(count_N.std()),
        "apart": float(distance_NN.sum() / (len(distance_NN) * (len(distance_NN) - 1))),
        "nearest": float(np.median(nearest_N)),
        "same": float((equal_N > 0).mean()),
        "private": float((equal_N == 1).mean()),
        "own": math.nan if requested is None else float((nearest_haplogroup_N == requested).mean()),
        "own_made": own_generated,
        "own_real": own_real,
    }


def differences(presence_NV: Presence, other_MV: Presence) -> NDArray[np.float32]:
    """How many variants (N, M) one has and the other lacks."""
    float_NV, blocks = presence_NV.astype(np.float32), []
    for begin in range(0, len(other_MV), BLOCK):
        part_MV = other_MV[begin : begin + BLOCK].astype(np.float32)
        blocks.append(float_NV.sum(1)[:, None] + part_MV.sum(1) - 2 * float_NV @ part_MV.T)
    return np.concatenate(blocks, axis=1)


def adversarial_accuracy(generated_NV: Presence, real_MV: Presence) -> list[float]:
    """How often a generated genome's nearest one is generated, and a real one's real; ties count half."""
    cross_NM = differences(generated_NV, real_MV)
    shares = []
    for presence_NV, other_N in (
        (generated_NV, cross_NM.min(axis=1)),
        (real_MV, cross_NM.min(axis=0)),
    ):
        own_NN = differences(presence_NV, presence_NV)
        np.fill_diagonal(own_NN, np.inf)
        own_N = own_NN.min(axis=1)
        shares.append(float(((own_N < other_N) + 0.5 * (own_N == other_N)).mean()))
    return shares


def cells(name: str, measures: Mapping[str, float]) -> list[str]:
    """A row as text."""
    return [name, *("." if np.isnan(measures[f]) else f"{measures[f]:.4g}" for f in FIGURES)]


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows for readers."""
    yield f"| {' | '.join(TITLES)} |\n| --- |{' ---: |' * (len(TITLES) - 1)}\n"
    for row in rows:
        yield f"| {' | '.join(row)} |\n"


def main() -> None:
    """Print the rows as TSV."""
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    world = World.read(options)
    rows = [
        cells(name, measures_of(world, presence_NV, requested, real=name == REAL))
        for name, presence_NV, requested in rows_of(world, len(world.held_out))
    ]
    for row in (["row", *FIGURES], *rows):
        print("\t".join(row))
    write_optional(options.markdown, markdown(rows))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    data, reference = DATA / "mt.train.fa.gz", MITO / "rCRS.fa"
    command_line = parser_of(__doc__, data=data, reference=reference, threads=1, markdown=None)
    command_line.add_argument("--world", type=Path, default=MITO / "world.vcf.gz")
    command_line.add_argument("--haplogroups", type=Path, default=MITO / "world.haplogroups.tsv.gz")
    return command_line


if __name__ == "__main__":
    main()
