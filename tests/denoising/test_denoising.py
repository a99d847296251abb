"""The parts of `genomai denoise`: entries byte for byte, positions left out, posteriors by hand, calls in VCF."""

import io
from dataclasses import replace

import likelihood_bundles
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli.denoising import vcf_calls as writing
from genomai_cli.denoising.base import Settings, choose, leave_out, posterior_given_observed
from genomai_cli.denoising.fasta import DenoisedEntry, denoise_entries, entries_of_samples
from genomai_cli.denoising.sequences import denoiser_of
from genomai_cli.denoising.vcf_calls import ParsedCalls, outcome
from genomai_cli.formats.fasta import read_entries
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.shards import WHOLE, Shard
from genomai_cli.formats.streams import Input
from genomai_cli.formats.vcf_rewrite import Addition, VcfRewriter, line_count
from genomai_cli.mapping.mapper import Mapper
from genomai_cli.mapping.reference import Reference
from genomai_cli.population.imputation.models import (
    Calls,
    haplotype,
    posterior,
)
from genomai_cli.population.imputation.network_models import alternate_phase
from genomai_cli.population.imputation.vcf import phased
from genomai_cli.population.networks.haplotype_copying import genotypes_of
from genomai_cli.population.networks.haplotype_imputer import Window
from genomai_cli.population.panel import GRCH37, GRCH38, Panel


def source_of(text, kind=Kind.FASTA):
    return Input("-", kind, "plain", io.BufferedReader(io.BytesIO(text)))


def panel(sites):
    columns = [tuple(letter * sites) for letter in ("1", ".", "A", "G", ".")]
    positions = {GRCH37: np.arange(1, sites + 1), GRCH38: np.zeros(sites, np.int64)}
    return Panel("test", columns[0], positions, *columns[1:])


# --- FASTA entries -------------------------------------------------------------------------------

LINES = st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=12)


@given(LINES, st.booleans())
def test_entries_are_the_input(lines, final_newline):
    text = b"\n".join([b">first", *lines]) + b"\n" * final_newline
    assert b"".join(entry.raw for entry in read_entries(source_of(text))) == text


def test_entries_know_their_lines_and_letters():
    text = b"\n\n>a one\nAC-gu\n n\r\n>b\n\n>c"
    blank, a, b, c = read_entries(source_of(text))
    assert (blank.raw, blank.has_title) == (b"\n\n", False)
    assert [(entry.name, entry.line) for entry in (a, b, c)] == [("a", 3), ("b", 6), ("c", 8)]
    assert a.letters().tobytes() == b"AC-GTN"
    assert b.letters().tobytes() == c.letters().tobytes() == b""
    changed = a.changed(np.array([1, 5]), np.frombuffer(b"TG", np.uint8))
    assert changed.raw == b">a one\nAT-gu\n g\r\n"


def test_foreign_letters_are_no_letters():
    (entry,) = read_entries(source_of(b">p\nMKVL\n"))
    assert entry.letters() is None


@given(st.text("ACGTNacgtn\n ", min_size=1, max_size=80), st.data())
def test_changed_letters_are_all_that_changes(body, data):
    (entry,) = read_entries(source_of(f">x\n{body}\n".encode()))
    size = len(entry.letters())
    indices = data.draw(st.sets(st.integers(0, max(0, size - 1)), max_size=size))
    letters = np.full(len(indices), ord("G"), np.uint8)
    changed = entry.changed(np.array(sorted(indices), np.int64), letters)
    expected = entry.letters()
    expected[sorted(indices)] = ord("G")
    assert changed.letters().tolist() == expected.tolist()
    assert changed.raw.upper().translate(None, b"ACGTN") == entry.raw.upper().translate(None, b"ACGTN")  # fmt: skip


# --- posteriors ----------------------------------------------------------------------------------


