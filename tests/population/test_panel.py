"""Panel files: round trip, subsets, digests and every fault with its line."""

from pathlib import Path

import numpy as np
import pytest

from genomai_cli.errors import InputError
from genomai_cli.population.builds import choose_build, header_build
from genomai_cli.population.panel import Panel, smoothed_frequencies

HEADER = "chrom\tpos_grch37\tpos_grch38\trsid\tref\talt\tpanel\n"
SITES = "chr1\t10\t110\trs1\tA\tG\tx\n1\t20\t.\t.\tc\tt\tx,y\nX\t30\t130\trs3\tG\tC\ty\n"


def panel_of(folder: Path, text: str) -> Panel:
    path = folder / "tiny.tsv"
    path.write_text(text)
    return Panel.read(path)


def test_read_and_write(tmp_path: Path) -> None:
    panel = panel_of(tmp_path, HEADER + SITES)
    assert (panel.name, len(panel)) == ("tiny", 3)
    assert panel.chrom == ("1", "1", "X")
    assert panel.positions["GRCh38"].tolist() == [110, 0, 130]
    assert (panel.ref, panel.alt, panel.rsid) == (
        ("A", "C", "G"),
        ("G", "T", "C"),
        ("rs1", ".", "rs3"),
    )
    panel.write(tmp_path / "again.tsv.gz")
    again = Panel.read(tmp_path / "again.tsv.gz")
    assert again.sha256 == panel.sha256
    assert again.name == "again"


def test_subsets_keep_the_given_order(tmp_path: Path) -> None:
    panel = panel_of(tmp_path, HEADER + SITES)
    subset = panel.subset([2, 0], name="part")
    assert (subset.name, subset.rsid) == ("part", ("rs3", "rs1"))
    assert subset.positions["GRCh37"].tolist() == [30, 10]
    assert subset.sha256 != panel.sha256
    assert panel.subset(range(3)).sha256 == panel.sha256


def test_one_build_is_enough(tmp_path: Path) -> None:
    panel = panel_of(tmp_path, "chrom\tpos_grch38\tref\talt\n1\t5\tA\tC\n")
    assert panel.positions["GRCh37"].tolist() == [0]
    assert panel.index("GRCh38") == {("1", 5): 0}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("chrom\tref\talt\n1\tA\tC\n", 1, "pos_grch37 or pos_grch38"),
        ("chrom\tpos_grch37\tref\n1\t5\tA\n", 1, "no column 'alt'"),
        (HEADER, None, "no sites"),
        ("", None, "empty"),
        (HEADER + "1\tx\t5\t.\tA\tG\tx\n", 2, "'x' is not a position"),
        (HEADER + "1\t-4\t5\t.\tA\tG\tx\n", 2, "'-4' is not a position"),
        (HEADER + "1\t.\t\t.\tA\tG\tx\n", 2, "without a position"),
        (HEADER + SITES + "1\t9\t9\t.\tAT\tG\tx\n", 5, "SNPs only"),
        (HEADER + SITES + "1\t9\t9\t.\tA\tA\tx\n", 5, "both A"),
        (HEADER + SITES + "1\t10\t9\t.\tA\tG\tx\n", 5, "the site of line 2 again (GRCh37)"),
        (HEADER + SITES + "1\t9\t110\t.\tA\tG\tx\n", 5, "the site of line 2 again (GRCh38)"),
        (HEADER + "1\t9\n", 2, "2 columns"),
    ],
)
def test_faults(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        panel_of(tmp_path, text)
    assert caught.value.line == line
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "build"),
    [
        ([], None),
        (["##contig=<ID=1,length=249250621>"], "GRCh37"),
        (["##contig=<ID=chr1,length=248956422>"], "GRCh38"),
        (["##contig=<ID=1,assembly=b37,length=5>"], "GRCh37"),
        (["##reference=/data/hs37d5.fa"], "GRCh37"),
        (["##reference=ftp://x/GRCh38_full_analysis_set.fa"], "GRCh38"),
        (["##reference=hg19", "##contig=<ID=1,length=248956422>"], None),
        (["##contig=<ID=1,length=1000>", "##source=hg19"], None),
    ],
)
def test_header_build(lines: list[str], build: str | None) -> None:
    assert header_build(lines) == build


def test_sites_win_over_the_header() -> None:
    assert choose_build({"GRCh37": 3, "GRCh38": 5}, "GRCh37") == "GRCh38"
    assert choose_build({"GRCh37": 3, "GRCh38": 3}, "GRCh38") == "GRCh38"
    assert choose_build({"GRCh37": 3, "GRCh38": 3}, None) == "GRCh37"
    assert choose_build({"GRCh37": 0, "GRCh38": 0}, None) is None


@pytest.mark.parametrize("samples", [False, True])
def test_the_sites_of_a_vcf_with_and_without_samples(samples, tmp_path):
    from genomai_cli.population.panel_files import read_panel

    sample_columns = ("\tFORMAT\ta", "\tGT\t0/1") if samples else ("", "")
    rows = ["chr1\t5\t.\ta\tG", "chr1\t6\t.\tAC\tG", "1\t5\t.\tA\tC", "chr2\t7\t.\tC\tT,G"]
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO" + sample_columns[0]
    lines = ["##fileformat=VCFv4.2", "##reference=GRCh38", columns]
    lines += [f"{row}\t.\tPASS\t.{sample_columns[1]}" for row in rows]
    path = tmp_path / "sites.vcf"
    path.write_text("\n".join(lines) + "\n")
    panel = read_panel(path)
    assert (panel.chrom, panel.ref, panel.alt) == (("1",), ("A",), ("G",))
    assert panel.positions["GRCh38"].tolist() == [5]
    assert panel.positions["GRCh37"].tolist() == [0]


def test_smoothed_frequencies_by_hand():
    alternate, total = np.array([[0, 3, 0], [4, 0, 0.0]]), np.array([[4, 4, 0], [4, 0, 0.0]])
    assert smoothed_frequencies(alternate, total).tolist() == [[0.1, 0.7, 0.5], [0.9, 0.7, 0.5]]


def test_sites_of_one_build_alone_are_named_and_drawn_by_it(tmp_path):
    pytest.importorskip("matplotlib")
    from genomai_cli.population.alignment.manhattan import axis_of, site_names

    rows = ["1\t.\t1000000", "1\t.\t200000000", "2\t7000000\t5000000", "2\t9000\t."]
    lines = ["chrom\tpos_grch37\tpos_grch38\tref\talt", *(f"{row}\tA\tG" for row in rows)]
    (tmp_path / "panel.tsv").write_text("\n".join(lines) + "\n")
    panel = Panel.read(tmp_path / "panel.tsv")
    assert panel.build == "GRCh38"
    names = ["1:1000000", "1:200000000", "2:5000000", "2:9000"]
    assert site_names(panel) == names
    assert panel.loci == tuple(names)
    first, second, third, _ = axis_of(panel).position
    assert second - first == 199_000_000
    assert third > second
