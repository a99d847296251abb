"""New DNA from a model of sequences that was trained by diffusion, around the letters of a prompt.

A sequence longer than the network's window is drawn window by window: each overlaps the one before by half, whose
letters it is given. Everything random about a sequence follows from the seed and its number.

How to draw, whatever is drawn, and the process by which a bundle was trained.

Shape suffixes: B sequences of a batch, L words, A words of the alphabet, K letters of a word.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.augmentations import Letters
from genomai_cli.backbones.transformer import TransformerNetwork
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion import Kernel
from genomai_cli.diffusion.denoisers import WordDenoiser, Words
from genomai_cli.diffusion.kernel import HIDDEN, Schedule, Start, Way
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.inference.augment import Begun
from genomai_cli.objectives.diffusion import DiffusionSettings
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers.batch import encode_rows


@dataclass(frozen=True)
class Settings:
    """How to draw: in so many `steps`, with what `guidance` and `temperature`; 1 and 1 are the model's own. What is not
    drawn from nothing is blurred up to the time `since` first."""

    steps: int = 64
    guidance: float = 1.0
    temperature: float = 1.0
    seed: int = 0
    since: float = 1.0

    @property
    def way(self) -> Way:
        """The same for the sampler: a part of the time takes its part of the steps."""
        steps = max(1, round(self.steps * self.since))
        return Way(steps, self.temperature, self.since)


def process_of(bundle: Bundle) -> tuple[Kernel, Schedule]:
    """The diffusion process that a bundle was trained by; BundleError for one that was not."""
    try:
        settings = bundle.config["provenance"]["settings"]["diffusion"]
        return DiffusionSettings(**settings).process
    except (KeyError, TypeError, ValueError) as error:
        message = f"the model {bundle.name!r} generates nothing: it was not trained by diffusion"
        raise BundleError(message) from error


def steps_of(bundle: Bundle) -> int:
    """In how many steps the bundle's samples are drawn by default; what draws none is for its generator to refuse."""
    settings = bundle.config["provenance"].get("settings", {}).get("diffusion", {})
    return DiffusionSettings(**settings).steps


SEQUENCES_PER_BATCH = 32
OPEN = ord("N")  # a letter that is to be drawn
UNKNOWN = 4  # the code of a letter that is no base
_CODES = np.full(256, UNKNOWN, np.int64)
_CODES[np.frombuffer(b"ACGTacgtUu", np.uint8)] = [0, 1, 2, 3, 0, 1, 2, 3, 3, 3]
Codes = NDArray[np.int64]


def codes_of(letters: NDArray[np.uint8]) -> Codes:
    """0 to 3 for A C G T (or U) in either case, `UNKNOWN` for everything else."""
    return _CODES[letters]


@dataclass(frozen=True)
class Wanted:
    """So many sequences of a `length`, in letters (by default the prompt's, or the model's window), which begin with a
    `prompt`, in which N is to be filled in. UsageError for a prompt of other letters or longer than the sequence."""

    number: int = 1
    length: int | None = None
    prompt: str = ""

    def __post_init__(self) -> None:
        letters = np.frombuffer(self.prompt.encode("ascii", "replace"), np.uint8)
        wrong = (codes_of(letters) == UNKNOWN) & (letters != OPEN) & (letters != ord("n"))
        if wrong.any():
            raise UsageError(
                f"--prompt: A, C, G, T, or N to be filled in, not {chr(letters[wrong][0])!r}"
            )
        if self.length is not None and self.length < len(self.prompt):
            raise UsageError(f"--length {self.length}: the --prompt has {len(self.prompt)} letters")


