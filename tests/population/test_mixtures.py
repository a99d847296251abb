"""Fractions of ancestry of simulated mixtures, and what a model stores of its training samples for them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.errors import BundleError, UsageError
from genomai_cli.population.measures import Coordinates, Proportions, measures_of
from genomai_cli.population.mixtures import (
    Genotypes,
    Windows,
    _project_to_simplex,
    independent_fractions,
    linked_fractions,
)
from genomai_cli.population.panel import GRCH37, GRCH38, Panel
from genomai_cli.population.structure import Structure, fit_structure

CHROMOSOMES, SITES_EACH, SOURCES = 10, 120, 3
SITES = CHROMOSOMES * SITES_EACH


@pytest.fixture(scope="module")
def panel():
    positions = np.tile(np.arange(1, SITES_EACH + 1) * 1_000_000, CHROMOSOMES)
    chrom = tuple(str(1 + site // SITES_EACH) for site in range(SITES))
    dots = (".",) * SITES
    return Panel(
        "made",
        chrom,
        {GRCH37: positions, GRCH38: positions},
        dots,
        ("A",) * SITES,
        ("G",) * SITES,
        dots,
    )


@pytest.fixture(scope="module")
def sources():
    return np.random.default_rng(0).uniform(0.05, 0.95, (SOURCES, SITES))


def alleles(frequency, rng):
    return (rng.random((2, *frequency.shape)) < frequency).sum(0).astype(np.int8)


def mosaics(sources, count, rng):
    """Samples each of whose chromosomes is from one source, and the fractions."""
    source = rng.integers(SOURCES, size=(count, CHROMOSOMES)).repeat(SITES_EACH, axis=1)
    truth = np.stack([(source == k).mean(1) for k in range(SOURCES)], axis=1)
    return alleles(sources[source, np.arange(SITES)], rng), truth


class TestIndependentFractions:
    def test_they_are_found_again_within_their_errors(self, sources):
        rng = np.random.default_rng(1)
        truth = rng.dirichlet(np.ones(SOURCES), 200)
        found = independent_fractions(Genotypes.of(alleles(truth @ sources, rng)), sources)
        deviation = np.abs(found.fractions - truth)
        assert deviation.mean() < 0.03
        assert np.allclose(found.fractions.sum(1), 1)
        assert (found.fractions >= 0).all()
        assert 0.85 <= (deviation <= 1.645 * found.errors).mean() <= 0.97

    def test_missing_sites_drop_out(self, sources):
        copies = alleles(np.full((5, SOURCES), 1 / SOURCES) @ sources, np.random.default_rng(2))
        missing = copies.copy()
        missing[:, ::2] = -1
        found = independent_fractions(Genotypes.of(missing), sources)
        subset = independent_fractions(Genotypes.of(copies[:, 1::2]), sources[:, 1::2])
        assert np.allclose(found.fractions, subset.fractions)
        assert np.allclose(found.errors, subset.errors)

    def test_uncertain_genotypes_count_for_less_than_certain_ones(self, sources):
        copies = alleles(np.tile(sources.mean(0), (20, 1)), np.random.default_rng(3))
        certain = Genotypes.of(copies)
        uncertain = Genotypes(np.maximum(certain.likelihood, 0.3), certain.ploidy)
        errors = [independent_fractions(g, sources).errors.sum() for g in (certain, uncertain)]
        assert errors[0] < errors[1]

    def test_one_haplotype_says_half_as_much(self, sources):
        copies = np.where(np.random.default_rng(4).random((1, SITES)) < sources.mean(0), 2, 0)
        copies = copies.astype(np.int8)
        two, one = (
            independent_fractions(Genotypes.of(copies, np.array([ploidy])), sources)
            for ploidy in (2.0, 1.0)
        )
        assert np.allclose(one.fractions, two.fractions)
        assert np.allclose(one.errors, two.errors * np.sqrt(2), rtol=0.02)

    def test_the_order_of_samples_does_not_matter(self, sources):
        copies, _ = mosaics(sources, 6, np.random.default_rng(5))
        forward, reverse = (
            independent_fractions(Genotypes.of(c), sources).fractions
            for c in (copies, copies[::-1])
        )
        assert np.allclose(forward, reverse[::-1], atol=1e-6)

    def test_the_samples_beside_one_do_not_matter(self):
        rng = np.random.default_rng(13)
        sources = rng.beta(0.6, 1.4, (20, 400)).clip(0.02, 0.98)
        shares = rng.dirichlet(np.full(20, 0.3), 12)
        copies = rng.binomial(2, shares @ sources).astype(np.int8)
        copies[6:, 40:] = -1
        together = independent_fractions(Genotypes.of(copies), sources)
        for number in range(12):
            alone = independent_fractions(Genotypes.of(copies[[number]]), sources)
            assert together.fractions[number] == pytest.approx(alone.fractions[0], abs=1e-5)
            assert together.errors[number] == pytest.approx(alone.errors[0], abs=1e-4)


class TestLinkedFractions:
    def test_chromosomes_of_one_source_each_are_told_apart(self, sources, panel):
        copies, truth = mosaics(sources, 20, np.random.default_rng(6))
        genotypes = Genotypes.of(copies)
        linked = linked_fractions(genotypes, sources, Windows.of(panel))
        independent = independent_fractions(genotypes, sources)
        assert np.abs(linked.fractions - truth).mean() < 0.012
        assert (
            np.abs(linked.fractions - truth).mean()
            < np.abs(independent.fractions - truth).mean() / 2
        )

    def test_few_sites_have_large_errors(self, sources, panel):
        copies, truth = mosaics(sources, 20, np.random.default_rng(7))
        copies[:, np.random.default_rng(8).random(SITES) > 0.2] = -1
        linked = linked_fractions(Genotypes.of(copies), sources, Windows.of(panel))
        deviation = np.abs(linked.fractions - truth)
        assert 0.01 < deviation.mean() < 0.1
        assert (deviation <= 1.645 * linked.errors).mean() > 0.8

    def test_the_order_of_a_panel_does_not_matter(self, sources, panel):
        copies, _ = mosaics(sources, 3, np.random.default_rng(9))
        permutation = np.random.default_rng(10).permutation(SITES)
        ordered = linked_fractions(Genotypes.of(copies), sources, Windows.of(panel))
        permuted = linked_fractions(
            Genotypes.of(copies[:, permutation]),
            sources[:, permutation],
            Windows.of(panel.subset(permutation)),
        )
        assert np.allclose(ordered.fractions, permuted.fractions, atol=1e-5)

    def test_windows_add_up(self, panel):
        windows = Windows.of(panel)
        counts = windows.summed(np.ones(SITES))
        assert counts.sum() == SITES
        assert np.isinf(windows.distance).sum() == CHROMOSOMES


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
@settings(max_examples=100)
def test_the_nearest_fractions_are_fractions(values):
    found = _project_to_simplex(np.array([values]))
    assert np.isclose(found.sum(), 1)
    assert (found >= 0).all()
    assert np.allclose(_project_to_simplex(found), found)


CLASSES = {"group": ["A", "B", "M"], "pop": ["a1", "a2", "b", "m"]}


@pytest.fixture(scope="module")
def labelled(sources):
    """Members of two pure groups, and of one of mixtures of the second with a third source; their labels."""
    rng = np.random.default_rng(11)
    shares = [np.eye(SOURCES)[0]] * 60 + [np.eye(SOURCES)[1]] * 60
    shares += [np.array([0.0, 1 - own, own]) for own in rng.uniform(0.5, 1, 60)]
    populations = np.repeat([0, 1, 2, 2, 3, 3], 30)
    groups = np.repeat([0, 0, 1, 1, 2, 2], 30)
    return alleles(np.array(shares) @ sources, rng), {"group": groups, "pop": populations}


@pytest.fixture(scope="module")
def structure(labelled):
    return fit_structure(*labelled, CLASSES, ["m"])


class TestStructure:
    def test_of_a_group_of_mixtures_the_source_is_what_the_others_do_not_explain(
        self, structure, sources
    ):
        found = structure.sources["group"].frequency
        assert np.abs(found[2] - sources[2]).mean() < 0.06
        members = structure.sources["pop"].frequency[3]
        assert np.abs(found[2] - sources[2]).mean() < np.abs(members - sources[2]).mean()

    def test_a_file_gives_it_back(self, structure, tmp_path):
        structure.write(tmp_path / "structure.safetensors")
        restored = Structure.read(tmp_path / "structure.safetensors")
        for head, found in structure.sources.items():
            assert restored.sources[head].labels == found.labels
            assert np.allclose(restored.sources[head].frequency, found.frequency, atol=1e-3)
        assert np.allclose(
            restored.axes.directions, structure.axes.directions, rtol=1e-2, atol=1e-3
        )
        assert restored.axes.centres.keys() == {"a1", "a2", "b", "m"}

    def test_a_damaged_file_is_refused(self, tmp_path):
        path = tmp_path / "structure.safetensors"
        path.write_bytes(b"no tensors")
        with pytest.raises(BundleError, match=r"structure\.safetensors: damaged"):
            Structure.read(path)

    def test_groups_that_are_all_mixtures_are_taken_as_they_are(self, labelled):
        structure = fit_structure(*labelled, CLASSES, CLASSES["pop"])
        assert np.isfinite(structure.sources["group"].frequency).all()

    def test_a_group_typed_at_some_sites_only_is_a_source_of_its_members(self):
        rng = np.random.default_rng(12)
        ancestral = rng.beta(0.6, 1.4, 600).clip(0.02, 0.98)
        frequency = np.stack([rng.beta(19 * ancestral, 19 * (1 - ancestral)) for _ in range(4)])
        groups = np.repeat(np.arange(4), 60)
        copies, others = (rng.binomial(2, frequency[groups]).astype(np.int8) for _ in range(2))
        copies[groups == 3, 200:] = -1  # by an array that lacks most of the sites
        structure = fit_structure(copies, {"group": groups}, {"group": list("ABCD")}, [])
        found = independent_fractions(Genotypes.of(others), structure.sources["group"].frequency)
        own = found.fractions[np.arange(len(groups)), groups]
        assert own[groups == 3].mean() > 0.7

    def test_others_lie_where_the_trained_ones_do(self, structure, sources):
        copies = alleles(np.tile(sources[0], (50, 1)), np.random.default_rng(12))
        found = structure.axes.coordinates(Genotypes.of(copies), 2)
        centre = np.mean([structure.axes.centres[name][:2] for name in ("a1", "a2")], axis=0)
        assert np.allclose(found.mean(0), centre, atol=0.05)

    def test_few_sites_do_not_draw_coordinates_to_the_middle(self, structure, sources):
        copies = alleles(np.tile(sources[0], (200, 1)), np.random.default_rng(13))
        full = structure.axes.coordinates(Genotypes.of(copies), 1)
        copies[:, np.random.default_rng(14).random(SITES) > 0.2] = -1
        few = structure.axes.coordinates(Genotypes.of(copies), 1)
        assert np.isclose(few.mean(), full.mean(), rtol=0.1)
        assert few.std() > full.std()

    def test_hardly_any_sites_say_nothing(self, structure):
        copies = np.full((1, SITES), -1, np.int8)
        copies[0, :10] = 1
        assert np.isnan(structure.axes.coordinates(Genotypes.of(copies), 2)).all()

    def test_what_a_model_does_not_have_is_refused(self, structure, panel):
        with pytest.raises(BundleError, match="train it again"):
            measures_of(None, panel, {"pcs": 1})
        with pytest.raises(UsageError, match="--pcs 99: the model has"):
            measures_of(structure, panel, {"pcs": 99})
        with pytest.raises(UsageError, match="--proportions sex: the model's heads are group, pop"):
            measures_of(structure, panel, {"proportions": "sex"})

    def test_columns_are_named_by_labels_and_axes(self, structure, panel):
        proportions, coordinates = measures_of(structure, panel, {"proportions": "group", "pcs": 2})
        assert isinstance(proportions, Proportions)
        assert isinstance(coordinates, Coordinates)
        assert proportions.columns == [
            "fraction:A", "fraction:B", "fraction:M", "fraction_se:A", "fraction_se:B", "fraction_se:M"
        ]  # fmt: skip
        assert coordinates.columns == ["PC1", "PC2"]
