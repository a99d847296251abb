"""Models that guess hidden words with a companion of theirs: of anchored genomes, and of plain DNA.

Shape suffixes: B records, S sites, T letters of a window, V words.
"""

import numpy as np
import torch
from torch import nn

from genomai_cli.anchoring.reference import Reference
from genomai_cli.anchoring.sites import VariableSites
from genomai_cli.restoration.base import Ids, Probabilities

BASES = 4  # the first words are A C G T
GENOMES_AT_ONCE = 64
LETTERS_A_BATCH = 1 << 14


class GuessedGenomes:
    """Asks the network of anchored genomes for the letters at its sites."""

    batch = GENOMES_AT_ONCE

    def __init__(
        self,
        network: nn.Module,
        companion: nn.Module,
        places: tuple[Reference, VariableSites],
        device: torch.device,
    ) -> None:
        self.reference, self.sites = places
        self._network, self._companion, self._device = network, companion, device

    @torch.inference_mode()
    def letters(self, ids_BS: Ids) -> Probabilities:
        """See `GenomesModel`."""
        ids = torch.from_numpy(ids_BS).to(self._device)
        logits_BS4 = self._network.guess(self._companion, ids)  # type: ignore[operator]
        return logits_BS4.double().softmax(2).cpu().numpy()  # type: ignore[no-any-return]


class GuessedDna:
    """Asks a network of words that are letters."""

    def __init__(
        self,
        network: nn.Module,
        companion: nn.Module,
        mask: int,
        longest: int,
        device: torch.device,
    ) -> None:
        self.longest = longest
        self.batch = max(1, LETTERS_A_BATCH // longest)
        self._network, self._companion, self._device = network, companion, device
        self._mask = mask

    @torch.inference_mode()
    def letters(self, ids_BT: Ids) -> Probabilities:
        """See `DnaModel`."""
        shown_BT = np.where(ids_BT < 0, self._mask, ids_BT)
        ids = torch.from_numpy(shown_BT).to(self._device)
        logits_BTV = self._network.guess(self._companion, ids)  # type: ignore[operator]
        log_BT4 = logits_BTV[..., :BASES].double().log_softmax(2)
        return log_BT4.cpu().numpy()  # type: ignore[no-any-return]
