"""The rows of the table of restored mitochondrial genomes: what anyone would do, and our models.

A method learns from the world's genomes and the people of a fold, and fills in hidden letters of others.

Shape suffixes: N genomes with letters hidden, M genomes learnt from, L letters of the reference, P positions, S sites,
W the bases A C G T.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.mito.masking import UNKNOWN, Codes, Restored
from genomai_cli.alphabet import codes_of
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.mapping.reference import Reference
from genomai_cli.phylogeny.denoise import model_of
from genomai_cli.phylogeny.genome_input import GenomeInput
from genomai_cli.phylogeny.lineage_mixture import LineageNetwork
from genomai_cli.phylogeny.lineages import Lineages
from genomai_cli.training import corpus_writer, recipe
from genomai_cli.training.pretraining import piece_cutter, pretrain

LETTERS = np.frombuffer(b"ACGTN", np.uint8)
BLOCK = 64
COPIED_SHARE = 0.998  # of the variants of the genome that is copied are in the copy


@dataclass(frozen=True, eq=False)
class TrainingGenomes:
    """Training data: the world's genomes and a fold's people, as codes (M, L)."""

    reference: Reference
    world: Codes
    samples: Codes
    seed: int

    @property
    def letters(self) -> Codes:
        """The reference's letters."""
        return codes_of(self.reference.letters)

    @property
    def all_genomes(self) -> Codes:
        """The world's genomes, then the people's."""
        return np.concatenate([self.world, self.samples])


class Restorer(Protocol):
    """A trained method that fills in hidden letters (N, L), `UNKNOWN`."""

    def __call__(self, visible_NL: Codes) -> Restored:
        """The letters."""


class Method(Protocol):
    """A row of the table."""

    @property
    def name(self) -> str:
        """Its name in the table."""

    def learn(self, training: TrainingGenomes) -> Restorer:
        """Train on these genomes."""


@dataclass(frozen=True)
class ByReference:
    """The reference's letters."""

    name: str = "reference"

    def learn(self, training: TrainingGenomes) -> Restorer:
        """Nothing is trained."""
        return lambda visible_NL: Restored(np.broadcast_to(training.letters, visible_NL.shape))


@dataclass(frozen=True)
class ByNearest:
    """A copy of the genome with the fewest differences among the visible letters, the first of equal ones: of the
    people alone, or of `world` and people."""

    name: str
    world: bool = False

    def learn(self, training: TrainingGenomes) -> Restorer:
        """Store the genomes."""
        genomes_ML = training.all_genomes if self.world else training.samples
        reference_L = training.letters
        variable_P = np.flatnonzero((genomes_ML != reference_L).any(axis=0))
        genomes_MP = np.ascontiguousarray(genomes_ML[:, variable_P])

        def restorer(visible_NL: Codes) -> Restored:
            distance_NM = differences(visible_NL[:, variable_P], genomes_MP)
            copy_NL = genomes_ML[distance_NM.argmin(axis=1)]
            return Restored(np.where(copy_NL == UNKNOWN, reference_L, copy_NL))

        return restorer


@dataclass(frozen=True)
class ByModel:
    """A bundle that `genomai denoise` restores genomes with."""

    name: str
    bundle: Bundle

    def learn(self, training: TrainingGenomes) -> Restorer:
        """The bundle is trained already."""
        return BundleRestorer(self.bundle, training.letters)


@dataclass(frozen=True)
class ByRecipe:
    """Our model, trained by its recipe on the world's genomes and the fold's people."""

    name: str
    recipe: str
    changes: tuple[str, ...] = ()

    def learn(self, training: TrainingGenomes) -> Restorer:
        """Train as `genomai pretrain` would."""
        return BundleRestorer(self.train(training), training.letters)

    def train(self, training: TrainingGenomes) -> Bundle:
        """The bundle of this fold."""
        settings, _ = recipe.read(self.recipe, self.changes)
        kind = GenomeInput(training.reference)
        with tempfile.TemporaryDirectory(prefix="mito-") as folder:
            rows = genome_records(training.all_genomes)
            cut, holdout = piece_cutter(settings, kind), settings.split.holdout
            corpus = corpus_writer.write(
                Path(folder), rows, cut, holdout=holdout, seed=training.seed
            )
            pretrained = pretrain(corpus, settings, kind, seed=training.seed)
        return pretrained.bundle


