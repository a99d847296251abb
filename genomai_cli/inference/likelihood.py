"""Log-likelihoods of DNA under a model, in nats, base by base.

Of next-token models exactly: a base is scored by the token that ends with it, given all tokens before; the first token
has nothing before it unless the tokenizer puts a special one there, and is not scored. Of masked models a
pseudo-likelihood (Salazar et al. 2020, arXiv:1910.14659): each base is scored with every token that covers it masked,
one base at a time or every so-manieth at once. Where tokens of several letters cover it, its probability is the mean of
what these tokens say of it among the four that agree with the other letters.

Only what is known counts: a letter that the tokenizer has no token for, or takes for unknown (N), is seen by the model
and not scored. Next-token models of bytes know every character, and score it, unless bases alone are asked for.

Shape suffixes: B windows, T tokens, L letters, N scored tokens, D hidden size, V tokens of the vocabulary.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import BASES, as_letters, as_text, codes_of, reverse_complement
from genomai_cli.backbones.base import Backbone
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.device import map_single_threaded, run_with_batch_halving
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.inference.batching import DEFAULT_BATCHING, Batching, batches, padding_mask
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import Ids
from genomai_cli.tokenizers.batch import padded

Logs = NDArray[np.float64]
Indices = NDArray[np.int64]
NEXT_TOKEN, MASKED = "next-token", "masked"
HEADS = {NEXT_TOKEN: "causal", MASKED: "masked"}
TOKENS_PER_BATCH = 1 << 16
TOKENS_ON_CPU = 1 << 12  # larger arrays are given back to the system at once, and asked for again
PAIRS_PER_BATCH = 1 << 24  # of tokens that attend to each other
MAX_LOGITS = 1 << 24  # values
STRETCHES_PER_BATCH = 64  # pieces of work that are prepared together

Item = TypeVar("Item")


@dataclass(frozen=True)
class Settings:
    """How to score: in windows of so many letters (None: as many as the model reads), on the forward or on both
    strands, with bases `mask_every` letters apart masked at once (None: one at a time). With `only_bases` nothing else
    counts, whatever the tokenizer knows. `window_by_window` reads each window by itself, with one of the processor's
    threads: what rounding does to its score depends on no other window and on no number of threads."""

    window: int | None = None
    both_strands: bool = False
    mask_every: int | None = None
    only_bases: bool = False
    window_by_window: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """A text to read, of which the letters from `start` to before `end` are scored; by default all. On the other strand
    the last `skipped` letters are not read."""

    text: str
    start: int = 0
    end: int | None = None
    skipped: int = 0

    @property
    def scored(self) -> slice:
        """The letters that are scored."""
        return slice(self.start, len(self.text) if self.end is None else self.end)

    @property
    def other_strand(self) -> "Stretch":
        """The same on the other strand."""
        scored, size = self.scored, len(self.text) - self.skipped
        text = as_text(reverse_complement(as_letters(self.text[:size])))
        return Stretch(text, size - scored.stop, size - scored.start)


@dataclass(frozen=True, eq=False)
class TokenQuery:
    """Tokens of one window to score: the probability of the token `choices[n, answers[n]]` at `positions[n]`.

    It is one among the `choices` (N, C), or with a single one among all tokens.
    """

    ids: Ids
    positions: Indices
    choices: Indices
    answers: Indices


class QueryStrategy(Protocol):
    """How the letters of a stretch are scored: queries to the model, and log-probabilities from their answers."""

    def queries(self, stretch: Stretch) -> Iterator[TokenQuery]:
        """The queries to the model."""

    def logs(self, stretch: Stretch, answers: Sequence[Logs]) -> Logs:
        """The log-probability (L,) of each letter of the text, NaN where it is not scored.

        A token that adds several letters has its whole at its last one, and 0 at the others.
        """


@dataclass(frozen=True)
class NextToken:
    """Each token given those before it."""

    tokenizer: Tokenizer
    only_bases: bool = False

    def queries(self, stretch: Stretch) -> Iterator[TokenQuery]:
        """One: all tokens at once."""
        ids = self.tokenizer.encode(stretch.text)
        tokens, last = self._tokens(ids)
        tokens = tokens[_within(last, stretch.scored)]
        if len(tokens):
            positions = tokens + len(self.tokenizer.prefix) - 1
            templated = self.tokenizer.template(ids)
            yield TokenQuery(
                templated, positions, ids[tokens, None].astype(np.int64), np.zeros_like(positions)
            )

    def logs(self, stretch: Stretch, answers: Sequence[Logs]) -> Logs:
        """See `QueryStrategy`."""
        ids = self.tokenizer.encode(stretch.text)
        tokens, last = self._tokens(ids)
        logs_L = np.full(len(stretch.text), np.nan)
        new = min(self.tokenizer.stride, self.tokenizer.k)
        tells_all = (tokens == 0) | ~self._known(ids)[tokens - 1]  # nothing of it was read before
        for back in range(1, self.tokenizer.k):
            logs_L[last[(back < new) | tells_all] - back] = 0.0
        logs_L[: stretch.scored.start] = logs_L[stretch.scored.stop :] = np.nan
        answered = last[_within(last, stretch.scored)]
        if len(answered):
            logs_L[answered] = answers[0]
        return logs_L

    def _tokens(self, ids: Ids) -> tuple[Indices, Indices]:
        """The numbers of the tokens that are known and have something before them, and of the last letter of each."""
        counts = self._known(ids)
        if not self.tokenizer.prefix:
            counts[:1] = False
        tokens = np.flatnonzero(counts)
        return tokens, tokens * self.tokenizer.stride + self.tokenizer.k - 1

    def _known(self, ids: Ids) -> NDArray[np.bool_]:
        """Which tokens count, whatever comes before them."""
        return self.tokenizer.is_dna(ids) if self.only_bases else self.tokenizer.is_known(ids)


def _within(indices: Indices, letters: slice) -> NDArray[np.bool_]:
    """Which indices are of these letters."""
    within: NDArray[np.bool_] = (indices >= letters.start) & (indices < letters.stop)
    return within


@dataclass(frozen=True)
class MaskedBase:
    """Each base given all others."""

    tokenizer: Tokenizer
    mask_every: int | None = None

    def queries(self, stretch: Stretch) -> Iterator[TokenQuery]:
        """One for each set of bases that are masked at once."""
        ids, prefix_length = self.tokenizer.encode(stretch.text), len(self.tokenizer.prefix)
        for letters in self._sets(stretch):
            tokens, offsets, _ = self._covering(letters, len(ids))
            masked = ids.copy()
            masked[tokens] = self.tokenizer.mask_id
            is_dna = self.tokenizer.is_dna(ids[tokens])
            tokens, offsets = tokens[is_dna], offsets[is_dna]
            choices, answers = self._choices(ids[tokens], offsets)
            yield TokenQuery(
                self.tokenizer.template(masked), tokens + prefix_length, choices, answers
            )

    def logs(self, stretch: Stretch, answers: Sequence[Logs]) -> Logs:
        """See `QueryStrategy`."""
        logs_L = np.full(len(stretch.text), np.nan)
        ids = self.tokenizer.encode(stretch.text)
        for letters, token_logs in zip(self._sets(stretch), answers, strict=True):
            tokens, _, which = self._covering(letters, len(ids))
            which = which[self.tokenizer.is_dna(ids[tokens])]
            probability = np.bincount(which, np.exp(token_logs)) / np.bincount(which)
            logs_L[letters] = np.log(probability)
        return logs_L

    def _sets(self, stretch: Stretch) -> list[Indices]:
        """The letters that are scored, in the sets in which they are masked."""
        ids = self.tokenizer.encode(stretch.text)
        known = np.zeros(len(stretch.text), np.bool_)
        for offset in range(self.tokenizer.k):
            positions = np.arange(len(ids)) * self.tokenizer.stride + offset
            known[positions] |= self.tokenizer.is_dna(ids)
        known[: stretch.scored.start] = known[stretch.scored.stop :] = False
        scored = np.flatnonzero(known)
        if self.mask_every is None:
            return list(scored[:, None])
        sets = (scored[scored % self.mask_every == rest] for rest in range(self.mask_every))
        return [letters for letters in sets if len(letters)]

    def _covering(self, letters: Indices, tokens: int) -> tuple[Indices, Indices, Indices]:
        """The tokens that cover letters, at which offset in the token, and the number of the letter in the set."""
        k, stride = self.tokenizer.k, self.tokenizer.stride
        offsets = np.broadcast_to(np.arange(k), (len(letters), k))
        starts = letters[:, None] - offsets
        is_token = (starts >= 0) & (starts % stride == 0) & (starts // stride < tokens)
        which = np.broadcast_to(np.arange(len(letters))[:, None], is_token.shape)
        return starts[is_token] // stride, offsets[is_token], which[is_token]

    def _choices(self, ids: Ids, offsets: Indices) -> tuple[Indices, Indices]:
        """The tokens (N, 4) that agree with each but for the letter at the offset, and which of them it is."""
        if self.tokenizer.k == 1:
            return ids[:, None].astype(np.int64), np.zeros(len(ids), np.int64)
        spelling_VK, numbers = self._spelling
        spelt_NK = np.repeat(spelling_VK[ids][:, None], len(BASES), axis=1)
        answers = spelling_VK[ids, offsets]
        spelt_NK[np.arange(len(ids))[:, None], np.arange(len(BASES)), offsets[:, None]] = range(4)
        powers = len(BASES) ** np.arange(self.tokenizer.k)
        return numbers[spelt_NK @ powers], answers

    @cached_property
    def _spelling(self) -> tuple[Indices, Indices]:
        """The codes (V, k) of every token's letters, and the token of each number that the codes make."""
        dna = self.tokenizer.dna_ids
        letters = as_letters("".join(self.tokenizer.vocabulary[id_] for id_ in dna))
        codes_VK = np.zeros((len(self.tokenizer.vocabulary), self.tokenizer.k), np.int64)
        codes_VK[dna] = codes_of(letters).reshape(len(dna), -1)
        numbers = np.zeros(len(BASES) ** self.tokenizer.k, np.int64)
        numbers[codes_VK[dna] @ (len(BASES) ** np.arange(self.tokenizer.k))] = dna
        return codes_VK, numbers


