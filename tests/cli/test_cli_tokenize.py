"""`genomai tokenize`: every input, every output, the choice of tokenizer and panel, and what it refuses."""

import gzip
import io
import json

import h5py
import pytest
from conftest import DATA, SHARED, assert_expected, needs_shared, peak_memory, run, run_process

from genomai_cli.cli.tokenize import Kind
from genomai_cli.formats import outputs
from genomai_cli.registry import TOKENIZERS

FASTA = ">a first\nACGTN\nACG\n>b\nacgu\n>short\nAC\n"
PANEL = """\
chrom\tpos_grch37\tpos_grch38\trsid\tref\talt\tpanel
1\t100\t1100\trs1\tA\tG\ttoy
1\t200\t1200\trs2\tC\tT\ttoy
2\t300\t1300\trs3\tG\tA\ttoy
"""
VCF = """\
##fileformat=VCFv4.2
##contig=<ID=1>
##contig=<ID=2>
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tP1\tP2
1\t100\trs1\tA\tG\t.\t.\t.\tGT\t0|1\t1|1
1\t200\trs2\tC\tT\t.\t.\t.\tGT\t0|0\t.|.
2\t300\trs3\tG\tA\t.\t.\t.\tGT\t1|0\t0|0
"""


@pytest.fixture
def files(tmp_path):
    """Small inputs in a folder of their own."""
    (tmp_path / "a.fa").write_text(FASTA)
    (tmp_path / "a.vcf").write_text(VCF)
    (tmp_path / "panel.tsv").write_text(PANEL)
    return tmp_path


def tokenize(*arguments, stdin=""):
    return run(["tokenize", *arguments], stdin=stdin)


def test_the_kinds_on_the_command_line_are_those_of_the_registry():
    assert {str(kind) for kind in Kind} <= set(TOKENIZERS)


def test_fasta_becomes_symmetric_3mers(files):
    result = tokenize(files / "a.fa")
    assert result.status == 0
    assert result.stderr == ""
    assert_expected("tokenize.tsv", result.stdout)


def test_words(files):
    assert_expected("tokenize-words.tsv", tokenize(files / "a.fa", "--words").stdout)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--tokenizer characters", "a\t0 1 2 3 4 0 1 2"),
        ("--tokenizer iupac", "a\t0 1 2 3 10 0 1 2"),
        ("--tokenizer kmers --words", "a\tACG CGT [UNK] [UNK] [UNK] ACG"),
        ("--tokenizer kmers -k 2 --stride 2 --words", "a\tAC GT [UNK] CG"),
        ("--tokenizer symmetric -k 1 --words", "a\tA C C A [MASK] A C C"),
    ],
)
def test_tokenizer_options(files, options, line):
    assert tokenize(files / "a.fa", *options.split()).stdout.splitlines()[1] == line


def test_every_way_in_gives_the_same_bytes(files):
    expected = tokenize(files / "a.fa").output
    assert tokenize(stdin=FASTA).output == expected
    assert tokenize("-", stdin=FASTA).output == expected
    assert tokenize(stdin=gzip.compress(FASTA.encode())).output == expected
    assert tokenize(stdin=FASTA.replace("\n", "\r\n")).output == expected
    assert run_process(["tokenize"], stdin=FASTA).output == expected


def test_inputs_follow_one_another(files):
    twice = tokenize(files / "a.fa", files / "a.fa").stdout.splitlines()
    once = tokenize(files / "a.fa").stdout.splitlines()
    assert twice == once + once[1:]


def test_fastq():
    assert tokenize(stdin="@a\nACGT\n+\nIIII\n").stdout == "id\ttokens\na\t6 6\n"


def test_output_file_is_written_whole(files):
    result = tokenize(files / "a.fa", "-o", files / "out.tsv.gz")
    assert result.output == b""
    assert gzip.decompress((files / "out.tsv.gz").read_bytes()) == tokenize(files / "a.fa").output


def test_vcf_becomes_barcodes(files):
    result = tokenize(files / "a.vcf", "--panel", files / "panel.tsv")
    assert result.status == 0
    assert result.stdout == "id\ttokens\nP1\t4 1 4\nP2\t2 10 2\n"
    assert result.stderr.startswith("genomai tokenize: ")
    assert "GRCh37, 3 of 3 panel sites" in result.stderr


