"""Haplotypes in bits: what they are read from, some individuals of them, and how much memory reading takes."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats.call_quality import CallRules
from genomai_cli.formats.streams import open_inputs
from genomai_cli.population import packed_haplotypes
from genomai_cli.population.barcode import letters_to_alleles, read_haplotypes
from genomai_cli.population.packed_haplotypes import (
    PackedHaplotypes,
    packed_records,
    read_packed_haplotypes,
)
from genomai_cli.population.panel import Panel

SITES, INDIVIDUALS = 77, 21
CALLS = ["0|0", "0|1", "1|0", "1|1", "0/1", "1/1", ".|.", "./.", "0|.", ".|1", ".", "1", "2|1"]


def panel(sites: int = SITES) -> Panel:
    """Sites of two chromosomes."""
    rng = np.random.default_rng(1)
    pairs = [rng.permutation(list("ACGT"))[:2] for _ in range(sites)]
    refs, alts = (tuple(map(str, bases)) for bases in zip(*pairs, strict=True))
    positions_grch37 = np.arange(1, sites + 1) * 100
    positions = {"GRCh37": positions_grch37, "GRCh38": np.zeros_like(positions_grch37)}
    dots = (".",) * sites
    chrom = tuple("1" if site < sites // 2 else "2" for site in range(sites))
    return Panel("made", chrom, positions, dots, refs, alts, dots)


PANEL = panel()


def write(
    path: Path, panel: Panel, calls: np.ndarray, names: str = "p", layout: str = "GT"
) -> Path:
    """A VCF with these calls (sites, individuals)."""
    samples = "\t".join(f"{names}{number}" for number in range(calls.shape[1]))
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"
    lines = ["##fileformat=VCFv4.2", "##reference=GRCh37", f"{columns}\t{samples}"]
    positions = panel.positions["GRCh37"].tolist()
    for site, row in enumerate(calls.tolist()):
        third = next(base for base in "ACGT" if base not in (panel.ref[site], panel.alt[site]))
        alts = f"{panel.alt[site]},{third}" if any("2" in call for call in row) else panel.alt[site]
        fixed = [
            panel.chrom[site],
            str(positions[site]),
            ".",
            panel.ref[site],
            alts,
            ".",
            ".",
            ".",
        ]
        lines.append("\t".join([*fixed, layout, *row]))
    path.write_text("\n".join(lines) + "\n")
    return path


def random_calls(seed: int = 0) -> np.ndarray:
    """Calls of all kinds (sites, individuals); nothing is known of the second individual."""
    calls = np.random.default_rng(seed).choice(CALLS, (SITES, INDIVIDUALS))
    calls[:, 1] = "./."
    return calls


def read_both_ways(paths: list[Path], **options) -> PackedHaplotypes:
    """The packed haplotypes, which are those of the letters."""
    letters = read_haplotypes(open_inputs(paths), PANEL, **options)
    packed = read_packed_haplotypes(open_inputs(paths), PANEL, **options)
    np.testing.assert_array_equal(
        packed.haplotypes.alleles(), letters_to_alleles(letters.letters, PANEL)
    )
    assert list(packed.haplotypes.names) == letters.names
    assert packed.reports == letters.reports
    return packed.haplotypes


@pytest.mark.parametrize("sites_per_block", [8, 24, 1024])
def test_calls_of_all_kinds_are_the_alleles_of_letters(tmp_path, monkeypatch, sites_per_block):
    monkeypatch.setattr(packed_haplotypes, "SITES_PER_BLOCK", sites_per_block)
    found = read_both_ways([write(tmp_path / "x.vcf", PANEL, random_calls())])
    assert found.unknown is not None
    assert {-1, 0, 1} == set(np.unique(found.alleles()))
    np.testing.assert_array_equal(
        found.alleles(slice(16, 61)), found.alleles()[:, :, slice(16, 61)]
    )


def test_rules_phase_sets_and_several_cohorts_are_the_same(tmp_path):
    rng = np.random.default_rng(2)
    qualities = np.char.add(":", rng.choice(["5", "50"], (SITES, INDIVIDUALS)))
    by_quality = write(
        tmp_path / "q.vcf", PANEL, np.char.add(random_calls(), qualities), layout="GT:GQ"
    )
    read_both_ways([by_quality], rules=CallRules(30, None))
    phase_sets = np.char.add(
        np.char.add(random_calls(3), ":"), rng.choice(["1", "2"], (SITES, INDIVIDUALS))
    )
    other = write(tmp_path / "s.vcf", PANEL, phase_sets, names="other", layout="GT:PS")
    first = write(tmp_path / "first.vcf", PANEL, random_calls(4)[: SITES // 2])
    second = tmp_path / "second.vcf"
    lines = write(second, PANEL, random_calls(4)).read_text().splitlines(keepends=True)
    second.write_text("".join(lines[:3] + lines[3 + SITES // 2 :]))
    found = read_both_ways([first, other, second])
    assert len(found) == 2 * INDIVIDUALS


def test_of_what_is_all_known_there_is_no_mask(tmp_path):
    calls = np.random.default_rng(1).choice(["0|0", "0|1", "1|1"], (SITES, INDIVIDUALS))
    found = read_both_ways([write(tmp_path / "x.vcf", PANEL, calls)])
    assert found.unknown is None
    assert found.with_alleles() is found
    assert found.of(np.arange(INDIVIDUALS)) is found
    joined = PackedHaplotypes.joined(
        [found, read_both_ways([write(tmp_path / "y.vcf", PANEL, random_calls())])]
    )
    np.testing.assert_array_equal(joined.alleles()[:INDIVIDUALS], found.alleles())


def test_some_individuals_are_those_of_their_names(tmp_path):
    found = read_both_ways([write(tmp_path / "x.vcf", PANEL, random_calls())])
    known = found.with_alleles()
    assert [name for name in found.names if name not in known.names] == ["p1"]
    some = found.of(np.array([3, 7]))
    assert some.names == ["p3", "p7"]
    np.testing.assert_array_equal(some.alleles(), found.alleles()[[3, 7]])


def test_records_of_haplotypes_are_packed_two_by_two(tmp_path):
    path = write(tmp_path / "x.vcf", PANEL, random_calls())
    records = list(read_haplotypes(open_inputs([path]), PANEL).records())
    found = packed_records(records, PANEL)
    np.testing.assert_array_equal(found.alleles(), read_both_ways([path]).alleles())
    assert packed_records([], PANEL) is None
    with pytest.raises(InputError, match="p0_A and p1_A are not NAME_A and NAME_B"):
        packed_records([records[0], records[2]], PANEL)
    with pytest.raises(InputError, match="p0_A has no second haplotype"):
        packed_records(records[:1], PANEL)


def test_reading_takes_less_memory_than_the_alleles_as_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(packed_haplotypes, "SITES_PER_BLOCK", 32)
    large_panel, individuals = panel(600), 4000
    row = np.random.default_rng(1).choice(["0|0", "0|1"], individuals)
    rows = np.stack([np.roll(row, site) for site in range(600)])
    path = write(tmp_path / "x.vcf", large_panel, rows)
    tracemalloc.start()
    try:
        packed = read_packed_haplotypes(open_inputs([path]), large_panel).haplotypes
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert packed.ones.nbytes == 600 * individuals * 2 / 8
    assert peak < 600 * individuals * 2
