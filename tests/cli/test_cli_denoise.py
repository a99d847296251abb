"""`genomai denoise` of FASTA: what is restored, and what stays byte for byte."""

import gzip
import json

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, assert_expected, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomai_cli.backbones.heads import build_auxiliary
from genomai_cli.bundles.bundle import Bundle, build, save
from genomai_cli.bundles.writing import Extras
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.population.barcode import heterozygote_codes
from genomai_cli.population.panel import Panel

pytestmark = pytest.mark.usefixtures("one_thread", "shipped_only")
PANEL = Panel.read(REPOSITORY / "models" / "ancestry-generator" / "panel.tsv")
SAMPLES = (REPOSITORY / "examples" / "samples.fa").read_text()
VCF = gzip.decompress((REPOSITORY / "examples" / "samples.vcf.gz").read_bytes()).decode()
MITO = "".join((REPOSITORY / "models" / "mito" / "reference.fa").read_text().splitlines()[1:])
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
SITES = [
    {chr(a), chr(b), chr(h)}
    for a, b, h in zip(PANEL.ref_codes, PANEL.alt_codes, heterozygote_codes(PANEL), strict=True)
]


def denoise(*arguments, stdin=b""):
    return run(["denoise", "--device", "cpu", *map(str, arguments)], stdin=stdin)


def denoised(*arguments, stdin=b""):
    result = denoise(*arguments, stdin=stdin)
    assert result.status == 0, result.stderr
    return result.output.decode()


def barcodes():
    """The barcodes of the example samples, by name."""
    lines = SAMPLES.splitlines()
    return {title[1:].split()[0]: row for title, row in zip(lines[::2], lines[1::2], strict=True)}


def mask_letters(sequence, share, seed=0, letter="N"):
    """The sequence with a share of its letters masked."""
    letters = np.array(list(sequence))
    letters[np.random.default_rng(seed).random(len(letters)) < share] = letter
    return "".join(letters)


def fasta(records, width=0):
    lines = []
    for name, sequence in records.items():
        step = width or len(sequence)
        lines += [f">{name}", *(sequence[at : at + step] for at in range(0, len(sequence), step))]
    return "\n".join(lines) + "\n"


def sequences(text):
    return {
        entry.split("\n", 1)[0].split()[0]: "".join(entry.split("\n", 1)[1].split())
        for entry in text.split(">")[1:]
    }


def assert_only_missing_changed(before, after):
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert old == new or old in "Nn", (old, new)


# --- barcodes ------------------------------------------------------------------------------------


def test_missing_letters_of_barcodes_become_genotypes_of_their_sites():
    masked = {name: mask_letters(row, 0.5, n) for n, (name, row) in enumerate(barcodes().items())}
    text = fasta(masked, width=70)
    after = sequences(denoised(stdin=text))
    for name, row in masked.items():
        assert_only_missing_changed(row, after[name])
        assert all(new in site for new, site in zip(after[name], SITES, strict=True))


