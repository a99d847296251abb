"""New DNA token by token: a next-token model goes on from a prompt.

Each token is drawn from the model's probabilities of the tokens that spell DNA (and of the one that ends a sequence, if
there is to be one), sharpened by a temperature and cut to the likeliest: so many (top-k; Fan et al. 2018,
arXiv:1805.04833), or as many as hold a share of the probability (top-p; Holtzman et al. 2020, arXiv:1904.09751). A
sequence is a function of the seed and its number, whatever else is drawn. When the network has read as many tokens
as it can, it goes on from the last half of them.

Shape suffixes: B sequences, T tokens, V tokens that may be drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import IS_BASE, as_letters
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.inference.likelihood import HEADS, NEXT_TOKEN, chunks, likelihood_of
from genomai_cli.inputs.windows import UNBOUNDED
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers.bytes import TAG

SEQUENCES_PER_BATCH = 32
DEFAULT_CONTINUATION = 500  # letters after the prompt, unless a length is given

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class CausalSampling:
    """How a token is drawn: with this `temperature`, among the `top_k` likeliest (0: all) and those of the likeliest
    that together have the probability `top_p`. `stop` is the token that ends a sequence, none if empty."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: str = ""
    seed: int = 0

    @classmethod
    def of(
        cls,
        temperature: float | None,
        top_k: int | None,
        top_p: float | None,
        stop: str | None,
        *,
        seed: int,
    ) -> "CausalSampling":
        """From options, of which those that are None keep their defaults."""
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "stop": stop}
        set_options: dict[str, Any] = {
            name: value for name, value in options.items() if value is not None
        }
        return cls(**set_options, seed=seed)


