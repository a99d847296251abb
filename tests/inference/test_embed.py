"""From records to vectors: windows, strands, pools, layers, and the same vectors whatever the batches."""

from itertools import count, islice

import likelihood_bundles
import numpy as np
import pytest
import tiny_causal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_bundle import random_bundle

from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import UsageError
from genomai_cli.inference.batching import Batching
from genomai_cli.inference.embed import Embedder, Settings, TokenMeans
from genomai_cli.inputs.windows import Windows
from genomai_cli.mapping.reference import Reference, VariableSites
from genomai_cli.phylogeny.genome_input import GenomeInput
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import from_config

pytestmark = pytest.mark.usefixtures("one_thread")
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
BATCHINGS = [Batching(windows=1), Batching(windows=3), Batching(tokens=40), Batching(pairs=2000)]
ALL_SETTINGS = [
    Settings(),
    Settings(both_strands=True),
    Settings(pool="max"),
    Settings(pool="cls", both_strands=True),
    Settings(layer=1, window=15, stride=7),
]


def model(**sizes):
    """A model of plain DNA with random weights in double precision: two layers of width 8."""
    bundle = random_bundle(**sizes)
    bundle.classifier.double().eval().requires_grad_(False)
    return bundle


MODEL = model()
SPACED = model(
    k=4, stride=3, positions=10
)  # tokens with a stride, so that letters may be left at the end


def letters(length, seed=0):
    return "".join(np.random.default_rng([length, seed]).choice(list("ACGT"), length))


def reverse_complement(sequence):
    return sequence.translate(COMPLEMENT)[::-1]


def record(sequence, name="x"):
    return SequenceRecord(name, sequence)


LENGTHS = [5, 80, 3, 18, 19, 150, 1, 20, 60, 35, 0]
RECORDS = [record(letters(size), f"s{n}") for n, size in enumerate(LENGTHS)]


def vector(bundle, sequence, **options):
    (embedding,) = Embedder(bundle, Settings(**options)).embed([record(sequence)])
    return embedding.vector


def token_vectors(bundle, sequence, **options):
    """The vectors of the tokens of one sequence."""
    stretches = list(
        Embedder(bundle, Settings(per_token=True, **options)).embed_tokens([record(sequence)])
    )
    assert [stretch.last for stretch in stretches] == [False] * (len(stretches) - 1) + [True]
    return np.concatenate([stretch.vectors for stretch in stretches])


def hidden_states(bundle, sequence, layer=None):
    """The hidden states of the first network for a sequence that fits one window: (T, D)."""
    ids = torch.from_numpy(bundle.tokenizer.encode(sequence).astype(np.int64))[None]
    return bundle.classifier.networks[0](ids, layer=layer)[0].numpy()


# --- the same vectors however they are computed ------------------------------------------------


@pytest.mark.parametrize("batching", BATCHINGS)
@pytest.mark.parametrize("embed_settings", ALL_SETTINGS, ids=str)
def test_vectors_do_not_depend_on_the_batches(embed_settings, batching):
    expected = list(Embedder(MODEL, embed_settings).embed(RECORDS))
    embeddings = list(Embedder(MODEL, embed_settings).embed(RECORDS, batching))
    assert [e.name for e in embeddings] == [r.name for r in RECORDS]
    for one, other in zip(expected, embeddings, strict=True):
        assert one.windows == other.windows
        np.testing.assert_allclose(one.vector, other.vector, atol=1e-6)


@pytest.mark.parametrize("batching", BATCHINGS)
def test_vectors_of_tokens_do_not_depend_on_the_batches(batching):
    embedder = Embedder(MODEL, Settings(per_token=True, both_strands=True))
    expected = list(embedder.embed_tokens(RECORDS))
    embeddings = list(embedder.embed_tokens(RECORDS, batching))
    assert [(e.name, e.last) for e in expected] == [(e.name, e.last) for e in embeddings]
    for one, other in zip(expected, embeddings, strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)


