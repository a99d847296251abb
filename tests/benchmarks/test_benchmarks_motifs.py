"""The comparison of motifs with known ones: cosines as `inference.motifs` has them, and p-values that tell."""

import numpy as np
import pytest
from conftest import REPOSITORY

from benchmarks.tasks import motifs as benchmark
from genomai_cli.alphabet import as_letters, codes_of
from genomai_cli.inference.motifs import similarity


def known_motif(text, name="x"):
    """A motif that is nearly sure of a text."""
    shares = 0.88 * np.eye(4)[codes_of(as_letters(text))] + 0.03
    return benchmark.KnownMotif(f"MA_{name}", name, shares)


TEXTS = ("ACGTTGCATT", "CCCGGTAACC", "TTTAACGGCA", "GGCATACCTG", "CATCATTGGC")
DATABASE = [known_motif(text, text) for text in TEXTS]


def test_cosines_are_those_of_the_search():
    first, second = known_motif("TGACTCAT").shares, known_motif("GGATGAGTCA").shares
    orders = np.stack([np.arange(8), np.arange(8)[::-1]])
    found = benchmark._cosines(first, second, orders)
    assert found[0] == pytest.approx(similarity(first, second))
    assert found[1] == pytest.approx(similarity(first[::-1], second))


def test_a_motif_that_is_known_is_told_from_one_that_is_not():
    database = [*DATABASE, known_motif("CCTGACTCATTA", "AP1")]
    rng = np.random.default_rng(0)
    match = benchmark.match(known_motif("TGACTCATT").shares, database, rng)
    assert (match.motif.name, len(match.runners_up)) == ("AP1", 3)
    assert match.cosine > 0.8
    assert match.p <= 0.01
    low_complexity = benchmark.match(known_motif("GAGAGAGAGA").shares, database, rng)
    assert low_complexity.cosine < 0.8
    assert low_complexity.p > 0.01


def test_the_results_are_those_of_the_program():
    rows = (REPOSITORY / "benchmarks/tasks/motifs.tsv").read_text().splitlines()
    assert rows[0].split("\t") == list(benchmark.COLUMNS)
    table = (REPOSITORY / "benchmarks/tasks/motifs.md").read_text()
    for row in rows[1:]:
        assert f"| {' | '.join(row.split(chr(9))[1:])} |" in table