def test_everything_but_the_letters_stays_byte_for_byte():
    name, row = next(iter(barcodes().items()))
    row = row[:100].lower() + "nN" + row[102:]
    lines = [row[:50], row[50:400], "", row[400:]]
    text = f"\n>{name}  two  words\twith a tab \r\n" + " \r\n".join(lines) + "\r\n\n>x\nACGTAC"
    result = denoise(stdin=text)
    assert result.status == 0
    before, after = text.encode(), result.output
    positions = [at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert len(before) == len(after)
    assert [before[at : at + 1] for at in positions] == [b"n", b"N"]
    assert after[positions[0] : positions[0] + 1].islower()
    assert after[positions[1] : positions[1] + 1].isupper()


def test_two_haplotypes_are_restored_as_haplotypes():
    rng = np.random.default_rng(5)
    alleles = np.where(rng.random((2, 967)) < 0.5, PANEL.ref_codes, PANEL.alt_codes)
    rows = [row.astype(np.uint8).tobytes().decode() for row in alleles]
    pair = {"p_A": mask_letters(rows[0], 0.3, 1), "p_B": mask_letters(rows[1], 0.3, 2)}
    single = {"alone": pair["p_A"]}
    after = sequences(denoised(stdin=fasta(pair | single)))
    for name, row in (pair | single).items():
        assert_only_missing_changed(row, after[name])
        assert set(after[name]) <= set("ACGT")


def test_golden_barcode():
    name, row = list(barcodes().items())[2]
    assert_expected(
        "denoise.fa", denoised(stdin=fasta({name: mask_letters(row, 0.3, 7)}, width=80))
    )


def test_a_record_does_not_depend_on_the_others():
    masked = {name: mask_letters(row, 0.4, n) for n, (name, row) in enumerate(barcodes().items())}
    together = sequences(denoised("--error-rate", 0.01, stdin=fasta(masked)))
    name = list(masked)[3]
    alone = sequences(denoised("--error-rate", 0.01, stdin=fasta({name: masked[name]})))
    assert alone[name] == together[name]


def test_barcodes_of_a_smaller_panel_are_restored_where_it_shares_sites():
    smaller = Panel.read(REPOSITORY / "models" / "genomai-v2" / "panel.tsv")
    row = mask_letters(smaller.ref_codes.tobytes().decode(), 0.5)
    after = sequences(denoised(stdin=fasta({"x": row})))["x"]
    assert_only_missing_changed(row, after)
    assert "N" not in after


@pytest.mark.parametrize(
    "sequence",
    [
        "".join(np.random.default_rng(0).choice(list("ACGTN"), 967)),
        "".join(np.random.default_rng(1).choice(list("ACGT"), 5000)),
        "ACGTN",
        "N" * 967,
        "MKVLAAGIVGLLLAQWERTYIPASDFGHKLCVNM",
        "",
        mask_letters(MITO, 0.9999),
    ],
    ids=["random barcode", "random DNA", "short", "nothing known", "protein", "empty", "dark"],
)
def test_what_no_model_knows_comes_back_as_it_is(sequence):
    text = f">odd one\n{sequence}\n>{'x' * 3}\n{sequence}\n"
    result = denoise(stdin=text)
    assert result.status == 0
    assert result.output.decode() == text
    assert result.stderr.count("unchanged") == 2


def test_a_min_confidence_of_1_changes_nothing():
    text = fasta({name: mask_letters(row, 0.5) for name, row in barcodes().items()})
    assert denoised("--min-confidence", 1, stdin=text) == text


def test_min_confidence_leaves_the_less_certain_letters_missing():
    name, row = next(iter(barcodes().items()))
    text = fasta({name: mask_letters(row, 0.5)})
    unfiltered = sequences(denoised(stdin=text))[name]
    confident = sequences(denoised("--min-confidence", 0.8, stdin=text))[name]
    assert 0 < confident.count("N") < text.count("N")
    assert all(b in ("N", a) for a, b in zip(unfiltered, confident, strict=True))


def test_changes_are_the_differences(tmp_path):
    name, row = next(iter(barcodes().items()))
    text = fasta({name: mask_letters(row, 0.2)})
    after = sequences(denoised("--changes", tmp_path / "c.tsv", stdin=text))[name]
    head, *rows = [line.split("\t") for line in (tmp_path / "c.tsv").read_text().splitlines()]
    assert head == ["sample", "place", "from", "to", "probability"]
    before = sequences(text)[name]
    changed = [at for at in range(967) if before[at] != after[at]]
    assert [int(position) - 1 for _, position, *_ in rows] == changed
    assert [(old, new) for _, _, old, new, _ in rows] == [(before[at], after[at]) for at in changed]
    assert all(row[0] == name and 0 < float(row[4]) <= 1 for row in rows)


def test_the_report_counts(tmp_path):
    name, row = next(iter(barcodes().items()))
    text = fasta({name: mask_letters(row, 0.2), "odd": "ACGT"})
    denoised("--report-json", tmp_path / "r.json", stdin=text)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["records"] == {"read": 2, "used": 1, "refused": 1}
    assert report["details"] == {
        "missing": text.count("N"),
        "restored": text.count("N"),
        "corrected": 0,
    }


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sets(st.integers(0, 966), min_size=1, max_size=900), st.integers(1, 200))
def test_restored_letters_stand_only_where_one_was_missing(positions, width):
    name, row = list(barcodes().items())[4]
    masked = "".join("N" if at in positions else letter for at, letter in enumerate(row))
    text = fasta({name: masked}, width)
    after = denoised(stdin=text)
    assert_only_missing_changed(text, after)
    assert "N" not in sequences(after)[name]


# --- mitochondrial genomes -----------------------------------------------------------------------


def test_a_genome_in_the_coordinates_of_the_reference():
    after = sequences(denoised(stdin=fasta({"g": mask_letters(MITO, 0.6)}, width=70)))["g"]
    assert after[3106] == "N"  # where the reference has none
    errors = [at for at in range(len(MITO)) if after[at] != MITO[at]]
    assert len(errors) < 20


def test_a_part_on_the_other_strand_is_restored_where_it_stands():
    part = (MITO[9000:] + MITO[:2000]).replace("N", "")
    reverse_complement = part.translate(COMPLEMENT)[::-1]
    masked = mask_letters(reverse_complement, 0.02, 3)
    masked = masked[:500] + "N" * 200 + masked[700:]
    after = sequences(denoised(stdin=fasta({"g": masked})))["g"]
    assert_only_missing_changed(masked, after)
    errors = [at for at in range(len(reverse_complement)) if after[at] != reverse_complement[at]]
    assert len(errors) < 5


def test_another_species_stays_as_it_is():
    rng = np.random.default_rng(2)
    letters = np.array(list(MITO))
    mutated = rng.random(len(letters)) < 0.09
    transition = {"A": "G", "G": "A", "C": "T", "T": "C", "N": "N"}
    letters[mutated] = [transition[letter] for letter in letters[mutated]]
    text = fasta({"ape": mask_letters("".join(letters), 0.02)})
    result = denoise(stdin=text)
    assert result.output.decode() == text
    assert "ape: unknown to" in result.stderr