def test_vcf_to_fasta_and_back_again(files):
    panel = ["--panel", files / "panel.tsv"]
    fasta = tokenize(files / "a.vcf", "--to", "fasta", *panel)
    assert fasta.stdout == ">P1\nRCR\n>P2\nGNG\n"
    again = tokenize("--tokenizer", "iupac", stdin=fasta.output)
    assert again.output == tokenize(files / "a.vcf", *panel).output


def test_heterozygotes_of_several_phase_sets(files):
    text = VCF.replace(
        "##FORMAT", '##FORMAT=<ID=PS,Number=1,Type=Integer,Description="p">\n##FORMAT', 1
    )
    text = text.replace("\tGT\t0|1\t1|1", "\tGT:PS\t0|1:100\t1|0:100")
    text = text.replace("\tGT\t0|0\t.|.", "\tGT:PS\t1|0:200\t1|0:100")
    options = ["--panel", files / "panel.tsv", "--haplotypes", "--to", "fasta"]
    result = tokenize(*options, stdin=text)
    assert result.stdout == ">P1_A\nANA\n>P1_B\nGNG\n>P2_A\nGTG\n>P2_B\nACG\n"
    assert (
        "warning: 1 heterozygous calls of 1 samples are of other phase sets (PS)" in result.stderr
    )


def test_haplotypes(files):
    options = ["--panel", files / "panel.tsv", "--haplotypes"]
    fasta = tokenize(files / "a.vcf", "--to", "fasta", *options)
    assert fasta.stdout == ">P1_A\nACA\n>P1_B\nGCG\n>P2_A\nGNG\n>P2_B\nGNG\n"
    assert tokenize(files / "a.vcf", *options).stdout.splitlines()[1] == "P1_A\t0 1 0"


@pytest.fixture
def regions(files):
    """A reference of two contigs, and the options that name it with two regions."""
    bases = {"1": "A" * 99 + "A" + "G" * 99 + "C" + "A" * 100, "2": "T" * 299 + "G" + "T" * 9}
    (files / "ref.fa").write_text("".join(f">{name}\n{text}\n" for name, text in bases.items()))
    (files / "r.bed").write_text("1\t98\t102\tfirst\n2\t297\t301\n")
    return ["--reference", files / "ref.fa", "--regions", files / "r.bed"]


def test_haplotype_sequences_of_regions(files, regions):
    result = tokenize(files / "a.vcf", "--to", "fasta", *regions)
    assert result.status == 0
    assert_expected("tokenize-regions.fa", result.stdout)
    as_tokens = tokenize(files / "a.vcf", "--words", *regions)
    assert as_tokens.rows[1] == ["P1_A|first", "AAG AGG"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--reference ref.fa", "go together"),
        ("--regions r.bed", "go together"),
        ("--reference ref.fa --regions r.bed --haplotypes", "leave it out"),
        ("--reference ref.fa --regions r.bed --panel p.tsv", "leave it out"),
    ],
)
def test_options_about_phase_that_contradict_each_other(files, options, message):
    result = tokenize(files / "a.vcf", *options.split())
    assert result.status == 2
    assert message in result.stderr


def test_a_reference_needs_a_vcf(files, regions):
    result = tokenize(files / "a.fa", *regions)
    assert result.status == 2
    assert "--reference needs a VCF" in result.stderr


def test_absent_sites(files):
    vcf = "\n".join(line for line in VCF.split("\n") if "rs2" not in line)
    options = ["--to", "fasta", "--panel", files / "panel.tsv"]
    assert tokenize(*options, stdin=vcf).stdout == ">P1\nRNR\n>P2\nGNG\n"
    assumed = tokenize(*options, "--absent-is-ref", stdin=vcf).stdout
    assert assumed == ">P1 assumed=1\nRCR\n>P2 assumed=1\nGCG\n"


def test_the_default_panel_is_that_of_the_ancestry_model(files):
    result = tokenize(files / "a.vcf")
    assert result.status == 1
    assert result.stdout == ""
    assert "matches 0 of 24493 panel sites" in result.stderr


def test_fasta_to_fasta_keeps_letters_and_descriptions(files):
    expected = ">a first\nACGTNACG\n>b\nACGT\n>short\nAC\n"
    assert tokenize(files / "a.fa", "--to", "fasta").stdout == expected