def test_vectors_do_not_depend_on_the_order():
    forward = list(Embedder(MODEL).embed(RECORDS))
    backward = list(Embedder(MODEL).embed(RECORDS[::-1]))[::-1]
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_allclose(one.vector, other.vector, atol=1e-6)


def test_vectors_do_not_depend_on_the_threads():
    expected = [e.vector for e in Embedder(MODEL).embed(RECORDS)]
    torch.set_num_threads(2)
    try:
        vectors = [e.vector for e in Embedder(MODEL).embed(RECORDS)]
    finally:
        torch.set_num_threads(1)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_only_a_batch_is_held_of_endless_records():
    endless = (record(letters(30, n), f"s{n}") for n in count())
    embeddings = Embedder(MODEL).embed(endless, Batching(windows=4))
    assert [e.name for e in islice(embeddings, 5)] == ["s0", "s1", "s2", "s3", "s4"]


def test_windows_are_made_as_they_are_needed():
    class Counting:
        """A tokenizer that counts how often it encodes."""

        calls = 0

        def __getattr__(self, name):
            return getattr(MODEL.tokenizer, name)

        def encode(self, sequence):
            self.calls += 1
            return MODEL.tokenizer.encode(sequence)

    from genomai_cli.inputs.windows import SequenceStrands

    for read in ("known_windows", "ordered_windows"):
        tokenizer = Counting()
        strands = SequenceStrands(tokenizer, Windows.of(tokenizer, 16), both_strands=True)
        windows = getattr(strands, read)(record("ACGTTGCA" * 100_000))
        assert len(list(islice(windows, 10))) == 10
        assert tokenizer.calls <= 12


# --- windows ------------------------------------------------------------------------------------


@st.composite
def windows_and_lengths(draw):
    k, token_stride = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    tokenizer = from_config({"kind": "kmers", "k": k, "stride": token_stride})
    max_tokens = draw(st.integers(1, 12))
    max_size = (max_tokens - 1) * token_stride + k
    size = draw(st.none() | st.integers(k, max_size))
    token_count = ((size or max_size) - k) // token_stride + 1
    stride = draw(st.none() | st.integers(token_stride, token_count * token_stride))
    return (
        tokenizer,
        Windows.of(tokenizer, max_tokens, size, stride),
        max_tokens,
        draw(st.integers(0, 90)),
    )


@given(windows_and_lengths())
def test_windows_hold_every_letter_and_the_last_ends_at_the_end(case):
    tokenizer, windows, max_tokens, length = case
    starts, width = list(windows.starts(length)), windows.width(length)
    assert list(windows.starts(length, backward=True)) == starts[::-1]
    if length < tokenizer.k:
        assert starts == []
        return
    assert tokenizer.length(width) <= max_tokens
    assert starts[0] == 0
    assert starts[-1] + width == length
    assert starts == sorted(set(starts))
    covered = {s + offset for s in starts for offset in range(width)}
    assert (
        len(covered) == length or windows.step > tokenizer.k
    )  # which leaves letters between tokens out


@given(windows_and_lengths())
def test_windows_of_full_tokens_hold_every_token(case):
    tokenizer, windows, _, length = case
    span = windows.span(length)
    covered = {
        start // windows.step + token
        for start in windows.starts(span)
        for token in range(tokenizer.length(windows.width(span)))
    }
    assert all(start % windows.step == 0 for start in windows.starts(span))
    assert covered == set(range(tokenizer.length(length)))