def test_every_known_position_is_left_out_once():
    known = np.random.default_rng(0).random((3, 100)) < 0.7
    times_masked = np.zeros(known.shape, int)

    def predict(masked):
        times_masked[masked] += 1
        return np.where(masked, 1.0, 5.0)[..., None]

    predicted = leave_out(predict, known, [[0, 1], [0, 2], [0, 3]])
    assert (times_masked == known).all()
    assert (predicted[..., 0] == known).all()


def test_the_groups_left_out_are_the_records_own():
    known = np.ones((2, 50), bool)
    masks = {}

    def predict_of(key):
        def predict(masked):
            masks.setdefault(key, []).append(masked[-1].tolist())
            return np.zeros((*masked.shape, 2))

        return predict

    leave_out(predict_of("both"), known, [[0, 7], [0, 9]])
    leave_out(predict_of("alone"), known[1:], [[0, 9]])
    assert masks["both"] == masks["alone"]


def test_a_letter_is_doubted_as_by_hand():
    found = posterior_given_observed(np.array([[0.7, 0.2, 0.1, 0.0]]), np.array([1]), 0.3)
    weights = np.array([0.7 * 0.1, 0.2 * 0.7, 0.1 * 0.1, 0])
    assert found[0] == pytest.approx(weights / weights.sum())
    missing = posterior_given_observed(np.array([[0.7, 0.3]]), np.array([-1]), 0.3)
    assert missing[0] == pytest.approx([0.7, 0.3])


def test_a_correction_has_to_be_likelier_than_not():
    p = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.4, 0.3, 0.3]])
    observed = np.array([1, 1, 0, -1])
    assert choose(p, observed, Settings())[1].tolist() == [False, True, False, True]
    assert choose(p, observed, Settings(confidence=0.5))[1].tolist() == [False, True, False, False]


class FixedProbabilities:
    """Predicts the same probability of allele 1 at each site, whatever is known of a sample."""

    batch_size = 9

    def __init__(self, p_S):
        self.p_S = np.array(p_S)
        self.panel = panel(len(p_S))
        self.windows = [Window.full(len(p_S))]

    def haplotypes(self, calls, window):
        assert window == self.windows[0]
        return np.broadcast_to(self.p_S, calls.alleles.shape)


def calls_of(alleles, haploid=False):
    alleles = np.array([alleles], np.int8)
    return Calls(["x"], alleles, np.ones(alleles[:, 0].shape, bool), np.array([haploid]))


def test_known_genotypes_are_certain_and_half_known_ones_half():
    found = posterior(
        FixedProbabilities([0.2, 0.2, 0.2]), calls_of([[0, 1, -1], [1, -1, -1]]), Settings()
    )[0]
    assert found[0].tolist() == [0, 1, 0, 0]
    assert found[1] == pytest.approx([0, 0, 0.8, 0.2])
    assert found[2] == pytest.approx([0.64, 0.16, 0.16, 0.04])


def test_the_known_half_of_a_genotype_without_phase_is_on_either_haplotype():
    calls = calls_of([[0, 1, 1], [-1, -1, 0]])
    calls = replace(calls, phased=np.zeros_like(calls.phased))
    found = posterior(FixedProbabilities([0.2, 0, 0.5]), calls, Settings())[0]
    assert found[0] == pytest.approx(np.array([0.64, 0.16, 0.16, 0]) / 0.96)
    assert found[1] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])  # though the model excludes it
    assert found[2].tolist() == [0, 0, 1, 0]


def test_a_genotype_in_doubt_by_hand():
    settings = Settings(error_rate=0.1)
    found = genotypes_of(posterior(FixedProbabilities([0.01]), calls_of([[1], [1]]), settings))[
        0, 0
    ]
    weights = np.array([0.99**2 * 0.05, 2 * 0.99 * 0.01 * 0.05, 0.01**2 * 0.9])
    assert found == pytest.approx(weights / weights.sum())