class SequenceGenerator:
    """Draws DNA from a bundle; BundleError for a model that was not made for it."""

    def __init__(
        self, bundle: Bundle, settings: Settings, *, batch: int = SEQUENCES_PER_BATCH
    ) -> None:
        network = bundle.classifier.members[0]
        if not isinstance(network, TransformerNetwork) or "diffusion" not in bundle.companions:
            message = f"the model {bundle.name!r} generates no DNA: it was not trained by diffusion"
            raise BundleError(message)
        self.kernel, self.schedule = process_of(bundle)
        self.network, self.head = network, bundle.companions["diffusion"]
        self.tokenizer, self.settings, self.batch = bundle.tokenizer, settings, batch
        self.words = Words.of(self.tokenizer)
        if not self.tokenizer.can_decode:
            raise BundleError(
                f"the model {bundle.name!r} generates no DNA: its words do not spell it"
            )
        self.name = bundle.name
        self.device = network.words.weight.device

    @property
    def window(self) -> int:
        """How many letters the network sees at once."""
        return self.network.config.positions * self.words.letters

    def records(self, wanted: Wanted) -> Iterator[SequenceRecord]:
        """The sequences, synthetic_1, synthetic_2 and so on."""
        seed = self.settings.seed
        length = wanted.length or len(wanted.prompt) or self.window
        prompt = np.frombuffer(wanted.prompt.encode().ljust(length, b"N"), np.uint8)
        numbers = iter(range(1, wanted.number + 1))
        while chunk := list(islice(numbers, self.batch)):
            given = np.tile(codes_of(prompt), (len(chunk), 1))
            made = self.filled(given, [[seed, number] for number in chunk])
            for number, letters in zip(chunk, made, strict=True):
                told = f"model={self.name} seed={seed}"
                yield SequenceRecord(f"synthetic_{number}", letters, told)

    def filled(
        self,
        codes_BX: Codes,
        seeds: Sequence[Sequence[int]],
        drawn_BX: NDArray[np.bool_] | None = None,
    ) -> list[str]:
        """The sequences with some letters drawn, by default the unknown ones, each by its own seed.

        With a time `since` below 1, known letters that are to be drawn are blurred up to it first. A letter that is
        neither known nor to be drawn is N.
        """
        drawn_BX = codes_BX == UNKNOWN if drawn_BX is None else drawn_BX
        rows, length = codes_BX.shape
        size = self.words.letters
        more = -length % size
        codes_BLK = np.pad(codes_BX, ((0, 0), (0, more)), constant_values=UNKNOWN).reshape(
            rows, -1, size
        )
        drawn_BLK = np.pad(drawn_BX, ((0, 0), (0, more)), constant_values=True).reshape(
            rows, -1, size
        )
        for block, place in enumerate(self.blocks(codes_BLK.shape[1])):
            block_seeds = [[*seed, block] for seed in seeds]
            part = codes_BLK[:, place], drawn_BLK[:, place]
            codes_BLK[:, place] = self._drawn(*part, block_seeds)
            drawn_BLK[:, place] = False
        letters = np.frombuffer(b"ACGTN", np.uint8)[codes_BLK.reshape(rows, -1)[:, :length]]
        return [row.tobytes().decode() for row in letters]

    def blocks(self, length: int) -> Iterator[slice]:
        """The stretches of words to draw one after another, of which each but the first overlaps the one before."""
        longest = self.network.config.positions
        last = max(0, length - longest)
        for start in range(0, last + max(1, longest // 2), max(1, longest // 2)):
            yield slice(min(start, last), min(start, last) + longest)
            if start >= last:
                return

    @torch.inference_mode()
    def _drawn(
        self, codes_BLK: Codes, drawn_BLK: NDArray[np.bool_], seeds: Sequence[Sequence[int]]
    ) -> Codes:
        """The letters of words, some of them drawn."""
        due_BL = np.logical_or.reduce(drawn_BLK, axis=2)
        if not due_BL.any():
            return codes_BLK
        spelt_AK, given_BLK = self._spelt, np.where(drawn_BLK, UNKNOWN, codes_BLK)
        words_BL = self._words(codes_BLK)
        unknown_BL = (words_BL == HIDDEN) & ~due_BL
        others_BL = np.where(unknown_BL, self.tokenizer.unk_id or 0, self.words.mask_id)
        partly = bool((due_BL[:, :, None] & (given_BLK != UNKNOWN)).any())
        denoiser = WordDenoiser(
            self.network,
            self.head,
            self.words,
            self._tensor(others_BL),
            self._tensor(_barred(given_BLK, spelt_AK)) if partly else None,
            veiled=self.kernel.doubts,
        )
        start = Start(self._tensor(words_BL), self._tensor(~due_BL))
        way, size = self.settings.way, self.words.size
        made_BL = self.kernel.sample(denoiser, start, seeds, self.schedule, size, way)
        made_BLK = spelt_AK[made_BL.clamp(min=0).cpu().numpy()]
        return np.where(due_BL[:, :, None], made_BLK, codes_BLK)

    def _words(self, codes_BLK: Codes) -> Codes:
        """The words (B, L) of letters, `HIDDEN` where one is unknown."""
        letters = np.frombuffer(b"ACGTN", np.uint8)[codes_BLK.reshape(len(codes_BLK), -1)]
        ids_BL = encode_rows(self.tokenizer, letters)
        return np.where(ids_BL < self.words.size, ids_BL, HIDDEN)

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    @property
    def _spelt(self) -> Codes:
        """The letters (A, K) of every word."""
        words = "".join(self.tokenizer.vocabulary[: self.words.size]).encode()
        return _CODES[np.frombuffer(words, np.uint8)].reshape(-1, self.words.letters)


def _barred(given_BLK: Codes, spelt_AK: Codes) -> NDArray[np.bool_]:
    """The words (B, L, A) that have another letter than is given."""
    barred_BLA = np.zeros((*given_BLK.shape[:2], len(spelt_AK)), np.bool_)
    for place in range(given_BLK.shape[2]):
        letter_BL1 = given_BLK[:, :, place, None]
        barred_BLA |= (letter_BL1 != UNKNOWN) & (letter_BL1 != spelt_AK[:, place])
    return barred_BLA


VIEWS_PER_BATCH = 64
STREAM = 0xD1FF  # of the randomness of a view


class SequenceDiffuser:
    """Views of plain DNA."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.generator = SequenceGenerator(bundle, settings)

    def __call__(self, views: Iterable[Begun]) -> Iterator[Begun]:
        """The views drawn again; neighbours of one length are drawn together."""
        for _, group in groupby(views, key=lambda view: view.letters.shape[1]):
            while chunk := list(islice(group, VIEWS_PER_BATCH)):
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