def test_errors_in_a_genome_are_corrected(tmp_path):
    positions = [2000, 5003, 11000]
    letters = list(MITO)
    for at in positions:
        letters[at] = letters[at].translate(COMPLEMENT)
    text = fasta({"g": "".join(letters)})
    assert denoised(stdin=text) == text
    after = denoised("--error-rate", 0.001, "--changes", tmp_path / "c.tsv", stdin=text)
    assert all(sequences(after)["g"][at] == MITO[at] for at in positions)
    rows = (tmp_path / "c.tsv").read_text().splitlines()
    assert len(rows) < 8


def test_errors_in_a_barcode_are_corrected(tmp_path):
    name, row = list(barcodes().items())[6]
    rng = np.random.default_rng(0)
    substitutions = {
        at: next(x for x in "ACGT" if x not in SITES[at]) for at in rng.integers(967, size=9)
    }
    text = fasta({name: "".join(substitutions.get(at, letter) for at, letter in enumerate(row))})
    assert denoised(stdin=text) == text  # no letter is missing
    after = sequences(denoised("--error-rate", 0.01, stdin=text))[name]
    assert all(after[at] in SITES[at] for at in substitutions)
    changed = sum(a != b for a, b in zip(row, after, strict=True))
    assert changed < 30


# --- plain DNA -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dna_model(one_thread, tmp_path_factory):
    """A model of single letters, untrained."""
    network = {
        "kind": "transformer",
        "vocabulary": 7,
        "pad_id": 5,
        "width": 8,
        "heads": 2,
        "layers": 1,
        "feed_forward": 8,
        "positions": 40,
        "head_width": 4,
        "dropout": 0.0,
    }
    config = {
        "name": "dna",
        "version": "0.1",
        "description": "a test",
        "input": {"kind": "sequence"},
        "tokenizer": {"kind": "characters"},
        "network": network,
        "members": 1,
        "heads": {},
        "companions": {"masked": {"kind": "words", "vocabulary": 7}},
    }
    torch.manual_seed(3)
    kind = SequenceInput()
    classifier = build(config, kind).requires_grad_(False)
    heads = build_auxiliary(config["companions"], classifier.networks[0]).requires_grad_(False)
    folder = tmp_path_factory.mktemp("models") / "dna"
    bundle = Bundle(config, classifier, kind, auxiliary=dict(heads.items()))
    save(bundle, folder, Extras("# dna\n", ""))
    return folder


def test_plain_dna_is_restored_where_enough_is_known(dna_model):
    rng = np.random.default_rng(8)
    sequence = "".join(rng.choice(list("ACGT"), 300))
    masked = mask_letters(sequence, 0.1, 1)[:150] + "N" * 100 + sequence[250:]
    text = fasta({"a": masked, "b": sequence[:60], "c": "N" * 50}, width=61)
    after = denoised("--model", dna_model, stdin=text)
    assert_only_missing_changed(text, after)
    a = sequences(after)["a"]
    assert "N" not in a[:140]
    assert a[180:220] == "N" * 40  # too far from everything known


def test_plain_dna_with_an_error_rate(dna_model):
    text = fasta({"a": "ACGTTGCA" * 20})
    after = denoised("--model", dna_model, "--error-rate", 0.3, stdin=text)
    assert len(after) == len(text)
    assert set(sequences(after)["a"]) <= set("ACGT")


def test_plain_dna_in_a_vcf_is_refused(dna_model):
    result = denoise("--model", dna_model, stdin=VCF)
    assert result.status == 1
    assert "does not read VCF" in result.stderr


@pytest.mark.parametrize(("model", "reason"), [("genomai-v2", "not alleles"), ("mito", "hidden")])
def test_models_that_restore_nothing_say_so(model, reason):
    result = denoise("--model", model, stdin=fasta({"a": "ACGT" * 50}))
    assert result.status == 1
    assert result.output == b""
    assert f"the model '{model}' restores nothing" in result.stderr
    assert reason in result.stderr


def test_changes_may_not_go_to_the_output(tmp_path):
    result = denoise("-o", tmp_path / "x", "--changes", tmp_path / "x", stdin=SAMPLES)
    assert result.status == 2
    assert not (tmp_path / "x").exists()


def test_fastq_is_refused():
    result = denoise(stdin="@a\nACGT\n+\nIIII\n")
    assert result.status == 1
    assert "FASTQ, where FASTA or VCF is needed" in result.stderr


def test_lists_of_variants_are_told():
    ref = np.frombuffer("".join(PANEL.ref).encode(), np.uint8)
    samples = {}
    for name, sequence in list(barcodes().items())[:2]:
        letters = np.frombuffer(sequence.encode(), np.uint8)
        samples[name] = (
            np.where(letters == ref, ord("N"), letters).astype(np.uint8).tobytes().decode()
        )
    result = denoise(stdin=fasta(samples | dict(list(barcodes().items())[2:3])).encode())
    (line,) = [line for line in result.stderr.splitlines() if "VARIANTS_ONLY" in line]
    assert f"2 of 3 samples, {next(iter(samples))} first" in line
