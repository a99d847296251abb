"""One suite for every tokenizer of the registry, and the contracts of each kind: its words and their order."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli.errors import BundleError
from genomai_cli.tokenizers import KINDS, from_config
from genomai_cli.tokenizers.base import MASK, PAD, UNK, encode_in_pieces

CONFIGS = [
    {"kind": "characters"},
    {"kind": "iupac"},
    {"kind": "symmetric"},
    {"kind": "symmetric", "k": 4, "stride": 2},
    {"kind": "kmers"},
    {"kind": "kmers", "k": 1},
    {"kind": "kmers", "k": 6, "stride": 6},
    {"kind": "kmers", "k": 8, "stride": 3},
    {"kind": "kmers", "k": 2, "stride": 5},
]
COMPLEMENT = str.maketrans("ACGT", "TGCA")
dna = st.text("ACGT", max_size=60)
any_letters = st.text("ACGTNRYacgtn-", max_size=60)


@pytest.fixture(params=CONFIGS, ids=lambda config: "-".join(map(str, config.values())))
def tokenizer(request):
    return from_config(request.param)


def test_every_kind_is_in_the_suite():
    assert {config["kind"] for config in CONFIGS} == set(KINDS)


def test_words_are_unique_and_special_ids_point_at_them(tokenizer):
    vocabulary = tokenizer.vocabulary
    assert len(set(vocabulary)) == len(vocabulary)
    assert vocabulary[tokenizer.pad_id] == PAD
    assert vocabulary[tokenizer.mask_id] == MASK
    assert tokenizer.unk_id is None or vocabulary[tokenizer.unk_id] in (UNK, "N")


@pytest.mark.parametrize("sequence", ["", "A", "AC", "ACG", "ACGTTGCANNACGT" * 3])
def test_length_is_that_of_the_ids_and_the_words(tokenizer, sequence):
    ids = tokenizer.encode(sequence)
    assert ids.dtype == np.int32
    assert len(ids) == tokenizer.length(len(sequence)) == len(tokenizer.words(sequence))


def test_ids_are_places_in_the_vocabulary(tokenizer):
    sequence = "ACGTNRYSWKMBDHV-*?é ACGTTGCA"
    ids = tokenizer.encode(sequence)
    assert ids.min() >= 0
    assert ids.max() < len(tokenizer.vocabulary)
    assert tokenizer.pad_id not in ids
    assert tokenizer.words(sequence) == [tokenizer.vocabulary[id_] for id_ in ids]


def test_case_and_uracil_make_no_difference(tokenizer):
    expected = tokenizer.encode("ACGTNTTACGCA")
    assert (tokenizer.encode("acgtnttacgca") == expected).all()
    assert (tokenizer.encode("acguNUuACGCA") == expected).all()


def test_unknown_letters_become_unknown_or_hidden_words(tokenizer):
    ids = set(tokenizer.encode("?" * 20).tolist())
    assert ids == {tokenizer.mask_id if tokenizer.unk_id is None else tokenizer.unk_id}


def test_config_makes_the_same_tokenizer(tokenizer):
    again = from_config(tokenizer.to_config())
    assert again == tokenizer
    assert again.vocabulary == tokenizer.vocabulary
    assert again.kind == tokenizer.kind


def test_encoding_leaves_the_tokenizer_as_it_was(tokenizer):
    first = tokenizer.encode("ACGTACGTACGT").copy()
    tokenizer.encode("NNNNNNNNNNNN")[:] = 0
    assert (tokenizer.encode("ACGTACGTACGT") == first).all()


@given(sequence=any_letters, words=st.integers(1, 9))
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_encoding_in_pieces_is_encoding(config, sequence, words):
    tokenizer = from_config(config)
    pieces = [*encode_in_pieces(tokenizer, sequence, words)]
    assert all(0 < len(piece) <= words for piece in pieces)
    assert [id_ for piece in pieces for id_ in piece] == tokenizer.encode(sequence).tolist()


@given(sequence=dna)
@pytest.mark.parametrize("config", [c for c in CONFIGS if from_config(c).can_decode], ids=str)
def test_decoding_gives_back_the_letters_that_words_cover(config, sequence):
    tokenizer = from_config(config)
    words = tokenizer.length(len(sequence))
    covered = (words - 1) * tokenizer.stride + tokenizer.k if words else 0
    assert tokenizer.decode(tokenizer.encode(sequence)) == sequence[:covered]


@given(sequence=dna.filter(lambda text: len(text) >= 3))
def test_overlapping_kmers_decode_to_the_whole_sequence(sequence):
    tokenizer = from_config({"kind": "kmers"})
    assert tokenizer.decode(tokenizer.encode(sequence)) == sequence


@given(sequence=st.text("ACGTRYSWKMN", max_size=60))
def test_barcodes_decode_to_themselves(sequence):
    tokenizer = from_config({"kind": "iupac"})
    assert tokenizer.decode(tokenizer.encode(sequence)) == sequence


@given(sequence=any_letters)
def test_padding_adds_nothing_and_a_hidden_letter_is_n(sequence):
    tokenizer = from_config({"kind": "characters"})
    ids = tokenizer.encode(sequence)
    padded = np.append(ids, [tokenizer.pad_id] * 3)
    assert tokenizer.decode(padded) == tokenizer.decode(ids)
    assert tokenizer.decode([0, tokenizer.mask_id, 3]) == "ANT"


def test_an_unknown_base_is_lost_alone_where_words_overlap():
    tokenizer = from_config({"kind": "kmers"})
    assert tokenizer.decode(tokenizer.encode("ACGTNACGT")) == "ACGTNACGT"
    assert tokenizer.decode(tokenizer.encode("ACGNANACG")) == "ACGNNNACG"


@given(sequence=dna)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_the_four_images_have_one_bag_of_symmetric_words(k, sequence):
    tokenizer = from_config({"kind": "symmetric", "k": k})
    complement = sequence.translate(COMPLEMENT)
    images = [sequence, sequence[::-1], complement, complement[::-1]]
    bags = [Counter(tokenizer.encode(image).tolist()) for image in images]
    assert all(bag == bags[0] for bag in bags)


def test_symmetric_classes_are_exactly_the_orbits():
    """Two 3-mers share a class if and only if one is an image of the other (by brute force)."""
    tokenizer = from_config({"kind": "symmetric"})
    kmers = from_config({"kind": "kmers"}).vocabulary[:64]
    for one in kmers:
        complement = one.translate(COMPLEMENT)
        orbit = {one, one[::-1], complement, complement[::-1]}
        same = {other for other in kmers if tokenizer.encode(other) == tokenizer.encode(one)}
        assert same == orbit
        assert tokenizer.words(one) == [min(orbit)]


def test_symmetric_words_and_their_order():
    words = "AAA AAC AAG AAT ACA ACC ACG ACT AGA AGC AGG ATA ATC ATG CAC CAG CCC CCG CGC CTC"
    assert from_config({"kind": "symmetric"}).vocabulary == [*words.split(), PAD, MASK]


def test_a_symmetric_word_with_an_unknown_letter_is_hidden():
    tokenizer = from_config({"kind": "symmetric"})
    assert tokenizer.words("ACGTNACG") == ["ACG", "ACG", MASK, MASK, MASK, "ACG"]
    with pytest.raises(ValueError, match="cannot be turned back"):
        tokenizer.decode([0])


def test_letters_and_their_order():
    assert from_config({"kind": "characters"}).vocabulary == [*"ACGTN", PAD, MASK]
    assert from_config({"kind": "iupac"}).vocabulary == [*"ACGTRYSWKMN", PAD, MASK]


def test_kmers_and_their_order():
    tokenizer = from_config({"kind": "kmers", "k": 2})
    words = "AA AC AG AT CA CC CG CT GA GC GG GT TA TC TG TT"
    assert tokenizer.vocabulary == [*words.split(), PAD, MASK, UNK]
    assert len(from_config({"kind": "kmers", "k": 6}).vocabulary) == 4**6 + 3
    assert tokenizer.words("ACNGT") == ["AC", UNK, UNK, "GT"]


def test_sparse_kmers_cannot_be_decoded():
    tokenizer = from_config({"kind": "kmers", "k": 2, "stride": 5})
    assert not tokenizer.can_decode
    with pytest.raises(ValueError, match="leaves letters"):
        tokenizer.decode([0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "bpe"}, "no tokenizer of kind 'bpe'"),
        ({}, "no tokenizer of kind None"),
        ({"kind": "kmers", "k": 9}, "k must be from 1 to 8, not 9"),
        ({"kind": "kmers", "k": 0}, "k must be from 1 to 8, not 0"),
        ({"kind": "symmetric", "stride": 0}, "stride must be at least 1"),
        ({"kind": "kmers", "k": "three"}, "tokenizer kmers"),
    ],
)
def test_configs_that_no_tokenizer_has_are_refused(config, message):
    with pytest.raises(BundleError, match=message):
        from_config(config)
