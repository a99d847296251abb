"""`genomai denoise`: what is restored, what stays byte for byte, and what a VCF looks like after it."""

import gzip
import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, assert_expected, run, run_process
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomai_cli.backbones.heads import build_auxiliary
from genomai_cli.bundles.bundle import Bundle, Extras, build, save
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.population.barcode import heterozygote_codes
from genomai_cli.population.panel import Panel

pytestmark = pytest.mark.usefixtures("one_thread", "shipped_only")
BCFTOOLS = shutil.which("bcftools")
needs_bcftools = pytest.mark.skipif(not BCFTOOLS, reason="bcftools is not installed here")

PANEL = Panel.read(REPOSITORY / "models" / "ancestry-generator" / "panel.tsv")
SAMPLES = (REPOSITORY / "examples" / "samples.fa").read_text()
VCF = gzip.decompress((REPOSITORY / "examples" / "samples.vcf.gz").read_bytes()).decode()
MITO = "".join((REPOSITORY / "models" / "mito" / "reference.fa").read_text().splitlines()[1:])
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
SITES = [
    {chr(a), chr(b), chr(h)}
    for a, b, h in zip(PANEL.ref_codes, PANEL.alt_codes, heterozygote_codes(PANEL), strict=True)
]


@pytest.fixture(scope="module")
def shipped_only():
    """No other models than the shipped ones are in the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GENOMAI_MODELS", raising=False)
        yield


def denoise(*arguments, stdin=b""):
    return run(["denoise", "--device", "cpu", *map(str, arguments)], stdin=stdin)


def restored(*arguments, stdin=b""):
    result = denoise(*arguments, stdin=stdin)
    assert result.status == 0, result.stderr
    return result.output.decode()


def barcodes():
    """The names and letters of the example people."""
    lines = SAMPLES.splitlines()
    return {title[1:].split()[0]: row for title, row in zip(lines[::2], lines[1::2], strict=True)}


def hidden(sequence, share, seed=0, letter="N"):
    """The sequence with a share of its letters hidden."""
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
    given_ = {name: hidden(row, 0.5, n) for n, (name, row) in enumerate(barcodes().items())}
    text = fasta(given_, width=70)
    after = sequences(restored(stdin=text))
    for name, row in given_.items():
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
    places = [at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert len(before) == len(after)
    assert [before[at : at + 1] for at in places] == [b"n", b"N"]
    assert after[places[0] : places[0] + 1].islower()
    assert after[places[1] : places[1] + 1].isupper()


def test_two_haplotypes_are_restored_as_haplotypes():
    rng = np.random.default_rng(5)
    alleles = np.where(rng.random((2, 967)) < 0.5, PANEL.ref_codes, PANEL.alt_codes)
    rows = [row.astype(np.uint8).tobytes().decode() for row in alleles]
    pair = {"p_A": hidden(rows[0], 0.3, 1), "p_B": hidden(rows[1], 0.3, 2)}
    single = {"alone": pair["p_A"]}
    after = sequences(restored(stdin=fasta(pair | single)))
    for name, row in (pair | single).items():
        assert_only_missing_changed(row, after[name])
        assert set(after[name]) <= set("ACGT")


def test_golden_barcode():
    name, row = list(barcodes().items())[2]
    assert_expected("denoise.fa", restored(stdin=fasta({name: hidden(row, 0.3, 7)}, width=80)))


def test_a_record_does_not_depend_on_the_others():
    given_ = {name: hidden(row, 0.4, n) for n, (name, row) in enumerate(barcodes().items())}
    together = sequences(restored("--error-rate", 0.01, stdin=fasta(given_)))
    name = list(given_)[3]
    alone = sequences(restored("--error-rate", 0.01, stdin=fasta({name: given_[name]})))
    assert alone[name] == together[name]


def test_barcodes_of_a_smaller_panel_are_restored_where_it_shares_sites():
    smaller = Panel.read(REPOSITORY / "models" / "genomai-v2" / "panel.tsv")
    row = hidden(smaller.ref_codes.tobytes().decode(), 0.5)
    after = sequences(restored(stdin=fasta({"x": row})))["x"]
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
        hidden(MITO, 0.9999),
    ],
    ids=["random barcode", "random DNA", "short", "nothing known", "protein", "empty", "dark"],
)
def test_what_no_model_knows_comes_back_as_it_is(sequence):
    text = f">odd one\n{sequence}\n>{'x' * 3}\n{sequence}\n"
    result = denoise(stdin=text)
    assert result.status == 0
    assert result.output.decode() == text
    assert result.stderr.count("unchanged") == 2


def test_a_certain_wish_changes_nothing():
    text = fasta({name: hidden(row, 0.5) for name, row in barcodes().items()})
    assert restored("--min-confidence", 1, stdin=text) == text


def test_min_confidence_leaves_the_less_certain_letters_missing():
    name, row = next(iter(barcodes().items()))
    text = fasta({name: hidden(row, 0.5)})
    all_of_them = sequences(restored(stdin=text))[name]
    some = sequences(restored("--min-confidence", 0.8, stdin=text))[name]
    assert 0 < some.count("N") < text.count("N")
    assert all(b in ("N", a) for a, b in zip(all_of_them, some, strict=True))


def test_changes_are_the_differences(tmp_path):
    name, row = next(iter(barcodes().items()))
    text = fasta({name: hidden(row, 0.2)})
    after = sequences(restored("--changes", tmp_path / "c.tsv", stdin=text))[name]
    head, *rows = [line.split("\t") for line in (tmp_path / "c.tsv").read_text().splitlines()]
    assert head == ["sample", "place", "from", "to", "probability"]
    before = sequences(text)[name]
    differ = [at for at in range(967) if before[at] != after[at]]
    assert [int(place) - 1 for _, place, *_ in rows] == differ
    assert [(old, new) for _, _, old, new, _ in rows] == [(before[at], after[at]) for at in differ]
    assert all(row[0] == name and 0 < float(row[4]) <= 1 for row in rows)


def test_the_report_counts(tmp_path):
    name, row = next(iter(barcodes().items()))
    text = fasta({name: hidden(row, 0.2), "odd": "ACGT"})
    restored("--report-json", tmp_path / "r.json", stdin=text)
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
def test_restored_letters_stand_only_where_one_was_missing(places, width):
    name, row = list(barcodes().items())[4]
    given_ = "".join("N" if at in places else letter for at, letter in enumerate(row))
    text = fasta({name: given_}, width)
    after = restored(stdin=text)
    assert_only_missing_changed(text, after)
    assert "N" not in sequences(after)[name]


# --- mitochondrial genomes -----------------------------------------------------------------------


def test_a_genome_in_the_coordinates_of_the_reference():
    after = sequences(restored(stdin=fasta({"g": hidden(MITO, 0.6)}, width=70)))["g"]
    assert after[3106] == "N"  # where the reference has none
    wrong = [at for at in range(len(MITO)) if after[at] != MITO[at]]
    assert len(wrong) < 20


def test_a_part_on_the_other_strand_is_restored_where_it_stands():
    part = (MITO[9000:] + MITO[:2000]).replace("N", "")
    turned = part.translate(COMPLEMENT)[::-1]
    given_ = hidden(turned, 0.02, 3)
    given_ = given_[:500] + "N" * 200 + given_[700:]
    after = sequences(restored(stdin=fasta({"g": given_})))["g"]
    assert_only_missing_changed(given_, after)
    wrong = [at for at in range(len(turned)) if after[at] != turned[at]]
    assert len(wrong) < 5


def test_another_species_stays_as_it_is():
    rng = np.random.default_rng(2)
    letters = np.array(list(MITO))
    places = rng.random(len(letters)) < 0.09
    transition = {"A": "G", "G": "A", "C": "T", "T": "C", "N": "N"}
    letters[places] = [transition[letter] for letter in letters[places]]
    text = fasta({"ape": hidden("".join(letters), 0.02)})
    result = denoise(stdin=text)
    assert result.output.decode() == text
    assert "ape: unknown to" in result.stderr


def test_doubtful_letters_of_a_genome_are_corrected(tmp_path):
    places = [2000, 5003, 11000]
    letters = list(MITO)
    for at in places:
        letters[at] = letters[at].translate(COMPLEMENT)
    text = fasta({"g": "".join(letters)})
    assert restored(stdin=text) == text
    after = restored("--error-rate", 0.001, "--changes", tmp_path / "c.tsv", stdin=text)
    assert all(sequences(after)["g"][at] == MITO[at] for at in places)
    rows = (tmp_path / "c.tsv").read_text().splitlines()
    assert len(rows) < 8


def test_doubtful_letters_of_a_barcode(tmp_path):
    name, row = list(barcodes().items())[6]
    rng = np.random.default_rng(0)
    foreign = {
        at: next(x for x in "ACGT" if x not in SITES[at]) for at in rng.integers(967, size=9)
    }
    text = fasta({name: "".join(foreign.get(at, letter) for at, letter in enumerate(row))})
    assert restored(stdin=text) == text  # no letter is missing
    after = sequences(restored("--error-rate", 0.01, stdin=text))[name]
    assert all(after[at] in SITES[at] for at in foreign)
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
    beside = build_auxiliary(config["companions"], classifier.networks[0]).requires_grad_(False)
    folder = tmp_path_factory.mktemp("models") / "dna"
    bundle = Bundle(config, classifier, kind, auxiliary=dict(beside.items()))
    save(bundle, folder, Extras("# dna\n", ""))
    return folder


def test_plain_dna_is_restored_where_enough_is_known(dna_model):
    rng = np.random.default_rng(8)
    known = "".join(rng.choice(list("ACGT"), 300))
    given_ = hidden(known, 0.1, 1)[:150] + "N" * 100 + known[250:]
    text = fasta({"a": given_, "b": known[:60], "c": "N" * 50}, width=61)
    after = restored("--model", dna_model, stdin=text)
    assert_only_missing_changed(text, after)
    a = sequences(after)["a"]
    assert "N" not in a[:140]
    assert a[180:220] == "N" * 40  # too far from everything known


def test_plain_dna_in_doubt(dna_model):
    text = fasta({"a": "ACGTTGCA" * 20})
    after = restored("--model", dna_model, "--error-rate", 0.3, stdin=text)
    assert len(after) == len(text)
    assert set(sequences(after)["a"]) <= set("ACGT")


def test_plain_dna_in_a_vcf_is_refused(dna_model):
    result = denoise("--model", dna_model, stdin=VCF)
    assert result.status == 1
    assert "does not read VCF" in result.stderr


@pytest.mark.parametrize(("model", "why"), [("genomai-v2", "not alleles"), ("mito", "hidden")])
def test_models_that_restore_nothing_say_so(model, why):
    result = denoise("--model", model, stdin=fasta({"a": "ACGT" * 50}))
    assert result.status == 1
    assert result.output == b""
    assert f"the model '{model}' restores nothing" in result.stderr
    assert why in result.stderr


# --- VCF -----------------------------------------------------------------------------------------


def table(text):
    """The samples, and the columns of every record."""
    lines = text.splitlines()
    records = [line.split("\t") for line in lines if not line.startswith("#")]
    names = next(line for line in lines if line.startswith("#CHROM")).split("\t")[9:]
    return names, records


def with_records(text, records):
    head = [line for line in text.splitlines() if line.startswith("#")]
    return "\n".join([*head, *("\t".join(columns) for columns in records)]) + "\n"


def people(kept=11):
    """The example people without the one who is mostly missing, as columns of a VCF."""
    lines = VCF.splitlines()
    head = [line for line in lines if line.startswith("##")]
    rows = [line.split("\t")[: 9 + kept] for line in lines if not line.startswith("##")]
    return "\n".join([*head, *("\t".join(row) for row in rows)]) + "\n"


def incomplete(seed=0, forms=("./.", ".|.", "."), share=0.2, every=2):
    """The people with missing genotypes in every other record."""
    rng = np.random.default_rng(seed)
    text = people()
    _, records = table(text)
    for number, columns in enumerate(records):
        for at in range(9, len(columns)):
            if number % every == 0 and rng.random() < share:
                columns[at] = str(rng.choice(forms))
    return with_records(text, records)


def test_a_file_in_which_nothing_is_missing_comes_back_as_it_is(tmp_path):
    for text in (people(), people().replace("\n", "\r\n"), people().rstrip("\n")):
        assert restored(stdin=text) == text
    (tmp_path / "x.vcf").write_text(people())
    assert restored(tmp_path / "x.vcf") == people()


def test_missing_genotypes_are_filled_in():
    text = incomplete()
    names, before = table(text)
    after_names, after = table(restored(stdin=text))
    assert after_names == names
    for old, new in zip(before, after, strict=True):
        touched = any("." in call for call in old[9:])
        assert (old == new) is not touched
        if not touched:
            continue
        assert new[:8] == old[:8]
        assert new[8] == "GT:GP:DS"
        for was, call in zip(old[9:], new[9:], strict=True):
            genotype, shares, dosage = call.split(":")
            p = [float(share) for share in shares.split(",")]
            assert sum(p) == pytest.approx(1, abs=2e-4)
            assert float(dosage) == pytest.approx(p[1] + 2 * p[2], abs=2e-4)
            assert "|" in genotype  # everyone is phased
            if "." not in was:
                assert genotype == was
                assert p[sum(map(int, was.split("|")))] == 1
            else:
                assert p[sum(map(int, genotype.split("|")))] == max(p)


def test_records_that_are_not_touched_stay_byte_for_byte():
    text = incomplete().replace("\tPASS\t.\tGT\t", "\tPASS\tX=1;Y\tGT\t")
    before, after = (t.splitlines() for t in (text, restored(stdin=text)))
    records = (line for line in before if not line.startswith("#"))
    whole = [line for line in records if "." not in "".join(line.split("\t")[9:])]
    assert len(whole) > 400
    assert set(whole) <= set(after)


def test_golden_vcf():
    text = incomplete()
    _, records = table(text)
    few = with_records(text, records[:12])
    assert_expected("denoise.vcf", restored("--only-present", stdin=few))


def test_sites_that_the_file_lacks_are_added_in_their_place():
    text = people()
    _, records = table(text)
    kept = [columns for number, columns in enumerate(records) if number % 3 and columns[0] != "7"]
    result = restored(stdin=with_records(text, kept))
    _, after = table(result)
    assert [columns[:5] for columns in after] == [columns[:5] for columns in records]
    added = [columns for columns in after if columns[7] == "IMPUTED"]
    assert len(added) == len(records) - len(kept)
    assert "##INFO=<ID=IMPUTED," in result
    assert restored("--only-present", stdin=with_records(text, kept)) == with_records(text, kept)


def test_contigs_and_builds_are_named_as_in_the_file():
    text = people()
    _, records = table(text)
    columns = (PANEL.chrom, *(PANEL.positions[b].tolist() for b in ("GRCh37", "GRCh38")))
    place = {(chrom, old): new for chrom, old, new in zip(*columns, strict=True)}
    moved = []
    for columns in records[5:]:
        position = place[columns[0], int(columns[1])]
        if position and columns[0] != "9":
            moved.append([f"chr{columns[0]}", str(position), *columns[2:]])
    moved.sort(key=lambda columns: (int(columns[0][3:]), int(columns[1])))
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("##contig")) + "\n"
    result = denoise(stdin=with_records(bare, moved))
    assert "GRCh38" in result.stderr
    _, after = table(result.output.decode())
    places = [(int(columns[0][3:]), int(columns[1])) for columns in after]
    assert places == sorted(places)
    assert sum(columns[0] == "chr9" for columns in after) > 10
    assert len(after) == 964  # three sites have no position in GRCh38


def test_swapped_alleles_give_the_same_genotypes():
    text = incomplete()
    _, records = table(text)
    turned = []
    for columns in records:
        calls = [call.translate(str.maketrans("01", "10")) for call in columns[9:]]
        turned.append([*columns[:3], columns[4], columns[3], *columns[5:9], *calls])
    _, one = table(restored(stdin=text))
    _, other = table(restored(stdin=with_records(text, turned)))
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a[9:], b[9:], strict=True):
            first, second = x.split(":"), y.split(":")
            assert first[0].translate(str.maketrans("01", "10")) == second[0]
            if len(first) > 1:
                shares = [[float(p) for p in fields[1].split(",")] for fields in (first, second)]
                assert shares[0] == pytest.approx(shares[1][::-1], abs=1.01e-4)


def test_half_a_genotype_keeps_its_known_half():
    text = incomplete(forms=("./1", "0/.", ".|1", "1|."))
    for old, new in zip(*(table(t)[1] for t in (text, restored(stdin=text))), strict=True):
        for was, call in zip(old[9:], new[9:], strict=True):
            if "." in was:
                genotype = call.split(":")[0]
                assert "." not in genotype
                known = was.strip("./|")
                assert known in genotype
                if "|" in was:
                    assert genotype[was.index(known)] == known


def test_other_fields_are_kept_and_padded():
    text = people()
    _, records = table(text)
    records[0][8:11] = ["GT:AD:DP", "./.", "0|1:3,4:7"]
    records[0][11:] = [f"{call}:1,1:2" for call in records[0][11:]]
    after = table(restored(stdin=with_records(text, records)))[1][0]
    assert after[8] == "GT:AD:DP:GP:DS"
    assert after[10] == "0|1:3,4:7:0,1,0:1"
    fields = after[9].split(":")
    assert fields[1:3] == [".", "."]
    assert len(fields) == 5


def test_records_with_other_alleles_are_left_alone():
    text = people()
    _, records = table(text)
    for columns in records[:3]:
        columns[9] = "./."
    other = next(base for base in "ACGT" if base not in records[0][3:5])
    records[0][4] += f",{other}"
    records[1][4] = next(base for base in "ACGT" if base not in records[1][3:5])
    result = denoise(stdin=with_records(text, records))
    after = table(result.output.decode())[1]
    assert after[:2] == records[:2]
    assert after[2] != records[2]
    assert len(after) == len(records)
    assert "2 records with missing genotypes have other alleles" in result.stderr


def test_a_monomorphic_record_gets_the_other_allele():
    text = people()
    _, records = table(text)
    alt = records[3][4]
    records[3][4] = "."
    records[3][9:] = ["./.", *["0|0"] * 10]
    after = table(restored(stdin=with_records(text, records)))[1][3]
    assert after[4] == alt
    assert after[10].startswith("0|0:1,0,0:")


def test_more_than_two_alleles_stay():
    text = people()
    _, records = table(text)
    records[3][9:11] = ["././.", "./."]
    after = table(restored(stdin=with_records(text, records)))[1][3]
    assert after[9].split(":")[0] == "././."
    assert after[10].split(":")[0] != "./."


def test_an_unphased_person_stays_unphased():
    text = incomplete().replace("|", "/")
    _, after = table(restored(stdin=text))
    assert not any("|" in call for columns in after for call in columns[9:])


def test_a_sample_of_whom_nothing_is_known_stays_missing():
    text = people()
    names, records = table(text)
    records = [[*columns, "./."] for columns in records]
    text = with_records(text, records).replace(f"\t{names[-1]}\n", f"\t{names[-1]}\tnobody\n")
    result = denoise(stdin=text)
    assert result.output.decode() == text
    assert "1 samples have no genotype" in result.stderr


def test_a_file_without_a_site_of_the_model_comes_back_as_it_is():
    text = people()
    _, records = table(text)
    for columns in records:
        columns[1] = str(int(columns[1]) + 1)
    text = with_records(text, records)
    result = denoise(stdin=text)
    assert result.status == 0
    assert result.output.decode() == text
    assert "the file stays as it is" in result.stderr


def test_a_sample_does_not_depend_on_the_others():
    text = incomplete(3)
    _, records = table(text)
    names, _ = table(text)
    alone = with_records(text, [[*columns[:9], columns[12]] for columns in records])
    alone = alone.replace("\t".join(names), names[3])
    _, one = table(restored("--error-rate", 0.01, stdin=alone))
    _, all_of_them = table(restored("--error-rate", 0.01, stdin=text))
    for a, b in zip(one, all_of_them, strict=True):
        if a[8] == b[8]:
            assert a[9] == b[12]


def test_errors_in_genotypes_are_corrected(tmp_path):
    text = people()
    _, before = table(text)
    _, after = table(restored("--error-rate", 0.05, "--changes", tmp_path / "c.tsv", stdin=text))
    rows = [line.split("\t") for line in (tmp_path / "c.tsv").read_text().splitlines()[1:]]
    differ = sum(
        old != new.split(":")[0]
        for was, now in zip(before, after, strict=True)
        for old, new in zip(was[9:], now[9:], strict=True)
    )
    assert differ == len(rows) > 0
    assert all(float(row[4]) > 0.5 for row in rows)
    sample, place, _, new, _ = rows[0]
    columns = next(c for c in after if f"{c[0]}:{c[1]}" == place)
    assert columns[9 + table(text)[0].index(sample)].startswith(f"{new}:")


def test_every_way_in_and_out(tmp_path):
    text = incomplete()
    expected = restored(stdin=text)
    (tmp_path / "a.vcf").write_text(text)
    with gzip.open(tmp_path / "b.vcf.gz", "wt") as handle:
        handle.write(text)
    assert restored(tmp_path / "a.vcf") == expected
    assert restored(tmp_path / "b.vcf.gz") == expected
    restored(tmp_path / "a.vcf", "-o", tmp_path / "out.vcf.gz")
    assert gzip.decompress((tmp_path / "out.vcf.gz").read_bytes()).decode() == expected
    assert (tmp_path / "out.vcf.gz").read_bytes()[12:14] == b"BC"


def bcftools(*words, stdin=None):
    return subprocess.run([BCFTOOLS, *words], input=stdin, capture_output=True, check=True)


@needs_bcftools
def test_bcf_becomes_the_same_vcf(tmp_path):
    text = incomplete()
    for kind in "ub":
        bcf = bcftools("view", f"-O{kind}", stdin=text.encode()).stdout
        assert table(restored(stdin=bcf)) == table(restored(stdin=text))


@needs_bcftools
@pytest.mark.parametrize("options", [[], ["--error-rate", 0.02], ["--min-confidence", 0.9]])
def test_bcftools_reads_what_comes_out(tmp_path, options):
    text = incomplete(forms=("./.", ".|.", ".", "./1"))
    _, records = table(text)
    text = with_records(text, records[::2])
    restored(*options, "-o", tmp_path / "x.vcf.gz", stdin=text)
    for words in (["index"], ["norm", "-m", "-any", "-o", "/dev/null"], ["stats"]):
        done = bcftools(*words, tmp_path / "x.vcf.gz")
        assert b"[W::" not in done.stderr
        assert b"[E::" not in done.stderr
    viewed = bcftools("view", "-Ob", tmp_path / "x.vcf.gz").stdout
    assert b"," in bcftools("query", "-f", "[%GP\t]\n", stdin=viewed).stdout


def test_two_vcfs_are_wrong_usage(tmp_path):
    (tmp_path / "a.vcf").write_text(people())
    result = denoise(tmp_path / "a.vcf", tmp_path / "a.vcf")
    assert result.status == 2
    assert "a VCF goes alone" in result.stderr


def test_changes_may_not_go_to_the_output(tmp_path):
    result = denoise("-o", tmp_path / "x", "--changes", tmp_path / "x", stdin=SAMPLES)
    assert result.status == 2
    assert not (tmp_path / "x").exists()


def test_a_damaged_vcf_leaves_nothing_behind(tmp_path):
    text = incomplete()[:-40]
    result = denoise("-o", tmp_path / "x.vcf", "--changes", tmp_path / "c.tsv", stdin=text)
    assert result.status == 1
    assert "<stdin>:995: " in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_fastq_is_refused():
    result = denoise(stdin="@a\nACGT\n+\nIIII\n")
    assert result.status == 1
    assert "FASTQ, where FASTA or VCF is needed" in result.stderr


# --- VCF of mitochondrial genomes ----------------------------------------------------------------


def mito_vcf(calls, form="{0}"):
    """Genotypes at positions of rCRS, each with the transition as the alternate allele."""
    head = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=chrM,length=16569>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="G">',
    ]
    names = [f"s{number}" for number in range(len(next(iter(calls.values()))))]
    lines = [
        "\t".join(["#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT".replace(" ", "\t"), *names])
    ]
    transition = {"A": "G", "G": "A", "C": "T", "T": "C"}
    for position, row in sorted(calls.items()):
        ref = MITO[position - 1]
        fixed = ["chrM", str(position), ".", ref, transition[ref], ".", ".", ".", "GT"]
        lines.append("\t".join([*fixed, *(form.format(call) for call in row)]))
    return "\n".join([*head, *lines]) + "\n"


COMMON = [73, 263, 750, 1438, 2706, 4769, 7028, 8860, 11719, 14766, 15326, 16223]


def test_haploid_calls_are_filled_in():
    calls = {position: ["1", "0", "1"] for position in COMMON}
    calls[2706] = [".", ".", "1"]
    calls[3500] = ["0", ".", "0"]
    _, after = table(restored("--only-present", stdin=mito_vcf(calls)))
    found = {int(columns[1]): columns for columns in after}
    for position in (2706, 3500):
        assert found[position][8] == "GT:GP:DS"
        for call in found[position][9:]:
            genotype, shares, _ = call.split(":")
            assert genotype in "01"
            assert len(shares.split(",")) == 2
    assert found[3500][10].startswith("0:")
    assert found[73][8] == "GT"


def test_homoplasmic_calls_of_two_alleles_stay_so():
    calls = {position: ["1", "0"] for position in COMMON}
    text = mito_vcf(calls, "{0}/{0}").replace("1/1", "./.", 1)
    _, after = table(restored("--only-present", stdin=text))
    genotype, shares, _ = after[0][9].split(":")
    assert genotype in ("0/0", "1/1")
    assert shares.split(",")[1] == "0"


def test_absent_sites_of_a_genome_are_added_unless_they_are_reference():
    calls = {position: ["1", "0", "."] for position in COMMON}
    text = mito_vcf(calls)
    result = restored(stdin=text)
    _, after = table(result)
    places = [int(columns[1]) for columns in after]
    assert places == sorted(places)
    assert len(after) > 3000
    assert all(columns[0] == "chrM" for columns in after)
    _, some = table(restored("--absent-is-ref", stdin=text))
    assert len(some) == len(COMMON)


def test_same_bytes_in_a_process_of_its_own():
    text = incomplete()
    result = run_process(["denoise", "--device", "cpu", "--threads", "1", "-q"], stdin=text)
    assert result.output.decode() == restored("-q", stdin=text)
    assert result.stderr == ""