def test_a_haplotype_is_doubted_allele_by_allele():
    settings = Settings(error_rate=0.1)
    pairs = posterior(FixedProbabilities([0.01]), calls_of([[1], [-1]], haploid=True), settings)
    weights = np.array([0.99 * 0.1, 0.01 * 0.9])
    assert haplotype(pairs, 0)[0, 0] == pytest.approx(weights / weights.sum())
    assert haplotype(pairs, 1)[0, 0] == pytest.approx([0.99, 0.01])


def test_what_is_known_holds_where_a_model_is_sure_of_something_else():
    found = posterior(FixedProbabilities([0, 1]), calls_of([[1, 0], [0, -1]]), Settings())[0]
    assert found.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]


def test_heterozygotes_of_unknown_phase_alternate_phase():
    alleles = np.array([[[0, 0, 1, 0, 0, 1, -1, -1], [1, 1, 0, 1, 0, -1, 0, 1]]], np.int8)
    known = np.array([[False, True, False, False, False, False, False, True]])
    found = alternate_phase(alleles, known)
    flipped = alternate_phase(np.where(known[:, None], alleles, alleles[:, ::-1]), known)
    assert found[0, 0].tolist() == [1, 0, 0, 1, 0, 1, 0, -1]
    assert found[0, 1].tolist() == [0, 1, 1, 0, 0, -1, -1, 1]
    assert found.tolist() == flipped.tolist()


def test_who_is_phased():
    alleles = np.array([[[0, 1], [1, 1]], [[0, 1], [1, 1]], [[0, 0], [0, 0]], [[-1] * 2] * 2], np.int8)  # fmt: skip
    phase_marks = np.array([[True, False], [False, True], [True, True], [True, True]])
    assert phased(alleles, phase_marks).tolist() == [True, False, True, False]


# --- calls ---------------------------------------------------------------------------------------


def parsed_calls(genotypes, is_phased=None, changeable=None):
    alleles = np.array(genotypes, np.int16)
    missing = (alleles == -1).any(axis=1)
    count = len(alleles)
    return ParsedCalls(
        alleles,
        np.zeros(count, bool) if is_phased is None else np.array(is_phased),
        alleles[:, 1] == -2,
        missing,
        np.ones(count, bool) if changeable is None else np.array(changeable),
    )


def test_genotypes_in_the_order_of_vcf():
    small, large = writing.genotype_order(3)
    assert small.tolist() == [0, 0, 1, 0, 1, 2]
    assert large.tolist() == [0, 1, 1, 2, 2, 2]
    found = writing._genotype_number(np.array([[1, 0], [2, 1], [2, -2], [1, 1]], np.int16))
    assert found.tolist() == [1, 4, 5, 2]


def test_a_missing_call_takes_the_likelier_order():
    pairs = np.array([[[0.1, 0.2], [0.6, 0.1]]] * 2, np.float32)
    called = outcome(parsed_calls([[-1, -1], [0, 1]]), pairs, np.zeros(2, bool), Settings())
    assert (called.first[0], called.second[0]) == (1, 0)
    assert called.filled.tolist() == [True, False]
    assert called.genotypes.tolist() == [pytest.approx([0.1, 0.8, 0.1]), [0, 1, 0]]


def test_a_letter_that_the_record_lacks_leaves_the_call_missing():
    pairs = np.array([np.diag([0.1, 0.3]), np.diag([0.1, 0.7])], np.float32)
    called = outcome(parsed_calls([[-1, -2], [-1, -2]]), pairs, np.zeros(2, bool), Settings())
    assert called.filled.tolist() == [False, True]
    gp, ds = map(writing.texts_of, writing.probability_words(called, np.array([True, True]), 2))
    assert gp == [b"0.25,0.75", b"0.125,0.875"]
    assert ds == [b"0.75", b"0.875"]


def test_a_call_that_may_not_change_has_no_probabilities():
    pairs = np.full((1, 2, 2), 0.25, np.float32)
    called = outcome(
        parsed_calls([[-1, -1]], changeable=[False]), pairs, np.zeros(1, bool), Settings()
    )
    assert not called.changed.any()
    gp, ds = map(writing.texts_of, writing.probability_words(called, np.array([False]), 2))
    assert (gp, ds) == ([b"."], [b"."])