class Likelihood:
    """A model's log-likelihoods; BundleError for a model that has none.

    `method` is `next-token` or `masked`; `window` is how many letters are read at once.
    """

    def __init__(
        self, bundle: Bundle, settings: Settings, batching: Batching = DEFAULT_BATCHING
    ) -> None:
        self.settings, self.batching, self.tokenizer = settings, batching, bundle.tokenizer
        self.method, self.network = likelihood_of(bundle)
        self.head = bundle.auxiliary[HEADS[self.method]]
        if self.method == NEXT_TOKEN and settings.mask_every is not None:
            raise UsageError(f"--mask-every: the model {bundle.name!r} predicts next tokens")
        self.strategy: QueryStrategy = (
            NextToken(self.tokenizer, settings.only_bases)
            if self.method == NEXT_TOKEN
            else MaskedBase(self.tokenizer, settings.mask_every)
        )
        self.window = window_letters(bundle, settings.window)

    @property
    def description(self) -> str:
        """What is computed, in words."""
        if self.method == NEXT_TOKEN:
            first = "" if self.tokenizer.prefix else "; a sequence's first token is not scored"
            return f"log-likelihood by next-token prediction, exact{first}"
        every = self.settings.mask_every
        how = (
            "one base masked at a time" if every is None else f"every {every}th base masked at once"
        )
        return f"pseudo-log-likelihood of a masked model, {how}"

    def require_single_bases(self) -> None:
        """UsageError where the model does not score each base by itself: a next-token model whose tokens add several
        letters at once."""
        k, stride = self.tokenizer.k, self.tokenizer.stride
        if self.method == NEXT_TOKEN and k > 1 and (stride > 1 or self.tokenizer.prefix):
            raise UsageError(
                f"--per-base: this model scores tokens of {k} letters, of which it tells no base's share: without "
                "--per-base the sequences' log-likelihoods are exact; a model of single letters, as hyenadna-tiny and "
                "evo2-tiny make, scores each base"
            )

    def letters(self, stretches: Iterable[Stretch]) -> Iterator[Logs]:
        """The log-probabilities (S, L) of each text's letters on one strand or two, both in the order of the text; NaN
        where a letter is not scored. Texts come in order and are no longer than a window.
        """
        for batch in chunks(stretches, STRETCHES_PER_BATCH):
            strands_SL = [self._one_strand(batch)]
            if self.settings.both_strands:
                reversed_SL = self._one_strand([stretch.other_strand for stretch in batch])
                strands_SL.append(
                    [
                        np.pad(logs_L[::-1], (0, stretch.skipped), constant_values=np.nan)
                        for stretch, logs_L in zip(batch, reversed_SL, strict=True)
                    ]
                )
            yield from map(np.stack, zip(*strands_SL, strict=True))

    def _one_strand(self, stretches: Sequence[Stretch]) -> list[Logs]:
        queries = (
            (index, query)
            for index, stretch in enumerate(stretches)
            for query in self.strategy.queries(stretch)
        )
        answers: list[list[Logs]] = [[] for _ in stretches]
        for index, logs_N in self._answers(queries):
            answers[index].append(logs_N)
        return [self.strategy.logs(*pair) for pair in zip(stretches, answers, strict=True)]

    def _answers(self, queries: Iterable[tuple[int, TokenQuery]]) -> Iterator[tuple[int, Logs]]:
        if self.settings.window_by_window:
            yield from map_single_threaded(lambda entry: self._answer_batch([entry])[0], queries)
            return
        windows = ((entry, entry[1].ids) for entry in queries)
        pairs = PAIRS_PER_BATCH if self.network.max_length is not None else None
        on_cpu = next(self.network.parameters()).device.type == "cpu"
        tokens = TOKENS_ON_CPU if on_cpu else TOKENS_PER_BATCH
        for batch in batches(windows, replace(self.batching, tokens=tokens, pairs=pairs)):
            yield from run_with_batch_halving(self._answer_batch, [entry for entry, _ in batch])

    @torch.inference_mode()
    def _answer_batch(self, batch: Sequence[tuple[int, TokenQuery]]) -> list[tuple[int, Logs]]:
        """The answers to queries whose windows are read as one batch."""
        device = next(self.network.parameters()).device
        left = self.tokenizer.padding_side == "left" and self.method != NEXT_TOKEN
        window_ids = [query.ids for _, query in batch]
        ids_BT = torch.from_numpy(padded(window_ids, self.tokenizer.pad_id, left=left)).to(device)
        hidden_BTD = self.network(ids_BT, padding_mask(window_ids, ids_BT, left=left))
        shifts = [ids_BT.shape[1] - len(ids) if left else 0 for ids in window_ids]
        return [
            (number, self._window_logs(hidden_TD[shift:], query))
            for (number, query), hidden_TD, shift in zip(batch, hidden_BTD, shifts, strict=True)
        ]

    def _window_logs(self, hidden_TD: Tensor, query: TokenQuery) -> Logs:
        """The log-probabilities (N,) of the answers."""
        logs = []
        step = max(1, MAX_LOGITS // len(self.tokenizer.vocabulary))
        for begin in range(0, len(query.positions), step):
            part_slice = slice(begin, begin + step)
            positions, choices, answers = (
                torch.from_numpy(part[part_slice]).to(hidden_TD.device)
                for part in (query.positions, query.choices, query.answers)
            )
            logits_NV = self.network.lm_logits(self.head, hidden_TD[positions])
            logits_NV = logits_NV.double() if logits_NV.device.type != "mps" else logits_NV.float()
            if choices.shape[1] == 1:
                logs_NC = logits_NV.log_softmax(1).gather(1, choices)
            else:
                logs_NC = logits_NV.gather(1, choices).log_softmax(1)
            logs.append(logs_NC.gather(1, answers[:, None])[:, 0].cpu().double().numpy())
        return cast(Logs, np.concatenate(logs))


def likelihood_of(bundle: Bundle) -> tuple[str, Backbone]:
    """How the bundle's likelihood is had, and the network; BundleError if there is none."""
    network = bundle.classifier.networks[0]
    name, tokenizer = bundle.name, bundle.tokenizer
    if bundle.input.coordinates is not None:
        raise BundleError(f"the model {name!r} does not read plain DNA: it scores no sequences")
    if not isinstance(network, Backbone):
        raise BundleError(f"the model {name!r} has no likelihood: it was trained for labels alone")
    method = NEXT_TOKEN if network.causal else MASKED
    if HEADS[method] not in bundle.auxiliary:
        raise BundleError(
            f"the model {name!r} has no likelihood: it was not trained with the objective {HEADS[method]}"
        )
    if not tokenizer.can_decode:
        raise BundleError(
            f"the model {name!r} has no likelihood of DNA: its tokens do not tell a base from its complement"
        )
    return method, network


def predicts_next_token(bundle: Bundle) -> bool:
    """Whether the model has a likelihood, and has it token by token."""
    return has_likelihood(bundle) and likelihood_of(bundle)[0] == NEXT_TOKEN


def has_likelihood(bundle: Bundle) -> bool:
    """Whether the model has a likelihood."""
    try:
        likelihood_of(bundle)
    except BundleError:
        return False
    return True


def window_letters(bundle: Bundle, requested: int | None) -> int | None:
    """How many letters are read at once: as many as requested, or as the model can; None for any number.

    UsageError for a window that the model cannot read.
    """
    tokenizer = bundle.tokenizer
    max_tokens = tokenizer.tokens_that_fit(bundle.classifier.max_length)
    max_letters = None if max_tokens is None else (max_tokens - 1) * tokenizer.stride + tokenizer.k
    if requested is None:
        return max_letters
    k, step = tokenizer.k, tokenizer.stride
    min_letters = k + -(-(k + 2 * step) // step) * step  # whole tokens, of which windows share some
    if requested < min_letters or (max_letters is not None and requested > max_letters):
        bounds = (
            f"at least {min_letters}" if max_letters is None else f"{min_letters} to {max_letters}"
        )
        raise UsageError(f"--window {requested}: this model reads windows of {bounds} letters")
    return requested


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of at most so many."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
