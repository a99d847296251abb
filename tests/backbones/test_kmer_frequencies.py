"""Vectors of k-mer frequencies: against counting by hand, both strands, unknown letters, products of vectors."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli import tokenizers
from genomai_cli.alphabet import as_letters, as_text
from genomai_cli.alphabet import reverse_complement as other_strand
from genomai_cli.backbones.kmer_frequencies import KmerFrequencies, KmerFrequenciesConfig

LETTERS = tokenizers.from_config({"kind": "characters"})


def reverse_complement(text):
    return as_text(other_strand(as_letters(text)))


def vector(text, **sizes):
    network = KmerFrequencies(KmerFrequenciesConfig(**sizes)).double()
    return network.pooled(torch.from_numpy(LETTERS.encode(text)[None])).detach()[0].numpy()


def expected_vector(text, longest):
    """Square roots of the shares of k-mers, a k-mer and its reverse complement as the lesser of the two."""
    frequencies = []
    for k in range(1, longest + 1):
        kmers = map("".join, product("ACGT", repeat=k))
        names = sorted({min(x, reverse_complement(x)) for x in kmers})
        windows = [text[start : start + k] for start in range(len(text) - k + 1)]
        counts = Counter(min(x, reverse_complement(x)) for x in windows if "N" not in x)
        total = max(1, sum(counts.values()))
        frequencies += [(counts[name] / total) ** 0.5 for name in names]
    return np.array(frequencies) / longest**0.5


@given(st.text("ACGTN", min_size=3, max_size=40))
def test_square_roots_of_the_shares(text):
    tolerance = 1e-7  # the weights are made in single precision
    assert vector(text, longest=3) == pytest.approx(expected_vector(text, 3), abs=tolerance)


@given(st.text("ACGT", min_size=6, max_size=60))
def test_strands_are_one_and_the_length_is_one(text):
    found = vector(text)
    assert found @ found == pytest.approx(1, abs=1e-6)
    assert found == pytest.approx(vector(reverse_complement(text)), abs=1e-12)
    one_strand = vector(text, both_strands=False)
    assert one_strand.shape == (sum(4**k for k in range(1, 7)),)


def test_padding_counts_nowhere():
    network = KmerFrequencies(KmerFrequenciesConfig(longest=4))
    short, long = LETTERS.encode("ACGTTGCA"), LETTERS.encode("ACGTTGCANNNGGGT")
    ids = torch.tensor([[*short, *[LETTERS.pad_id] * (len(long) - len(short))], list(long)])
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, len(short) :] = False
    batched = network.pooled(ids, mask)
    single = network.pooled(torch.from_numpy(short[None]))
    assert torch.equal(batched[:1], single)
