"""New DNA token by token: a next-token model goes on from a prompt.

Each token is drawn from the model's probabilities of the tokens that spell DNA (and of the one that ends a sequence, if
there is to be one), sharpened by a temperature and cut to the likeliest: so many (top-k; Fan et al. 2018,
arXiv:1805.04833), or as many as hold a share of the probability (top-p; Holtzman et al. 2020, arXiv:1904.09751). A
sequence is a function of the seed and its number, whatever is drawn beside it. When the network has read as many tokens
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
CONTINUED = 500  # letters after the prompt, unless a length is asked for

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
        """These; what is None changes nothing."""
        asked = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "stop": stop}
        given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return cls(**given, seed=seed)


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
        self.allowed = _allowed(bundle, sampling.stop)
        self.device = next(self.network.parameters()).device

    def records(
        self, number: int, prompt: str = "", length: int | None = None
    ) -> Iterator[SequenceRecord]:
        """So many sequences, synthetic_1, synthetic_2 and so on, that begin with the prompt and have the length in
        letters unless the stop token ends them before. A species' tag in the prompt is read, and not written.

        UsageError for a prompt that the model cannot go on from, or that is longer than the sequence.
        """
        begin = self._begin(prompt)
        written = TAG.sub("", prompt)
        wanted = self._length(length, written)
        tokens = -(-(wanted - len(written)) // self.tokenizer.k)
        for some in chunks(range(1, number + 1), self.batch):
            for made, which in zip(self._drawn(begin, tokens, some), some, strict=True):
                sequence = (written + self.tokenizer.decode(made))[:wanted]
                description = f"model={self.name} seed={self.sampling.seed}"
                yield SequenceRecord(f"synthetic_{which}", sequence, description)

    def _begin(self, prompt: str) -> Ids:
        """The ids (T,) that come before the first token that is drawn."""
        letters = as_letters(TAG.sub("", prompt) if self.tokenizer.any_text else prompt)
        wrong = letters[~IS_BASE[letters]]
        if len(wrong):
            raise UsageError(
                f"--prompt: this model goes on from A, C, G and T, not {chr(wrong[0])!r}"
            )
        if len(letters) % self.tokenizer.k:
            raise UsageError(f"--prompt: this model reads {self.tokenizer.k} letters at a time")
        ids = [*self.tokenizer.prefix, *self.tokenizer.encode(prompt).tolist()]
        if not ids:
            raise UsageError(f"--prompt: the model {self.name!r} needs something to go on from")
        return np.array(ids, np.int64)

    def _length(self, asked: int | None, written: str) -> int:
        if asked is not None and asked < len(written):
            raise UsageError(f"--length {asked}: the --prompt has {len(written)} letters")
        return len(written) + CONTINUED if asked is None else asked

    @torch.inference_mode()
    def _drawn(self, begin: Ids, tokens: int, numbers: Sequence[int]) -> Iterator[Ids]:
        """The tokens of each sequence that follow on the beginning."""
        generators = [np.random.default_rng([self.sampling.seed, number]) for number in numbers]
        known_BT = np.tile(begin, (len(numbers), 1))
        new_BT, cache, read = known_BT, None, 0
        longest = self.network.max_length or UNBOUNDED
        going_B = np.ones(len(numbers), np.bool_)
        while known_BT.shape[1] < len(begin) + tokens and going_B.any():
            if read + new_BT.shape[1] > longest:
                new_BT, cache, read = self._recent(known_BT, longest // 2), None, 0
            logits_BV, cache = self._next(new_BT, cache)
            read += new_BT.shape[1]
            chosen = [
                draw(logits_V, self.sampling, rng.random())
                for logits_V, rng in zip(logits_BV, generators, strict=True)
            ]
            new_BT = self.allowed[chosen][:, None]
            going_B &= np.isin(new_BT[:, 0], self.tokenizer.dna_ids)
            known_BT = np.concatenate([known_BT, new_BT], axis=1)
        for row in known_BT[:, len(begin) :]:
            ends = np.flatnonzero(~np.isin(row, self.tokenizer.dna_ids))
            yield row[: ends[0]] if len(ends) else row

    def _recent(self, known_BT: Ids, tokens: int) -> Ids:
        """The last of the tokens, behind the prefix so many."""
        prefix = np.array(self.tokenizer.prefix, np.int64)
        recent_BT = known_BT[:, -(tokens - len(prefix)) :]
        return np.concatenate([np.tile(prefix, (len(known_BT), 1)), recent_BT], axis=1)

    def _next(self, new_BT: Ids, cache: Any) -> tuple[NDArray[np.float64], Any]:
        """The logits (B, V) of the tokens that may follow, and the cache with the new ones."""
        hidden_BTD, cache = self.network.decode(torch.from_numpy(new_BT).to(self.device), cache)
        logits_BV: Tensor = self.network.lm_logits(self.head, hidden_BTD[:, -1])
        return logits_BV.cpu().double().numpy()[:, self.allowed], cache


def draw(logits_V: NDArray[np.float64], sampling: CausalSampling, chance: float) -> int:
    """The token that a random number from 0 to 1 falls on."""
    scaled_V = logits_V / sampling.temperature
    order_V = np.argsort(-scaled_V, kind="stable")
    chances_V = np.exp(scaled_V[order_V] - scaled_V[order_V[0]])
    chances_V /= chances_V.sum()
    kept = len(order_V) if not sampling.top_k else min(sampling.top_k, len(order_V))
    before_V = np.cumsum(chances_V) - chances_V
    kept = max(1, min(kept, int(np.count_nonzero(before_V < sampling.top_p))))
    bounds_V = np.cumsum(chances_V[:kept])
    at = int(np.searchsorted(bounds_V, chance * bounds_V[-1], side="right"))
    return int(order_V[min(at, kept - 1)])


def _allowed(bundle: Bundle, stop: str) -> Ids:
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