def test_a_call_that_cannot_be_read_has_no_probabilities():
    """Of three alleles, say, or of an allele that the record lacks: neither missing nor known."""
    parsed = parsed_calls([[-1, -1], [0, -1], [1, 1]], changeable=[False, False, True])
    parsed = replace(parsed, missing=np.zeros(3, bool))
    pairs = np.full((3, 2, 2), 0.25, np.float32)
    called = outcome(parsed, pairs, np.zeros(3, bool), Settings())
    gp, ds = map(writing.texts_of, writing.probability_words(called, np.zeros(3, bool), 2))
    assert (gp, ds) == ([b".", b".", b"0,0,1"], [b".", b".", b"2"])


def test_calls_of_three_alleles_are_written_side_by_side():
    pairs = np.zeros((3, 3, 3), np.float32)
    pairs[0, 2, 1], pairs[1, 0, 0], pairs[2, 2, 2] = 1, 1, 0.33335
    called = outcome(
        parsed_calls([[-1, -1]] * 3), pairs, np.zeros(3, bool), Settings(confidence=0.5)
    )
    texts, text_indices = writing.new_calls(
        called, np.zeros(3, bool), np.array([True, False, False])
    )
    assert [texts[index] for index in text_indices[:2]] == [b"2|1", b"0/0"]
    gp, ds = writing.probability_words(called, np.zeros(3, bool), 3)
    calls = writing.call_words([b"2|1", b"0/0", b"./."])
    assert writing.joined(np.hstack([calls[:, None], gp, ds])).split(b"\t") == [
        b"2|1:0,0,0,0,1,0:1,1",
        b"0/0:1,0,0,0,0,0:0,0",
        b"./.:0,0,0,0,0,1:0,2",
    ]


def test_a_call_too_long_for_a_machine_word_takes_the_slower_path():
    assert writing.call_words([b"0/1", b"1234/123"]) is None
    assert writing.joined(writing.call_words([b"0/1", b"123|123"])) == b"0/1\t123|123"


def test_a_doubted_call_is_corrected_if_another_is_likelier():
    pairs = np.array([[[0.9, 0], [0, 0.1]], [[0.4, 0.2], [0.2, 0.2]]], np.float32)
    called = outcome(
        parsed_calls([[1, 1], [1, 1]]), pairs, np.ones(2, bool), Settings(error_rate=0.1)
    )
    assert called.corrected.tolist() == [True, False]


def test_counts_in_info_are_brought_up_to_date_where_they_were_right():
    pairs = np.array([[[0, 0], [0, 1]]] * 3, np.float32)
    parsed = parsed_calls([[0, 1], [-1, -1], [1, -2]])
    called = outcome(parsed, pairs, np.zeros(3, bool), Settings())
    counts = [writing.allele_counts(parsed, change, 2) for change in (None, called)]
    assert counts == [[1, 2], [1, 4]]
    assert writing.recounted(b"X;AC=2;AF=0.7;AN=3;Y=1", *counts) == b"X;AC=4;AF=0.8;AN=5;Y=1"
    assert writing.recounted(b"AC=2;AN=802", *counts) == b"AC=2;AN=802"
    assert writing.recounted(b".", *counts) == b"."
    assert writing.recounted(b"AF=0.7;AN=3", *counts) == b"AF=0.7;AN=5"  # AF of we know not whom
    assert writing.recounted(b"AF=0.7", *counts) == b"AF=0.7"


