"""`genomai classify` and `tokenize` with a model of mapped genomes: how it is found, every way in, refusals."""

import gzip
import shutil
import subprocess

import numpy as np
import pytest
import torch
from conftest import run, run_process

from genomai_cli.bundles.bundle import Bundle, build, save
from genomai_cli.bundles.writing import Extras
from genomai_cli.mapping.reference import Reference, VariableSites
from genomai_cli.phylogeny.genome_input import GenomeInput

pytestmark = pytest.mark.usefixtures("one_thread")
BCFTOOLS = shutil.which("bcftools")
needs_bcftools = pytest.mark.skipif(not BCFTOOLS, reason="bcftools is not installed here")
SIZE, SITES = 3000, 60
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
TRANSITION = {"A": "G", "G": "A", "C": "T", "T": "C"}
RNG = np.random.default_rng(17)
REFERENCE = Reference("NC_012920.1", "".join(RNG.choice(list("ACGT"), SIZE)), circular=True)
POSITIONS = np.sort(RNG.choice(np.arange(20, SIZE - 20), SITES, replace=False))
HEADER = ["sample", "superpop", "superpop_p", "pop", "pop_p", "used", "call_rate", "flags", "model"]


def reverse_complement(sequence):
    return sequence.translate(COMPLEMENT)[::-1]


def genome(has_alt):
    """The reference with transitions at some of the sites."""
    letters = list(REFERENCE.sequence)
    for position in POSITIONS[has_alt]:
        letters[position] = TRANSITION[letters[position]]
    return "".join(letters)


HAS_ALT = {f"person{n}": RNG.random(SITES) < 0.2 for n in range(5)}
GENOMES = {name: genome(has_alt) for name, has_alt in HAS_ALT.items()}


def fasta(genomes):
    return "".join(f">{name}\n{sequence}\n" for name, sequence in genomes.items())


def variant_text(contig="MT", header=("##contig=<ID=MT,length=3000>",), extra_lines=()):
    """The genomes as a VCF of their variable sites, haploid."""
    lines = [
        "##fileformat=VCFv4.2",
        *header,
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="G">',
    ]
    fixed = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines.append("\t".join([*fixed, *GENOMES]))
    for site, position in enumerate(POSITIONS):
        base = REFERENCE.sequence[position]
        calls = [str(int(has_alt[site])) for has_alt in HAS_ALT.values()]
        row = [contig, str(position + 1), ".", base, TRANSITION[base], ".", ".", ".", "GT", *calls]
        lines.append("\t".join(row))
    return "\n".join([*lines, *extra_lines, ""])


@pytest.fixture(scope="module")
def folder(one_thread, tmp_path_factory):
    """A folder of models with one called mito, of a made-up reference; its networks are untrained."""
    folder = tmp_path_factory.mktemp("models")
    network = {
        "kind": "transformer", "vocabulary": 7, "pad_id": 5, "width": 8, "heads": 2,
        "layers": 1, "feed_forward": 8, "positions": SITES, "head_width": 4, "dropout": 0.0,
    }  # fmt: skip
    config = {
        "name": "mito",
        "version": "0.1",
        "description": "a test",
        "input": {"kind": "anchored"},
        "tokenizer": {"kind": "characters"},
        "network": network,
        "members": 1,
        "heads": {"superpop": ["EAST", "WEST"], "pop": ["EAA", "EAB", "WEA"]},
    }
    torch.manual_seed(3)
    sites = VariableSites(POSITIONS, np.ones((SITES, 4), np.int64))
    kind = GenomeInput(REFERENCE, sites)
    classifier = build(config, kind).requires_grad_(False)
    for parameter in classifier.members[0].parameters():
        parameter.mul_(3)  # so that genomes differ visibly
    bundle = Bundle(config, classifier, kind)
    save(bundle, folder / "mito", Extras("# mito\n\nA test.\n", ""))
    return folder


@pytest.fixture(autouse=True)
def installed(folder, monkeypatch):
    monkeypatch.setenv("GENOMAI_MODELS", str(folder))


def classify(*arguments, stdin=b""):
    return run(["classify", "--device", "cpu", *arguments], stdin=stdin)


