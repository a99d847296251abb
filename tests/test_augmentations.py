"""Random augmentations of a sample: masking, crossing, the other strand; phase resolved and joined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.alphabet import reverse_complement
from genomai_cli.augmentations import HaplotypePool, mask_letters
from genomai_cli.population.barcode import join, resolve

PAIRS = {"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"}
barcodes = st.text("ACGTRYSWKMN", max_size=60)
seeds = st.integers(0, 2**32)
no_deadline = settings(deadline=None, max_examples=50)


def codes(text):
    return np.frombuffer(text.encode(), np.uint8)


def as_text(letters):
    return letters.tobytes().decode()


def generator(seed):
    return None if seed is None else np.random.default_rng(seed)


@no_deadline
@given(barcodes, st.none() | seeds)
def test_joining_what_was_resolved_gives_the_barcode_back(barcode, seed):
    assert as_text(join(*resolve(codes(barcode), generator(seed)))) == barcode


@no_deadline
@given(barcodes, st.none() | seeds)
def test_haplotypes_are_made_of_the_letters_bases(barcode, seed):
    for letter, *bases in zip(
        barcode, *map(as_text, resolve(codes(barcode), generator(seed))), strict=True
    ):
        assert "".join(sorted(bases)) == PAIRS.get(letter, letter * 2)


@no_deadline
@given(st.text("RYSWKM", min_size=1, max_size=60))
def test_without_randomness_heterozygotes_take_turns(barcode):
    first, _ = map(as_text, resolve(codes(barcode)))
    low = [base == PAIRS[letter][0] for letter, base in zip(barcode, first, strict=True)]
    assert low == [site % 2 == 0 for site in range(len(barcode))]


def test_turns_are_taken_in_each_barcode_by_itself():
    haplotypes = resolve(np.stack([codes("RAR"), codes("ARR")]))
    assert [as_text(row) for row in haplotypes[0]] == ["AAG", "AAG"]
    assert [as_text(row) for row in haplotypes[1]] == ["GAA", "AGA"]


def test_with_randomness_each_base_comes_first_half_of_the_time():
    barcode = np.tile(codes("R"), 20_000)
    first, _ = resolve(barcode, np.random.default_rng(1))
    assert (first == ord("A")).mean() == pytest.approx(0.5, abs=0.02)


@no_deadline
@given(barcodes, seeds)
def test_the_same_seed_resolves_the_same_way(barcode, seed):
    repeats = [resolve(codes(barcode), generator(seed)) for _ in range(2)]
    assert np.array_equal(*repeats)


@pytest.mark.parametrize("letter", "BDHVN?")
def test_letters_of_three_or_four_bases_are_missing(letter):
    assert [as_text(strand) for strand in resolve(codes(letter))] == ["N", "N"]


@pytest.mark.parametrize("pair", ["AN", "NA", "NN", "RA"])
def test_joining_with_a_missing_base_is_missing(pair):
    assert as_text(join(codes(pair[0]), codes(pair[1]))) == "N"


@no_deadline
@given(st.text("ACGTN", max_size=30), st.text("ACGTN", max_size=30))
def test_joining_does_not_mind_the_order(one, other):
    size = min(len(one), len(other))
    one, other = codes(one)[:size], codes(other)[:size]
    assert np.array_equal(join(one, other), join(other, one))


LETTERS = np.tile(codes("ACGTR"), (3, 2000))


def test_masking_nothing_is_the_identity():
    masked = mask_letters(LETTERS, np.zeros(3), np.random.default_rng(1))
    assert np.array_equal(masked, LETTERS)


def test_each_row_masks_its_own_share():
    before = LETTERS.copy()
    masked = mask_letters(LETTERS, np.array([0.0, 0.3, 1.0]), np.random.default_rng(2)) == ord("N")
    assert masked.mean(axis=1) == pytest.approx([0, 0.3, 1], abs=0.02)
    assert np.array_equal(LETTERS, before)


def test_masked_sites_are_spread_and_the_others_unchanged():
    masked = mask_letters(LETTERS, np.full(3, 0.5), np.random.default_rng(3))
    visible = masked != ord("N")
    assert np.array_equal(masked[visible], LETTERS[visible])
    assert not np.array_equal(visible[0], visible[1])
    assert visible[:, :5000].mean() == pytest.approx(visible[:, 5000:].mean(), abs=0.03)


def haplotypes_of_groups(rng, frequency, members):
    """Haplotypes (2, n, sites) over A and C, C with the frequencies (groups, sites); shuffled groups."""
    groups = rng.permutation(np.repeat(np.arange(len(frequency)), members))
    is_alternate = rng.random((2, len(groups), frequency.shape[1])) < frequency[groups]
    return np.where(is_alternate, ord("C"), ord("A")).astype(np.uint8), groups


def test_a_cross_has_its_own_groups_allele_frequencies():
    rng = np.random.default_rng(4)
    haplotypes, groups = haplotypes_of_groups(rng, rng.uniform(0.05, 0.95, (3, 40)), 30)
    pool = HaplotypePool.of(haplotypes, groups)
    crossed = pool.cross(np.repeat([2, 0, 1], 3000), rng) == ord("C")
    for rows, group in zip(crossed.reshape(3, 3000, 40), [2, 0, 1], strict=True):
        expected = (haplotypes[:, groups == group] == ord("C")).mean(axis=(0, 1))
        assert rows.mean(axis=0) == pytest.approx(expected, abs=0.04)


def test_a_cross_holds_only_alleles_that_its_group_has():
    rng = np.random.default_rng(5)
    haplotypes, groups = haplotypes_of_groups(rng, rng.choice([0.0, 0.5, 1.0], (2, 60)), 10)
    crossed = (
        HaplotypePool.of(haplotypes, groups).cross(np.repeat([0, 1], 500), rng).reshape(2, 500, 60)
    )
    for group in range(2):
        members = haplotypes[:, groups == group].reshape(-1, 60)
        for site in range(60):
            assert set(crossed[group, :, site]) <= set(members[:, site])


def test_a_cross_breaks_the_linkage_between_sites():
    haplotypes = np.tile(np.array([ord("A"), ord("C")] * 10, np.uint8)[None, :, None], (2, 1, 2))
    crossed = HaplotypePool.of(haplotypes, np.zeros(20, np.int64)).cross(
        np.zeros(4000, np.int64), np.random.default_rng(6)
    )
    assert (haplotypes[..., 0] == haplotypes[..., 1]).all()
    assert (crossed[:, 0] == crossed[:, 1]).mean() == pytest.approx(0.5, abs=0.04)


def test_a_group_of_one_sample_is_crossed_from_both_haplotypes():
    haplotypes = np.array([[codes("AAAA")], [codes("CCCC")]])
    crossed = HaplotypePool.of(haplotypes, np.zeros(1, np.int64)).cross(
        np.zeros(100, np.int64), np.random.default_rng(7)
    )
    assert set(as_text(crossed.ravel())) == {"A", "C"}


def test_the_same_rng_crosses_the_same_way():
    rng = np.random.default_rng(8)
    haplotypes, groups = haplotypes_of_groups(rng, rng.uniform(0.2, 0.8, (2, 20)), 5)
    pool = HaplotypePool.of(haplotypes, groups)
    one, other = (pool.cross(groups, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(one, other)


@no_deadline
@given(st.text("ACGTRYSWKMBDHVN", max_size=60))
def test_the_reverse_complement_of_the_reverse_complement_is_the_sequence(sequence):
    assert as_text(reverse_complement(reverse_complement(codes(sequence)))) == sequence


def test_every_letter_has_its_complement():
    assert as_text(reverse_complement(codes("ACGTRYSWKMBDHVN"))) == "NBDHVKMWSRYACGT"


def test_each_row_is_reversed_by_itself():
    rows = np.stack([codes("AAC"), codes("GGT")])
    assert [as_text(row) for row in reverse_complement(rows)] == ["GTT", "ACC"]
    assert as_text(rows[0]) == "AAC"