def test_by_default_windows_are_as_long_as_the_network_reads_and_overlap_by_half():
    assert Windows.of(MODEL.tokenizer, 16) == Windows(18, 9, 3, 1)
    assert Windows.of(SPACED.tokenizer, 10) == Windows(31, 15, 4, 3)
    assert Windows.of(SPACED.tokenizer, 10, 30, 17) == Windows(28, 15, 4, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 19}, "--window 19: this model reads windows of 3 to 18 letters"),
        ({"window": 2}, "--window 2"),
        ({"stride": 17}, "--stride 17: windows of 18 letters may begin 1 to 16 letters apart"),
        ({"window": 10, "stride": 9}, "--stride 9: windows of 10 letters may begin 1 to 8"),
        ({"stride": 0}, "--stride 0"),
        ({"layer": 3}, r"--layer 3: the model's layers are 0 \(the embeddings\) to 2"),
        ({"layer": -4}, "--layer -4"),
        ({"pool": "sum"}, "--pool sum: there are mean, cls, max"),
        ({"pool": "max", "per_token": True}, "tokens are not pooled"),
    ],
)
def test_what_the_model_cannot_do_is_wrong_usage(options, message):
    with pytest.raises(UsageError, match=message):
        Embedder(MODEL, Settings(**options))


def test_the_first_token_of_a_causal_model_stands_for_no_sequence(monkeypatch):
    tiny_causal.register(monkeypatch)
    with pytest.raises(UsageError, match="--pool cls: the model likely reads from left to right"):
        Embedder(likelihood_bundles.causal(), Settings(pool="cls"))


# --- pools, strands, layers -----------------------------------------------------------------------


def test_a_sequence_of_one_window_has_the_mean_of_its_tokens():
    sequence = letters(18)
    np.testing.assert_allclose(
        vector(MODEL, sequence), hidden_states(MODEL, sequence).mean(0), atol=1e-6
    )


def test_windows_are_weighted_by_their_tokens():
    """18 letters fit; 4 letters of tokens of 4, one every 3, are left at the end of 15: another window."""
    sequence = letters(15)
    first, last = hidden_states(SPACED, sequence[:13]), hidden_states(SPACED, sequence[2:])
    expected = (first.sum(0) + last.sum(0)) / (len(first) + len(last))
    np.testing.assert_allclose(vector(SPACED, sequence), expected, atol=1e-6)


@pytest.mark.parametrize("length", [19, 40, 57])
def test_pools_over_windows(length):
    sequence = letters(length)
    starts = [*range(0, length - 18, 9), length - 18]
    parts = [hidden_states(MODEL, sequence[start : start + 18]) for start in starts]
    for pool, expected in [
        ("mean", np.mean([part.mean(0) for part in parts], axis=0)),
        ("max", np.max([part.max(0) for part in parts], axis=0)),
        ("cls", parts[0][0]),
    ]:
        np.testing.assert_allclose(vector(MODEL, sequence, pool=pool), expected, atol=1e-6)


def test_every_letter_counts():
    for bundle in (MODEL, SPACED):
        sequence = letters(47)
        before = vector(bundle, sequence)
        for position in range(47):
            changed = (
                sequence[:position]
                + reverse_complement(sequence[position])
                + sequence[position + 1 :]
            )
            assert np.abs(vector(bundle, changed) - before).max() > 1e-6, position


