"""The benchmark of imputation on a made-up window."""

import numpy as np
import pytest

from benchmarks.imputation import chr22
from genomai_cli.formats.vcf_rewrite import Site, write_variants

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_the_benchmark_without_beagle(tmp_path, capsys):
    rng = np.random.default_rng(1)
    founders = (rng.random((8, 120)) < 0.3).astype(np.int8)
    alleles = founders[rng.integers(8, size=(60, 2))]
    names = {f"p{number}": "." for number in range(60)}
    columns = [Site("22", 1000 + 50 * number, ".", "A", "G") for number in range(120)]
    with (tmp_path / "chr22.train.vcf.gz").open("wb") as out:
        write_variants(out, columns, names, alleles, build="GRCh37", contigs={"22": 51304566}, source="t")  # fmt: skip
    rows = [f"p{n}\tpop{n % 3}\tNORTH\n" for n in range(60)]
    text = "".join(["sample\tpopulation\tsuperpopulation\n", *rows])
    (tmp_path / "train.labels.tsv").write_text(text)
    (tmp_path / "panel.tsv").write_text("chrom\tpos_grch37\tref\talt\n1\t1\tA\tC\n")
    arguments = ["--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--judged", "1"]
    programs = ["--beagle", "no-beagle", "--minimac4", "no-minimac"]
    chr22.main([*arguments, *programs, "--markdown", str(tmp_path / "t.md")])
    printed = capsys.readouterr()
    assert "no phase, Beagle 5: left out, no-beagle is not installed" in printed.err
    assert "phased, minimac4: left out, no-minimac is not installed" in printed.err
    lines = [line.split("\t") for line in printed.out.splitlines()]
    concordances = {(row[0], row[1]): float(row[4]) for row in lines[1:]}
    assert len(concordances) == 8  # four methods, with phase and without
    concordance = concordances["no phase", "genomai denoise"]
    assert concordance > concordances["no phase", "most frequent genotype"] + 0.05
    assert (tmp_path / "t.md").read_text().count("genomai denoise") == 4  # rows, and their times