def rows(result):
    assert result.status == 0, result.stderr
    return result.rows


@pytest.fixture
def expected():
    """The table of the genomes, which are in the reference's coordinates."""
    result = classify("--model", "mito", stdin=fasta(GENOMES))
    assert rows(result)[0] == HEADER
    assert len({tuple(row[1:]) for row in result.rows[1:]}) > 1
    return result.output


def test_the_table(expected):
    for row, name in zip(expected.decode().splitlines()[1:], GENOMES, strict=True):
        fields = row.split("\t")
        assert fields[0] == name
        assert fields[5:] == [str(SITES), "1.0000", ".", "mito@0.1"]


def test_the_model_is_found_and_named(expected, tmp_path):
    path = tmp_path / "people.fa"
    path.write_text(fasta(GENOMES))
    result = classify(path)
    assert (result.status, result.output) == (0, expected)
    assert result.stderr == ("genomai classify: person0 belongs to NC_012920.1: model mito\n")
    assert classify("-q", path).stderr == ""


def test_any_rotation_and_strand_gives_the_same_bytes(expected):
    transformed = {}
    for number, (name, letters) in enumerate(GENOMES.items()):
        rotated = letters[611 * number :] + letters[: 611 * number]
        transformed[name] = reverse_complement(rotated) if number % 2 else rotated
    assert classify(stdin=fasta(transformed)).output == expected
    assert classify(stdin=fasta(transformed).lower()).output == expected
    assert run_process(["classify", "--device", "cpu"], stdin=fasta(transformed)).output == expected
    assert classify(stdin=gzip.compress(fasta(transformed).encode())).output == expected


@pytest.mark.parametrize("contig", ["MT", "chrM", "NC_012920.1"])
def test_a_vcf_of_the_reference_gives_the_same_bytes(expected, tmp_path, contig):
    path = tmp_path / "people.vcf"
    path.write_text(variant_text(contig, header=()))
    for result in (classify(path), classify(stdin=path), classify("--model", "mito", stdin=path)):
        assert (result.status, result.output) == (0, expected)
    assert classify(path).stderr.splitlines() == [
        "genomai classify: the records are on NC_012920.1: model mito",
        f"genomai classify: {path}: NC_012920.1, {SITES} of {SIZE} positions; the others are N, unless "
        "--absent-is-ref says that the file lists variants only",
    ]


@needs_bcftools
@pytest.mark.parametrize("form", ["b", "u", "z"])
def test_bcf_and_bgzf_give_the_same_bytes(expected, tmp_path, form):
    path = tmp_path / "people"
    subprocess.run(
        [BCFTOOLS, "view", "-O", form, "-o", path], input=variant_text().encode(), check=True
    )
    assert classify(path).output == expected
    assert classify(stdin=path).output == expected


@pytest.mark.parametrize("options", [[], ["--absent-is-ref"]])
def test_what_tokenize_writes_gives_the_same_bytes(tmp_path, options):
    path = tmp_path / "people.vcf"
    path.write_text(
        "\n".join(line for n, line in enumerate(variant_text().split("\n")) if n % 3 != 2)
    )
    genomes = run(["tokenize", "--to", "fasta", "--model", "mito", *options, path])
    assert genomes.status == 0, genomes.stderr
    assert {len(line) for line in genomes.stdout.splitlines()[1::2]} == {SIZE}
    direct = classify(*options, path)
    assert rows(direct)[1][5] != "0"
    assert classify(stdin=genomes.output).output == direct.output


def test_tokenize_brings_sequences_to_the_references_coordinates():
    transformed = {name: reverse_complement(x[900:] + x[:900]) for name, x in GENOMES.items()}
    result = run(["tokenize", "--to", "fasta", "--model", "mito"], stdin=fasta(transformed))
    assert result.stdout == fasta(GENOMES)
    tokens = run(["tokenize", "--words", "--model", "mito"], stdin=fasta(transformed))
    assert [row[0] for row in tokens.rows[1:]] == list(GENOMES)
    assert tokens.rows[1][1].split() == [GENOMES["person0"][position] for position in POSITIONS]
    unrelated = run(["tokenize", "--to", "fasta", "--model", "mito"], stdin=">x\nACGTACGT\n")
    assert (unrelated.status, unrelated.output) == (0, b"")
    assert "warning: x does not belong to NC_012920.1: left out" in unrelated.stderr


