"""Plain DNA restored in overlapping windows.

A window is predicted if at least half of its bases are known: what lies within a longer run of missing bases stays
missing. Where two windows predict a base, the logarithms of its probabilities are averaged.

Shape suffixes: L bases of a sequence, B windows, T bases of a window, V tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genomai_cli.alphabet import (
    BASE_LETTERS,
    BASES,
    MISSING,
    UNKNOWN_CODE,
    UNKNOWN_LETTER,
    codes_of,
)
from genomai_cli.backbones.base import Network
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.denoising.base import (
    Codes,
    Flags,
    Probabilities,
    Proposal,
    Settings,
    VcfOptions,
    VcfSamples,
    auxiliary_head,
    leave_out,
    normalised,
    posterior_given_observed,
    propose,
)
from genomai_cli.errors import BundleError
from genomai_cli.formats.fasta import Entry
from genomai_cli.formats.vcf_replay import Reopen
from genomai_cli.inputs.windows import Windows
from genomai_cli.tokenizers import Tokenizer

MIN_KNOWN = 0.5  # of a window
BASES_PER_BATCH = 1 << 14
MAX_WINDOW = 1 << 13  # of a network that reads sequences of any length


class SequenceModel(Protocol):
    """Predicts the bases of windows of at most `max_length` bases."""

    max_length: int
    batch_size: int

    def log_probabilities(self, codes_BT: Codes) -> Probabilities:
        """The logarithms (B, T, 4) of the probabilities of A C G T, given those of codes (B, T) that are 0 to 3, not
        `MISSING`."""


def denoiser_of(
    bundle: Bundle, settings: Settings, other_coordinates: Iterable[Any]
) -> "SequenceDenoiser":
    """The denoiser of a bundle of sequences; BundleError for one that predicts no bases."""
    del other_coordinates
    head, tokenizer = auxiliary_head(bundle), bundle.tokenizer
    if tokenizer.length(len(BASES)) != len(BASES):
        raise BundleError(
            f"the model {bundle.name!r} restores nothing: its tokens, {tokenizer.kind!r}, are not single letters"
        )
    network = bundle.classifier.networks[0]
    max_length = tokenizer.tokens_that_fit(network.max_length) or MAX_WINDOW
    model = MaskedBases(network, head, tokenizer, max_length)
    return SequenceDenoiser(model, settings, bundle.name)


@dataclass(frozen=True, eq=False)
class SequenceReading:
    """A sequence's letters."""

    name: str
    letters: NDArray[np.uint8]


