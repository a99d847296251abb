"""VCF and BCF: genotypes of every shape, requested positions, faults with their lines, BCF equal to VCF."""

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pysam
import pytest
from conftest import SHARED, needs_shared

from genomai_cli.errors import InputError
from genomai_cli.formats import regions
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.genotypes import parse_genotypes
from genomai_cli.formats.regions import PositionIntervals
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.vcf import Variant, read_variants

TRAINING = SHARED / "data" / "1kgp" / "train.grch37.vcf.gz"
COLUMNS = "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT"
META = (
    '##fileformat=VCFv4.2\n##contig=<ID=1>\n##contig=<ID=2>\n##FILTER=<ID=low,Description="">\n'
    '##INFO=<ID=DP,Number=1,Type=Integer,Description="">\n'
    '##INFO=<ID=END,Number=1,Type=Integer,Description="">\n'
    '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
)
needs_bcftools = pytest.mark.skipif(not shutil.which("bcftools"), reason="bcftools is not here")


def vcf(*rows: str, samples: str = "S1 S2") -> bytes:
    """A VCF from rows whose columns are separated by single spaces."""
    lines = [f"{COLUMNS} {samples}", *rows]
    return (META + "\n".join(lines).replace(" ", "\t") + "\n").encode()


def read(folder: Path, content: bytes, sites=None) -> list[Variant]:
    path = folder / "input"
    path.write_bytes(content)
    with open_input(path) as source:
        return list(read_variants(source, sites).records)


def refusal(folder: Path, content: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        read(folder, content)
    return caught.value


def outcome(folder: Path, content: bytes) -> str:
    """The message of a refusal, nothing for an accepted file."""
    try:
        read(folder, content)
    except InputError as error:
        return str(error)
    return ""


def row(calls: str, layout: str = "GT", alt: str = "G") -> str:
    return f"1 100 . A {alt} . . . {layout} {calls}"


@pytest.mark.parametrize(
    ("calls", "layout", "genotypes", "phased"),
    [
        ("0|1 1|0", "GT", [[0, 1], [1, 0]], [True, True]),
        ("0/1 1|1", "GT", [[0, 1], [1, 1]], [False, True]),
        ("./. .|.", "GT", [[-1, -1], [-1, -1]], [False, True]),
        ("0/. ./1", "GT", [[0, -1], [-1, 1]], [False, False]),
        ("1 0/1", "GT", [[1, -2], [0, 1]], [True, False]),
        (". .", "GT", [[-1, -2], [-1, -2]], [True, True]),
        ("0/0/1 0|1", "GT", [[-1, -1], [0, 1]], [False, True]),
        ("0/1:12 1|1:.", "GT:DP", [[0, 1], [1, 1]], [False, True]),
        ("9:0/1 8:1|1", "DP:GT", [[0, 1], [1, 1]], [False, True]),
        ("9:0/1 8", "DP:GT", [[0, 1], [-1, -2]], [False, True]),
        ("/0/1 |1", "GT", [[0, 1], [1, -2]], [False, True]),
        ("0/2 1/1", "GT", [[0, -1], [1, 1]], [False, False]),
    ],
)
def test_genotypes(tmp_path: Path, calls: str, layout: str, genotypes, phased) -> None:
    [variant] = read(tmp_path, vcf(row(calls, layout)))
    assert variant.genotypes.tolist() == genotypes
    assert variant.phased.tolist() == phased


def test_alleles_of_two_digits(tmp_path: Path) -> None:
    alts = ",".join("A" * n + "C" for n in range(1, 14))
    [variant] = read(tmp_path, vcf(row("0/12 13|1", alt=alts)))
    assert variant.genotypes.tolist() == [[0, 12], [13, 1]]
    assert len(variant.alts) == 13


def test_a_record_without_genotypes(tmp_path: Path) -> None:
    [variant] = read(tmp_path, vcf(row("3 4", "DP")))
    assert not variant.has_genotypes
    assert (variant.genotypes == -1).all()


@pytest.mark.parametrize("calls", ["0/x 0/0", "A|B 0/0", "0-1 0/0", "0//1 0/0"])
def test_what_is_not_a_genotype_is_refused(tmp_path: Path, calls: str) -> None:
    error = refusal(tmp_path, vcf(row(calls)))
    assert error.line == META.count("\n") + 2
    assert "is not a genotype" in str(error)


def test_one_by_one_and_all_at_once_agree() -> None:
    rng = np.random.default_rng(5)
    calls_to_sample = ["0|0", "0/1", "1|2", ".|.", "./1", "1", ".", "10|3", "0/0/1"]
    for size in (1, 2, 50):
        calls = [calls_to_sample[i] for i in rng.integers(0, len(calls_to_sample), size)]
        genotypes, phased = parse_genotypes("\t".join(calls).encode(), size, 0, 11)
        for call, expected, expected_phased in zip(calls, genotypes.tolist(), phased, strict=True):
            genotype, is_phased = parse_genotypes(call.encode(), 1, 0, 11)
            assert (genotype[0].tolist(), bool(is_phased[0])) == (expected, bool(expected_phased))


def test_alleles_contigs_and_lines(tmp_path: Path) -> None:
    rows = [
        "chr1 5 . a g,<NON_REF>,* . . . GT 0/1 0/0",
        "chrM 7 . ACG . . . . GT 0/0 0/0",
        "X 6 . A <DEL> . . . GT 0/1 0/0",
    ]
    first, second, third = read(tmp_path, vcf(*rows))
    assert (first.contig, first.ref, first.alts) == ("1", "A", ("G", "<NON_REF>", "*"))
    assert (second.contig, second.ref, second.alts) == ("MT", "ACG", ())
    assert (third.contig, third.alts, third.line) == ("X", ("<DEL>",), META.count("\n") + 4)


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("chr1", "1"),
        ("CHR22", "22"),
        ("chrM", "MT"),
        ("M", "MT"),
        ("MT", "MT"),
        ("chrx", "X"),
        ("NC_000001.10", "1"),
        ("NC_000023.11", "X"),
        ("NC_012920.1", "MT"),
        ("chrUn_1", "Un_1"),
        ("chr01", "1"),
        ("007", "7"),
        ("Chromosome10", "10"),
        ("CM000663.2", "1"),
        ("CM000686.1", "Y"),
        ("CM000687.1", "CM000687.1"),
        ("J01415.2", "MT"),
        ("GRCh38#0#chr1", "1"),
        ("grch38#chrX", "X"),
        ("hg38.chr9", "9"),
        ("GRCh38.p14#0#chrM", "MT"),
        ("gi|568815364|ref|NC_000010.11|", "10"),
        ("CHM13#0#chr1", "CHM13#0#chr1"),
        ("HG002#1#chr1", "HG002#1#chr1"),
        ("chr1_KI270706v1_random", "1_KI270706v1_random"),
        ("NC_000025.7", "NC_000025.7"),
        ("100", "100"),
        ("26", "26"),
    ],
)
def test_normal_contig(name: str, normal: str) -> None:
    assert normal_contig(name) == normal


