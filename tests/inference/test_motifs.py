"""Motifs of explained sequences: what is planted is found on either strand, nothing in noise, and shuffles are fair."""

import io
import math
from collections import Counter

import numpy as np
import pytest
from Bio import motifs as biopython
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli.alphabet import as_letters, codes_of, reverse_complement_codes
from genomai_cli.formats.meme import MemeMotif, write_meme
from genomai_cli.inference.motif_enrichment import (
    best_match,
    binomial_tail,
    dinucleotide_shuffle,
    enriched_motifs,
)
from genomai_cli.inference.motifs import AttributedSequence, Motif, seqlet_starts, similarity

CODES = st.lists(st.integers(0, 4), max_size=60).map(lambda codes: np.array(codes, np.uint8))
SITE = "TGACTCAT"


def attributed_sequences(site, count=120, share=0.75, seed=3):
    """Random sequences, most of them with the site on either strand, which bears the attribution; else noise does."""
    rng = np.random.default_rng(seed)
    sequences = []
    for _ in range(count):
        codes, values = rng.integers(0, 4, 80).astype(np.uint8), rng.normal(0, 0.1, 80)
        if site and rng.random() < share:
            planted = codes_of(as_letters(site))
            planted = planted if rng.random() < 0.5 else reverse_complement_codes(planted)
            start = rng.integers(0, 80 - len(site) + 1)
            codes[start : start + len(site)] = planted
            values[start : start + len(site)] += rng.uniform(0.5, 1.5, len(site))
        sequences.append(AttributedSequence(codes, values))
    return sequences


def matrix(text):
    """The frequencies of bases of a text whose bases are all certain."""
    return np.eye(4)[codes_of(as_letters(text))]


def test_a_planted_site_is_found_and_enriched():
    search = enriched_motifs(attributed_sequences(SITE))
    best = search.enriched[0]
    assert similarity(best.motif.frequencies, matrix(SITE)) > 0.95
    assert best.motif.consensus in ("TGACTCAT", "ATGAGTCA")
    assert best.e_value < 1e-8
    assert best.matched > 5 * best.matched_shuffled
    assert best.tested == 60


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_enriched_motif(seed):
    assert enriched_motifs(attributed_sequences("", seed=seed)).enriched == []


def test_sequences_that_are_too_few_or_too_short_have_none():
    assert enriched_motifs([]).enriched == []
    assert enriched_motifs(attributed_sequences(SITE, count=3)).enriched == []
    short = [
        AttributedSequence(codes_of(as_letters(t)), np.ones(len(t))) for t in ("", "A", "ACGTACG")
    ]
    assert enriched_motifs(short).enriched == []


def test_the_same_seed_finds_the_same():
    first, second = (enriched_motifs(attributed_sequences(SITE), seed=5) for _ in range(2))
    pairs = zip(first.enriched, second.enriched, strict=True)
    assert all(
        np.array_equal(a.motif.counts, b.motif.counts) and a.e_value == b.e_value for a, b in pairs
    )


def test_seqlets_are_where_attribution_lies_together():
    values = np.zeros(100)
    values[20:27], values[70:77] = 1.8, 2.0
    starts = seqlet_starts(values, np.random.default_rng(0))
    assert len(starts) == 2
    assert all(abs(start + 4 - middle) <= 2 for start, middle in zip(starts, (23, 73), strict=True))
    assert seqlet_starts(np.zeros(100), np.random.default_rng(0)) == []
    assert seqlet_starts(-values, np.random.default_rng(0)) == []


@given(CODES, st.integers(0, 5))
def test_a_shuffle_keeps_every_pair_of_neighbours(codes, seed):
    shuffled = dinucleotide_shuffle(codes, np.random.default_rng(seed))
    pairs = [Counter(zip(c[:-1].tolist(), c[1:].tolist(), strict=True)) for c in (codes, shuffled)]
    assert pairs[0] == pairs[1]
    assert len(codes) == len(shuffled)
    assert len(codes) == 0 or (codes[0], codes[-1]) == (shuffled[0], shuffled[-1])


def test_all_orders_with_the_same_pairs_are_equally_likely():
    """0 1 0 2 0 0 is two excursions from 0 and a step in place, in any of their six orders."""
    codes, rng = np.array([0, 1, 0, 2, 0, 0], np.uint8), np.random.default_rng(0)
    counts = Counter(tuple(dinucleotide_shuffle(codes, rng).tolist()) for _ in range(6000))
    assert len(counts) == math.factorial(3)
    assert all(abs(count - 1000) < 150 for count in counts.values())


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (0, 5), (3, 5), (5, 5), (40, 60)])
def test_the_sign_test_is_exact(successes, trials):
    expected = sum(math.comb(trials, k) for k in range(successes, trials + 1)) / 2**trials
    assert binomial_tail(successes, trials) == pytest.approx(expected)


def test_the_best_match_is_on_either_strand():
    motif = Motif(10 * matrix("TGACTA"), 10)
    log_odds = motif.log_odds(np.full(4, 0.25))
    max_score = log_odds.max(1).sum()
    for text in ("CCTGACTACC", "GGTAGTCAGG"):
        assert best_match(codes_of(as_letters(text)), log_odds) == pytest.approx(max_score)
    assert best_match(codes_of(as_letters("NNTGACTANN")), log_odds) == pytest.approx(max_score)
    assert best_match(codes_of(as_letters("TGACT")), log_odds) == -math.inf


@given(st.text("ACGT", min_size=3, max_size=10), st.integers(0, 4))
def test_a_motif_is_like_itself_at_any_offset_and_strand(text, before):
    one = matrix(text)
    assert similarity(one, one[::-1, ::-1]) == pytest.approx(1)
    padded = np.concatenate([np.full((before, 4), 0.25), one])
    assert similarity(one, padded) == pytest.approx(1)


def test_other_programs_read_the_motif_file():
    counts = np.array([[8, 0, 2, 0], [0, 0, 10, 0], [1, 2, 3, 4]], float)
    motif = Motif(counts, 10)
    assert motif.consensus == "AGB"
    out = io.BytesIO()
    entry = MemeMotif("bound_1", motif.consensus, motif.frequencies, motif.sites, 1.5e-7)
    write_meme(out, [entry, entry], [0.3, 0.2, 0.2, 0.3])
    parsed = biopython.parse(io.StringIO(out.getvalue().decode()), "minimal")
    assert [record.name for record in parsed] == ["bound_1", "bound_1"]
    assert parsed[0].num_occurrences == 10
    assert parsed[0].evalue == pytest.approx(1.5e-7)
    assert parsed.background["A"] == pytest.approx(0.3)
    frequencies = np.array(
        [[float(parsed[0].pwm[base][column]) for base in "ACGT"] for column in range(3)]
    )
    np.testing.assert_allclose(frequencies, motif.frequencies, atol=1e-6)