def test_model_gives_tokenizer_and_panel(files, models_folder):
    bundle = models_folder / "toy"
    bundle.mkdir()
    config = {"format_version": 1, "tokenizer": {"kind": "kmers", "k": 2}}
    (bundle / "config.json").write_text(json.dumps(config))
    (bundle / "panel.tsv").write_text(PANEL)
    result = tokenize(files / "a.vcf", "--model", "toy", "--words")
    assert result.stdout == "id\ttokens\nP1\t[UNK] [UNK]\nP2\t[UNK] [UNK]\n"
    assert tokenize(files / "a.fa", "--model", bundle, "--words").rows[2] == ["b", "AC CG GT"]
    other = tokenize(files / "a.vcf", "--model", "toy", "--tokenizer", "iupac")
    assert other.rows[1] == ["P1", "4 1 4"]
    assert tokenize(files / "a.fa", "--model", "toy", "-k", "4").status == 2


def hdf5(result):
    return h5py.File(io.BytesIO(result.output), "r")


def test_hdf5(files):
    with hdf5(tokenize(files / "a.fa", "--to", "hdf5")) as file:
        assert file["ids"].asstr()[:].tolist() == ["a", "b", "short"]
        assert file["offsets"][:].tolist() == [0, 6, 8, 8]
        assert file["tokens"][:].tolist() == [6, 6, 21, 21, 21, 6, 6, 6]
        assert file["tokens"].dtype == "uint8"
        assert json.loads(file.attrs["tokenizer"]) == {"kind": "symmetric", "k": 3, "stride": 1}
        assert len(file["vocabulary"]) == 22


def test_hdf5_is_the_same_on_standard_output_and_in_a_file(files):
    first = tokenize(files / "a.fa", "--to", "hdf5").output
    tokenize(files / "a.fa", "--to", "hdf5", "-o", files / "out.h5")
    assert (files / "out.h5").read_bytes() == first


def test_hdf5_holds_token_ids_beyond_a_byte(files):
    result = tokenize(files / "a.fa", "--to", "hdf5", "--tokenizer", "kmers", "-k", "8")
    with hdf5(result) as file:
        assert file["tokens"].dtype == "uint32"
        assert file["tokens"][:].tolist() == [4**8 + 2]


def test_report_json(files):
    options = ["--panel", files / "panel.tsv", "--report-json", files / "report.json"]
    tokenize(files / "a.vcf", *options)
    report = json.loads((files / "report.json").read_text())
    assert report["records"] == {"read": 2, "used": 2, "refused": 0}
    assert report["inputs"] == [str(files / "a.vcf")]
    assert report["details"]["tokenizer"] == {"kind": "iupac"}
    assert report["details"]["builds"] == ["GRCh37"]


@pytest.mark.parametrize("to", ["tsv", "fasta", "hdf5"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "<stdin>: the input is empty"),
        (b"hello\n", "<stdin>:1: not FASTA, FASTQ, VCF or BCF: it begins with 'hello'"),
        (b">a\nACGT\n>b\nAC*T\n", "<stdin>:4: '*' is not a nucleotide letter"),
        (
            gzip.compress(FASTA.encode() * 100, mtime=0)[:-9],
            "<stdin>: the compressed data are truncated",
        ),
    ],
)
def test_bad_input_is_one_line_and_no_output(to, content, message):
    result = tokenize("--to", to, stdin=content)
    assert result.status == 1
    assert result.output == b""
    assert result.stderr.startswith(f"genomai tokenize: {message}")
    assert result.stderr.count("\n") == 1


def test_bad_input_leaves_an_existing_output_alone(files):
    (files / "out.tsv").write_text("before")
    assert tokenize("-o", files / "out.tsv", stdin=">a\n*\n").status == 1
    assert (files / "out.tsv").read_text() == "before"
    assert not list(files.glob(".out*"))


def test_output_beyond_what_is_held_back_streams(monkeypatch):
    monkeypatch.setattr(outputs, "BUFFER_BYTES", 100)
    result = tokenize("--to", "fasta", stdin=b">a\n" + b"ACGT" * 1000 + b"\n>b\n*\n")
    assert result.status == 1
    assert len(result.output) > 4000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--tokenizer bpe", "--tokenizer"),
        ("-k 9", "-k"),
        ("--stride 0", "--stride"),
        ("--tokenizer iupac -k 2", "not for the tokenizer iupac"),
        ("--words --to fasta", "--words is for the table"),
        ("--words --to hdf5", "--words is for the table"),
        ("-k 4 --to fasta", "--to fasta writes letters"),
        ("--haplotypes", "--haplotypes needs a VCF"),
        ("--to parquet", "--to"),
    ],
)
def test_wrong_options_are_wrong_usage(files, options, message):
    result = tokenize(files / "a.fa", *options.split())
    assert result.status == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_standard_input_can_be_read_once_only():
    result = tokenize("-", "-", stdin=FASTA)
    assert result.status == 2
    assert "only once" in result.stderr