def test_fields_added_to_genotypes():
    assert writing.fields_of(b"GT") == (b"GT:GP:DS", [1, 2])
    assert writing.fields_of(b"GT:DS:DP") == (b"GT:DS:DP:GP", [3, 1])
    assert writing.with_fields(b"0/1:2", [3, 1], [b"a", b"b"]) == b"0/1:b:.:a"
    assert writing.call_text(1, 0, haploid=False, phased=False) == b"0/1"
    assert writing.call_text(1, 0, haploid=False, phased=True) == b"1|0"
    assert writing.call_text(2, 2, haploid=True, phased=True) == b"2"


# --- a VCF on its way ----------------------------------------------------------------------------


class StarEditor:
    """Marks records that hold an x with a star; adds lines with their contig and position."""

    def sites(self, contig):
        return {7: 0} if contig == "1" else {}

    def edited(self, raw, number, line):
        return raw.replace(b"\tx", b"\t*") if b"\tx" in raw else raw

    def silent(self):
        return self

    def added(self, additions, contig):
        return [b"%s\t%d\tnew" % (contig, addition.position) for addition in additions]

    def header(self, lines, contigs):
        return [b"##more=%s" % ",".join(contigs).encode(), *lines]


HEADER = b"##fileformat=VCFv4.2\n#CHROM\tPOS\n"


def rewritten(
    text, additions=(), shard=WHOLE, contigs_present=("1", "3"), default_order=("1", "2", "3")
):
    out, lines = io.BytesIO(), line_count(source_of(text, Kind.VCF))
    rewriter = VcfRewriter(
        StarEditor(),
        additions,
        contigs_present=contigs_present,
        default_order=default_order,
        shard=shard,
        line_count=lines,
    )
    rewriter.run(source_of(text, Kind.VCF), out)
    return out.getvalue()


RECORDS = st.sampled_from([b"1\t7\ty", b"1\t9\tx", b"2\t7\tx", b"", b"odd", b"1\tz\tx"])