class CausalGenerator:
    """Draws DNA from a next-token model; BundleError for a model that was not made for it."""

    def __init__(
        self, bundle: Bundle, sampling: CausalSampling, *, batch: int = SEQUENCES_PER_BATCH
    ) -> None:
        method, self.network = likelihood_of(bundle)
        self.name, self.tokenizer = bundle.name, bundle.tokenizer
        if method != NEXT_TOKEN:
            raise BundleError(f"the model {self.name!r} predicts no next token")
        if self.tokenizer.stride != self.tokenizer.k:
            raise BundleError(f"the model {self.name!r} generates no DNA: its tokens overlap")
        self.sampling, self.batch = sampling, batch
        self.head = bundle.auxiliary[HEADS[method]]
        self.allowed_ids = _allowed_ids(bundle, sampling.stop)
        self.device = next(self.network.parameters()).device

    def records(
        self, number: int, prompt: str = "", length: int | None = None
    ) -> Iterator[SequenceRecord]:
        """So many sequences, synthetic_1, synthetic_2 and so on, that begin with the prompt and have the length in
        letters unless the stop token ends them before. A species' tag in the prompt is read, and not written.

        UsageError for a prompt that the model cannot go on from, or that is longer than the sequence.
        """
        prompt_ids = self._prompt_ids(prompt)
        prompt_letters = TAG.sub("", prompt)
        total = self._length(length, prompt_letters)
        tokens = -(-(total - len(prompt_letters)) // self.tokenizer.k)
        for numbers in chunks(range(1, number + 1), self.batch):
            for ids, index in zip(self._sampled(prompt_ids, tokens, numbers), numbers, strict=True):
                sequence = (prompt_letters + self.tokenizer.decode(ids))[:total]
                description = f"model={self.name} seed={self.sampling.seed}"
                yield SequenceRecord(f"synthetic_{index}", sequence, description)

    def _prompt_ids(self, prompt: str) -> Ids:
        """The ids (T,) that come before the first token that is drawn."""
        letters = as_letters(TAG.sub("", prompt) if self.tokenizer.any_text else prompt)
        invalid = letters[~IS_BASE[letters]]
        if len(invalid):
            raise UsageError(
                f"--prompt: this model goes on from A, C, G and T, not {chr(invalid[0])!r}"
            )
        if len(letters) % self.tokenizer.k:
            raise UsageError(f"--prompt: this model reads {self.tokenizer.k} letters at a time")
        ids = [*self.tokenizer.prefix, *self.tokenizer.encode(prompt).tolist()]
        if not ids:
            raise UsageError(f"--prompt: the model {self.name!r} needs something to go on from")
        return np.array(ids, np.int64)

    def _length(self, length: int | None, prompt_letters: str) -> int:
        if length is not None and length < len(prompt_letters):
            raise UsageError(f"--length {length}: the --prompt has {len(prompt_letters)} letters")
        return len(prompt_letters) + DEFAULT_CONTINUATION if length is None else length

    @torch.inference_mode()
    def _sampled(self, prompt_ids: Ids, tokens: int, numbers: Sequence[int]) -> Iterator[Ids]:
        """The tokens of each sequence that follow on the beginning."""
        generators = [np.random.default_rng([self.sampling.seed, number]) for number in numbers]
        ids_BT = np.tile(prompt_ids, (len(numbers), 1))
        new_BT, cache, num_cached = ids_BT, None, 0
        max_tokens = self.network.max_length or UNBOUNDED
        active_B = np.ones(len(numbers), np.bool_)
        while ids_BT.shape[1] < len(prompt_ids) + tokens and active_B.any():
            if num_cached + new_BT.shape[1] > max_tokens:
                new_BT, cache, num_cached = self._recent_ids(ids_BT, max_tokens // 2), None, 0
            logits_BV, cache = self._next(new_BT, cache)
            num_cached += new_BT.shape[1]
            chosen = [
                draw(logits_V, self.sampling, rng.random())
                for logits_V, rng in zip(logits_BV, generators, strict=True)
            ]
            new_BT = self.allowed_ids[chosen][:, None]
            active_B &= np.isin(new_BT[:, 0], self.tokenizer.dna_ids)
            ids_BT = np.concatenate([ids_BT, new_BT], axis=1)
        for row in ids_BT[:, len(prompt_ids) :]:
            ends = np.flatnonzero(~np.isin(row, self.tokenizer.dna_ids))
            yield row[: ends[0]] if len(ends) else row

    def _recent_ids(self, ids_BT: Ids, tokens: int) -> Ids:
        """The last of the tokens, behind the prefix so many."""
        prefix = np.array(self.tokenizer.prefix, np.int64)
        recent_BT = ids_BT[:, -(tokens - len(prefix)) :]
        return np.concatenate([np.tile(prefix, (len(ids_BT), 1)), recent_BT], axis=1)

    def _next(self, new_BT: Ids, cache: Any) -> tuple[NDArray[np.float64], Any]:
        """The logits (B, V) of the tokens that may follow, and the cache with the new ones."""
        hidden_BTD, cache = self.network.decode(torch.from_numpy(new_BT).to(self.device), cache)
        logits_BV: Tensor = self.network.lm_logits(self.head, hidden_BTD[:, -1])
        return logits_BV.cpu().double().numpy()[:, self.allowed_ids], cache


def draw(logits_V: NDArray[np.float64], sampling: CausalSampling, uniform: float) -> int:
    """The token that a random number from 0 to 1 falls on."""
    scaled_V = logits_V / sampling.temperature
    order_V = np.argsort(-scaled_V, kind="stable")
    probabilities_V = np.exp(scaled_V[order_V] - scaled_V[order_V[0]])
    probabilities_V /= probabilities_V.sum()
    num_candidates = len(order_V) if not sampling.top_k else min(sampling.top_k, len(order_V))
    cumulative_V = np.cumsum(probabilities_V) - probabilities_V
    num_candidates = max(
        1, min(num_candidates, int(np.count_nonzero(cumulative_V < sampling.top_p)))
    )
    bounds_V = np.cumsum(probabilities_V[:num_candidates])
    rank = int(np.searchsorted(bounds_V, uniform * bounds_V[-1], side="right"))
    return int(order_V[min(rank, num_candidates - 1)])


def _allowed_ids(bundle: Bundle, stop: str) -> Ids:
    """The ids (V,) that may be drawn; UsageError for a stop token that there is not."""
    tokenizer = bundle.tokenizer
    if not stop:
        return tokenizer.dna_ids
    if stop not in tokenizer.vocabulary:
        raise UsageError(f"--stop {stop}: the model {bundle.name!r} has no such token")
    id_ = tokenizer.vocabulary.index(stop)
    if id_ in tokenizer.dna_ids:
        raise UsageError(f"--stop {stop}: that is DNA; name a special token")
    return np.append(tokenizer.dna_ids, id_)
