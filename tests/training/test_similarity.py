"""Near-duplicates: planted copies are found on both strands, random sequences never join, order does not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from genomai_cli.alphabet import BASE_LETTERS, as_text, reverse_complement
from genomai_cli.errors import BundleError
from genomai_cli.training import similarity
from genomai_cli.training.similarity import (
    KmerTable,
    clusters,
    joined,
    near_duplicates,
    shared_between,
)


def random_sequences(rng, count, length):
    return BASE_LETTERS[rng.integers(0, 4, (count, length))]


def mutated(rng, letters, share):
    """The letters with just this share of them substituted by another base."""
    changed = letters.copy()
    positions = rng.choice(len(letters), round(share * len(letters)), replace=False)
    codes = np.searchsorted(BASE_LETTERS, letters[positions])
    changed[positions] = BASE_LETTERS[(codes + rng.integers(1, 4, len(positions))) % 4]
    return changed


def texts(rows):
    return [as_text(row) for row in rows]


def partition(labels):
    """The classes as a set of sets of rows."""
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


class TestClusters:
    @pytest.mark.parametrize("length", [70, 101, 300])
    def test_random_sequences_never_join(self, length):
        rows = random_sequences(np.random.default_rng(length), 3000, length)
        assert clusters(texts(rows)).tolist() == list(range(3000))

    @pytest.mark.parametrize("reverse_complements", [False, True])
    @pytest.mark.parametrize(("share", "min_share"), [(0.02, 1.0), (0.05, 1.0), (0.08, 0.7)])
    def test_substituted_copies_are_found_on_either_strand(
        self, reverse_complements, share, min_share
    ):
        rng = np.random.default_rng(1)
        rows = random_sequences(rng, 200, 100)
        copies = [mutated(rng, row, share) for row in rows]
        copies = [reverse_complement(copy) for copy in copies] if reverse_complements else copies
        labels = clusters(texts([*rows, *copies]))
        assert (labels[:200] == np.arange(200)).all()
        assert (labels[200:] == labels[:200]).mean() >= min_share

    def test_copies_of_a_third_other_letters_are_sequences_of_their_own(self):
        rng = np.random.default_rng(2)
        rows = random_sequences(rng, 200, 100)
        labels = clusters(texts([*rows, *(mutated(rng, row, 0.33) for row in rows)]))
        assert near_duplicates(labels) == 0

    def test_one_strand_alone(self):
        row = random_sequences(np.random.default_rng(3), 1, 100)[0]
        pair = texts([row, reverse_complement(row)])
        assert clusters(pair).tolist() == [0, 0]
        assert clusters(pair, both_strands=False).tolist() == [0, 1]

    def test_inserted_and_cut_sequences_are_found(self):
        row = texts(random_sequences(np.random.default_rng(4), 1, 100))[0]
        assert clusters([row, row[:50] + "ACG" + row[50:], row[30:90]]).tolist() == [0, 0, 0]

    def test_windows_that_overlap_by_half_are_one_and_by_a_tenth_are_two(self):
        row = texts(random_sequences(np.random.default_rng(5), 1, 300))[0]
        assert clusters([row[:100], row[50:150]]).tolist() == [0, 0]
        assert clusters([row[:100], row[90:190]]).tolist() == [0, 1]

    def test_hundreds_of_copies_of_one_sequence_are_one_cluster(self):
        rng = np.random.default_rng(6)
        unrelated = random_sequences(rng, 8000, 80)
        copies = [mutated(rng, unrelated[0], 0.04) for _ in range(300)]
        labels = clusters(texts([*unrelated, *copies]))
        assert (labels[8000:] == 0).all()
        assert (labels[:8000] == np.arange(8000)).all()

    def test_what_all_sequences_begin_and_end_with_makes_nothing_alike(self):
        rows = texts(random_sequences(np.random.default_rng(7), 200, 40))
        adapters = texts(random_sequences(np.random.default_rng(8), 2, 25))
        assert near_duplicates(clusters([adapters[0] + row + adapters[1] for row in rows])) == 0

    def test_repeats_of_few_letters_make_nothing_alike(self):
        rows = texts(random_sequences(np.random.default_rng(9), 100, 60))
        assert near_duplicates(clusters([row + "A" * 20 + "CA" * 15 for row in rows])) == 0

    @pytest.mark.parametrize(
        ("sequences", "expected"),
        [
            ([], []),
            (["", "", "A"], [0, 0, 1]),
            (["ACGT", "acgu", "TTTT", "AAAA"], [0, 0, 1, 1]),
            (["N" * 50, "N" * 50, "N" * 60], [0, 0, 1]),
            (["A" * 100, "A" * 90], [0, 1]),
        ],
    )
    def test_what_has_no_kmers_to_share_is_alike_if_it_is_equal(self, sequences, expected):
        assert clusters(sequences).tolist() == expected

    def test_letters_give_what_text_gives(self):
        rows = random_sequences(np.random.default_rng(10), 10, 50)
        rows = np.concatenate([rows, rows[::2]])
        assert clusters(list(rows)).tolist() == clusters(texts(rows)).tolist()
        assert clusters(texts(rows)).tolist() == [*range(10), *range(0, 10, 2)]

    @given(seed=st.integers(0, 1000))
    @settings(max_examples=15, deadline=None)
    def test_the_order_of_the_sequences_does_not_matter(self, seed):
        rng = np.random.default_rng(seed)
        originals = random_sequences(rng, 12, 90)
        copies = [mutated(rng, originals[rng.integers(12)], rng.random() / 4) for _ in range(60)]
        sequences = texts([*originals, *copies])
        order = rng.permutation(len(sequences))
        labels = np.empty(len(order), np.int64)
        labels[order] = clusters([sequences[row] for row in order])
        assert partition(labels) == partition(clusters(sequences))

    def test_neither_blocks_nor_a_share_of_the_kmers_change_the_clusters(self, monkeypatch):
        rng = np.random.default_rng(11)
        rows = random_sequences(rng, 300, 150)
        sequences = texts([*rows, *(mutated(rng, row, 0.02) for row in rows)])
        expected = clusters(sequences)
        assert near_duplicates(expected) == 600
        monkeypatch.setattr(similarity, "_LETTERS_AT_ONCE", 1000)
        assert (clusters(sequences) == expected).all()
        monkeypatch.setattr(similarity, "MAX_KMERS", 30_000)
        assert (clusters(sequences) == expected).all()


class TestSharedBetween:
    def test_leaks_are_found_with_the_sequence_they_are_of(self):
        rng = np.random.default_rng(12)
        train, new = random_sequences(rng, 100, 101), random_sequences(rng, 50, 101)
        leaked = [mutated(rng, train[7], 0.03), train[9], reverse_complement(train[3])]
        test = texts([*new, *leaked])
        assert shared_between(texts(train), test).tolist() == [[7, 50], [9, 51], [3, 52]]

    @pytest.mark.parametrize("length", [6, 15, 19, 20, 60])
    def test_copies_of_any_length_are_leaks(self, length):
        train = texts(random_sequences(np.random.default_rng(4), 100, length))
        other_strand = as_text(
            reverse_complement(BASE_LETTERS[["ACGT".index(x) for x in train[9]]])
        )
        test = [train[7].lower(), "N" * length, "", other_strand]
        assert shared_between([*train, train[7], "N" * length, ""], test).tolist() == [
            [7, 0],
            [9, 3],
        ]

    def test_what_all_sequences_begin_with_is_no_leak(self):
        rng = np.random.default_rng(5)
        adapter = as_text(random_sequences(rng, 1, 25)[0])
        train, test = (
            [adapter + text for text in texts(random_sequences(rng, count, 35))]
            for count in (200, 50)
        )
        assert len(shared_between(train, test)) == 0
        assert len(shared_between(KmerTable.of(train), test)) == 0
        assert shared_between(train, [*test, train[3]]).tolist() == [[3, 50]]
        assert shared_between([train[3], *train], [train[3][1:]]).tolist() == [[0, 0]]
        copies = KmerTable.to_store([*train, *[train[3]] * 90])
        assert shared_between(copies, [train[3]]).tolist() == [[3, 0]]

    def test_a_stored_table_of_a_share_of_the_kmers_finds_the_same(self):
        rng = np.random.default_rng(13)
        train = random_sequences(rng, 300, 101)
        test = texts([*random_sequences(rng, 100, 101), *(mutated(rng, r, 0.02) for r in train)])
        table = KmerTable.of(texts(train), share=0.25)
        pairs = shared_between(table, test)
        assert (pairs == shared_between(texts(train), test)).all()
        assert len(pairs) == 300

    def test_what_a_bundle_keeps_comes_back_as_it_was(self, tmp_path):
        rng = np.random.default_rng(14)
        train = texts(random_sequences(rng, 50, 80))
        table = KmerTable.to_store(train)
        file = tmp_path / "kmers.safetensors"
        file.write_bytes(table.to_bytes())
        loaded = KmerTable.from_file(file)
        assert loaded.share == table.share == 0.25
        for name in ("hashes", "sizes"):
            assert (getattr(loaded, name) == getattr(table, name)).all()
        assert (loaded.rows == table.rows).all()
        assert shared_between(
            loaded, [train[8], as_text(random_sequences(rng, 1, 80)[0])]
        ).tolist() == [[8, 0]]
        assert KmerTable.from_file(file).to_bytes() == file.read_bytes()

    @pytest.mark.parametrize("content", [b"", b"nonsense", save({"hashes": np.zeros(2)})])
    def test_another_file_is_refused(self, tmp_path, content):
        (tmp_path / "kmers.safetensors").write_bytes(content)
        with pytest.raises(BundleError, match="no table of"):
            KmerTable.from_file(tmp_path / "kmers.safetensors")

    @pytest.mark.parametrize(("train", "test"), [([], []), (["ACGT" * 9], []), ([], ["ACGT" * 9])])
    def test_nothing_shares_nothing(self, train, test):
        assert shared_between(train, test).shape == (0, 2)


def test_divisions_are_joined():
    assert joined(np.array([0, 0, 1, 2, 3]), np.array([5, 4, 4, 3, 3])).tolist() == [0, 0, 0, 1, 1]