@settings(deadline=None, max_examples=40)
@given(st.text("ACGTN", max_size=70), st.sampled_from(["mean", "max", "cls"]))
def test_both_strands_make_the_direction_irrelevant(sequence, pool):
    for bundle in (MODEL, SPACED):
        one, other = (
            vector(bundle, text, both_strands=True, pool=pool)
            for text in (sequence, reverse_complement(sequence))
        )
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_both_strands_are_the_mean_of_both():
    sequence = letters(50)
    expected = (vector(MODEL, sequence) + vector(MODEL, reverse_complement(sequence))) / 2
    np.testing.assert_allclose(vector(MODEL, sequence, both_strands=True), expected, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_layers_count_from_the_embeddings_or_from_the_end(layer):
    sequence = letters(12)
    expected = hidden_states(MODEL, sequence, layer).mean(0)
    for number in (layer, layer - 3):
        np.testing.assert_allclose(vector(MODEL, sequence, layer=number), expected, atol=1e-6)
    network = MODEL.classifier.members[0]
    ids = torch.from_numpy(MODEL.tokenizer.encode(sequence).astype(np.int64))[None]
    x = network.words(ids) + network.positions.weight[: ids.shape[1]]
    for block in network.encoder.layers[:layer]:
        x = block(x)
    np.testing.assert_allclose(expected, x[0].mean(0).numpy(), atol=1e-9)


def test_members_stand_side_by_side():
    ensemble = model(members=2)
    sequence = letters(40)
    full = vector(ensemble, sequence)
    assert full.shape == (16,)
    assert not np.allclose(full[:8], full[8:])
    assert Embedder(ensemble, Settings()).attributes["members"] == 2
    del ensemble.classifier.members[0]
    np.testing.assert_allclose(vector(ensemble, sequence), full[8:], atol=1e-6)


@pytest.mark.parametrize("sequence", ["", "A", "AC", "N" * 50])
def test_a_sequence_without_a_known_token_has_a_vector_of_nan(sequence):
    records = [record(letters(20), "a"), record(sequence, "b"), record(letters(20), "c")]
    embeddings = list(Embedder(MODEL).embed(records, Batching(windows=1)))
    assert [e.name for e in embeddings] == ["a", "b", "c"]
    assert [e.windows for e in embeddings] == [2, 0, 2]
    assert np.isnan(embeddings[1].vector).all()
    assert embeddings[1].vector.shape == (8,)
    np.testing.assert_allclose(embeddings[0].vector, embeddings[2].vector, atol=1e-6)


def test_windows_of_unknown_letters_are_left_out():
    known = letters(18)
    embedding = next(iter(Embedder(MODEL).embed([record("N" * 900 + known)])))
    assert embedding.windows == 2  # of 18 letters, which overlap by half
    np.testing.assert_allclose(embedding.vector, vector(MODEL, "N" * 9 + known), atol=1e-6)


def test_symmetric_tokens_know_unknown_letters_too():
    """They have no [UNK], but encode an unknown token as [MASK]."""
    bundle = model(kind="symmetric")
    assert np.isnan(vector(bundle, "N" * 30)).all()
    assert not np.isnan(vector(bundle, "N" * 30 + "ACGT")).any()


# --- tokens -----------------------------------------------------------------------------------------


def dense_token_vectors(bundle, sequence, *, both_strands):
    """The vectors of tokens computed directly: all windows of all strands, then the means."""
    windows = Embedder(bundle, Settings()).windows
    sequence = sequence[: windows.span(len(sequence))]
    strands = []
    for text in [sequence, reverse_complement(sequence)][: 1 + both_strands]:
        by_token = [[] for _ in range(bundle.tokenizer.length(len(text)))]
        for start in windows.starts(len(text)):
            part = hidden_states(bundle, text[start : start + windows.width(len(text))])
            for offset, row in enumerate(part):
                by_token[start // windows.step + offset].append(row)
        strands.append([np.mean(rows, axis=0) for rows in by_token])
    if both_strands:
        strands[1] = strands[1][::-1]
    return np.mean(strands, axis=0)


@pytest.mark.parametrize("both_strands", [False, True])
@pytest.mark.parametrize("length", [4, 17, 18, 31, 40, 95, 100])
def test_a_token_has_the_mean_of_the_windows_that_cover_it(length, both_strands):
    for bundle in (MODEL, SPACED):
        sequence = letters(length)
        vectors = token_vectors(bundle, sequence, both_strands=both_strands)
        assert vectors.shape == (bundle.tokenizer.length(length), 8)
        np.testing.assert_allclose(
            vectors, dense_token_vectors(bundle, sequence, both_strands=both_strands), atol=1e-6
        )


def test_tokens_of_the_reverse_complement_are_those_of_the_sequence_backward():
    sequence = letters(79)
    for bundle in (MODEL, SPACED):  # 79 letters are 26 full tokens of SPACED
        vectors = token_vectors(bundle, sequence, both_strands=True)
        of_reverse_complement = token_vectors(
            bundle, reverse_complement(sequence), both_strands=True
        )
        np.testing.assert_allclose(vectors, of_reverse_complement[::-1], atol=1e-6)


def test_a_record_without_tokens_has_no_rows():
    embedder = Embedder(MODEL, Settings(per_token=True))
    embeddings = list(
        embedder.embed_tokens([record("AC", "a"), record(letters(9), "b"), record("", "c")])
    )
    assert [(e.name, len(e.vectors), e.last) for e in embeddings] == [
        ("a", 0, True),
        ("b", 7, True),
        ("c", 0, True),
    ]


def test_few_tokens_are_held_of_a_long_record():
    """The vectors that are kept back are never more than those of a window."""
    embedder = Embedder(MODEL, Settings(per_token=True, both_strands=True))
    stretches = list(embedder.embed_tokens([record(letters(2000))], Batching(windows=2)))
    assert sum(len(s.vectors) for s in stretches) == 1998
    assert max(len(s.vectors) for s in stretches) <= 16


def test_token_means_drop_what_was_taken():
    means = TokenMeans(strands=2, width=1)
    means.add(0, 0, np.array([[1.0], [2.0]]))
    means.add(1, 0, np.array([[3.0], [4.0], [5.0]]))
    assert means.take(1).tolist() == [[2.0]]
    means.add(0, 1, np.array([[4.0], [7.0]]))
    assert means.take(3).tolist() == [[3.5], [6.0]]
    assert means.first == 3


# --- barcodes ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def panel(cohort):
    return Panel.read(cohort.panel).subset(range(30))


def barcode_model(panel, network, *, haplotypes):
    config = {
        "name": "barcodes",
        "version": "1",
        "input": {"kind": "barcode", "haplotypes": haplotypes},
        "tokenizer": {"kind": "symmetric"} if haplotypes else {"kind": "iupac"},
        "network": network,
        "members": 2,
        "heads": {},
    }
    torch.manual_seed(2)
    classifier = bundles.build(config, BarcodeInput(panel)).double().eval().requires_grad_(False)
    return Bundle(config, classifier, BarcodeInput(panel, haplotypes))


@pytest.fixture(scope="module")
def haplotype_model(panel):
    sizes = {"width": 8, "heads": 2, "layers": 1, "feed_forward": 8, "positions": 30}
    return barcode_model(panel, {"kind": "transformer", **sizes, "dropout": 0.0}, haplotypes=True)


@pytest.fixture(scope="module")
def sites_model(panel):
    return barcode_model(panel, {"kind": "sites", "sites": 30, "width": 4}, haplotypes=False)


def test_two_haplotypes_are_averaged(haplotype_model, panel):
    rest = "".join(panel.ref[1:])
    mean = vector(haplotype_model, "R" + rest)
    each = [vector(haplotype_model, letter + rest) for letter in "AG"]
    assert not np.allclose(*each)
    np.testing.assert_allclose(mean, np.mean(each, axis=0), atol=1e-6)
    per_token = token_vectors(haplotype_model, "R" + rest)
    assert per_token.shape == (28, 16)
    np.testing.assert_allclose(per_token.mean(0), mean, atol=1e-6)


def test_the_network_of_sites_has_one_vector_a_sample(sites_model, panel):
    sequence = "".join(panel.alt)
    ids = torch.from_numpy(sites_model.tokenizer.encode(sequence).astype(np.int64))[None]
    inputs = sites_model.classifier.inputs(ids)
    for layer, requested in [(None, -1), (1, 1), (0, 0), (0, -2)]:
        members = sites_model.classifier.members
        expected = torch.cat([m.pooled(inputs, layer=layer) for m in members], 1)[0]
        np.testing.assert_allclose(
            vector(sites_model, sequence, layer=requested), expected.numpy(), atol=1e-6
        )
    assert not np.allclose(vector(sites_model, sequence), vector(sites_model, sequence, layer=0))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"per_token": True}, "--per-token: the model barcodes has one vector a sample"),
        ({"pool": "cls"}, "--pool cls: the model barcodes has one vector a sample"),
        ({"pool": "max"}, "--pool max"),
        ({"both_strands": True}, "--strand both: the model barcodes does not read plain DNA"),
        ({"window": 10}, "--window: the model barcodes does not read plain DNA"),
        ({"stride": 10}, "--stride"),
        ({"layer": 2}, "--layer 2"),
    ],
)
def test_what_the_network_of_sites_cannot_do_is_wrong_usage(sites_model, options, reason):
    with pytest.raises(UsageError, match=reason):
        Embedder(sites_model, Settings(**options))