def test_variants_only_need_absent_is_ref(expected, tmp_path):
    path = tmp_path / "person0.vcf"
    lines = [line.split("\t")[:10] for line in variant_text().splitlines() if line[0] != "#"]
    alt_lines = ["\t".join(line) for line in lines if line[9] == "1"]
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tperson0"
    path.write_text("\n".join([head, *alt_lines, ""]))
    assert classify("--absent-is-ref", path).output.splitlines() == expected.splitlines()[:2]
    row = dict(zip(HEADER, rows(classify(path))[1], strict=True))
    assert (row["used"], row["flags"]) == (str(len(alt_lines)), "LOW_CALL_RATE")


NUCLEAR = "1\t10\t.\tA\tG\t.\t.\t.\tGT" + "\t0|1" * len(GENOMES)


def test_a_vcf_of_whole_genomes_goes_to_the_ancestry_model_unless_named(expected):
    text = variant_text(extra_lines=[NUCLEAR])
    result = classify(stdin=text)
    assert (result.status, result.output) == (1, b"")
    assert "panel sites in GRCh37" in result.stderr
    named = classify("--model", "mito", stdin=text)
    assert (named.status, named.output) == (0, expected)


def test_a_nuclear_record_beyond_what_was_read_ahead_is_refused(tmp_path):
    path = tmp_path / "late.vcf"
    line = variant_text().splitlines()[-1].split("\t")
    long_line = "\t".join([*line[:7], "NOTE=" + "x" * 4096, *line[8:]])
    path.write_text(variant_text(extra_lines=[*[long_line] * 300, NUCLEAR]))
    assert path.stat().st_size > 1 << 20
    for result in (classify(path), classify(stdin=path)):
        assert (result.status, result.output) == (1, b"")
        assert result.stderr.splitlines()[-1].endswith(
            "a record on 1 after those on MT: name the model, --model ancestry or --model mito"
        )


def test_a_nuclear_vcf_goes_to_the_ancestry_model():
    text = "\n".join(line for line in variant_text().splitlines() if not line.startswith("MT"))
    result = classify(stdin=f"{text}\n{NUCLEAR}\n")
    assert result.status == 1
    assert "panel sites in GRCh37" in result.stderr


def test_barcodes_go_to_the_ancestry_model():
    result = classify(stdin=">someone\n" + "N" * 967 + "\n")
    assert rows(result)[1][-1].startswith("ancestry@")


def test_dna_of_another_kind_is_refused():
    foreign = "".join(np.random.default_rng(1).choice(list("ACGT"), 5000))
    result = classify(stdin=f">phage\n{foreign}\n")
    assert (result.status, result.output) == (1, b"")
    assert result.stderr.startswith(
        "genomai classify: <stdin>:1: phage has 5000 letters: no barcode ("
    )
    assert "NC_012920.1 (mito)" in result.stderr


@pytest.mark.parametrize("size", [200, 967])
def test_dna_as_long_as_a_barcode_is_no_barcode(size):
    foreign = "".join(np.random.default_rng(size).choice(list("ACGT"), size))
    for model in ([], ["--model", "ancestry-967" if size == 967 else "genomai-v2"]):
        result = classify(*model, stdin=f">chip\n{foreign}\n")
        assert (result.status, result.output) == (1, b"")
        assert "<stdin>:1: chip" in result.stderr
        assert "allele" in result.stderr


