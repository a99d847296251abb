"""The copying model against all paths through its states, and the benchmark of imputation on a made-up window."""

import itertools

import numpy as np
import pytest

from benchmarks.imputation import chr22, li_stephens
from genomai_cli.formats.vcf_rewrite import Site, write_variants

pytestmark = pytest.mark.usefixtures("one_thread")

RATE, ERROR = 0.01, 0.05


def by_all_paths(shown, known, haplotypes, positions):
    """The probability (S,) of allele 1, summed over every way to copy the haplotypes."""
    count, sites = haplotypes.shape
    stay = np.exp(-RATE * np.diff(positions))
    total, found = 0.0, np.zeros(sites)
    for path in itertools.product(range(count), repeat=sites):
        chance = 1 / count
        for at, here, there in zip(range(sites), path, path[1:], strict=False):
            chance *= stay[at] * (here == there) + (1 - stay[at]) / count
        for site, allele in zip(known, shown, strict=True):
            chance *= 1 - ERROR if haplotypes[path[site], site] == allele else ERROR
        total += chance
        found += chance * haplotypes[path, np.arange(sites)]
    return found / total


@pytest.mark.parametrize("known", [[1, 3, 5], [0, 6], [2]])
def test_forward_and_backward_are_the_sum_over_all_paths(known):
    rng = np.random.default_rng(0)
    haplotypes = (rng.random((3, 7)) < 0.5).astype(np.int8)
    positions = np.array([10, 50, 60, 200, 220, 300, 350])
    shown = (rng.random((2, len(known))) < 0.5).astype(np.int8)
    found = li_stephens.imputed(shown, np.array(known), haplotypes, positions, RATE, ERROR)
    wanted = [by_all_paths(row, known, haplotypes, positions) for row in shown]
    assert found == pytest.approx(np.array(wanted), abs=1e-5)


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
    given = ["--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--judged", "1"]
    changes = ["optimization.steps=2", "network.width=16", "split.holdout=0.1"]
    given += [word for change in changes for word in ("--set", change)]
    chr22.main([*given, "--beagle", "no-beagle", "--markdown", str(tmp_path / "t.md")])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    found = {(row[0], row[1]): float(row[4]) for row in lines[1:]}
    assert len(found) == 5  # no Beagle, and the copying model only where the phase is known
    ours = found["no phase", "genomai denoise"]
    assert ours > found["no phase", "most frequent genotype"] + 0.05
    assert (tmp_path / "t.md").read_text().count("genomai denoise") == 4  # rows, and their times
