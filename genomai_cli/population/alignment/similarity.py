"""Similarities of samples with phenotype records, and what sites add to them, by a network of DNA and phenotypes.

Both towers end in unit vectors, so that a similarity is a cosine. The tokens of sites are the same for all samples and
computed once (`networks/crossmodal.py`).

Shape suffixes: B samples, S sites, G genotypes, P phenotype records, D width, E size of the common space, L layers,
H heads, V tokens of the vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.inference.batching import Batching, score
from genomai_cli.inference.integrated_gradients import METHOD, mean_gradients
from genomai_cli.inputs.base import InputKind
from genomai_cli.population.alignment.attributions_hdf5 import Attention, Explained
from genomai_cli.population.networks.crossmodal import crossmodal_of, genotypes_of
from genomai_cli.population.networks.phenotype_embedding import Records
from genomai_cli.population.phenotype_encoding import encode
from genomai_cli.population.phenotypes import PhenotypeTable
from genomai_cli.records import SequenceRecord

SIMILARITY, COPIES = "similarity", "copies"
BASELINE = "somebody of whom no site is known"
EXACT_DIGITS = 9  # beyond which the size of the batch shows; equal similarities stay equal so
SAMPLES_PER_BATCH = 256
DEFAULT_BATCHING = Batching(tokens=1 << 18)
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Aligned:
    """A sample's similarities (P,) to the records, None for one that has no letter that the model can use, and its
    copies (S,) of the alternate alleles, -1 where missing."""

    name: str
    similarities: Array | None
    copies: NDArray[np.int64]

    @property
    def best(self) -> int | None:
        """The index of the most similar record, the first of equal ones."""
        return None if self.similarities is None else int(self.similarities.argmax())


class Aligner:
    """A model, and the phenotype records that samples are compared with.

    `others` are the input kinds of other models, whose barcodes are read too where they hold the model's sites. Raises
    BundleError for a model that knows no phenotypes, InputError for records that it does not understand.
    """

    def __init__(
        self, bundle: Bundle, table: PhenotypeTable, others: Mapping[str, InputKind] | None = None
    ) -> None:
        self.bundle, self.table, self.panel = bundle, table, bundle.coordinates
        self.network = crossmodal_of(bundle)
        self._nothing = np.full(len(self.panel), -1)
        self._read = bundle.input.reader(bundle, {} if others is None else others)
        self._device = next(bundle.classifier.parameters()).device
        self._records = Records.of(encode(table, self.network.columns), self._device)
        self._dna, self._vocabulary_VD = self.network.dna, self.network.vocabulary.embeddings
        with torch.no_grad():
            self._records_PE = self.network.record_vectors(self._records)
            self._tokens_SGD, _ = self._dna.tokens(self._vocabulary_VD)

    @property
    def categories(self) -> list[str]:
        """The names of the columns of labels that the model knows."""
        return [category.name for category in self.network.columns.categories]

    @property
    def attributes(self) -> dict[str, str | int]:
        """What explanations depend on."""
        return {
            "model_name": self.bundle.name,
            "model_version": self.bundle.version,
            "model_sha256": self.bundle.weights_sha256,
            "similarity": "cosine",
            "attribution": METHOD,
            "attribution_baseline": BASELINE,
        }

    def align(
        self, records: Iterable[SequenceRecord], batching: Batching = DEFAULT_BATCHING
    ) -> Iterator[Aligned]:
        """The samples' similarities, in their order; a batch of them is held at a time.

        Raises InputError for a record that is no barcode of the model's panel.
        """
        readings = map(self._read, records)
        items = ((reading, reading.windows if reading.used_letters else []) for reading in readings)
        pad_id = self.bundle.tokenizer.pad_id
        scored = score(
            self._similarities, items, pad_id=pad_id, device=self._device, batching=batching
        )
        for reading, scores in scored:
            if scores is None:
                yield Aligned(reading.name, None, self._nothing)
            else:
                copies_S = scores[COPIES].long().numpy()
                similarity_P = scores[SIMILARITY].double().numpy().round(EXACT_DIGITS)
                yield Aligned(reading.name, similarity_P, copies_S)

    def explain(self, pairs: Sequence[tuple[Aligned, int]]) -> Explained:
        """What the sites of samples add to their similarities with records, by the records' indices.

        The baseline is a sample of which no site is known. A sample is the sum of the tokens of its sites, so that the
        mean gradients with respect to the sum, times a site's part in it, are what that site adds.
        """
        copies_BS = torch.from_numpy(np.stack([found.copies for found, _ in pairs]))
        numbers = torch.tensor([number for _, number in pairs], device=self._device)
        similarity = self._similarity_to(self._records_PE[numbers])
        with torch.no_grad():
            genotypes_BSG = self._genotypes(copies_BS.to(self._device))
            summed_BD = self._dna.summed(genotypes_BSG, self._tokens_SGD)
            baseline_BD = torch.zeros_like(summed_BD)
            ends = [similarity(point_BD) for point_BD in (summed_BD, baseline_BD)]
            attention_BHV = self._dna.vectors(summed_BD, self._vocabulary_VD)[1]
            gradients_BD = mean_gradients(similarity, summed_BD, baseline_BD)
            weights_BD = gradients_BD * self._dna.shares(genotypes_BSG)
            added_BSG = torch.einsum("bd,sgd->bsg", weights_BD, self._tokens_SGD)
            values_BS = (added_BSG * genotypes_BSG).sum(2)
        names = [found.name for found, _ in pairs]
        parts = (numbers, *(part.double() for part in (*ends, values_BS, attention_BHV)))
        return Explained(names, *(part.cpu().numpy() for part in parts))

    def attention(self) -> Attention:
        """The attention that does not depend on the samples."""
        with torch.no_grad():
            of_dna = torch.stack(self.network.site_attention())
            of_records = torch.stack(self.network.record_attention(self._records), dim=1)
        of_dna_LHSGV = of_dna.permute(0, 3, 1, 2, 4).double().cpu().numpy()
        vocabulary = self.network.columns.vocabulary
        return Attention(of_dna_LHSGV, of_records.double().cpu().numpy(), vocabulary)

    def _similarities(self, ids_BT: Tensor, mask_BT: Tensor) -> dict[str, Tensor]:
        del mask_BT  # what is missing is a token
        copies_BS = self.bundle.classifier.inputs(ids_BT)
        genotypes_BSG = self._genotypes(copies_BS)
        vectors_BE = self._vectors(self._dna.summed(genotypes_BSG, self._tokens_SGD))
        copies_BS = copies_BS.to(vectors_BE.dtype)
        return {SIMILARITY: vectors_BE @ self._records_PE.T, COPIES: copies_BS}

    def _similarity_to(self, records_BE: Tensor) -> Callable[[Tensor], Tensor]:
        """The similarity of each sample to a record of its own, as a function of the sums of its tokens."""
        return lambda summed_BD: (self._vectors(summed_BD) * records_BE).sum(1)

    def _genotypes(self, copies_BS: Tensor) -> Tensor:
        return genotypes_of(copies_BS).to(self._tokens_SGD.dtype)

    def _vectors(self, summed_BD: Tensor) -> Tensor:
        return functional.normalize(self._dna.vectors(summed_BD, self._vocabulary_VD)[0], dim=1)


class Explainer:
    """Explains samples as they pass, some hundred at a time, and hands the rows to the receivers.

    `records_of` gives the indices of the records that a sample is explained for.
    """

    def __init__(
        self,
        aligner: Aligner,
        records_of: Callable[[Aligned], Iterable[int]],
        receivers: Sequence[Callable[[Explained], None]],
    ) -> None:
        self._aligner, self._records_of, self._receivers = aligner, records_of, receivers
        self._held: list[tuple[Aligned, int]] = []
        self.rows = 0

    def add(self, found: Aligned) -> None:
        """Add a sample."""
        if found.similarities is None:
            return
        self._held += [(found, record) for record in self._records_of(found)]
        if len(self._held) >= SAMPLES_PER_BATCH:
            self.flush()

    def flush(self) -> None:
        """Explain the samples that are still held."""
        held, self._held = self._held, []
        if held:
            self.rows += len(held)
            some = self._aligner.explain(held)
            for receive in self._receivers:
                receive(some)


def best_record(found: Aligned) -> list[int]:
    """The most similar record of a sample, as the only one that it is explained for."""
    return [] if found.best is None else [found.best]
