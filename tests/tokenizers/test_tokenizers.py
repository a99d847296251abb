"""One suite for every tokenizer of the registry, and the contracts of each kind: its tokens and their order."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli import registry
from genomai_cli.errors import BundleError
from genomai_cli.tokenizers import Tokenizer, from_config
from genomai_cli.tokenizers.base import MASK, PAD, SPECIAL, UNK, encode_in_chunks
from genomai_cli.tokenizers.batch import TokenBatch, covering_tokens, encode_rows

CONFIGS = [
    {"kind": "bert_kmers", "k": 3},
    {"kind": "characters"},
    {"kind": "iupac"},
    {"kind": "bytes"},
    {"kind": "dna_characters", "cls": True},
    {"kind": "dna_characters", "case_sensitive": False},
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


@dataclass(frozen=True)
class Bracketed(Tokenizer):
    """Unlike all kinds of ours: special tokens in between, bases in another order, case, brackets, left padding."""

    kind: ClassVar[str] = "bracketed"
    k: ClassVar[int] = 2
    stride: ClassVar[int] = 1
    case_sensitive: ClassVar[bool] = True
    can_decode: ClassVar[bool] = False
    special: ClassVar[dict[str, int]] = {"pad": 0, "unk": 1, "cls": 2, "sep": 8, "mask": 20}
    prefix: ClassVar[tuple[int, ...]] = (2,)
    suffix: ClassVar[tuple[int, ...]] = (8,)
    padding_side: ClassVar[str] = "left"

    @cached_property
    def vocabulary(self):
        tokens = ["".join(kmer) for kmer in product("ATCG", repeat=self.k)]
        for name, id_ in sorted(self.special.items(), key=lambda item: item[1]):
            tokens.insert(id_, f"[{name.upper()}]")
        return tokens

    def encode(self, sequence):
        ids = {token: id_ for id_, token in enumerate(self.vocabulary)}
        kmers = (sequence[start : start + self.k] for start in range(len(sequence) - self.k + 1))
        return np.array([ids.get(kmer, self.special["unk"]) for kmer in kmers], np.int32)

    def decode(self, ids):
        raise ValueError("cannot be decoded")

    def to_config(self):
        return {"kind": self.kind}


TOKENIZERS = [*map(from_config, CONFIGS), Bracketed()]
NAMES = ["-".join(map(str, tokenizer.to_config().values())) for tokenizer in TOKENIZERS]
every_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=NAMES)


def test_every_kind_is_in_the_suite():
    assert {config["kind"] for config in CONFIGS} == set(registry.TOKENIZERS)


@every_tokenizer
def test_tokens_are_unique_and_special_ids_point_at_them(tokenizer):
    vocabulary = tokenizer.vocabulary
    assert len(set(vocabulary)) == len(vocabulary)
    assert set(tokenizer.special) <= set(SPECIAL)
    assert vocabulary[tokenizer.pad_id] == PAD
    for name, id_ in tokenizer.special.items():
        assert vocabulary[id_] in (f"[{name.upper()}]", "N")
    assert tokenizer.unk_id == tokenizer.special.get("unk")
    assert {*tokenizer.prefix, *tokenizer.suffix} <= set(tokenizer.special.values())


@every_tokenizer
def test_a_kind_without_a_mask_says_so(tokenizer):
    if "mask" in tokenizer.special:
        assert tokenizer.vocabulary[tokenizer.mask_id] == MASK
    else:
        with pytest.raises(ValueError, match="no token that masks"):
            _ = tokenizer.mask_id


@every_tokenizer
def test_dna_tokens_are_known_and_spell_dna(tokenizer):
    ids = np.arange(len(tokenizer.vocabulary))
    unknown = ids[~tokenizer.is_known(ids)]
    assert set(tokenizer.special.values()) <= set(unknown)
    others = set(unknown) - set(tokenizer.special.values())
    assert {tokenizer.vocabulary[id_] for id_ in others} <= {"N", "[RESERVED]"}
    assert (ids[tokenizer.is_dna(ids)] == tokenizer.dna_ids).all()
    assert tokenizer.is_known(tokenizer.dna_ids).all()
    letters = "".join(tokenizer.vocabulary[id_] for id_ in tokenizer.dna_ids)
    assert set(letters) <= set("ACGTRYSWKM")
    assert len(letters) == tokenizer.k * len(tokenizer.dna_ids)


@every_tokenizer
@pytest.mark.parametrize("sequence", ["", "A", "AC", "ACG", "ACGTTGCANNACGT" * 3])
def test_length_is_that_of_the_ids_and_the_tokens(tokenizer, sequence):
    ids = tokenizer.encode(sequence)
    assert ids.dtype == np.int32
    assert len(ids) == tokenizer.length(len(sequence)) == len(tokenizer.tokens(sequence))


@every_tokenizer
def test_ids_are_indices_in_the_vocabulary(tokenizer):
    sequence = "ACGTNRYSWKMBDHV-*?é ACGTTGCA"
    ids = tokenizer.encode(sequence)
    assert ids.min() >= 0
    assert ids.max() < len(tokenizer.vocabulary)
    assert tokenizer.pad_id not in ids
    assert tokenizer.tokens(sequence) == [tokenizer.vocabulary[id_] for id_ in ids]


@every_tokenizer
def test_case_and_uracil_make_no_difference_unless_the_kind_says_so(tokenizer):
    expected = tokenizer.encode("ACGTNTTACGCA")
    assert (tokenizer.encode("acgtnttacgca") == expected).all() != tokenizer.case_sensitive
    if not tokenizer.case_sensitive and tokenizer.kind != "dna_characters":
        assert (tokenizer.encode("acguNUuACGCA") == expected).all()


@every_tokenizer
def test_unknown_letters_become_unknown_or_masked_tokens(tokenizer):
    ids = set(tokenizer.encode("?" * 20).tolist())
    if tokenizer.any_text:
        assert tokenizer.is_known(np.array([*ids])).all()
    else:
        assert ids == {tokenizer.special.get("unk", tokenizer.special.get("mask"))}


@every_tokenizer
def test_the_template_is_around_the_ids(tokenizer):
    ids = tokenizer.encode("ACGTTGCANNACGT")
    expected = [*tokenizer.prefix, *ids, *tokenizer.suffix]
    assert tokenizer.template(ids).tolist() == expected
    assert tokenizer.template(ids).dtype == np.int32
    assert tokenizer.template(ids[:0]).tolist() == [*tokenizer.prefix, *tokenizer.suffix]


@every_tokenizer
def test_a_batch_is_filled_up_at_its_side_and_the_mask_tells_where(tokenizer):
    sequences = ["ACGTTGCANNACGT", "", "A", "ACGTACGTACGTACGTACGT"]
    rows = [tokenizer.template(tokenizer.encode(sequence)) for sequence in sequences]
    batch = TokenBatch.of(tokenizer, rows)
    assert batch.ids.dtype == np.int64
    assert batch.ids.shape == batch.mask.shape == (4, max(map(len, rows)))
    for row, ids, mask in zip(rows, batch.ids, batch.mask, strict=True):
        assert ids[mask].tolist() == row.tolist()
        assert (ids[~mask] == tokenizer.pad_id).all()
        padding = mask[::-1] if tokenizer.padding_side == "left" else mask
        assert padding[: len(row)].all()
        assert not padding[len(row) :].any()
    assert TokenBatch.of(tokenizer, []).ids.shape == (0, 1)


@given(sequences=st.lists(st.text("ACGTN", max_size=20), min_size=1, max_size=4), data=st.data())
@every_tokenizer
def test_rows_of_letters_make_the_same_batch(tokenizer, sequences, data):
    width = max(map(len, sequences)) + data.draw(st.integers(0, 2))
    text = b"".join(sequence.encode().ljust(width, b"\0") for sequence in sequences)
    letters = np.frombuffer(text, np.uint8).reshape(len(sequences), width)
    rows = [tokenizer.template(tokenizer.encode(sequence)) for sequence in sequences]
    batch, ids = TokenBatch.of(tokenizer, rows), encode_rows(tokenizer, letters)
    assert ids.shape == covering_tokens(tokenizer, letters, letters > 0).shape
    for row, expected, mask in zip(ids, batch.ids, batch.mask, strict=True):
        assert row[row != tokenizer.pad_id].tolist() == expected[mask].tolist()
        padding = row[::-1] if tokenizer.padding_side == "left" else row
        assert (padding[mask.sum() :] == tokenizer.pad_id).all()


@given(sequence=st.text("ACGT", min_size=1, max_size=30), data=st.data())
@pytest.mark.parametrize("tokenizer", [t for t in TOKENIZERS if "mask" in t.special])
def test_tokens_over_masked_letters_are_masked_and_no_others(tokenizer, sequence, data):
    letters = np.frombuffer(sequence.encode(), np.uint8)[None]
    flags = st.lists(st.booleans(), min_size=len(sequence), max_size=len(sequence))
    mask = np.array(data.draw(flags))[None]
    masked, unmasked = encode_rows(tokenizer, letters, mask)[0], encode_rows(tokenizer, letters)[0]
    covered = covering_tokens(tokenizer, letters, mask)[0]
    assert (masked == np.where(covered, tokenizer.mask_id, unmasked)).all()
    starts = np.arange(tokenizer.length(len(sequence))) * tokenizer.stride
    expected = sum(mask[0, start : start + tokenizer.k].any() for start in starts)
    assert covered.sum() == expected


@pytest.mark.parametrize("tokenizer", TOKENIZERS[:-1], ids=NAMES[:-1])
def test_config_makes_the_same_tokenizer(tokenizer):
    rebuilt = from_config(tokenizer.to_config())
    assert rebuilt == tokenizer
    assert rebuilt.vocabulary == tokenizer.vocabulary
    assert rebuilt.kind == tokenizer.kind


@every_tokenizer
def test_encoding_leaves_the_tokenizer_as_it_was(tokenizer):
    first = tokenizer.encode("ACGTACGTACGT").copy()
    tokenizer.encode("NNNNNNNNNNNN")[:] = 0
    assert (tokenizer.encode("ACGTACGTACGT") == first).all()


@given(sequence=any_letters, tokens=st.integers(1, 9))
@every_tokenizer
def test_encoding_in_chunks_is_encoding(tokenizer, sequence, tokens):
    chunks = [*encode_in_chunks(tokenizer, sequence, tokens)]
    assert all(0 < len(chunk) <= tokens for chunk in chunks)
    assert [id_ for chunk in chunks for id_ in chunk] == tokenizer.encode(sequence).tolist()


@given(sequence=dna)
@pytest.mark.parametrize("tokenizer", [t for t in TOKENIZERS if t.can_decode], ids=repr)
def test_decoding_gives_back_the_letters_that_tokens_cover(tokenizer, sequence):
    tokens = tokenizer.length(len(sequence))
    covered = (tokens - 1) * tokenizer.stride + tokenizer.k if tokens else 0
    assert tokenizer.decode(tokenizer.encode(sequence)) == sequence[:covered]


@given(sequence=dna.filter(lambda text: len(text) >= 3))
def test_overlapping_kmers_decode_to_the_whole_sequence(sequence):
    tokenizer = from_config({"kind": "kmers"})
    assert tokenizer.decode(tokenizer.encode(sequence)) == sequence


@pytest.mark.parametrize("kind", ["kmers", "bert_kmers"])
def test_where_overlapping_kmers_disagree_the_first_counts(kind):
    tokenizer = from_config({"kind": kind, "k": 3})
    ids = [tokenizer.vocabulary.index(kmer) for kmer in ("AAA", "CCC", "GGT")]
    assert tokenizer.decode(ids) == "AAACT"
    assert tokenizer.decode([tokenizer.unk_id, *ids[1:]]) == "NCCCT"


@given(sequence=st.text("ACGTRYSWKMN", max_size=60))
def test_barcodes_decode_to_themselves(sequence):
    tokenizer = from_config({"kind": "iupac"})
    assert tokenizer.decode(tokenizer.encode(sequence)) == sequence


@given(sequence=any_letters)
def test_padding_adds_nothing_and_a_masked_letter_is_n(sequence):
    tokenizer = from_config({"kind": "characters"})
    ids = tokenizer.encode(sequence)
    padded = np.append(ids, [tokenizer.pad_id] * 3)
    assert tokenizer.decode(padded) == tokenizer.decode(ids)
    assert tokenizer.decode([0, tokenizer.mask_id, 3]) == "ANT"


def test_an_unknown_base_is_lost_alone_where_tokens_overlap():
    tokenizer = from_config({"kind": "kmers"})
    assert tokenizer.decode(tokenizer.encode("ACGTNACGT")) == "ACGTNACGT"
    assert tokenizer.decode(tokenizer.encode("ACGNANACG")) == "ACGNNNACG"


@given(sequence=dna)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_the_four_images_have_the_same_counts_of_symmetric_tokens(k, sequence):
    tokenizer = from_config({"kind": "symmetric", "k": k})
    complement = sequence.translate(COMPLEMENT)
    images = [sequence, sequence[::-1], complement, complement[::-1]]
    counts = [Counter(tokenizer.encode(image).tolist()) for image in images]
    assert all(count == counts[0] for count in counts)


def test_symmetric_classes_are_exactly_the_orbits():
    """Two 3-mers share a class if and only if one is an image of the other (by brute force)."""
    tokenizer = from_config({"kind": "symmetric"})
    kmers = from_config({"kind": "kmers"}).vocabulary[:64]
    for kmer in kmers:
        complement = kmer.translate(COMPLEMENT)
        orbit = {kmer, kmer[::-1], complement, complement[::-1]}
        equivalent = {other for other in kmers if tokenizer.encode(other) == tokenizer.encode(kmer)}
        assert equivalent == orbit
        assert tokenizer.tokens(kmer) == [min(orbit)]


def test_symmetric_tokens_and_their_order():
    kmers = "AAA AAC AAG AAT ACA ACC ACG ACT AGA AGC AGG ATA ATC ATG CAC CAG CCC CCG CGC CTC"
    assert from_config({"kind": "symmetric"}).vocabulary == [*kmers.split(), PAD, MASK]


def test_a_symmetric_token_with_an_unknown_letter_is_masked():
    tokenizer = from_config({"kind": "symmetric"})
    assert tokenizer.tokens("ACGTNACG") == ["ACG", "ACG", MASK, MASK, MASK, "ACG"]
    with pytest.raises(ValueError, match="cannot be turned back"):
        tokenizer.decode([0])


def test_letters_and_their_order():
    assert from_config({"kind": "characters"}).vocabulary == [*"ACGTN", PAD, MASK]
    assert from_config({"kind": "iupac"}).vocabulary == [*"ACGTRYSWKMN", PAD, MASK]


def test_kmers_and_their_order():
    tokenizer = from_config({"kind": "kmers", "k": 2})
    kmers = "AA AC AG AT CA CC CG CT GA GC GG GT TA TC TG TT"
    assert tokenizer.vocabulary == [*kmers.split(), PAD, MASK, UNK]
    assert len(from_config({"kind": "kmers", "k": 6}).vocabulary) == 4**6 + 3
    assert tokenizer.tokens("ACNGT") == ["AC", UNK, UNK, "GT"]


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0\1"), max_size=40))
def test_bytes_are_utf_8_in_either_case(text):
    tokenizer = from_config({"kind": "bytes"})
    assert tokenizer.encode(text).tolist() == list(text.encode("utf-8", "surrogateescape"))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_bytes_read_tags_and_have_the_ids_of_evo():
    tokenizer = from_config({"kind": "bytes"})
    assert tokenizer.encode("|D__B;|ACGTNacgt").tolist() == list(b"|D__B;|ACGTNacgt")
    assert tokenizer.special == {"eos": 0, "pad": 1}
    assert len(tokenizer.vocabulary) == 512
    assert tokenizer.decode([65, 0, 67, 1, 400]) == "AC"


@pytest.mark.parametrize(
    ("options", "sequence", "ids"),
    [
        ({"cls": True}, "ACGTN", [0, 7, 8, 9, 10, 11, 1]),
        ({}, "ACGURYN", [7, 8, 9, 6, 6, 6, 11, 1]),
        ({}, "acgtn", [6, 6, 6, 6, 6, 1]),
        ({"case_sensitive": False}, "acgtnu", [7, 8, 9, 10, 11, 6, 1]),
        ({"cls": True}, "", [0, 1]),
    ],
)
def test_single_letters_as_hyenadna_and_caduceus_read_them(options, sequence, ids):
    tokenizer = from_config({"kind": "dna_characters", **options})
    assert tokenizer.released_ids(sequence).tolist() == ids
    special_tokens = "[CLS] [SEP] [BOS] [MASK] [PAD] [RESERVED] [UNK]"
    assert tokenizer.vocabulary == [*special_tokens.split(), *"ACGTN"]
    assert tokenizer.decode(tokenizer.released_ids("ACRTN")) == "ACNTN"


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"kind": "kmers", "k": 2}, 0),
        ({"kind": "bytes"}, 4),
        ({"kind": "bert_kmers"}, 7),
        ({"kind": "dna_characters"}, 7),
        ({"kind": "dna_characters", "case_sensitive": False}, 1),
    ],
)
def test_letters_that_are_not_read_as_bases_are_counted(config, count):
    assert from_config(config).noncanonical_letters("|d__act|ACGTacgRYNU") == count


@needs_shared
@pytest.mark.parametrize(
    ("fixture", "options"),
    [
        ("hyenadna", {"cls": True}),
        ("hyenadna_hf", {}),
        ("caduceus_ph", {"case_sensitive": False}),
        ("caduceus_ps", {"case_sensitive": False}),
    ],
)
def test_the_cases_of_the_released_tokenizers(fixture, options):
    tokenizer = from_config({"kind": "dna_characters", **options})
    cases = json.loads((SHARED / "parity" / fixture / "tokenizer_cases.json").read_text())
    assert cases
    for case in cases:
        assert tokenizer.released_ids(case["sequence"]).tolist() == case["ids"]


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
        ({"kind": "kmers", "size": 3}, "tokenizer kmers"),
        ({"kind": "bytes", "size": 255}, "a byte needs 256 ids"),
    ],
)
def test_configs_that_no_tokenizer_has_are_refused(config, message):
    with pytest.raises(BundleError, match=message):
        from_config(config)