@given(st.lists(RECORDS), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_records_that_are_not_touched_pass_as_they_are(lines, newline, final_newline):
    text = HEADER.replace(b"\n", newline) + newline.join(lines) + newline * final_newline
    assert rewritten(text) == text


def test_additions_stand_where_they_belong():
    text = HEADER + b"chr1\t5\ta\nchr1\t7\tx\nchr3\t2\tb"
    positions = [("3", 9), ("1", 6), ("1", 8), ("2", 4), ("3", 1)]
    additions = [Addition(contig, position, 0) for contig, position in positions]
    lines = rewritten(text, additions).split(b"\n")
    assert lines[3:] == [
        b"chr1\t5\ta", b"chr1\t6\tnew", b"chr1\t7\t*", b"chr1\t8\tnew", b"chr2\t4\tnew",
        b"chr3\t1\tnew", b"chr3\t2\tb", b"chr3\t9\tnew", b"",
    ]  # fmt: skip


SITES = st.builds(Addition, st.sampled_from(["1", "2", "3"]), st.integers(1, 12), st.just(0))


@given(
    st.lists(st.one_of(RECORDS, st.just(b"1\t7\tx"), st.just(b"3\t2\tx"))),
    st.lists(SITES, max_size=4),
    st.booleans(),
    st.integers(1, 5),
)
def test_parts_of_a_file_end_to_end_are_the_whole(lines, additions, final_newline, count):
    text = HEADER + b"\n".join(lines) + b"\n" * final_newline
    parts = [rewritten(text, additions, Shard(number, count)) for number in range(1, count + 1)]
    assert b"".join(parts) == rewritten(text, additions)


def test_a_contig_that_comes_later_is_not_taken_for_absent():
    text = HEADER + b"3\t2\tb\n1\t7\ty\n"
    lines = rewritten(text, [Addition("1", 8, 0), Addition("2", 4, 0)]).splitlines()
    assert lines[3:] == [b"2\t4\tnew", b"3\t2\tb", b"1\t7\ty", b"1\t8\tnew"]


# --- mapped positions -----------------------------------------------------------------------------

RNG = np.random.default_rng(4)
CIRCLE = Reference("c", "".join(RNG.choice(list("ACGT"), 2000)), circular=True)


@pytest.mark.parametrize("circular", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("cut", [0, 700])
def test_query_indices_are_those_of_the_mapped_letters(circular, reverse, cut):
    reference = Reference("c", CIRCLE.sequence, circular=circular)
    query = reference.sequence[cut:] + (reference.sequence[:cut] if circular else "")
    query = query[:300] + "TTTT" + query[300:900] + query[910:]
    if reverse:
        query = query.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    mapped = Mapper(reference)(query)
    query_index, letters = mapped.query_index, mapped.letters
    mapped_positions = np.flatnonzero(query_index >= 0)
    assert len(mapped_positions) > 1000
    assert len(set(query_index[mapped_positions].tolist())) == len(mapped_positions)
    query_letters = np.frombuffer(query.encode(), np.uint8)[query_index[mapped_positions]]
    if reverse:
        query_letters = np.frombuffer(
            query_letters.tobytes().translate(bytes.maketrans(b"ACGT", b"TGCA")), np.uint8
        )
    assert (query_letters == letters[mapped_positions]).all()
    assert (query_index[letters != ord("N")] >= 0).all()


# --- entries to models ---------------------------------------------------------------------------------


class NamedDenoiser:
    """Reads the entries whose names it is given, and restores none of their letters."""

    name, batch_size = "names", 2

    def __init__(self, known):
        self.known, self.batches = known, []

    def read(self, entries):
        names = tuple(entry.name for entry in entries)
        return names if names in self.known else None

    def restore(self, readings):
        self.batches.append(list(readings))
        return [None] * len(readings)


def test_entries_leave_in_order_and_pairs_are_read_together():
    text = b">a_A\n>b\n>p_A\nA\n>p_B\nC\n>q_A\n>q_B\n>z"
    one, two = (
        NamedDenoiser({("p_A", "p_B"), ("b",)}),
        NamedDenoiser({("a_A",), ("q_A",), ("q_B",), ("b",)}),
    )
    found = list(denoise_entries(entries_of_samples(read_entries(source_of(text))), [one, two]))
    assert b"".join(item.restored.raw for item in found) == text
    assert [item.entry.name for item in found] == ["a_A", "b", "p_A", "p_B", "q_A", "q_B", "z"]
    assert one.batches == [[("b",), ("p_A", "p_B")]]
    assert two.batches == [[("a_A",), ("q_A",)], [("q_B",)]]
    assert isinstance(found[-1], DenoisedEntry)
    assert found[-1].model is None


@pytest.mark.parametrize("cls", [False, True])
def test_a_missing_base_is_predicted_between_the_special_tokens_of_the_model(cls):
    tokenizer = {"kind": "dna_characters", "cls": cls}
    sizes = {"width": 8, "heads": 2, "layers": 1, "feed_forward": 8, "positions": 16}
    bundle = likelihood_bundles.bundle("transformer", tokenizer, "masked", **sizes)
    tokens = bundle.tokenizer
    ids = tokens.template(tokens.encode("ACGTTGCA")).astype(np.int64)
    at = len(tokens.prefix) + 3
    ids[at] = tokens.mask_id
    with torch.inference_mode():
        network = bundle.classifier.networks[0]
        logits = network.predict_masked(bundle.auxiliary["masked"], torch.from_numpy(ids)[None])
    expected = logits[0, at, tokens.encode("ACGT").tolist()].softmax(0)
    denoiser = denoiser_of(bundle, Settings(), ())
    (restored,) = denoise_entries([[*read_entries(source_of(b">s\nACGNTGCA\n"))]], [denoiser])
    assert restored.proposal.probabilities.tolist() == pytest.approx([float(expected.max())])
    entries = read_entries(source_of(b">s\n" + b"ACGNTGCA" * 9 + b"\n"))
    (restored,) = denoise_entries([[*entries]], [denoiser])
    assert len(restored.proposal.positions) == 9  # in windows that the network can read