class SequenceDenoiser:
    """Restores any sequence with a known base, one at a time."""

    batch_size = 1

    def __init__(self, model: SequenceModel, settings: Settings, name: str) -> None:
        self.name = name
        self._model, self._settings = model, settings
        self._windows = Windows(model.max_length, max(1, model.max_length // 2))

    def read(self, entries: Sequence[Entry]) -> SequenceReading | None:
        """The sequence of one entry."""
        letters = entries[0].letters() if len(entries) == 1 else None
        return None if letters is None else SequenceReading(entries[0].name, letters)

    def read_vcf(self, reopen: Reopen, options: VcfOptions) -> VcfSamples:
        """BundleError: sequences have no coordinates."""
        del reopen, options
        raise BundleError(f"the model {self.name!r} has no panel: it does not read VCF")

    def restore(self, readings: Sequence[SequenceReading]) -> list[list[Proposal] | None]:
        """The proposal for each sequence; None for one of which nothing is known."""
        return [self._restored(reading) for reading in readings]

    def _restored(self, reading: SequenceReading) -> list[Proposal] | None:
        codes_L = codes_of(reading.letters).astype(np.int64)
        codes_L = np.where(codes_L == UNKNOWN_CODE, MISSING, codes_L)
        known_L = codes_L != MISSING
        if not known_L.any():
            return None
        missing_L = reading.letters == UNKNOWN_LETTER
        posterior_L4 = self._predicted(codes_L, missing_L)
        if self._settings.error_rate is not None:
            left_out_L4 = self._leave_out(codes_L, known_L, reading.name)
            posterior_L4[known_L] = posterior_given_observed(
                left_out_L4[known_L], codes_L[known_L], self._settings.error_rate
            )
        rows = np.flatnonzero(posterior_L4.any(axis=1))
        alphabet = np.broadcast_to(BASE_LETTERS, (len(rows), len(BASES)))
        columns = (rows, posterior_L4[rows], codes_L[rows], alphabet, missing_L[rows])
        return [propose(*columns, self._settings)]

    def _leave_out(self, codes_L: Codes, known_L: Flags, name: str) -> Probabilities:
        def without(masked_1L: Flags) -> Probabilities:
            visible_L = np.where(masked_1L[0], MISSING, codes_L)
            return self._predicted(visible_L, masked_1L[0])[None]

        seeds = [self._settings.seeds(name)]
        # Bases that no window predicts are as likely as any.
        return normalised(leave_out(without, known_L[None], seeds)[0])

    def _predicted(self, codes_L: Codes, chosen_L: Flags) -> Probabilities:
        """The probabilities (L, 4) of the chosen bases, 0 of others and where no window predicts."""
        log_L4, windows_L = np.zeros((len(codes_L), 4)), np.zeros(len(codes_L), np.int64)
        width = self._windows.width(len(codes_L))
        starts = iter(self._starts(codes_L, chosen_L, width))
        while batch := list(islice(starts, self._model.batch_size)):
            codes_BT = np.stack([codes_L[start : start + width] for start in batch])
            log_BT4 = self._model.log_probabilities(codes_BT)
            for start, log_T4 in zip(batch, log_BT4, strict=True):
                log_L4[start : start + width] += log_T4
                windows_L[start : start + width] += 1
        predicted_L = chosen_L & (windows_L > 0)
        probabilities_L4 = np.zeros_like(log_L4)
        mean_K4 = log_L4[predicted_L] / windows_L[predicted_L, None]
        probabilities_L4[predicted_L] = normalised(np.exp(mean_K4))
        return probabilities_L4

    def _starts(self, codes_L: Codes, chosen_L: Flags, width: int) -> Iterator[int]:
        """Where the windows begin that hold a chosen base, and enough known ones."""
        known = np.concatenate([[0], np.cumsum(codes_L >= 0)])
        chosen = np.concatenate([[0], np.cumsum(chosen_L)])
        for start in self._windows.starts(len(codes_L)):
            stop = start + width
            enough = known[stop] - known[start] >= MIN_KNOWN * width
            if chosen[stop] > chosen[start] and enough:
                yield start


class MaskedBases:
    """A `SequenceModel`: a network of tokens that are bases, with its head; around each window stand the special tokens
    of the tokenizer's template, as in training."""

    def __init__(
        self, network: Network, head: nn.Module, tokenizer: Tokenizer, max_length: int
    ) -> None:
        self.max_length, self.batch_size = max_length, max(1, BASES_PER_BATCH // max_length)
        self._network, self._head, self._mask_id = network, head, tokenizer.mask_id
        self._device = next(network.parameters()).device
        self._ids = np.asarray(tokenizer.encode(BASES), np.int64)
        self._template, self._before = tokenizer.template, len(tokenizer.prefix)

    @torch.inference_mode()
    def log_probabilities(self, codes_BT: Codes) -> Probabilities:
        """See `SequenceModel`."""
        known_ids_BT = np.where(codes_BT < 0, self._mask_id, self._ids[codes_BT])
        ids_BT = np.stack([*map(self._template, known_ids_BT)]).astype(np.int64)
        logits_BTV = self._network.predict_masked(
            self._head, torch.from_numpy(ids_BT).to(self._device)
        )
        bases = slice(self._before, self._before + codes_BT.shape[1])
        log_BT4 = logits_BTV[:, bases, self._ids].double().log_softmax(2)
        return log_BT4.cpu().numpy()
