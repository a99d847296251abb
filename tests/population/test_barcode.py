"""From VCF to letters: builds, swapped and other alleles, splits, gaps, cohorts, and the way back."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import MEMBERS, POPULATIONS, SHARED, needs_shared
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.streams import open_inputs
from genomai_cli.population.barcode import (
    Barcodes,
    genotypes_to_letters,
    letters_to_genotypes,
    read_barcodes,
    read_haplotypes,
)
from genomai_cli.population.panel import Panel

PANEL = """chrom\tpos_grch37\tpos_grch38\trsid\tref\talt\tpanel
1\t100\t1100\trs1\tA\tG\tx
1\t200\t1200\trs2\tC\tT\tx,y
2\t300\t.\trs3\tG\tC\ty
MT\t400\t400\t.\tT\tA\tx
"""
COLUMNS = "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT"


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    path = tmp_path / "small.tsv"
    path.write_text(PANEL)
    return Panel.read(path)


def vcf(folder: Path, *rows: str, samples: str = "S", meta: str = "", name: str = "x.vcf") -> Path:
    header = "##fileformat=VCFv4.2\n" + meta
    path = folder / name
    path.write_text(header + "\n".join([f"{COLUMNS} {samples}", *rows]).replace(" ", "\t") + "\n")
    return path


def site(chrom: str, pos: int, ref: str, alt: str, *calls: str) -> str:
    return f"{chrom} {pos} . {ref} {alt} . PASS . GT {' '.join(calls)}"


def barcodes(panel: Panel, *paths: Path, absent_is_ref: bool = False) -> Barcodes:
    return read_barcodes(open_inputs(paths), panel, absent_is_ref=absent_is_ref)


def sequences(panel: Panel, *paths: Path, absent_is_ref: bool = False) -> list[str]:
    found = barcodes(panel, *paths, absent_is_ref=absent_is_ref)
    return [record.sequence for record in found.records()]


REST = (site("1", 200, "C", "T", "0/1"), site("2", 300, "G", "C", "1/1"))


@pytest.mark.parametrize(
    ("record", "letter"),
    [
        (site("1", 100, "A", "G", "0/0"), "A"),
        (site("1", 100, "A", "G", "0/1"), "R"),
        (site("1", 100, "A", "G", "1|1"), "G"),
        (site("chr1", 100, "A", "G", "0/1"), "R"),
        (site("1", 100, "a", "g", "1/1"), "G"),
        (site("1", 100, "G", "A", "0/0"), "G"),  # swapped
        (site("1", 100, "G", "A", "1/1"), "A"),
        (site("1", 100, "A", "C", "0/1"), "N"),  # another alternate allele
        (site("1", 100, "A", "C", "0/0"), "N"),
        (site("1", 100, "A", "C,G", "0/2"), "R"),  # multiallelic
        (site("1", 100, "A", "C,G", "0/1"), "N"),
        (site("1", 100, "A", "C,G", "1/2"), "N"),
        (site("1", 100, "A", "G,*", "1/2"), "N"),
        (site("1", 100, "A", "G,<NON_REF>", "0/1"), "R"),
        (site("1", 100, "A", ".", "0/0"), "A"),  # monomorphic
        (site("1", 100, "G", ".", "0/0"), "G"),
        (site("1", 100, "C", ".", "0/0"), "N"),
        (site("1", 100, "A", "<NON_REF>", "0/0"), "A"),
        (site("1", 100, "A", "<*>", "0/1"), "N"),
        (site("1", 100, "AT", "GT,A", "0/1"), "R"),  # a SNP merged with an indel
        (site("1", 100, "AT", "GT,A", "0/2"), "N"),
        (site("1", 100, "AT", "A", "0/1"), "N"),
        (site("1", 100, "A", "G", "./."), "N"),
        (site("1", 100, "A", "G", "./1"), "N"),
        (site("1", 100, "A", "G", "."), "N"),
        (site("1", 100, "A", "G", "1"), "G"),  # haploid
        (site("1", 100, "A", "G", "0/0/1"), "N"),
        (site("1", 101, "A", "G", "0/1"), "N"),  # beside the site
    ],
)
def test_one_record_gives_its_letter(
    tmp_path: Path, panel: Panel, record: str, letter: str
) -> None:
    assert sequences(panel, vcf(tmp_path, record, *REST)) == [letter + "YCN"]


def test_order_of_records_does_not_matter(tmp_path: Path, panel: Panel) -> None:
    rows = [site("MT", 400, "T", "A", "1"), *REST, site("1", 100, "A", "G", "0/1")]
    assert (
        sequences(panel, vcf(tmp_path, *rows))
        == sequences(panel, vcf(tmp_path, *rows[::-1]))
        == ["RYCA"]
    )


def test_split_multiallelics_read_as_unsplit_ones(tmp_path: Path, panel: Panel) -> None:
    calls = ["0/0", "0/1", "0/2", "1/2", "2/2"]
    samples = " ".join(f"S{n}" for n in range(5))
    rest = site("1", 200, "C", "T", *["0/0"] * 5)
    unsplit = vcf(tmp_path, site("1", 100, "A", "G,C", *calls), rest, samples=samples)
    split_rows = [
        site("1", 100, "A", "G", "0/0", "0/1", "0/0", "1/0", "0/0"),
        site("1", 100, "A", "C", "0/0", "0/0", "0/1", "0/1", "1/1"),
    ]
    for rows in (split_rows, split_rows[::-1]):
        split = vcf(tmp_path, *rows, rest, samples=samples, name="split.vcf")
        assert [sequence[0] for sequence in sequences(panel, split)] == [
            sequence[0] for sequence in sequences(panel, unsplit)
        ]
    assert [sequence[0] for sequence in sequences(panel, unsplit)] == ["A", "R", "N", "N", "N"]


def test_an_indel_in_a_row_of_its_own_reads_as_in_one_row(tmp_path: Path, panel: Panel) -> None:
    rows = [site("1", 100, "A", "ATT", "0/1", "0/0"), site("1", 100, "A", "G", "0/0", "0/1")]
    split = sequences(panel, vcf(tmp_path, *rows, samples="S T"))
    unsplit = vcf(tmp_path, site("1", 100, "A", "G,ATT", "0/2", "0/1"), samples="S T")
    assert split == sequences(panel, unsplit) == ["NNNN", "RNNN"]
    # The indel alone tells nothing of the site, except for those who carry it.
    rest = site("1", 200, "C", "T", "0/1", "0/0")
    indel_alone = vcf(tmp_path, rows[0], rest, samples="S T")
    assert sequences(panel, indel_alone, absent_is_ref=True) == ["NYNN", "ACNN"]


def random_site(rng: random.Random, pos: int) -> tuple[str, str]:
    """A panel row and a VCF row with up to two other alleles."""
    ref, alt, third = rng.sample("ACGT", 3)
    shapes = ["{a}", "{a},{t}", "{t},{a}", "{t}", "{a},{r}T", "{t},{a},{r}TT"]
    alts = rng.choice(shapes).format(a=alt, t=third, r=ref)
    alleles = [".", *map(str, range(alts.count(",") + 2))]
    calls = [rng.choice(alleles) + rng.choice("/|") + rng.choice(alleles) for _ in range(20)]
    return f"1\t{pos}\t{ref}\t{alt}\n", site("1", pos, ref, alts, *calls)


@pytest.mark.skipif(not shutil.which("bcftools"), reason="bcftools is not here")
def test_bcftools_norm_does_not_change_a_barcode(tmp_path: Path) -> None:
    rng = random.Random(3)
    sites, rows = zip(*(random_site(rng, 100 * n) for n in range(1, 101)), strict=True)
    (tmp_path / "p.tsv").write_text("chrom\tpos_grch37\tref\talt\n" + "".join(sites))
    meta = '##contig=<ID=1>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
    unsplit = vcf(tmp_path, *rows, samples=" ".join(f"S{n}" for n in range(20)), meta=meta)
    split = tmp_path / "split.vcf"
    command = ["bcftools", "norm", "-m-", "-o", str(split), str(unsplit)]
    subprocess.run(command, check=True, capture_output=True)
    panel = Panel.read(tmp_path / "p.tsv")
    assert sequences(panel, split) == sequences(panel, unsplit)


def test_records_that_disagree_give_n_for_that_sample(tmp_path: Path, panel: Panel) -> None:
    rows = [
        site("1", 100, "A", "G", "0/1", "0|1", "./."),
        site("1", 100, "A", "G", "1/1", "1|0", "1/1"),
    ]
    found = barcodes(panel, vcf(tmp_path, *rows, samples="S1 S2 S3"))
    assert [record.sequence[0] for record in found.records()] == ["N", "R", "G"]
    assert (found.report.matched, found.report.conflicting) == (1, 1)


def test_absent_sites(tmp_path: Path, panel: Panel) -> None:
    path = vcf(tmp_path, site("1", 100, "A", "G", "0/1"), site("1", 200, "C", "G", "0/1"))
    assert sequences(panel, path) == ["RNNN"]
    # What the file lists with another allele stays missing, and so do chromosomes that it is not about.
    assert sequences(panel, path, absent_is_ref=True) == ["RNNN"]
    warning = barcodes(panel, path, absent_is_ref=True).report.warnings[0]
    assert "no record on chromosome 2, MT" in warning
    elsewhere = site("2", 7, "A", "G", "0/1")
    path = vcf(
        tmp_path, site("1", 100, "A", "G", "0/1"), site("1", 200, "C", "G", "0/1"), elsewhere
    )
    assert sequences(panel, path, absent_is_ref=True) == ["RNGN"]


def test_grch38_is_found_from_the_sites(tmp_path: Path, panel: Panel) -> None:
    rows = [site("chr1", 1100, "A", "G", "0/1"), site("chr1", 1200, "C", "T", "1/1")]
    path = vcf(tmp_path, *rows, meta="##contig=<ID=1,length=249250621>\n")
    report = barcodes(panel, path).report
    assert (report.build, report.header_build) == ("GRCh38", "GRCh37")
    assert "header says GRCh37, but the sites match GRCh38" in report.warnings[0]
    assert sequences(panel, path) == ["RTNN"]
    # The third site has no position in GRCh38, so its absence says nothing.
    path = vcf(tmp_path, *rows, site("2", 7, "A", "G", "0/1"), site("MT", 7, "A", "G", "0/1"))
    assert sequences(panel, path, absent_is_ref=True) == ["RTNT"]


@pytest.mark.parametrize(
    "meta",
    [
        "##reference=file:///hg38.fa\n",
        "##contig=<ID=chr2,length=242193529>\n",
        "##contig=<ID=chr2,assembly=GRCh38.p13,length=1>\n",
    ],
)
def test_the_header_decides_a_tie(tmp_path: Path, panel: Panel, meta: str) -> None:
    assert barcodes(panel, vcf(tmp_path, site("MT", 400, "T", "A", "0"))).report.build == "GRCh37"
    path = vcf(tmp_path, site("MT", 400, "T", "A", "0"), meta=meta)
    assert barcodes(panel, path).report.build == "GRCh38"


def test_a_file_that_matches_neither_build_is_refused(tmp_path: Path, panel: Panel) -> None:
    path = vcf(tmp_path, site("5", 1, "A", "G", "0/1"))
    with pytest.raises(InputError, match="0 of 4 panel sites in GRCh37 and 0 in GRCh38"):
        barcodes(panel, path)


def test_a_list_of_variants_without_any_at_a_site_tells_nothing(
    tmp_path: Path, panel: Panel
) -> None:
    path = vcf(tmp_path, site("1", 1, "A", "G", "0/1"), meta="##reference=hg19\n")
    with pytest.raises(InputError, match="--absent-is-ref alone would make everybody alike"):
        barcodes(panel, path, absent_is_ref=True)


def test_records_without_gt_are_refused(tmp_path: Path, panel: Panel) -> None:
    path = vcf(tmp_path, "1 100 . A G . . . DP 7")
    with pytest.raises(InputError, match="no genotypes"):
        barcodes(panel, path)


def test_the_report_adds_up(tmp_path: Path, panel: Panel) -> None:
    rows = [site("1", 100, "G", "A", "0/1"), site("1", 200, "C", "A", "0/1")]
    report = barcodes(panel, vcf(tmp_path, *rows)).report
    counts = (report.matched, report.swapped, report.other_alleles, report.absent)
    assert counts == (1, 1, 1, 2)
    assert "GRCh37, 1 of 4 panel sites, 1 swapped, 1 other alleles, 2 absent" in str(report)


def test_parts_of_a_cohort_are_joined_and_others_follow(tmp_path: Path, panel: Panel) -> None:
    first = vcf(tmp_path, site("1", 100, "A", "G", "0/1", "0/0"), samples="S1 S2", name="1.vcf")
    other = vcf(tmp_path, site("1", 100, "A", "G", "1/1"), samples="T", name="t.vcf")
    second = vcf(tmp_path, site("2", 300, "G", "C", "1/1", "0/1"), samples="S1 S2", name="2.vcf")
    found = barcodes(panel, first, other, second)
    assert found.names == ["S1", "S2", "T"]
    assert [record.sequence for record in found.records()] == ["RNCN", "ANSN", "GNNN"]
    assert [report.samples for report in found.reports] == [2, 1]


def test_other_samples_under_the_same_names_are_not_mixed(tmp_path: Path, panel: Panel) -> None:
    one = vcf(tmp_path, site("1", 100, "A", "G", "0/1"), name="1.vcf")
    two = vcf(tmp_path, site("1", 100, "A", "G", "1/1"), name="2.vcf")
    with pytest.raises(InputError, match="same samples as"):
        barcodes(panel, one, two)
    assert sequences(panel, one, one) == ["RNNN"]


def test_no_input_is_wrong_usage(panel: Panel) -> None:
    with pytest.raises(UsageError):
        read_barcodes([], panel)


def test_haplotypes(tmp_path: Path, panel: Panel) -> None:
    rows = [
        site("1", 100, "A", "G", "0|1", "0/1"),
        site("1", 200, "C", "T", "1|0", "1/1"),
        site("2", 300, "G", "C", "1|.", "./0"),
        site("MT", 400, "T", "A", "1", "0"),
    ]
    path = vcf(tmp_path, *rows, samples="P U")
    found = read_haplotypes(open_inputs([path]), panel)
    names = {record.name: record.sequence for record in found.records()}
    assert names == {"P_A": "ATCA", "P_B": "GCNA", "U_A": "NTNT", "U_B": "NTNT"}
    assert found.letters.shape == (2, 2, 4)
    with pytest.raises(InputError, match="sample U is not phased"):
        read_haplotypes(open_inputs([path]), panel, refuse_unphased=True)


@given(st.lists(st.lists(st.integers(-1, 2), min_size=4, max_size=4), min_size=1, max_size=6))
def test_genotypes_to_letters_and_back(states: list[list[int]]) -> None:
    positions = {build: np.arange(1, 5) for build in ("GRCh37", "GRCh38")}
    empty = (".",) * 4
    panel = Panel("p", ("1",) * 4, positions, empty, tuple("ACGT"), tuple("GTCA"), empty)
    array = np.array(states, np.int8)
    assert (letters_to_genotypes(genotypes_to_letters(array, panel), panel) == array).all()


def test_letters_of_another_site_are_missing(panel: Panel) -> None:
    letters = np.frombuffer(b"TYNW", np.uint8)
    assert letters_to_genotypes(letters, panel).tolist() == [-1, 1, -1, 1]


READ_STDIN = """
import sys
from genomai_cli.formats.streams import open_inputs
from genomai_cli.population.barcode import read_barcodes
from genomai_cli.population.panel import Panel
found = read_barcodes(open_inputs(sys.argv[2:]), Panel.read(sys.argv[1]))
print(*(f"{record.name} {record.sequence}" for record in found.records()), sep="\\n")
"""


def test_file_pipe_redirect_and_bcf_give_the_same(tmp_path: Path, panel: Panel) -> None:
    path = vcf(tmp_path, site("1", 100, "A", "G", "0/1"), *REST, meta="##contig=<ID=1>\n")
    if shutil.which("bcftools"):
        text = path.read_text().replace("##contig", "##contig=<ID=2>\n##contig")
        text = text.replace(
            "#CHROM", '##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n#CHROM'
        )
        path.write_text(text)
    command = [sys.executable, "-c", READ_STDIN, str(tmp_path / "small.tsv")]
    outputs = [subprocess.run([*command, str(path)], check=True, capture_output=True).stdout]
    content = path.read_bytes()
    outputs.append(subprocess.run(command, input=content, check=True, capture_output=True).stdout)
    with path.open("rb") as handle:
        outputs.append(
            subprocess.run(command, stdin=handle, check=True, capture_output=True).stdout
        )
    if shutil.which("bcftools"):
        view = ["bcftools", "view", "-Ob", str(path)]
        bcf = subprocess.run(view, check=True, capture_output=True).stdout
        outputs.append(subprocess.run(command, input=bcf, check=True, capture_output=True).stdout)
    assert set(outputs) == {b"S RYCN\n"}


def assert_haplotypes_add_up(panel: Panel, path: Path, samples: int) -> None:
    """A cohort in GRCh37 with every site of the panel: its haplotypes give the genotypes of its barcodes."""
    found = read_barcodes(open_inputs([path]), panel)
    report = found.report
    assert (report.build, report.matched, report.samples) == ("GRCh37", len(panel), samples)
    haplotypes = read_haplotypes(open_inputs([path]), panel, refuse_unphased=True).letters
    counts = letters_to_genotypes(haplotypes, panel) // 2
    assert (counts.sum(axis=1) == letters_to_genotypes(found.letters, panel)).all()
    assert set(np.unique(counts)) == {0, 1}


def test_haplotypes_of_a_cohort_add_up(cohort) -> None:
    panel = Panel.read(cohort.panel)
    assert_haplotypes_add_up(panel, cohort.vcf, MEMBERS * len(POPULATIONS))


@needs_shared
def test_haplotypes_of_the_training_cohort_add_up() -> None:
    folder = SHARED / "data" / "1kgp"
    assert_haplotypes_add_up(Panel.read(folder / "panel.tsv"), folder / "train.grch37.vcf.gz", 2003)


GVCF = (
    "1 50 . T <NON_REF> . . END=150 GT:DP 0/0:30",
    "1 151 . T <NON_REF> . . DP=3;END=250 GT:DP ./.:0",
    "2 300 . G C,<NON_REF> . . . GT:DP 0/1:20",
    "2 301 . A <NON_REF> . . END=1400 GT 0/0",
)


def test_reference_blocks_of_a_gvcf_cover_their_sites(tmp_path: Path, panel: Panel) -> None:
    path = vcf(tmp_path, *GVCF)
    assert sequences(panel, path) == ["ANSN"]
    report = barcodes(panel, path).report
    assert (report.build, report.matched, report.in_blocks, report.absent) == ("GRCh37", 3, 2, 1)


def test_a_reference_block_covers_each_sample_to_its_own_length(
    tmp_path: Path, panel: Panel
) -> None:
    rows = [
        "1 50 . T <*> . . . GT:LEN:PL 0/0:151:0,60,600 0/0:51:0,60,600 0/0:50:0,60,600",
        "1 101 . T <*> . . . GT:LEN:PL .:.:. 0/0:100:0,60,600 .:.:.",
        "2 300 . G C . . . GT 0/1 0/1 0/1",
    ]
    path = vcf(tmp_path, *rows, samples="a b c")
    assert sequences(panel, path) == ["ACSN", "ACSN", "NNSN"]


@pytest.mark.skipif(not shutil.which("bcftools"), reason="bcftools is not here")
def test_reference_blocks_through_bcf_and_an_index(
    tmp_path: Path, panel: Panel, monkeypatch
) -> None:
    meta = "".join(f"##contig=<ID={name}>\n" for name in "12")
    meta += '##INFO=<ID=END,Number=1,Type=Integer,Description="">\n'
    meta += '##INFO=<ID=DP,Number=1,Type=Integer,Description="">\n'
    meta += '##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
    meta += '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="">\n'
    path = vcf(tmp_path, *GVCF, meta=meta)
    for name, option in (("x.bcf", "-Ob"), ("x.vcf.gz", "-Oz")):
        converted = tmp_path / name
        subprocess.run(["bcftools", "view", option, "-o", str(converted), str(path)], check=True)
        assert sequences(panel, converted) == ["ANSN"]
    subprocess.run(["bcftools", "index", "-t", str(tmp_path / "x.vcf.gz")], check=True)
    monkeypatch.setattr("genomai_cli.formats.regions._MIN_BYTES_PER_SITE", 0)
    assert sequences(panel, tmp_path / "x.vcf.gz") == ["ANSN"]


def test_a_record_of_the_site_counts_more_than_a_block(tmp_path: Path, panel: Panel) -> None:
    rows = [GVCF[0], site("1", 100, "A", "G", "1/1"), *REST]
    assert (
        sequences(panel, vcf(tmp_path, *rows))
        == sequences(panel, vcf(tmp_path, *rows[::-1]))
        == ["GYCN"]
    )
