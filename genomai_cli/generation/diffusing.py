"""Views by diffusion: a record is blurred up to some time and drawn again from there, by the code that generates.

What is drawn of a view follows from the view's own seed. Missing letters stay missing.

Shape suffixes: B views of a batch, L alleles of both haplotypes or letters, S sites; 2 haplotypes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby, islice

import numpy as np
import torch

from genomai_cli.augmentations import Letters
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion.kernel import HIDDEN, Start
from genomai_cli.errors import InputError
from genomai_cli.generation.people import Generator
from genomai_cli.generation.sequences import UNKNOWN, SequenceGenerator, codes_of
from genomai_cli.generation.settings import Settings
from genomai_cli.inference.augment import Begun
from genomai_cli.objectives.diffusion import ALLELES
from genomai_cli.panels.barcode import genotypes_to_letters
from genomai_cli.panels.people import alleles_of
from genomai_cli.panels.phase import resolve
from genomai_cli.panels.recognition import BarcodeSites, is_haplotype

BATCH = 64
STREAM = 0xD1FF  # of the randomness of a view


class PeopleDiffuser:
    """Views of barcodes; `phenotype_of` gives the number of the phenotype by which a record's name is drawn, or 0."""

    def __init__(
        self, bundle: Bundle, settings: Settings, phenotype_of: Callable[[str], int] = lambda _: 0
    ) -> None:
        self.generator = Generator(bundle, settings)
        self.panel, self.name = bundle.required_panel, bundle.name
        self.sites = BarcodeSites.of(self.panel)
        self.phenotype_of = phenotype_of

    def __call__(self, views: Iterable[Begun]) -> Iterator[Begun]:
        """The views drawn again; InputError for one that is no barcode of the model's panel."""
        waiting = iter(views)
        while chunk := list(islice(waiting, BATCH)):
            yield from self._diffused(chunk)

    @torch.inference_mode()
    def _diffused(self, views: list[Begun]) -> Iterator[Begun]:
        haplotypes = [is_haplotype(view.letters) for view in views]
        pairs = zip(views, haplotypes, strict=True)
        alleles_BL = np.stack([self._alleles(view, alone).ravel() for view, alone in pairs])
        generator, device = self.generator, self.generator.network.frequency.device
        letters_BL = torch.from_numpy(alleles_BL).to(device)
        numbers = [self.phenotype_of(view.record.name) for view in views]
        made_BL = generator.kernel.sample(
            generator.denoiser(torch.tensor(numbers, device=device)),
            Start(letters_BL, letters_BL == HIDDEN),
            [[*view.seed, STREAM] for view in views],
            generator.schedule,
            ALLELES,
            generator.settings.way,
        )
        made_B2S = made_BL.view(len(views), 2, -1).cpu().numpy().astype(np.int8)
        for view, alone, alleles_2S in zip(views, haplotypes, made_B2S, strict=True):
            copies_S = 2 * alleles_2S[0] if alone else alleles_2S.sum(axis=0, dtype=np.int8)
            known_S = alleles_2S[0] >= 0 if alone else (alleles_2S >= 0).all(axis=0)
            letters_S = genotypes_to_letters(np.where(known_S, copies_S, np.int8(-1)), self.panel)
            yield replace(view, letters=letters_S[None])

    def _alleles(self, view: Begun, alone: bool) -> np.ndarray:
        """The alleles (2, S) of a barcode, heterozygous sites in a phase drawn for the view; of a haplotype alone the
        other one is not known."""
        letters_S = view.letters[0]
        if not self.sites.fit(letters_S):
            record = view.record
            message = f"{record.name} is no barcode of the {len(self.sites)} sites of {self.name}"
            raise InputError(
                f"{message}: name a model with --model", path=record.path, line=record.line or None
            )
        pair_2S = np.stack([letters_S, np.full_like(letters_S, ord("N"))])
        if not alone:
            pair_2S = resolve(letters_S, view.rng)
        return alleles_of(pair_2S, self.panel).astype(np.int64)


class SequenceDiffuser:
    """Views of plain DNA."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.generator = SequenceGenerator(bundle, settings)

    def __call__(self, views: Iterable[Begun]) -> Iterator[Begun]:
        """The views drawn again; neighbours of one length are drawn together."""
        for _, group in groupby(views, key=lambda view: view.letters.shape[1]):
            while chunk := list(islice(group, BATCH)):
                yield from self._diffused(chunk)

    def _diffused(self, views: list[Begun]) -> Iterator[Begun]:
        if not views[0].letters.shape[1]:
            yield from views
            return
        codes_BL = codes_of(np.concatenate([view.letters for view in views]))
        seeds = [[*view.seed, STREAM] for view in views]
        known_BL = codes_BL != UNKNOWN
        made = self.generator.filled(codes_BL, seeds, known_BL)
        for view, known_L, text in zip(views, known_BL, made, strict=True):
            drawn_L: Letters = np.frombuffer(text.encode(), np.uint8)
            yield replace(view, letters=np.where(known_L, drawn_L, view.letters[0])[None])