def substituted(share, size=SIZE):
    """The first letters of the reference with transitions at about this share of positions."""
    rng = np.random.default_rng(2)
    mutated = rng.random(size) < share
    return "".join(
        TRANSITION[x] if h else x for x, h in zip(REFERENCE.sequence[:size], mutated, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "sequence", "unknown", "flags"),
    [
        ("phage", "".join(np.random.default_rng(1).choice(list("ACGT"), 4000)), True, "NOVEL"),
        ("ape", substituted(0.09), True, "NOVEL"),
        ("turned ape", reverse_complement(substituted(0.09)[700:] + substituted(0.09)[:700]), True, "NOVEL"),
        ("cousin", substituted(0.03), False, "NOVEL"),
        ("nothing", "N" * SIZE, True, "LOW_CALL_RATE"),
        ("empty", "", True, "LOW_CALL_RATE"),
        ("a few letters", REFERENCE.sequence[:20], True, "LOW_CALL_RATE"),
        ("half", GENOMES["person1"][1000:2000], False, "LOW_CALL_RATE"),
        ("control region", substituted(0.03, 350), False, "LOW_CALL_RATE"),
        ("mostly foreign", "".join(np.random.default_rng(4).choice(list("ACGT"), 2000))
         + REFERENCE.sequence[:1000], True, "NOVEL"),
        ("three copies", GENOMES["person1"] * 3, False, "."),
    ],
)  # fmt: skip
def test_flags(name, sequence, unknown, flags):
    text = fasta({"person0": GENOMES["person0"], name.replace(" ", "_"): sequence})
    row = dict(zip(HEADER, rows(classify(stdin=text))[2], strict=True))
    assert row["flags"] == flags
    assert (row["superpop"] == "UNKNOWN") == unknown
    assert (row["superpop_p"] == ".") == unknown
    assert (row["used"] == "0") == unknown


def test_the_first_records_may_be_unreadable(expected):
    unreadable = {f"strange{n}": "N" * 50 for n in range(5)}
    result = rows(classify(stdin=fasta(unreadable | GENOMES)))
    assert [row[1] for row in result[1:6]] == ["UNKNOWN"] * 5
    assert ["\t".join(row) for row in result[6:]] == expected.decode().splitlines()[1:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (variant_text("chrM", header=["##contig=<ID=chrM,length=16571>"]), "Yoruba chrM of hg19"),
        (variant_text().replace("\tA\tG\t", "\tC\tG\t"), "where NC_012920.1 has A"),
    ],
)
def test_a_vcf_of_another_reference_is_refused(text, message):
    result = classify("--model", "mito", stdin=text)
    assert (result.status, result.output) == (1, b"")
    assert message in result.stderr


def test_first_records_on_a_contig_of_another_length_are_warned_of(tmp_path):
    lines = [f"chrM\t{position + 1}\t.\tN\tA\t.\t.\t{'x' * 400}\tGT\t" for position in range(3000)]
    file = tmp_path / "hg19.vcf"
    file.write_text(
        variant_text("chrM", header=["##contig=<ID=chrM,length=16571>"], extra_lines=lines)
    )
    result = classify(file)
    assert (result.status, result.output) == (1, b"")
    assert "has 16571 letters in the header, not 3000: model" in result.stderr


def test_fasta_and_vcf_together(expected, tmp_path):
    (tmp_path / "people.fa").write_text(fasta(GENOMES))
    (tmp_path / "people.vcf").write_text(variant_text())
    result = rows(classify(tmp_path / "people.fa", tmp_path / "people.vcf"))
    lines = expected.decode().splitlines()
    assert ["\t".join(row) for row in result] == [*lines, *lines[1:]]
    assert rows(classify(tmp_path / "people.vcf", tmp_path / "people.fa")) == result


def test_the_runs_record_counts(tmp_path):
    report = tmp_path / "report.json"
    result = classify("--report-json", report, stdin=fasta(GENOMES | {"x": "N" * 50}))
    assert result.status == 0
    text = report.read_text()
    assert '"read": 6' in text
    assert '"used": 5' in text


def test_genomes_and_barcodes_in_one_file_are_refused():
    barcode = ">bar\n" + "N" * 967 + "\n"
    for text, message in (
        (fasta(GENOMES) + barcode, "bar is a barcode, and the records before it are genomes"),
        (
            barcode + fasta(GENOMES),
            "person0 is a genome for the model mito, and the records before it are barcodes",
        ),
    ):
        result = run("classify", stdin=text)
        assert (result.status, message in result.stderr) == (1, True)
        assert len(result.stderr.splitlines()) <= 2
