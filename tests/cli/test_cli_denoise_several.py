"""`genomai denoise` of several VCFs: parts of one file, one a chromosome or a stretch, as if they had been joined."""

import gzip
import shutil
import subprocess

import pytest
from test_cli_denoise import VCF, denoise, denoised
from test_cli_denoise_vcf import COMMON, incomplete, mito_vcf, table, with_records

pytestmark = pytest.mark.usefixtures("one_thread", "shipped_only")
BCFTOOLS = shutil.which("bcftools")
TEXT = incomplete(every=1)


def split(text, key):
    """The records grouped by `key` of their columns, each group under the header."""
    _, records = table(text)
    parts = {}
    for columns in records:
        parts.setdefault(key(columns), []).append(columns)
    return {name: with_records(text, rows) for name, rows in parts.items()}


def by_chromosome(columns):
    """1 in two stretches, and 2 and 3 in one part; others in none."""
    contig, position = columns[0], int(columns[1])
    if contig == "1":
        return "1a" if position < 100_000_000 else "1b"
    return "23" if contig in ("2", "3") else "rest"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Files of the first three chromosomes, plain and compressed, and of all their records."""
    folder = tmp_path_factory.mktemp("parts")
    texts = split(TEXT, by_chromosome)
    for name in ("1a", "23"):
        (folder / f"{name}.vcf").write_text(texts[name])
    with gzip.open(folder / "1b.vcf.gz", "wt") as handle:
        handle.write(texts["1b"])
    joined = split(TEXT, lambda columns: columns[0] in ("1", "2", "3"))[True]
    (folder / "whole.vcf").write_text(joined)
    return folder


def test_parts_give_what_the_whole_gives_in_any_order(parts):
    expected = denoised(parts / "whole.vcf")
    assert denoised(parts / "1a.vcf", parts / "1b.vcf.gz", parts / "23.vcf") == expected
    piped = (parts / "1a.vcf").read_bytes().rstrip(b"\n")
    assert denoised(parts / "23.vcf", parts / "1b.vcf.gz", "-", stdin=piped) == expected
    shards = [
        denoised("--shard", f"{number}/2", parts / "1b.vcf.gz", parts / "1a.vcf", parts / "23.vcf")
        for number in (1, 2)
    ]
    assert "".join(shards) == expected


@pytest.mark.skipif(not BCFTOOLS, reason="bcftools is not installed here")
def test_headers_are_joined_as_bcftools_joins_them(tmp_path):
    texts = split(TEXT, by_chromosome)
    pass_line = '##FILTER=<ID=PASS,Description="All filters passed">'  # which bcftools moves
    extra_lines = [
        "##source=another",
        "##contig=<ID=chrUn,length=7>",
        '##INFO=<ID=X,Number=1,Type=Integer,Description="x">',
    ]
    for name, part, lines in (("a", "1a", [pass_line]), ("b", "23", [pass_line, *extra_lines])):
        head, rest = texts[part].replace(f"{pass_line}\n", "").split("\n", 1)
        (tmp_path / f"{name}.vcf").write_text("\n".join([head, *lines, rest]))
    paths = [tmp_path / "a.vcf", tmp_path / "b.vcf"]
    command = [BCFTOOLS, "concat", "--no-version", *paths]
    (tmp_path / "ab.vcf").write_bytes(subprocess.run(command, capture_output=True).stdout)
    assert denoised(*paths) == denoised(tmp_path / "ab.vcf")


def refused(*paths, **options):
    result = denoise(*paths, **options)
    assert result.status == 1
    assert result.output == b""
    return result.stderr.splitlines()[-1]


def test_files_that_do_not_fit_together_are_refused_in_a_line_that_names_both(parts, tmp_path):
    a, b, c = parts / "1a.vcf", parts / "1b.vcf.gz", parts / "23.vcf"
    line = refused(a, b, parts / "whole.vcf")
    assert "whole.vcf: the records on 1 from" in line
    assert f"overlap with those of {a}" in line
    text = c.read_text()
    changed = {
        "name": (text.replace("synthetic_LWK_1", "NA1", 1), "(NA1 is not among them)"),
        "build": (text.replace("249250621", "248956422"), "contig 1 has 248956422 letters"),
    }
    names, _ = table(text)
    swapped = text.replace("\t".join(names[:2]), "\t".join(names[1::-1]))
    changed["order"] = (swapped, "in another order")
    for name, (other, reason) in changed.items():
        (tmp_path / name).write_text(other)
        line = refused(a, tmp_path / name)
        assert reason in line
        assert str(tmp_path / name) in line
        assert str(a) in line
    texts = split(TEXT, lambda columns: columns[0] in ("1", "2") and int(columns[1]) < 100_000_000)
    (tmp_path / "12.vcf").write_text(texts[True])
    assert "parted by other contigs" in refused(tmp_path / "12.vcf", b)
    (tmp_path / "x.fa").write_text(">x\nACGT\n")
    assert "x.fa: FASTA, where VCF or BCF is needed" in refused(a, tmp_path / "x.fa")
    assert "1a.vcf: VCF, where FASTA is needed" in denoise(tmp_path / "x.fa", a).stderr


def test_a_fault_is_told_with_the_file_and_line_it_stands_in(parts, tmp_path):
    lines = (parts / "23.vcf").read_text().splitlines()
    lines[-3] = lines[-3].rpartition("\t")[0]
    (tmp_path / "bad.vcf").write_text("\n".join(lines) + "\n")
    line = refused(parts / "1a.vcf", tmp_path / "bad.vcf")
    assert f"{tmp_path / 'bad.vcf'}:{len(lines) - 2}: " in line


def test_records_of_two_builds_are_not_taken_for_one(tmp_path):
    """Where each header declares its own chromosome alone, the lengths are those of two builds."""
    texts = split(VCF, lambda columns: columns[0])
    for name, length in (("21", 48129895), ("22", 50818468)):
        lines = texts[name].splitlines()
        declared = [f"##contig=<ID={name},length={length}>"]
        others = [line for line in lines[1:] if not line.startswith("##contig")]
        (tmp_path / f"{name}.vcf").write_text("\n".join([lines[0], *declared, *others]) + "\n")
    result = denoise(tmp_path / "21.vcf", tmp_path / "22.vcf")
    assert "contig 21 is of GRCh37 and contig 22 of GRCh38" in result.stderr
    assert b"IMPUTED" not in result.output


def test_stretches_of_a_mitochondrial_genome(tmp_path):
    calls = {position: ["1", "0", "."] for position in COMMON}
    text = mito_vcf(calls)
    (tmp_path / "all.vcf").write_text(text)
    for low, part in split(text, lambda columns: int(columns[1]) < 4000).items():
        (tmp_path / f"{low}.vcf").write_text(part)
    files = [tmp_path / "False.vcf", tmp_path / "True.vcf"]
    expected = denoised("--only-present", tmp_path / "all.vcf")
    assert denoised("--only-present", *files) == expected
    nuclear = split(TEXT, by_chromosome)["1a"]
    (tmp_path / "people.vcf").write_text(nuclear)
    line = refused(tmp_path / "all.vcf", tmp_path / "people.vcf")
    assert "its records are for the model ancestry-generator" in line
    assert str(tmp_path / "all.vcf") in line