def test_a_barcode_without_a_known_site_has_a_vector_of_nan(sites_model, haplotype_model):
    for bundle in (sites_model, haplotype_model):
        assert np.isnan(vector(bundle, "N" * 30)).all()


@pytest.fixture(scope="module")
def genome_model():
    """A model of genomes that are mapped to a made-up circular reference: every 20th letter, one variant a site."""
    reference = Reference("toy", letters(3000, 7), circular=True)
    sites = np.arange(0, 3000, 20)
    major_alleles = np.array(["ACGT".index(reference.sequence[site]) for site in sites])
    counts = np.zeros((150, 4), np.int64)
    counts[np.arange(150), major_alleles] = 9
    counts[np.arange(150), (major_alleles + 1) % 4] = 5
    config = {
        "name": "genomes",
        "version": "1",
        "input": {"kind": "anchored", "haplotypes": False},
        "tokenizer": {"kind": "characters"},
        "network": {"kind": "profile", "sites": 150, "variants": 150, "width": 4, "layers": 1},
        "members": 1,
        "heads": {},
    }
    torch.manual_seed(4)
    kind = GenomeInput(reference, VariableSites(sites, counts))
    classifier = bundles.build(config, kind)
    classifier.members[0].table.fit(torch.from_numpy(counts), 2)
    classifier = classifier.double().eval().requires_grad_(False)
    return Bundle(config, classifier, kind)