def test_only_requested_positions_in_any_order(tmp_path: Path) -> None:
    rows = [f"{chrom} {pos} . A G . . . GT 0/1 0/0" for chrom, pos in
            [("2", 9), ("1", 30), ("chr1", 10), ("1", 20), ("1", 10), ("3", 10)]]  # fmt: skip
    found = read(tmp_path, vcf(*rows), {"1": {10, 20}, "2": PositionIntervals([(1, 5), (8, 10)])})
    positions = [(variant.contig, variant.position) for variant in found]
    assert positions == [("2", 9), ("1", 10), ("1", 20), ("1", 10)]


def test_windows_line_ends_and_blank_lines(tmp_path: Path) -> None:
    content = vcf(row("0/1 0/0"), "", row("1/1 0/0")).replace(b"\n", b"\r\n")
    assert [variant.genotypes[0].tolist() for variant in read(tmp_path, content)] == [
        [0, 1],
        [1, 1],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (vcf(row("0/1")), "10 columns where the header has 11"),
        (vcf("1 x . A G . . . GT 0/1 0/0"), "'x' is not a position"),
        (vcf("1,5,.,A,G"), "columns separated by tabs"),
        (vcf(samples="S1 S1"), "sample S1 is there twice"),
        (vcf(row("0/1 0/0"), "1 10")[:-1], "truncated in the middle of a record"),
        (META.encode(), "no #CHROM line"),
        (META.encode() + COLUMNS.encode() + b"\n", "separated by tabs"),
        (vcf().rstrip(b"\n"), "header ends within the names of its samples"),
        (vcf()[:-3], "header ends within the names of its samples"),
        (vcf().replace(b"\tFORMAT\tS1\tS2", b""), "no samples"),
        (vcf().replace(b"\tS1\tS2", b""), "no samples"),
    ],
)
def test_faulty_files(tmp_path: Path, content: bytes, message: str) -> None:
    error = refusal(tmp_path, content)
    assert message in str(error)
    assert error.line is not None


