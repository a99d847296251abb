"""Classifiers tell generated samples from real ones where these differ, and not where nothing does."""

import sys

import numpy as np
import pytest

from genomai_cli.population.evaluation import detection
from genomai_cli.population.evaluation.genotypes import SampleGenotypes
from genomai_cli.population.panel import Panel

pytestmark = pytest.mark.usefixtures("one_thread")

SITES, SAMPLES = 12, 300


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    path = tmp_path_factory.mktemp("panel") / "panel.tsv"
    rows = [f"1\t{1000 * (site + 1)}\t.\trs{site}\tA\tG\n" for site in range(SITES)]
    path.write_text("chrom\tpos_grch37\tpos_grch38\trsid\tref\talt\n" + "".join(rows))
    return Panel.read(path)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(detection, "TREES", 30)


def random_samples(seed, change=None):
    rng = np.random.default_rng(seed)
    alleles = (rng.random((SAMPLES, 2, SITES)) < 0.4).astype(np.int8)
    alleles[:, :, 1] = alleles[:, :, 0]  # in full linkage
    names = [f"p{number}" for number in range(SAMPLES)]
    return SampleGenotypes(names, change(alleles, rng) if change else alleles, phased=True)


def detected(real, other, panel):
    return detection.detection(real, other, panel, np.random.default_rng(0))


def test_samples_of_the_same_kind_are_not_told_apart(panel):
    found = detected(random_samples(1), random_samples(2), panel)
    for area in found.areas.values():
        assert abs(area.value - 0.5) < 0.08
        assert area.low < 0.5 < area.high + 0.03


def test_a_site_without_heterozygotes_gives_them_away_but_not_by_dosages_in_a_line(panel):
    def paired(alleles, rng):
        alleles[:, 1, 7] = alleles[:, 0, 7]
        return alleles

    found = detected(random_samples(1), random_samples(2, paired), panel)
    assert found.areas["auc_dosages"].value < 0.6
    assert found.areas["auc_regression"].value > 0.65
    assert found.areas["auc_trees"].value > 0.65
    name, (generated, real) = next(iter(found.differing["heterozygosity"].items()))
    assert (name, generated) == ("1:8000", 0)
    assert real == pytest.approx(0.48, abs=0.08)


def test_a_pair_without_linkage_gives_them_away(panel):
    def unlinked(alleles, rng):
        alleles[:, :, 1] = rng.permutation(alleles[:, :, 1].ravel()).reshape(SAMPLES, 2)
        return alleles

    found = detected(random_samples(1), random_samples(2, unlinked), panel)
    assert found.areas["auc_dosages"].value < 0.6
    assert found.areas["auc_trees"].value > 0.8
    name, (generated, real) = next(iter(found.differing["linkage_r"].items()))
    assert name == "1:1000-1:2000"
    assert real == pytest.approx(1)
    assert abs(generated) < 0.2


def test_haplotypes_give_away_what_dosages_hide(panel):
    def recombined(alleles, rng):
        """In half of the samples both haplotypes are exchanged at the second site."""
        swapped = rng.random(SAMPLES) < 0.5
        alleles[swapped, :, 1] = alleles[swapped, ::-1, 1]
        return alleles

    found = detected(random_samples(1), random_samples(2, recombined), panel)
    assert found.areas["auc_trees"].value < 0.6
    assert found.areas["haplotype_auc_alleles"].value < 0.6
    assert found.areas["haplotype_auc_regression"].value > 0.6
    assert found.areas["haplotype_auc_trees"].value > 0.6


def test_a_site_of_another_frequency_is_named(panel):
    def rarer(alleles, rng):
        alleles[:, :, 5] &= rng.random((SAMPLES, 2)) < 0.5
        return alleles

    found = detected(random_samples(1), random_samples(2, rarer), panel)
    name, (generated, real) = next(iter(found.differing["frequency"].items()))
    assert name == "1:6000"
    assert (generated, real) == pytest.approx((0.2, 0.4), abs=0.05)
    assert found.areas["haplotype_auc_alleles"].value > 0.55


def test_missing_alleles_say_nothing(panel):
    def with_missing(alleles, rng):
        missing = rng.random((SAMPLES, SITES)) < 0.1
        alleles.transpose(0, 2, 1)[missing] = -1
        return alleles

    found = detected(random_samples(1, with_missing), random_samples(2, with_missing), panel)
    assert all(abs(area.value - 0.5) < 0.08 for area in found.areas.values())


def test_haplotypes_have_no_heterozygosity(panel):
    real, other = (random_samples(seed) for seed in (1, 2))
    haplotypes = [
        SampleGenotypes(samples.names, samples.alleles[:, :1], phased=True)
        for samples in (real, other)
    ]
    found = detected(*haplotypes, panel)
    assert list(found.differing) == ["frequency", "linkage_r"]
    assert not any(name.startswith("haplotype") for name in found.areas)
    assert all(abs(area.value - 0.5) < 0.09 for area in found.areas.values())


def test_without_scikit_learn_there_are_no_trees(panel, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    found = detected(random_samples(1), random_samples(2), panel)
    assert list(found.areas) == [
        *("auc_dosages", "auc_regression"),
        *("haplotype_auc_alleles", "haplotype_auc_regression"),
    ]