@pytest.mark.slow
def test_memory_is_flat(tmp_path):
    """A chromosome of 40 million letters costs a few times its letters, not 40 times."""
    path = tmp_path / "big.fa"
    path.write_text(">chr\n" + "ACGTTGCAAC" * 4_000_000 + "\n")
    assert peak_memory(["tokenize", path, "-o", "/dev/null"]) < 600


def test_bytes_are_read_as_they_are_written():
    result = tokenize("--tokenizer", "bytes", stdin=b">a\n|d|ACgt\n")
    assert result.rows[1:] == [["a", "124 100 124 65 67 103 116"]]


ALIGNED = ">s\nATG--GCC.ATTG\nTAATG-GGC\n"
UNGAPPED = ">s\nATGGCCATTG\nTAATGGGC\n"


@pytest.mark.parametrize("tokenizer", ["symmetric", "kmers", "characters"])
def test_gaps_of_an_alignment_are_taken_out_of_dna(tokenizer):
    options = ["tokenize", "--words", "--tokenizer", tokenizer]
    aligned, plain = run(options, ALIGNED), run(options, UNGAPPED)
    assert aligned.output == plain.output
    assert "warning: 4 gaps of an alignment (- or .) in 1 sequences: taken out" in aligned.stderr
    assert "gaps" not in plain.stderr


def test_gaps_are_taken_out_by_models_of_dna():
    bundle = DATA / "bundles-format-1" / "transformer-kmers"
    for command in (["tokenize"], ["classify"], ["embed"]):
        options = [*command, "--model", bundle]
        aligned = run(options, ALIGNED)
        assert aligned.status == 0, aligned.stderr
        assert aligned.output == run(options, UNGAPPED).output
        assert "4 gaps of an alignment" in aligned.stderr


def test_gaps_of_barcodes_and_of_text_stay():
    barcode = run("tokenize --to fasta --tokenizer iupac", ">s\nAR-G\n")
    assert (barcode.stdout, barcode.stderr) == (">s\nARNG\n", "")
    assert run("tokenize --to fasta --tokenizer bytes", ">s\nA-.G\n").stdout == ">s\nA-.G\n"


@needs_shared
@pytest.mark.parametrize(
    "family", ["dnabert", "hyenadna", "hyenadna_hf", "caduceus_ph", "caduceus_ps", "evo2"]
)
def test_a_released_checkpoint_gives_the_ids_of_its_tokenizer(tmp_path, family):
    folder = SHARED / "parity" / family
    cases = json.loads((folder / "tokenizer_cases.json").read_text())
    fasta = tmp_path / "x.fa"
    fasta.write_text("".join(f">{n}\n{case['sequence']}\n" for n, case in enumerate(cases)))
    result = tokenize(fasta, "--model", folder)
    assert result.status == 0, result.stderr
    expected = [[str(n), " ".join(map(str, case["ids"]))] for n, case in enumerate(cases)]
    assert result.rows[1:] == expected
    with hdf5(tokenize(fasta, "--model", folder, "--to", "hdf5")) as file:
        assert file["tokens"][:].tolist() == [id_ for case in cases for id_ in case["ids"]]


@pytest.mark.parametrize(
    ("config", "ids"),
    [
        ({"kind": "dna_characters", "cls": True}, "0 7 6 11 1"),
        ({"kind": "dna_characters", "case_sensitive": False}, "7 8 11 1"),
        ({"kind": "bert_kmers", "k": 2}, "2 1 1 3"),
        ({"kind": "bytes"}, "65 99 78"),
    ],
)
def test_ids_of_a_model_have_its_special_tokens(tmp_path, config, ids):
    config = {"format_version": 1, "tokenizer": config, "input": {"kind": "sequence"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = run(["tokenize", "--model", tmp_path], ">a\nAcN\n")
    assert result.rows[1] == ["a", ids]


def test_an_input_that_ends_within_a_line_is_told(tmp_path):
    (tmp_path / "cut.fa").write_text(">a\nACGT\nACG")
    warning = (
        "cut.fa: the last line has no line end: if the file was cut, its last record is not whole"
    )
    assert warning in run(["tokenize", tmp_path / "cut.fa"]).stderr
    assert "warning: -: the last line has no line end" in run("tokenize", ">a\nACGT\nACG").stderr
    assert run("tokenize", ">a\nACGT\nACG\n").stderr == ""
    assert run("tokenize -q", ">a\nACGT\nACG").stderr == ""