@dataclass(frozen=True)
class ByCopies:
    """The mean of all genomes, each with its posterior as the one that is copied with few errors: an upper reference.

    It holds everybody's genome, so it could not be published. Styles and mutations are those of our model."""

    name: str
    ours: ByRecipe

    def learn(self, training: TrainingGenomes) -> Restorer:
        """Every genome is a lineage of its own."""
        bundle = self.ours.train(training)
        networks, positions_S = bundle.classifier.networks, bundle.input.columns
        copies = copies_of(networks[0], training, positions_S)
        networks[0] = copies.network()
        return BundleRestorer(bundle, training.letters)


def copies_of(
    network: LineageNetwork, training: TrainingGenomes, positions_S: NDArray[np.int64]
) -> Lineages:
    """Each genome as a lineage, with the mutations and styles of a network."""
    table = network.table
    site_V, letter_V = table.site.numpy(), table.letter.numpy()
    presence = [
        training.all_genomes[i : i + 512][:, positions_S[site_V]] == letter_V
        for i in range(0, len(training.all_genomes), 512)
    ]
    lineage, variant = np.nonzero(np.concatenate(presence))
    chance_V = torch.sigmoid(network.chance).detach().double().numpy()
    style_Z1 = torch.softmax(network.weight.detach().double().logsumexp(1), 0)[:, None].numpy()
    frequency_ZK = style_Z1 / len(training.all_genomes) * np.ones((1, len(training.all_genomes)))
    reported_ZV = torch.sigmoid(network.reported).detach().double().numpy()
    share = np.full(len(variant), COPIED_SHARE)
    return Lineages(lineage, variant, share, chance_V, frequency_ZK, reported_ZV, table)


@dataclass(frozen=True, eq=False)
class BundleRestorer:
    """A bundle used as by `genomai denoise`: between its sites are the reference's letters."""

    bundle: Bundle
    reference: Codes

    def __call__(self, visible_NL: Codes) -> Restored:
        """The letters, and how probable others than the reference's are."""
        model = model_of(self.bundle)
        positions_S = model.sites.positions
        sites_S = np.arange(len(positions_S))
        codes_NL = np.tile(self.reference, (len(visible_NL), 1))
        alternate_NL = np.zeros(visible_NL.shape, np.float32)
        for rows in blocks(len(visible_NL)):
            p_BSW = model.probabilities(visible_NL[rows][:, positions_S].astype(np.int64))
            codes_NL[np.ix_(rows, positions_S)] = p_BSW.argmax(axis=2)
            reference_BS = p_BSW[:, sites_S, self.reference[positions_S]]
            alternate_NL[np.ix_(rows, positions_S)] = 1 - reference_BS
        return Restored(codes_NL, alternate_NL)


def blocks(count: int) -> Iterator[NDArray[np.int64]]:
    """Numbers from 0, so many at a time."""
    return (np.arange(i, min(i + BLOCK, count)) for i in range(0, count, BLOCK))


def genome_records(codes_ML: Codes) -> Iterator[tuple[str, Codes]]:
    """The genomes as records of a corpus."""
    return ((f"genome{number}", LETTERS[codes_L]) for number, codes_L in enumerate(codes_ML))


def differences(visible_NP: Codes, genomes_MP: Codes) -> NDArray[np.float32]:
    """At how many positions (N, M) two genomes differ where both are known."""
    distance_NM = np.empty((len(visible_NP), len(genomes_MP)), np.float32)
    visible_one_hot = one_hot(visible_NP)
    known_NP = (visible_NP != UNKNOWN).astype(np.float32)
    for start in range(0, len(genomes_MP), 2000):
        part_MP = genomes_MP[start : start + 2000]
        both_known = known_NP @ (part_MP != UNKNOWN).astype(np.float32).T
        distance_NM[:, start : start + 2000] = both_known - visible_one_hot @ one_hot(part_MP).T
    return distance_NM


def one_hot(codes_NP: Codes) -> NDArray[np.float32]:
    """1 for the base at each position (N, 4 P)."""
    return np.concatenate([codes_NP == base for base in range(UNKNOWN)], axis=1).astype(np.float32)


def identical(
    samples_NL: Codes, world_ML: Codes, positions_P: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which samples (N,) have the same letters at the positions as any of the world."""
    world_rows = {row.tobytes() for row in world_ML[:, positions_P]}
    return np.array([row.tobytes() in world_rows for row in samples_NL[:, positions_P]])