def test_undeclared_tags_and_contigs_do_not_matter(tmp_path: Path, capfd) -> None:
    content = vcf("7 5 . A G . . NEW=1 GT:XX 0/1:3 0/0:4")
    [variant] = read(tmp_path, content.replace(b"##contig=<ID=1>\n", b""))
    assert variant.genotypes.tolist() == [[0, 1], [0, 0]]
    assert capfd.readouterr() == ("", "")


ROWS = [
    row("0|1 1"), "1 101 x AC A,<NON_REF> 5 low DP=3 GT:DP ./.:1 1/2:2", row("0/0/1 ."),
    "2 5 . C T . PASS . DP 3 4", "2 6 . C . . PASS . GT 0/0 0|.", row("0/130 1/1", alt=",".join(
        "A" * n for n in range(2, 140))),
]  # fmt: skip


def as_bcf(folder: Path, content: bytes, *options: str) -> bytes:
    (folder / "made.vcf").write_bytes(content)
    command = ["bcftools", "view", *options, str(folder / "made.vcf")]
    return subprocess.run(command, check=True, capture_output=True).stdout


def same_variant(first: Variant, second: Variant) -> bool:
    fields = ("contig", "position", "ref", "alts", "has_genotypes")
    equal = all(getattr(first, field) == getattr(second, field) for field in fields)
    # BCF pads to the widest call of the record; whether a lone dot was haploid is all that may change.
    called = first.genotypes[:, 0] >= 0
    return equal and bool((first.genotypes[called] == second.genotypes[called]).all())


@needs_bcftools
@pytest.mark.parametrize("option", ["-Ob", "-Ou"])
def test_bcf_gives_what_its_vcf_gives(tmp_path: Path, option: str) -> None:
    text, binary = (read(tmp_path, c) for c in (vcf(*ROWS), as_bcf(tmp_path, vcf(*ROWS), option)))
    assert len(text) == len(binary) == len(ROWS)
    assert all(same_variant(first, second) for first, second in zip(text, binary, strict=True))
    assert [v.phased.tolist() for v in text[:2]] == [v.phased.tolist() for v in binary[:2]]


@needs_bcftools
def test_bcf_at_requested_positions(tmp_path: Path) -> None:
    binary = as_bcf(tmp_path, vcf(*ROWS), "-Ob")
    assert [v.position for v in read(tmp_path, binary, {"1": {101}, "2": {6}})] == [101, 6]


