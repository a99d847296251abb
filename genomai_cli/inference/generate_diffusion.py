"""New DNA from a model of sequences that was trained by diffusion, around the bases of a prompt.

A sequence longer than the network's window is drawn window by window: each overlaps the one before by half, whose bases
it is given. Everything random about a sequence follows from the seed, its number and, if the model knows any, the
requested phenotype.

Views by diffusion: a record is noised up to some time and drawn again from there, by the code that generates.

Shape suffixes: B sequences of a batch, L bases, T tokens, V tokens of the vocabulary, K bases of a token.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import (
    CODE_LETTERS,
    UNKNOWN_CODE,
    UNKNOWN_LETTER,
    Codes,
    Letters,
    as_letters,
    codes_of,
)
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion import Kernel
from genomai_cli.diffusion.denoisers import NoisedTokens, TokenDenoiser
from genomai_cli.diffusion.kernel import InitialTokens, Sampling, Schedule
from genomai_cli.diffusion.phenotypes import REFERENCE, Phenotypes
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.inference.augment import UnchangedView
from genomai_cli.inputs.windows import Windows
from genomai_cli.objectives.diffusion import DiffusionSettings
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers.batch import encode_rows


@dataclass(frozen=True)
class Settings:
    """How to draw: in so many `steps`, with what `guidance`, `temperature` and `context_guidance` (see
    `DiffusionSettings`); with 1 of each, by the probabilities of the model. What is not drawn from nothing is
    noised up to the `start_time` first."""

    steps: int = 64
    guidance: float = 1.0
    temperature: float = 1.0
    context_guidance: float = 1.0
    seed: int = 0
    start_time: float = 1.0

    def sampling(self, schedule: Schedule, vocabulary: int) -> Sampling:
        """The same for a kernel: a part of the time takes its part of the steps."""
        steps = max(1, round(self.steps * self.start_time))
        return Sampling(schedule, vocabulary, steps, self.temperature, self.start_time)


def process_of(bundle: Bundle) -> tuple[Kernel, Schedule]:
    """The diffusion process that a bundle was trained by; BundleError for one that was not."""
    try:
        settings = bundle.config["provenance"]["settings"]["diffusion"]
        return DiffusionSettings(**settings).process
    except (KeyError, TypeError, ValueError) as error:
        message = f"the model {bundle.name!r} generates nothing: it was not trained by diffusion"
        raise BundleError(message) from error


def settings_of(
    bundle: Bundle,
    *,
    steps: int | None = None,
    temperature: float | None = None,
    guidance: float = 1.0,
    seed: int = 0,
    start_time: float = 1.0,
) -> Settings:
    """How a bundle's samples are drawn: what is None as its recipe says. What draws none is for its generator to
    refuse."""
    settings = bundle.config["provenance"].get("settings", {}).get("diffusion", {})
    trained_settings = DiffusionSettings(**settings)
    return Settings(
        trained_settings.steps if steps is None else steps,
        guidance,
        trained_settings.temperature if temperature is None else temperature,
        trained_settings.context_guidance,
        seed,
        start_time,
    )


def phenotypes_of(bundle: Bundle) -> Phenotypes | None:
    """The labels by which a model of DNA generates, None for one that knows none; BundleError for damaged ones."""
    if "phenotypes" not in bundle.config:
        return None
    phenotypes = Phenotypes.from_config(bundle.config)
    conditions = getattr(bundle.classifier.networks[0].config, "conditions", 0)
    if conditions != len(phenotypes):
        raise BundleError(
            f"the model {bundle.name!r} has {len(phenotypes)} labels for {conditions}"
        )
    return phenotypes


SEQUENCES_PER_BATCH = 32
LABEL_STREAM = 1  # of random numbers, besides that of the letters
PARTIAL_STREAM = 0x9A27  # of those that tell which tokens with unknown letters keep the others
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class SequenceRequest:
    """So many sequences of a `length` in bases (by default the prompt's, or as the model was trained on), which begin
    with a `prompt`, in which N is to be filled in. UsageError for other letters in it, or more than in the sequence.

    Each is of one of the `parts`, labels with their shares, if there are any; `text` is the option that names these,
    and `name` what the sequences' names contain.
    """

    number: int = 1
    length: int | None = None
    prompt: str = ""
    parts: tuple[tuple[str, float], ...] = ()
    name: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        letters = as_letters(self.prompt)
        is_invalid = (
            (codes_of(letters) == UNKNOWN_CODE)
            & (letters != UNKNOWN_LETTER)
            & (letters != ord("n"))
        )
        if is_invalid.any():
            raise UsageError(
                f"--prompt: A, C, G, T, or N to be filled in, not {chr(letters[is_invalid][0])!r}"
            )
        if self.length is not None and self.length < len(self.prompt):
            raise UsageError(f"--length {self.length}: the --prompt has {len(self.prompt)} letters")

    def seed(self, seed: int, number: int) -> list[int]:
        """That of one of the sequences, numbered from 1."""
        return [seed, zlib.crc32(self.text.encode()), number] if self.parts else [seed, number]

    def part(self, rng: np.random.Generator) -> str:
        """One of the parts, by their shares."""
        names, shares = zip(*self.parts, strict=True)
        drawn: str = names[rng.choice(len(names), p=shares)]
        return drawn

    def record(self, number: int, letters: str, model: str, seed: int) -> SequenceRecord:
        """One of the sequences as it is written: synthetic_1, synthetic_2 and so on, or with parts synthetic_NAME_1."""
        origin = f"model={model} seed={seed}"
        if not self.parts:
            return SequenceRecord(f"synthetic_{number}", letters, origin)
        description = f"phenotype={self.text} {origin}"
        return SequenceRecord(f"synthetic_{self.name}_{number}", letters, description)


class SequenceGenerator:
    """Draws DNA from a bundle; BundleError for a model that was not made for it."""

    of_individuals = False
    of_lineages = False

    def __init__(
        self, bundle: Bundle, settings: Settings, *, batch: int = SEQUENCES_PER_BATCH
    ) -> None:
        message = f"the model {bundle.name!r} generates no DNA: it was not trained by diffusion"
        network = bundle.classifier.networks[0]
        if "diffusion" not in bundle.auxiliary or not network.has_token_vectors:
            raise BundleError(message)
        self.name, self.settings, self.batch = bundle.name, settings, batch
        self.kernel, self.schedule = process_of(bundle)
        self.network, self.head = network, bundle.auxiliary["diffusion"]
        self.tokenizer = bundle.tokenizer
        self.tokens = NoisedTokens.of(self.tokenizer)
        if not self.tokenizer.can_decode:
            raise BundleError(
                f"the model {bundle.name!r} generates no DNA: its tokens do not spell it"
            )
        max_tokens = self.tokenizer.tokens_that_fit(network.max_length)
        self.windows = Windows.of_half_overlap(self.tokenizer, max_tokens)
        self.device = next(self.network.parameters()).device
        self.phenotypes = phenotypes_of(bundle)
        self.default_phenotypes = [REFERENCE] if self.phenotypes else []  # where none is asked for
        self.default_length = int(bundle.config.get("letters", self.windows.size))

    def records(self, request: SequenceRequest) -> Iterator[SequenceRecord]:
        """The sequences, `SequenceRequest.record`."""
        seed = self.settings.seed
        length = request.length or len(request.prompt) or self.default_length
        prompt = np.frombuffer(request.prompt.encode().ljust(length, b"N"), np.uint8)
        numbers = iter(range(1, request.number + 1))
        while chunk := list(islice(numbers, self.batch)):
            prompt_BL = np.tile(codes_of(prompt), (len(chunk), 1))
            seeds = [request.seed(seed, number) for number in chunk]
            sequences = self.filled(prompt_BL, seeds, conditions=self._conditions(request, seeds))
            for number, letters in zip(chunk, sequences, strict=True):
                yield request.record(number, letters, self.name, seed)

    def _conditions(
        self, request: SequenceRequest, seeds: Sequence[Sequence[int]]
    ) -> list[int] | None:
        """The numbers of the labels that sequences are given, None of a model that knows none."""
        if self.phenotypes is None:
            return None
        if not request.parts:
            return [0] * len(seeds)
        rngs = [np.random.default_rng([*seed, LABEL_STREAM]) for seed in seeds]
        return [self.phenotypes.draw_label(request.part(rng), rng) for rng in rngs]

    def filled(
        self,
        codes_BL: Codes,
        seeds: Sequence[Sequence[int]],
        to_draw_BL: Flags | None = None,
        conditions: Sequence[int] | None = None,
    ) -> list[str]:
        """The sequences with some bases drawn, by default the unknown ones, each by its own seed, and given the label
        of its number in `conditions`.

        With a start time below 1, known bases that are to be drawn are noised up to it first. A base that is neither
        known nor to be drawn is N.
        """
        to_draw_BL = codes_BL == UNKNOWN_CODE if to_draw_BL is None else to_draw_BL
        size, length = self.tokens.bases, codes_BL.shape[1]
        padding = ((0, 0), (0, -length % size))
        codes_BL = np.pad(codes_BL, padding, constant_values=UNKNOWN_CODE)
        to_draw_BL = np.pad(to_draw_BL, padding, constant_values=True)
        width = self.windows.width(codes_BL.shape[1])
        for number, start in enumerate(self.windows.starts(codes_BL.shape[1])):
            window = slice(start, start + width)
            window_seeds = [[*seed, number] for seed in seeds]
            codes_BL[:, window] = self._sampled(
                codes_BL[:, window], to_draw_BL[:, window], window_seeds, conditions
            )
            to_draw_BL[:, window] = False
        return [row.tobytes().decode() for row in CODE_LETTERS[codes_BL[:, :length]]]

    @torch.inference_mode()
    def _sampled(
        self,
        codes_BL: Codes,
        to_draw_BL: Flags,
        seeds: Sequence[Sequence[int]],
        conditions: Sequence[int] | None,
    ) -> Codes:
        """The bases of whole tokens, some of them drawn."""
        shape = (len(codes_BL), -1, self.tokens.bases)
        codes_BTK, to_draw_BTK = codes_BL.reshape(shape), to_draw_BL.reshape(shape)
        drawn_BT: Flags = np.logical_or.reduce(to_draw_BTK, axis=2)
        if not drawn_BT.any():
            return codes_BL
        ids_BT = encode_rows(self.tokenizer, CODE_LETTERS[codes_BL])  # special tokens around
        before, after = len(self.tokenizer.prefix), len(self.tokenizer.suffix)
        chosen_BT = np.pad(drawn_BT, ((0, 0), (before, after)))
        given_BTK = np.where(to_draw_BTK, UNKNOWN_CODE, codes_BTK)
        if self.settings.start_time < 1:
            kept_BT = self._kept_in_part(codes_BTK, seeds)
            given_BTK = np.where(kept_BT[:, :, None], codes_BTK, given_BTK)
        forbidden_BTV: Flags | None = None
        if (drawn_BT[:, :, None] & (given_BTK != UNKNOWN_CODE)).any():
            excluded_BTV = _excluded_tokens(given_BTK, self._spelling)
            forbidden_BTV = np.pad(excluded_BTV, ((0, 0), (before, after), (0, 0)))
        denoiser = TokenDenoiser(
            self.network,
            self.head,
            self.tokens,
            self._tensor(np.where(chosen_BT, self.tokens.mask_id, ids_BT)),
            None if forbidden_BTV is None else self._tensor(forbidden_BTV),
            soft_masked=self.kernel.substitutions,
            condition=None if conditions is None else torch.tensor(conditions, device=self.device),
            guidance=self.settings.guidance,
        )
        tokens_BT = self.tokens.token_of_id[ids_BT]  # MASKED where one is unknown, or special
        initial = InitialTokens(self._tensor(tokens_BT), self._tensor(~chosen_BT))
        sampling = self.settings.sampling(self.schedule, self.tokens.size)
        sampled_BT = self.kernel.sample(denoiser, initial, seeds, sampling)
        tokens = slice(before, before + drawn_BT.shape[1])
        sampled_BTK = self._spelling[sampled_BT[:, tokens].clamp(min=0).cpu().numpy()]
        return np.where(drawn_BT[:, :, None], sampled_BTK, codes_BTK).reshape(codes_BL.shape)

    def _kept_in_part(self, codes_BTK: Codes, seeds: Sequence[Sequence[int]]) -> Flags:
        """Of which tokens (B, T) with unknown bases, which are none that could be noised, the others stay: as often as
        a token is as it was at the start time."""
        is_partial_BT: Flags = (codes_BTK == UNKNOWN_CODE).any(axis=2)
        alpha = float(self.schedule.alpha(np.array(self.settings.start_time)))
        rngs = [np.random.default_rng([*seed, PARTIAL_STREAM]) for seed in seeds]
        uniform_BT = np.stack([rng.random(is_partial_BT.shape[1]) for rng in rngs])
        return is_partial_BT & (uniform_BT < alpha)

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    @cached_property
    def _spelling(self) -> Codes:
        """The bases (V, K) of every token."""
        spelling = "".join(self.tokenizer.vocabulary[id_] for id_ in self.tokens.ids)
        return codes_of(as_letters(spelling)).reshape(-1, self.tokens.bases)


def _excluded_tokens(given_BTK: Codes, spelling_VK: Codes) -> Flags:
    """The tokens (B, T, V) that have another base than is given."""
    barred_BTV = np.zeros((*given_BTK.shape[:2], len(spelling_VK)), np.bool_)
    for position in range(given_BTK.shape[2]):
        given_BT1 = given_BTK[:, :, position, None]
        barred_BTV |= (given_BT1 != UNKNOWN_CODE) & (given_BT1 != spelling_VK[:, position])
    return barred_BTV


VIEWS_PER_BATCH = 64
VIEW_STREAM = 0xD1FF  # of the randomness of a view


class SequenceDiffuser:
    """Views of plain DNA."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.generator = SequenceGenerator(bundle, settings)

    def __call__(self, views: Iterable[UnchangedView]) -> Iterator[UnchangedView]:
        """The views drawn again; neighbours of one length are drawn together."""
        for _, group in groupby(views, key=lambda view: view.letters.shape[1]):
            while chunk := list(islice(group, VIEWS_PER_BATCH)):
                yield from self._diffused(chunk)

    def _diffused(self, views: list[UnchangedView]) -> Iterator[UnchangedView]:
        if not views[0].letters.shape[1] or not self.generator.settings.start_time:
            yield from views  # at time 0 every letter is as it was
            return
        codes_BL = codes_of(np.concatenate([view.letters for view in views]))
        seeds = [[*view.seed, VIEW_STREAM] for view in views]
        known_BL = codes_BL != UNKNOWN_CODE
        sequences = self.generator.filled(codes_BL, seeds, known_BL)
        for view, known_L, text in zip(views, known_BL, sequences, strict=True):
            drawn_L: Letters = np.frombuffer(text.encode(), np.uint8)
            yield replace(view, letters=np.where(known_L, drawn_L, view.letters[0])[None])
