"""How sites are missing in files of several kinds."""

from dataclasses import replace

import numpy as np
import pytest

from genomai_cli.population.missing_sites import MIN_SITES, MissingSites
from genomai_cli.population.panel import BUILDS, Panel


@pytest.fixture
def panel():
    """Ten chromosomes of 30 sites; half of the sites are from one published panel, the rest from another."""
    sites = np.arange(300)
    chrom = tuple(str(number) for number in sites // 30 + 1)
    positions = {build: sites + 1 for build in BUILDS}
    tags = ("arrays",) * 150 + ("exomes",) * 150
    dots = (".",) * 300
    return Panel("made-up", chrom, positions, dots, ("A",) * 300, ("G",) * 300, tags)


def sampled_patterns(panel, count=400):
    missing, rng = MissingSites(panel), np.random.default_rng(3)
    return np.stack([missing.draw(rng) for _ in range(count)])


def test_there_are_always_sites_and_often_all(panel):
    known = sampled_patterns(panel)
    assert known.any(axis=1).all()
    assert 0.02 < known.all(axis=1).mean() < 0.3


def test_panels_and_chromosomes_come_alone(panel):
    known = sampled_patterns(panel)
    half = len(panel) // 2
    assert any(row[:half].all() and not row[half:].any() for row in known)
    assert any(row[half:].all() and not row[:half].any() for row in known)
    chromosomes = np.array(panel.chrom)
    remaining = [np.unique(chromosomes[row]) for row in known]
    assert min(map(len, remaining)) == 1


def test_a_panel_without_tags_loses_sites_otherwise(panel):
    known = sampled_patterns(replace(panel, tags=(".",) * len(panel)))
    assert known.any(axis=1).all()
    assert len(np.unique(known.sum(axis=1))) > 10


def test_few_sites_stay(panel):
    few = panel.subset(range(MIN_SITES - 5))
    assert sampled_patterns(few).any(axis=1).all()