@needs_bcftools
def test_damaged_bcf_is_refused_never_a_crash(tmp_path: Path) -> None:
    data = as_bcf(tmp_path, vcf(*ROWS), "-Ou")
    rng = np.random.default_rng(3)
    for _ in range(300):
        damaged = bytearray(data[: rng.integers(len(data) // 2, len(data) + 1)])
        for offset in rng.integers(len(META), len(damaged), 3):
            damaged[offset] = rng.integers(256)
        assert "\n" not in outcome(tmp_path, bytes(damaged))


def test_damaged_vcf_is_refused_never_a_crash(tmp_path: Path) -> None:
    data = vcf(*ROWS)
    rng = np.random.default_rng(4)
    for _ in range(300):
        damaged = bytearray(data)
        for offset in rng.integers(0, len(damaged), 3):
            damaged[offset] = rng.integers(256)
        assert "\n" not in outcome(tmp_path, bytes(damaged))


def indexed(folder: Path) -> Path:
    rows = [f"chr1 {pos} . A G . . . GT 0/1 {pos % 2}/0" for pos in range(1, 3000)]
    plain = folder / "x.vcf"
    plain.write_bytes(vcf(*rows))
    pysam.tabix_index(str(plain), preset="vcf", force=True)
    return folder / "x.vcf.gz"


PANEL_SITES = {"1": {5, 77, 2990, 9999}, "2": {5}}


def test_an_index_gives_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = indexed(tmp_path)
    with open_input(path) as source:
        streamed = list(read_variants(source, PANEL_SITES).records)
    monkeypatch.setattr(regions, "_MIN_BYTES_PER_SITE", 0)
    with open_input(path) as source:
        found = list(read_variants(source, PANEL_SITES).records)
    assert [v.position for v in found] == [v.position for v in streamed] == [5, 77, 2990]
    assert all(v.line is None for v in found)
    assert all(same_variant(*pair) for pair in zip(found, streamed, strict=True))


@pytest.mark.parametrize("fault", ["stale", "damaged"])
def test_a_bad_index_is_not_used(tmp_path: Path, monkeypatch, capfd, fault: str) -> None:
    path = indexed(tmp_path)
    index = path.with_name(path.name + ".tbi")
    if fault == "stale":
        os.utime(index, (1, 1))
    else:
        index.write_bytes(b"nonsense")
    monkeypatch.setattr(regions, "_MIN_BYTES_PER_SITE", 0)
    with open_input(path) as source:
        found = list(read_variants(source, PANEL_SITES).records)
    assert [v.position for v in found] == [5, 77, 2990]
    assert all(v.line is not None for v in found)
    assert capfd.readouterr() == ("", "")


def assert_as_bcftools_reads(path: Path, every: int = 1) -> None:
    """Every so many of the records, of one ALT and phased genotypes without gaps."""
    command = ["bcftools", "query", "-f", "%CHROM\t%POS\t%REF\t%ALT[\t%GT]\n", str(path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    with open_input(path) as source:
        variants = list(read_variants(source).records)
    assert variants
    for line, variant in zip(lines[::every], variants[::every], strict=True):
        chrom, pos, ref, alt, *calls = line.split("\t")
        assert (variant.contig, str(variant.position)) == (chrom, pos)
        assert (variant.ref, variant.alts) == (ref, (alt,))
        assert ["|".join(map(str, pair)) for pair in variant.genotypes.tolist()] == calls


@needs_bcftools
def test_agreement_with_bcftools_query(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    calls = rng.integers(0, 2, (200, 30, 2)).tolist()
    rows = [
        f"{1 + n // 100} {100 * n + 7} . A G . PASS DP={n} GT:DP "
        + " ".join(f"{first}|{second}:{n % 9 + 1}" for first, second in pairs)
        for n, pairs in enumerate(calls)
    ]
    path = tmp_path / "cohort.vcf.gz"
    path.write_bytes(gzip.compress(vcf(*rows, samples=" ".join(f"S{n}" for n in range(30)))))
    assert_as_bcftools_reads(path)


@needs_shared
@needs_bcftools
def test_agreement_with_bcftools_query_of_the_training_cohort() -> None:
    assert_as_bcftools_reads(TRAINING, every=50)


def test_gzip_and_plain_give_the_same(tmp_path: Path) -> None:
    variants = [read(tmp_path, compress(vcf(*ROWS))) for compress in (bytes, gzip.compress)]
    assert all(same_variant(*pair) for pair in zip(*variants, strict=True))


def test_records_are_counted_by_contig_and_those_that_cover_a_position_are_given(
    tmp_path: Path,
) -> None:
    rows = [
        "chr1 5 . ACGT A . . . GT 0/1 0/0",
        "chr1 6 . CG TA . . . GT 1/1 0/0",
        "chr1 7 . G <DEL> . . END=30 GT 1/1 0/0",
        "chr1 9 . G A . . . GT 1/1 0/0",
        "other 7 . G A . . . GT 1/1 0/0",
    ]
    sites = {"1": {7, 8, 20}}
    path = tmp_path / "x.vcf"
    path.write_bytes(vcf(*rows))
    with open_input(path) as source:
        file = read_variants(source, sites, covering=True)
        found = [(variant.position, variant.ref, variant.offset) for variant in file.records]
    deletion = [(7, "ACGT", 2), (8, "ACGT", 3)]
    assert found == [*deletion, (7, "CG", 1), (7, "G", 0), (8, "G", 1), (20, "G", 13)]
    assert file.contigs == {"chr1": 4, "other": 1}
    assert [(variant.position, variant.ref) for variant in read(tmp_path, vcf(*rows), sites)] == [
        (7, "G")
    ]


@pytest.mark.parametrize("binary", [False, pytest.param(True, marks=needs_bcftools)])
def test_letters_reach_no_further_than_ref_whatever_end_says(tmp_path: Path, binary: bool) -> None:
    rows = [
        "1 100 . G T . . END=120 GT 0/1 0/0",
        "1 100 . GA G . . END=120 GT 0/1 0/0",
        "1 100 . G T,<*> . . END=120 GT 0/1 0/0",
    ]
    path = tmp_path / "x.vcf"
    content = vcf(*rows)
    path.write_bytes(as_bcf(tmp_path, content, "-Ob") if binary else content)
    with open_input(path) as source:
        file = read_variants(source, {"1": {101, 110}}, covering=True)
        found = [(variant.position, variant.ref, variant.alts) for variant in file.records]
    assert found == [(101, "GA", ("G",)), (101, "G", ("T", "<*>")), (110, "G", ("T", "<*>"))]


@pytest.mark.parametrize("binary", [False, pytest.param(True, marks=needs_bcftools)])
@pytest.mark.parametrize("covering", [False, True])
@pytest.mark.parametrize("alt", [".", "<*>", "<NON_REF>"])
def test_blocks_reach_to_their_end_whatever_stands_for_no_variant(
    tmp_path: Path, alt: str, covering: bool, binary: bool
) -> None:
    path = tmp_path / "x.vcf"
    content = vcf(f"1 100 . G {alt} . . END=120 GT 0/0 0/0")
    path.write_bytes(as_bcf(tmp_path, content, "-Ob") if binary else content)
    with open_input(path) as source:
        file = read_variants(source, {"1": {101, 120, 121}}, covering=covering)
        found = [(variant.position, variant.ref) for variant in file.records]
    assert found == [(101, ""), (120, "")]


HTSLIB = tuple(map(int, pysam.version.__htslib_version__.split(".")[:2]))


# The last position of records at 100, as htslib 1.24 has it; before 1.22 it read END alone.
@pytest.mark.parametrize("version", ["4.2", "4.4", "4.5"])
@pytest.mark.parametrize(
    ("row", "last"),
    [
        ("N <DEL> . . SVTYPE=DEL;SVLEN=50 GT 0/1 0/0", 150),
        ("N <DEL> . . SVLEN=-50 GT 0/1 0/0", 150),  # as before VCF 4.4
        ("N <DEL:ME> . . SVLEN=50 GT 0/1 0/0", 150),
        ("N <DUP> . . SVLEN=50 GT 0/1 0/0", 150),
        ("N <INV>,<INS> . . SVLEN=10,70 GT 0/1 0/0", 110),
        ("N <INS> . . SVLEN=50 GT 0/1 0/0", 100),
        ("N <DELETION> . . SVLEN=50 GT 0/1 0/0", 100),
        ("ACGT A,<DEL> . . SVLEN=.,50 GT 0/1 0/0", 150),
        ("ACGT <DEL> . . SVLEN=2 GT 0/1 0/0", 103),
        ("N <DEL> . . END=120;SVLEN=50 GT 0/1 0/0", 150),
        ("N <DEL> . . SVLEN=50;END=180 GT 0/1 0/0", 180),
        ("ACGT A . . SVLEN=50 GT 0/1 0/0", 103),
        ("N <*> . . . GT:LEN 0/0:20 0/0:50", 149),
        ("N <NON_REF> . . . GT:LEN 0/0:20 0/0:.", 119),
        ("N <*> . . END=120 GT:LEN 0/0:50 0/0", 149),
        ("A C,<*> . . . GT:LEN 0/1:. 0/0:30", 129),
        ("N <*> . . . GT:LEN 0/0:. 0/0", 100),
        ("N . . . . GT:LEN 0/0:50 0/0:50", 100),
        ("N <*> . . . GT:MED_LEN 0/0:50 0/0:50", 100),
    ],
)
def test_symbolic_alleles_end_as_in_htslib(
    tmp_path: Path, row: str, last: int, version: str
) -> None:
    text, binary = tmp_path / "x.vcf", tmp_path / "x.bcf"
    declared = "".join(
        f'##{kind}=<ID={name},Number={number},Type={values},Description="">\n'
        for kind, name, number, values in (
            ("INFO", "SVTYPE", "1", "String"),
            ("INFO", "SVLEN", "A", "Integer"),
            ("FORMAT", "LEN", "1", "Integer"),
            ("FORMAT", "MED_LEN", "1", "Integer"),
        )
    )
    content = vcf(f"1 100 . {row}").replace(b"#CHROM", declared.encode() + b"#CHROM")
    text.write_bytes(content.replace(b"VCFv4.2", b"VCFv" + version.encode()))
    with (
        pysam.VariantFile(str(text)) as source,
        pysam.VariantFile(str(binary), "wb", header=source.header) as copy,
    ):
        for record in source:
            copy.write(record)
    for path in (text, binary) if HTSLIB >= (1, 22) else (text,):
        for covering in (True, False):
            with open_input(path) as source:
                file = read_variants(source, {"1": {*range(101, 200)}}, covering=covering)
                found = [variant.position for variant in file.records]
            is_block = row.split(" ")[1] in ("<*>", "<NON_REF>")
            assert found == [*range(101, last + 1 if covering or is_block else 0)]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("record", "missing"),
    [
        ("N <*> . . . GT:LEN 0/0:3 0/0:1", {101: [1], 102: [1]}),
        ("N <NON_REF> . . END=102 GT:LEN 0/0:1 0/0:.", {101: [0], 102: [0]}),
        ("N <*> . . END=102 GT:LEN 0/0:. 0/0:.", {101: [], 102: []}),
        ("N . . . END=102 GT:LEN 0/0:1 0/0:2", {101: [], 102: []}),  # LEN is of <*>
        ("N <*> . . END=102 GT:LEN 0/0:2 ./.:3", {101: [1], 102: [0, 1]}),
    ],
)
def test_a_block_covers_each_sample_to_its_own_length(
    tmp_path: Path, record: str, missing: dict[int, list[int]], binary: bool
) -> None:
    text, path = tmp_path / "x.vcf", tmp_path / "x.bcf"
    declared = b'##FORMAT=<ID=LEN,Number=1,Type=Integer,Description="">\n#CHROM'
    text.write_bytes(vcf(f"1 100 . {record}").replace(b"#CHROM", declared))
    if binary and HTSLIB < (1, 22) and "END" not in record:
        pytest.skip("the length of a BCF record follows from LEN in htslib from 1.22 on")
    if binary:
        with (
            pysam.VariantFile(str(text)) as source,
            pysam.VariantFile(str(path), "wb", header=source.header) as copy,
        ):
            for variant in source:
                copy.write(variant)
    with open_input(path if binary else text) as source:
        found = {
            variant.position: np.flatnonzero(variant.genotypes[:, 0] < 0).tolist()
            for variant in read_variants(source, {"1": {101, 102, 103}}).records
        }
    assert found == missing


@pytest.mark.parametrize("alt", ["<*>", "<DEL>"])
def test_an_end_behind_many_fields_of_info_is_found(tmp_path: Path, alt: str) -> None:
    path = tmp_path / "x.vcf"
    path.write_bytes(vcf(f"1 100 . G {alt} . . A={'0,' * 999}0;END=120 GT 0/0 0/0"))
    with open_input(path) as source:
        file = read_variants(source, {"1": {120}}, covering=True)
        assert [variant.position for variant in file.records] == [120]


@pytest.mark.parametrize(
    ("layout", "calls", "is_cut"),
    [
        ("GT", "0|1 0|1", False),
        ("GT", "0|1 0", True),
        ("GT:DP", "0|1:3 0|1:", True),
        ("GT", "0 1", False),
        ("GT", "0|1", False),
        ("GT:DP", "0|1:3 0|1", True),
        ("GT:DP", "0|1 0|1", False),
        ("GT:AD", "0|1:3,4 0|1:3,", True),
        ("GT:DP", "0|1", True),
        ("GT:DP", "./.", False),
        ("GT:DP", "0/1:3 1:4", False),  # haploid, and whole
    ],
)
def test_a_last_call_without_a_line_end_is_refused_if_it_is_shorter_than_the_others(
    tmp_path: Path, layout: str, calls: str, is_cut: bool
) -> None:
    samples = " ".join(f"S{number}" for number, _ in enumerate(calls.split(" ")))
    line = "1\t10\t.\tA\tG\t.\t.\t.\t" + layout + "\t" + calls.replace(" ", "\t")
    content = vcf(samples=samples) + line.encode()
    if is_cut:
        error = refusal(tmp_path, content)
        assert "truncated in the middle of a record: it has no line end" in str(error)
        assert error.line == content.count(b"\n") + 1
    else:
        assert len(read(tmp_path, content)) == 1


@needs_bcftools
def test_ids_within_descriptions_name_nothing(tmp_path: Path) -> None:
    described = '##FILTER=<ID=low,Description="fields NAME,ID=GT,and more">'
    rows = ["1 5 . A G . PASS . GT 0/1 0/0", "1 6 . A G . low . GT 0/1 0/0"]
    content = vcf(*rows).replace(b'##FILTER=<ID=low,Description="">', described.encode())
    found = read(tmp_path, as_bcf(tmp_path, content, "-Ob"))
    assert [variant.filters for variant in found] == [(), ("low",)]
    assert found[0].genotypes.tolist() == [[0, 1], [0, 0]]
