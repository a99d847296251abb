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
from genomai_cli.inputs.base import InputKind, ModelInput
from genomai_cli.population.alignment.attributions_hdf5 import Attention, Explanations
from genomai_cli.population.barcode_calls import BarcodeModelInput
from genomai_cli.population.networks.crossmodal import crossmodal_of, genotypes_of
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords
from genomai_cli.population.phenotype_encoding import encode
from genomai_cli.population.phenotypes import PhenotypeTable
from genomai_cli.records import SequenceRecord

SIMILARITY, COPIES = "similarity", "copies"
BASELINE = "somebody of whom no site is known"
SIMILARITY_DIGITS = 9  # beyond which the size of the batch shows; equal similarities stay equal so
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
    BundleError for a model without phenotypes, InputError for records with unknown columns or labels.
    """

    def __init__(
        self, bundle: Bundle, table: PhenotypeTable, others: Mapping[str, InputKind] | None = None
    ) -> None:
        self.bundle, self.table, self.panel = bundle, table, bundle.coordinates
        self.network = crossmodal_of(bundle)
        self._missing_copies = np.full(len(self.panel), -1)
        self._reader = bundle.input.reader(bundle, {} if others is None else others)
        self._device = next(bundle.classifier.parameters()).device
        self._records = PhenotypeRecords.of(encode(table, self.network.columns), self._device)
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
        """Model and method of the explanations."""
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
        readings = map(self._reader, records)
        items = (
            (reading, reading.windows if _has_letters(reading) else []) for reading in readings
        )
        pad_id = self.bundle.tokenizer.pad_id
        scored = score(
            self._similarities, items, pad_id=pad_id, device=self._device, batching=batching
        )
        for reading, scores in scored:
            if scores is None:
                yield Aligned(reading.name, None, self._missing_copies)
            else:
                copies_S = scores[COPIES].long().numpy()
                similarity_P = scores[SIMILARITY].double().numpy().round(SIMILARITY_DIGITS)
                yield Aligned(reading.name, similarity_P, copies_S)

    def explain(self, pairs: Sequence[tuple[Aligned, int]]) -> Explanations:
        """The attributions of sites to the similarities of samples with records, by the records' indices.

        The baseline is a sample of which no site is known. A sample is the sum of the tokens of its sites, so that the
        mean gradients with respect to the sum, times a site's part in it, are what that site adds.
        """
        copies_BS = torch.from_numpy(np.stack([aligned.copies for aligned, _ in pairs]))
        record_indices = torch.tensor([number for _, number in pairs], device=self._device)
        similarity = self._similarity_to(self._records_PE[record_indices])
        with torch.no_grad():
            genotypes_BSG = self._genotypes(copies_BS.to(self._device))
            summed_BD = self._dna.token_sums(genotypes_BSG, self._tokens_SGD)
            baseline_BD = torch.zeros_like(summed_BD)
            similarities = [similarity(point_BD) for point_BD in (summed_BD, baseline_BD)]
            attention_BHV = self._dna.vectors(summed_BD, self._vocabulary_VD)[1]
            gradients_BD = mean_gradients(similarity, summed_BD, baseline_BD)
            weights_BD = gradients_BD * self._dna.token_weights(genotypes_BSG)
            added_BSG = torch.einsum("bd,sgd->bsg", weights_BD, self._tokens_SGD)
            values_BS = (added_BSG * genotypes_BSG).sum(2)
        names = [aligned.name for aligned, _ in pairs]
        parts = (
            record_indices,
            *(part.double() for part in (*similarities, values_BS, attention_BHV)),
        )
        return Explanations(names, *(part.cpu().numpy() for part in parts))

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
        vectors_BE = self._vectors(self._dna.token_sums(genotypes_BSG, self._tokens_SGD))
        copies_BS = copies_BS.to(vectors_BE.dtype)
        return {SIMILARITY: vectors_BE @ self._records_PE.T, COPIES: copies_BS}

    def _similarity_to(self, records_BE: Tensor) -> Callable[[Tensor], Tensor]:
        """The similarity of each sample to a record of its own, as a function of the sums of its tokens."""
        return lambda summed_BD: (self._vectors(summed_BD) * records_BE).sum(1)

    def _genotypes(self, copies_BS: Tensor) -> Tensor:
        return genotypes_of(copies_BS).to(self._tokens_SGD.dtype)

    def _vectors(self, summed_BD: Tensor) -> Tensor:
        return functional.normalize(self._dna.vectors(summed_BD, self._vocabulary_VD)[0], dim=1)


def _has_letters(reading: ModelInput) -> bool:
    """Whether a genotype is known: likelihoods count as used too, but are no letters."""
    return isinstance(reading, BarcodeModelInput) and bool((reading.copies >= 0).any())


class Explainer:
    """Explains samples of a stream in batches, and passes the rows to the receivers.

    `records_of` gives the indices of the records that a sample is explained for.
    """

    def __init__(
        self,
        aligner: Aligner,
        records_of: Callable[[Aligned], Iterable[int]],
        receivers: Sequence[Callable[[Explanations], None]],
    ) -> None:
        self._aligner, self._records_of, self._receivers = aligner, records_of, receivers
        self._pending: list[tuple[Aligned, int]] = []
        self.rows = 0

    def add(self, aligned: Aligned) -> None:
        """Add a sample."""
        if aligned.similarities is None:
            return
        self._pending += [(aligned, record) for record in self._records_of(aligned)]
        if len(self._pending) >= SAMPLES_PER_BATCH:
            self.flush()

    def flush(self) -> None:
        """Explain the samples that are still pending."""
        pending, self._pending = self._pending, []
        if pending:
            self.rows += len(pending)
            explanations = self._aligner.explain(pending)
            for receive in self._receivers:
                receive(explanations)


def best_record(aligned: Aligned) -> list[int]:
    """The most similar record of a sample, as the only one that it is explained for."""
    return [] if aligned.best is None else [aligned.best]
