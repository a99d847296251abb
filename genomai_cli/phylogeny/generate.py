"""New genomes without recombination, from the mixture of lineages that restores those of others.

A lineage is drawn by its frequency among complete genomes, then each variant by itself with its share of the lineage's
genomes, or by chance as mutations of one's own come: exactly the distribution that the model holds. Everywhere else a
genome has the letters of the reference. Everything random about one follows from the seed, the requested haplogroup
and its number.

The haplogroup of a lineage is the one that the model `HAPLOGROUP_MODEL` predicts for the genome of its likeliest
letters.

Shape suffixes: B genomes of a batch, S sites, V variants, K lineages, L letters of the reference.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.alphabet import BASE_LETTERS
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion.phenotypes import Phenotypes
from genomai_cli.errors import BundleError
from genomai_cli.inference.classify import classify_records
from genomai_cli.inference.generate_diffusion import SequenceRequest, Settings
from genomai_cli.phylogeny.genome_input import GenomeInput
from genomai_cli.phylogeny.lineage_mixture import LineageNetwork
from genomai_cli.records import SequenceRecord

HAPLOGROUP_MODEL, HEAD = "mito", "haplogroup"
GENOMES_PER_BATCH = 64
COUNT_TOTAL = 1_000_000  # of the counts that haplogroups have by their frequency
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


class GenomeGenerator:
    """Draws genomes from a bundle; BundleError for a model that has no lineages."""

    of_individuals = False
    of_lineages = True
    default_phenotypes: Sequence[str] = ()  # haplogroups, where none is requested

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        network, genomes = bundle.classifier.networks[0], bundle.input
        if not isinstance(network, LineageNetwork) or not isinstance(genomes, GenomeInput):
            raise BundleError(f"the model {bundle.name!r} generates no genomes: it has no lineages")
        assert genomes.sites is not None  # those of the lineages
        self.name, self.seed, self.network = bundle.name, settings.seed, network
        self.reference, self.positions = genomes.reference, genomes.sites.positions
        self.frequency: Floats = network.frequency().double().cpu().numpy()

    def records(self, request: SequenceRequest) -> Iterator[SequenceRecord]:
        """The genomes, `SequenceRequest.record`."""
        numbers = iter(range(1, request.number + 1))
        while batch := list(islice(numbers, GENOMES_PER_BATCH)):
            rngs = [np.random.default_rng(request.seed(self.seed, number)) for number in batch]
            lineages_B = np.array([self._lineage(request, rng) for rng in rngs])
            uniform_BS = np.stack([rng.random(len(self.positions)) for rng in rngs])
            for number, letters_L in zip(batch, self._genomes(lineages_B, uniform_BS), strict=True):
                letters = letters_L.tobytes().decode("ascii")
                yield request.record(number, letters, self.name, self.seed)

    def _lineage(self, request: SequenceRequest, rng: np.random.Generator) -> int:
        """A lineage, by its frequency, of one of the requested haplogroups, if any are."""
        probability_K = self.frequency
        if request.parts:
            haplogroup = self.phenotypes.number(request.part(rng))
            probability_K = (
                probability_K * (self.haplogroup == haplogroup) if haplogroup else probability_K
            )
        cumulative_K = probability_K.cumsum()
        return int(np.searchsorted(cumulative_K, rng.random() * cumulative_K[-1], side="right"))

    @torch.inference_mode()
    def _genomes(self, lineages_B: Numbers, uniform_BS: Floats) -> NDArray[np.uint8]:
        """The letters (B, L) of genomes of these lineages; a number a site, from 0 to 1, selects its letter: the
        variants' first, then the most frequent one."""
        table = self.network.table
        site_V, letter_V = table.site.cpu().numpy(), table.letter.cpu().numpy()
        probability_BV = (
            self.network.lineage_variants(torch.from_numpy(lineages_B)).double().cpu().numpy()
        )
        cumulative_BV = probability_BV.cumsum(axis=1)
        site_start_BV = np.pad(cumulative_BV, ((0, 0), (1, 0)))[:, np.searchsorted(site_V, site_V)]
        threshold_BV = uniform_BS[:, site_V] + site_start_BV  # on the cumulative scale of all sites
        present_BV = (cumulative_BV - probability_BV <= threshold_BV) & (
            threshold_BV < cumulative_BV
        )
        letters_BS = np.tile(BASE_LETTERS[table.major.cpu().numpy()], (len(lineages_B), 1))
        rows, variants = np.nonzero(present_BV)
        letters_BS[rows, site_V[variants]] = BASE_LETTERS[letter_V[variants]]
        letters_BL = np.tile(self.reference.letters, (len(lineages_B), 1))
        letters_BL[:, self.positions] = letters_BS
        return letters_BL

    # --- haplogroups

    @property
    def phenotypes(self) -> Phenotypes:
        """The haplogroups of the lineages, with counts that add up to `COUNT_TOTAL`; BundleError if no model names
        them."""
        return self._haplogroups[0]

    @property
    def haplogroup(self) -> Numbers:
        """The number of each lineage's haplogroup (K,)."""
        return self._haplogroups[1]

    @cached_property
    def _haplogroups(self) -> tuple[Phenotypes, Numbers]:
        bundle = bundles.load(HAPLOGROUP_MODEL, torch.device("cpu"))
        same_reference = getattr(bundle.coordinates, "sha256", None) == self.reference.sha256
        if not same_reference or HEAD not in bundle.heads:
            raise BundleError(
                f"no model names the lineages of {self.name!r}: {HAPLOGROUP_MODEL} reads other genomes"
            )
        lineages_K = np.arange(len(self.frequency))
        halves_BS = np.full(
            (GENOMES_PER_BATCH, len(self.positions)), 0.5
        )  # the median: each lineage's likeliest letters
        records = (
            SequenceRecord(str(lineage), letters_L.tobytes().decode("ascii"))
            for start in range(0, len(lineages_K), GENOMES_PER_BATCH)
            for batch_B in (lineages_K[start : start + GENOMES_PER_BATCH],)
            for lineage, letters_L in zip(
                batch_B, self._genomes(batch_B, halves_BS[: len(batch_B)]), strict=True
            )
        )
        names = [call.labels[HEAD] for call in classify_records(bundle, records)]
        share_of = {
            name: self.frequency[np.array(names) == name].sum() for name in sorted(set(names))
        }
        counts = {
            name: max(1, round(COUNT_TOTAL * float(share))) for name, share in share_of.items()
        }
        phenotypes = Phenotypes({HEAD: list(counts)}, {}, counts)
        return phenotypes, np.array([phenotypes.number(name) for name in names])
