"""Baselines of the losses of self-supervised objectives: predictions that need no network.

For two views among others, that is any order of the others: log(batch). For masked tokens, it is how frequent the
tokens are: at the site, for rows of sites; among the tokens that agree with the letters still visible, for k-mers that
overlap. For next tokens, it is a Markov model of the letters. For noised letters at sites, it is that sites are
independent, at the allele frequencies of the phenotype or of the site; for sequences, a Markov model of their letters.
For samples with phenotypes, any order of those that a record could be of, and the other way round.

The Markov model is interpolated: a context's frequencies are mixed with those of shorter ones.

Shape suffixes: N pieces, B samples, T tokens, V tokens of the vocabulary, P positions with frequencies of their own, B
sequences, L letters.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import BASES, UNKNOWN_CODE, as_letters, codes_of
from genomai_cli.backbones.base import Network
from genomai_cli.inputs.base import InputKind
from genomai_cli.objectives.base import NO_TARGET, Alphabet
from genomai_cli.tokenizers.batch import encode_rows
from genomai_cli.training.corpus import Corpus

ORDER = 10
CONTEXT_WEIGHT = 10.0  # letters that the model of the next lower order is worth
MAX_LETTERS = 1 << 25  # of a corpus to count in
BLOCK_LETTERS = 1 << 21  # letters that are counted at once
Codes = NDArray[np.int64]


def _codes(letters: NDArray[np.uint8]) -> Codes:
    return codes_of(letters).astype(np.int64)  # k-mers of them are to be numbered


@dataclass(frozen=True, eq=False)
class Markov:
    """Log-probabilities of the next letter: `tables[o]` (4 ** (o + 1),) after o letters, the letter last."""

    tables: list[NDArray[np.float64]]

    @classmethod
    def of(cls, sequences: Iterable[Codes], order: int = ORDER) -> "Markov":
        """From the letters of sequences. A context's frequencies are mixed with those of the context one letter
        shorter, which count as much as `CONTEXT_WEIGHT` letters."""
        counts = np.zeros(4 ** (order + 1))
        for block in _blocks(sequences):
            numbers, known = _context_numbers(block[None], order)
            counts += np.bincount(numbers[known], minlength=len(counts))
        table, tables = np.full(1, 0.25), []
        for length in range(1, order + 2):
            next_counts = counts.reshape(-1, 4**length).sum(axis=0).reshape(-1, 4)
            lower = (
                np.tile(table, next_counts.size // table.size).reshape(-1, 4)
                if length > 1
                else table
            )
            table = (next_counts + CONTEXT_WEIGHT * lower) / (
                next_counts.sum(axis=1, keepdims=True) + CONTEXT_WEIGHT
            )
            table = table.reshape(-1)
            tables.append(np.log(table))
        return cls(tables)

    @classmethod
    def of_corpus(cls, corpus: Corpus, order: int = ORDER) -> "Markov":
        """From the pieces to train on, or as many of them, evenly chosen, as hold `MAX_LETTERS` letters; of a lower
        order where there are fewer letters than contexts."""
        bounds = corpus.bounds[corpus.train]
        total = int((bounds[:, 1] - bounds[:, 0]).sum())
        pieces = bounds[:: max(1, -(-total // MAX_LETTERS))].tolist()
        order = min(order, int(math.log(max(total, 4), 4)))
        return cls.of((_codes(corpus.letters[begin:end]) for begin, end in pieces), order)

    def nats(self, codes_BL: Codes) -> NDArray[np.float64]:
        """-log of the probability of each letter (B, L) after those before it in its row; 0 where it is unknown."""
        nats_BL = np.zeros(codes_BL.shape)
        for before, table in enumerate(self.tables):
            if before >= codes_BL.shape[1]:
                break
            number_BL, known_BL = _context_numbers(codes_BL, before)
            nats_BL[:, before:][known_BL] = -table[number_BL[known_BL]]
        return nats_BL


def _blocks(sequences: Iterable[Codes]) -> Iterator[Codes]:
    """The sequences one after another, with an unknown letter in between, in blocks of some size."""
    block: list[Codes] = []
    letters = 0
    for sequence in sequences:
        block += [sequence, np.array([UNKNOWN_CODE])]
        letters += len(sequence)
        if letters > BLOCK_LETTERS:
            yield np.concatenate(block)
            block, letters = [], 0
    if block:
        yield np.concatenate(block)


def _context_numbers(codes_BL: Codes, before: int) -> tuple[Codes, NDArray[np.bool_]]:
    """The number of every letter with the `before` ones in front of it, and whether all are known."""
    width = max(0, codes_BL.shape[1] - before)
    number_BL = np.zeros((len(codes_BL), width), np.int64)
    known_BL = np.ones(number_BL.shape, np.bool_)
    for offset in range(before + 1):
        letters_BL = codes_BL[:, offset : offset + width]
        number_BL = 4 * number_BL + letters_BL
        known_BL &= letters_BL != UNKNOWN_CODE
    return number_BL, known_BL


MAX_PIECES = 4096  # to count tokens in
SMOOTHING = 0.5


class Baselines:
    """The baselines' losses, from the tokens of the pieces to train on."""

    def __init__(
        self,
        corpus: Corpus,
        alphabet: Alphabet,
        max_length: int,
        kind: InputKind,
        network: Network,
    ) -> None:
        self.corpus, self.alphabet, self.max_length = corpus, alphabet, max_length
        self.input, self.network = kind, network
        self._sums: dict[bytes, float] = {}

    def loss(self, objective: str, batch: Mapping[str, Mapping[str, Tensor]]) -> float:
        """The loss of a batch in nats; NaN for an objective without a baseline."""
        baselines = {
            "contrastive": self._contrastive,
            "masked": self._masked,
            "diffusion": self._diffusion,
            "causal": self._causal,
        }
        baseline = self.input.baseline(self.network, objective, batch[objective])
        if baseline is not None:
            return baseline
        return baselines[objective](batch[objective]) if objective in baselines else math.nan

    def _contrastive(self, views: Mapping[str, Tensor]) -> float:
        return math.log(len(views["ids_first"]))

    def _diffusion(self, views: Mapping[str, Tensor]) -> float:
        tokenizer, truth_BT = self.alphabet.tokenizer, views["targets"].numpy()
        known_BT = truth_BT != NO_TARGET
        if self.alphabet.aligned or not tokenizer.can_decode:
            nats_BT, letters = self._token_nats(truth_BT), tokenizer.k
        else:
            ids_BT = np.where(known_BT, truth_BT, tokenizer.mask_id)
            rows = [tokenizer.decode(ids).encode() for ids in ids_BT]
            letters_BL = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
            nats_BT, letters = self._markov.nats(_codes(letters_BL)), tokenizer.k
        total_B, known_B = nats_BT.sum(axis=1), letters * known_BT.sum(axis=1)
        return float((total_B / np.maximum(known_B, 1)).mean())

    def _causal(self, views: Mapping[str, Tensor]) -> float:
        """The mean over the predicted tokens, each by the letters that it adds to those before it."""
        tokenizer, ids_BT = self.alphabet.tokenizer, views["ids"].numpy()
        rows, positions = np.nonzero(views["targets"].numpy() != NO_TARGET)
        if not tokenizer.can_decode:
            return math.nan
        if not len(rows):
            return 0.0
        texts = [tokenizer.decode(ids).encode("utf-8", "surrogateescape") for ids in ids_BT]
        width = max(map(len, texts))
        letters_BL = np.frombuffer(b"".join(text.ljust(width) for text in texts), np.uint8)
        nats_BL = self._markov.nats(_codes(letters_BL.reshape(len(texts), -1)))
        sums_BL = np.pad(nats_BL.cumsum(axis=1), ((0, 0), (1, 0)))
        begin_B = (ids_BT != tokenizer.pad_id).argmax(axis=1) + len(tokenizer.prefix)
        tokens = positions + 1 - begin_B[rows]
        ends = tokens * tokenizer.stride + tokenizer.k
        starts = np.where(tokens > 0, ends - min(tokenizer.stride, tokenizer.k), 0)
        return float((sums_BL[rows, ends] - sums_BL[rows, starts]).mean())

    def _token_nats(self, truth_BT: NDArray[np.int64]) -> NDArray[np.float64]:
        """-log of the frequency (B, T) of each token, at its site in rows of sites."""
        counts_PV = self._counts
        frequency_PV = counts_PV / counts_PV.sum(axis=1, keepdims=True)
        nats_PV = -np.log(np.where(counts_PV > 0, frequency_PV, 1))
        sites_T = np.arange(truth_BT.shape[1]) if len(nats_PV) > 1 else np.array([0])
        nats_BT: NDArray[np.float64] = nats_PV[sites_T, np.maximum(truth_BT, 0)]
        return np.where(truth_BT == NO_TARGET, 0.0, nats_BT)

    @cached_property
    def _markov(self) -> Markov:
        return Markov.of_corpus(self.corpus)

    def _masked(self, views: Mapping[str, Tensor]) -> float:
        targets_BT, ids_BT = views["targets"].numpy(), views["ids"].numpy()
        rows, positions = np.nonzero(targets_BT != NO_TARGET)
        tokens = targets_BT[rows, positions]
        if not len(tokens):
            return 0.0
        if not self._tokens_overlap:
            counts_PV = self._counts
            sites = positions if len(counts_PV) > 1 else np.zeros_like(positions)
            return float(-np.log(counts_PV[sites, tokens] / counts_PV.sum(axis=1)[sites]).mean())
        tokenizer = self.alphabet.tokenizer
        visible = [tokenizer.decode(ids) for ids in ids_BT]
        begin_B = (ids_BT != tokenizer.pad_id).argmax(axis=1) + len(tokenizer.prefix)
        positions = positions - begin_B[rows]
        return float(
            np.mean(
                [self._pattern_nats(*a) for a in self._patterns(visible, rows, positions, tokens)]
            )
        )

    @property
    def _tokens_overlap(self) -> bool:
        tokenizer = self.alphabet.tokenizer
        overlap = tokenizer.can_decode and tokenizer.stride < tokenizer.k
        return overlap and not self.alphabet.aligned

    def _patterns(
        self,
        visible: list[str],
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
        tokens: NDArray[np.int64],
    ) -> list[tuple[str, int]]:
        """The visible letters of each masked token, and the token."""
        k, stride = self.alphabet.tokenizer.k, self.alphabet.tokenizer.stride
        starts = (positions * stride).tolist()
        return [
            (visible[row][start : start + k].ljust(k, "N"), token)
            for row, start, token in zip(rows.tolist(), starts, tokens.tolist(), strict=True)
        ]

    def _pattern_nats(self, pattern: str, token: int) -> float:
        """-log of the token's frequency among those that agree with the pattern, where N agrees with all."""
        key = pattern.encode()
        codes = tuple(codes_of(as_letters(self.alphabet.tokenizer.vocabulary[token])).tolist())
        if any(p not in ("N", BASES[base]) for p, base in zip(pattern, codes, strict=True)):
            key, pattern = b"", "N" * len(pattern)  # a letter that was replaced: nothing is certain
        if key not in self._sums:
            index = tuple(slice(None) if p == "N" else BASES.index(p) for p in pattern)
            self._sums[key] = float(self._kmer_counts[index].sum())
        return -math.log(float(self._kmer_counts[codes]) / self._sums[key])

    @cached_property
    def _kmer_counts(self) -> NDArray[np.float64]:
        """The counts of k-mers by their letters (4, 4, ...)."""
        tokenizer = self.alphabet.tokenizer
        spelling = "".join(tokenizer.vocabulary[id_] for id_ in tokenizer.dna_ids)
        spelling_VK = codes_of(as_letters(spelling)).reshape(-1, tokenizer.k)
        counts = np.zeros((len(BASES),) * tokenizer.k)
        counts[tuple(spelling_VK.T)] = self._counts[0, tokenizer.dna_ids]
        return counts

    @cached_property
    def _counts(self) -> NDArray[np.float64]:
        """How often each token was seen, at each position of rows of sites (P = T), or anywhere (P = 1)."""
        train = self.corpus.train
        pieces = train[np.linspace(0, len(train) - 1, min(MAX_PIECES, len(train))).astype(np.int64)]
        tokenizer = self.alphabet.tokenizer
        counts_PV: NDArray[np.float64] | None = None
        for start in range(0, len(pieces), 64):
            block = pieces[start : start + 64]
            letters_BL = self.corpus.windows(block, np.zeros(len(block)), self.max_length)
            ids_BT = encode_rows(tokenizer, letters_BL)
            if counts_PV is None:
                positions = ids_BT.shape[1] if self.alphabet.aligned else 1
                counts_PV = np.full((positions, len(tokenizer.vocabulary)), SMOOTHING)
            sites_T = np.arange(ids_BT.shape[1]) if len(counts_PV) > 1 else np.array([0])
            np.add.at(counts_PV, (np.broadcast_to(sites_T, ids_BT.shape), ids_BT), 1)
        assert counts_PV is not None
        counts_PV[:, ~tokenizer.is_known(np.arange(len(tokenizer.vocabulary)))] = 0
        return counts_PV