def test_a_genome_has_its_vector_at_any_rotation_and_on_either_strand(genome_model):
    genome = genome_model.coordinates.sequence
    mutated = genome[:1000] + "CGTA"["ACGT".index(genome[1000])] + genome[1001:]
    expected = vector(genome_model, mutated)
    assert not np.allclose(expected, vector(genome_model, genome))
    for sequence in (mutated[1234:] + mutated[:1234], reverse_complement(mutated)):
        np.testing.assert_allclose(vector(genome_model, sequence), expected, atol=1e-6)
    assert np.isnan(vector(genome_model, letters(3000, 8))).all()
    with pytest.raises(UsageError, match="--per-token: the model genomes has one vector a sample"):
        Embedder(genome_model, Settings(per_token=True))


def test_networks_declare_token_vectors_and_hidden_size(sites_model):
    assert MODEL.classifier.has_token_vectors
    assert not sites_model.classifier.has_token_vectors
    assert [each.classifier.hidden_size for each in (MODEL, sites_model)] == [8, 8]


def test_attributes_tell_how_vectors_were_made():
    embed_settings = Settings(layer=-2, both_strands=True, window=17, stride=5)
    attributes = Embedder(SPACED, embed_settings).attributes
    assert attributes == {
        "model_name": "random",
        "model_version": "1",
        "model_sha256": "",
        "members": 1,
        "tokenizer": '{"kind": "kmers", "k": 4, "stride": 3}',
        "pooling": "mean",
        "layer": 1,
        "strand": "both",
        "window": 16,
        "stride": 3,
        "window_weights": "words",
    }
