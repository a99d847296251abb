"""New genomes without recombination, from the mixture of lineages that restores those of others.

A lineage is drawn by its frequency among complete genomes, then each variant by itself with its share of the lineage's
genomes, or by chance as mutations of one's own come: exactly the distribution that the model holds. Everywhere else a
genome has the letters of the reference. Everything random about one follows from the seed, the haplogroup that was
asked for and its number.

The haplogroup of a lineage is what the model `NAMED_BY` calls the genome that has the lineage's likeliest letters.

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

NAMED_BY, HEAD = "mito", "haplogroup"
GENOMES_PER_BATCH = 64
PARTS = 1_000_000  # in which the frequencies of haplogroups are counted
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


class GenomeGenerator:
    """Draws genomes from a bundle; BundleError for a model that has no lineages."""

    of_individuals = False
    of_lineages = True
    default_phenotypes: Sequence[str] = ()  # haplogroups, where none is asked for

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
        while chunk := list(islice(numbers, GENOMES_PER_BATCH)):
            rngs = [np.random.default_rng(request.seed(self.seed, number)) for number in chunk]
            lineages_B = np.array([self._lineage(request, rng) for rng in rngs])
            drawn_BS = np.stack([rng.random(len(self.positions)) for rng in rngs])
            for number, letters_L in zip(chunk, self._genomes(lineages_B, drawn_BS), strict=True):
                letters = letters_L.tobytes().decode("ascii")
                yield request.record(number, letters, self.name, self.seed)

    def _lineage(self, request: SequenceRequest, rng: np.random.Generator) -> int:
        """A lineage, by its frequency, of one of the haplogroups that are asked for, if any are."""
        chance_K = self.frequency
        if request.parts:
            wanted = self.phenotypes.number(request.part(rng))
            chance_K = chance_K * (self.haplogroup == wanted) if wanted else chance_K
        passed_K = chance_K.cumsum()
        return int(np.searchsorted(passed_K, rng.random() * passed_K[-1], side="right"))

    @torch.inference_mode()
    def _genomes(self, lineages_B: Numbers, drawn_BS: Floats) -> NDArray[np.uint8]:
        """The letters (B, L) of genomes of these lineages; a number a site, from 0 to 1, says which letter it has: the
        variants' first, then the most frequent one."""
        table = self.network.table
        site_V, letter_V = table.site.cpu().numpy(), table.letter.cpu().numpy()
        chance_BV = self.network.variants_in(torch.from_numpy(lineages_B)).double().cpu().numpy()
        passed_BV = chance_BV.cumsum(axis=1)
        before_BV = np.pad(passed_BV, ((0, 0), (1, 0)))[:, np.searchsorted(site_V, site_V)]
        within_BV = drawn_BS[:, site_V] + before_BV  # as far as the site's letters go
        has_BV = (passed_BV - chance_BV <= within_BV) & (within_BV < passed_BV)
        letters_BS = np.tile(BASE_LETTERS[table.major.cpu().numpy()], (len(lineages_B), 1))
        rows, variants = np.nonzero(has_BV)
        letters_BS[rows, site_V[variants]] = BASE_LETTERS[letter_V[variants]]
        letters_BL = np.tile(self.reference.letters, (len(lineages_B), 1))
        letters_BL[:, self.positions] = letters_BS
        return letters_BL

    # --- haplogroups

    @property
    def phenotypes(self) -> Phenotypes:
        """The haplogroups of the lineages, each with its share of `PARTS`; BundleError if no model names them."""
        return self._named[0]

    @property
    def haplogroup(self) -> Numbers:
        """The number of each lineage's haplogroup (K,)."""
        return self._named[1]

    @cached_property
    def _named(self) -> tuple[Phenotypes, Numbers]:
        namer = bundles.load(NAMED_BY, torch.device("cpu"))
        same = getattr(namer.coordinates, "sha256", None) == self.reference.sha256
        if not same or HEAD not in namer.heads:
            raise BundleError(
                f"no model names the lineages of {self.name!r}: {NAMED_BY} reads other genomes"
            )
        every_K = np.arange(len(self.frequency))
        halves_BS = np.full(
            (GENOMES_PER_BATCH, len(self.positions)), 0.5
        )  # a letter of most genomes
        records = (
            SequenceRecord(str(lineage), letters_L.tobytes().decode("ascii"))
            for begin in range(0, len(every_K), GENOMES_PER_BATCH)
            for some in (every_K[begin : begin + GENOMES_PER_BATCH],)
            for lineage, letters_L in zip(
                some, self._genomes(some, halves_BS[: len(some)]), strict=True
            )
        )
        called = [call.labels[HEAD] for call in classify_records(namer, records)]
        share_of = {
            name: self.frequency[np.array(called) == name].sum() for name in sorted(set(called))
        }
        counts = {name: max(1, round(PARTS * float(share))) for name, share in share_of.items()}
        found = Phenotypes({HEAD: list(counts)}, {}, counts)
        return found, np.array([found.number(name) for name in called])
