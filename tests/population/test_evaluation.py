"""The measures of generated samples: values worked out by hand, and what has to hold for any data."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import panel_text
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from genomai_cli.errors import InputError
from genomai_cli.formats.streams import open_inputs
from genomai_cli.population.evaluation import privacy, structure
from genomai_cli.population.evaluation.generation import (
    Comparison,
    alarms,
    recognition_measures,
    report,
)
from genomai_cli.population.evaluation.genotypes import (
    SampleGenotypes,
    genotypes_of_sequences,
    genotypes_of_variants,
)
from genomai_cli.population.evaluation.privacy import distances, nearest, nearest_other
from genomai_cli.population.panel import GRCH38, Panel
from genomai_cli.population.panel_files import panel_of_variants
from genomai_cli.records import SequenceRecord

pytestmark = pytest.mark.usefixtures("few_trees")
without_deadline = settings(deadline=None, max_examples=50)
SITES = 12


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    path = tmp_path_factory.mktemp("panel") / "panel.tsv"
    path.write_text(panel_text(SITES))
    return Panel.read(path)


def samples_of(haplotypes, phased=True):
    """SampleGenotypes of two haplotypes each, from rows in their order."""
    alleles = np.array(haplotypes, np.int8)
    alleles = alleles.reshape(len(alleles) // 2, 2, -1)
    return SampleGenotypes([f"p{i}" for i in range(len(alleles))], alleles, phased)


def random_samples(seed, count=40, sites=SITES):
    rng = np.random.default_rng(seed)
    return samples_of(rng.random((2 * count, sites)) < np.linspace(0.1, 0.9, sites))


# --- distances -------------------------------------------------------------------------------

rows = arrays.arrays(np.int8, (5, 7), elements=st.integers(-1, 1))


@without_deadline
@given(rows, rows)
def test_distances_are_shares_of_the_alleles_known_in_both(first, second):
    found = distances(first, second)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            both = (one >= 0) & (other >= 0)
            share = np.mean(one[both] != other[both]) if both.any() else np.inf
            assert found[i, j] == pytest.approx(share)


def test_nearest_leaves_out_the_row_itself_only_where_it_is_asked_to(monkeypatch):
    monkeypatch.setattr("genomai_cli.population.evaluation.privacy._ROWS_PER_BLOCK", 2)
    given_rows = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]], np.int8)
    assert nearest(given_rows, given_rows).tolist() == [0, 0, 0, 0]
    assert nearest_other(given_rows).tolist() == [0.25, 0.25, 0, 0]


def test_genotypes_differ_by_the_difference_of_their_copies():
    first = samples_of([[0, 1, 1], [0, 0, 1]]).without_phase()
    second = samples_of([[1, 0, 0], [1, 1, 0]]).without_phase()
    assert distances(first.rows, second.rows)[0, 0] == pytest.approx((2 + 0 + 2) / 6)


# --- closeness -------------------------------------------------------------------------------


def test_adversarial_accuracy_by_hand():
    # Real rows lie one apart from each other; one generated row copies a real one, the others are far.
    real = samples_of([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]])
    synthetic = samples_of([[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]])
    found = privacy.adversarial_accuracy(real, synthetic, np.random.default_rng(0))
    # To generated ones: 0, 1, 2, 2 where the nearest other real one is 1 away: two of four are farther (1 is a tie).
    assert found.values["aats_truth"] == 2 / 4
    # To real ones: 0, 2, 2, 2 (1110 to 0111 or 0011...), to generated ones: 2, 0, 0, 1.
    assert found.values["aats_synthetic"] == 3 / 4
    assert found.values["aats"] == 5 / 8
    assert found.samples == 2


def test_copies_give_0_and_others_of_their_kind_about_half_and_strangers_1():
    real = random_samples(1, 100, 2000)
    rng = np.random.default_rng(0)
    assert privacy.adversarial_accuracy(real, real, rng).values["aats"] == 0
    same_population = privacy.adversarial_accuracy(real, random_samples(2, 100, 2000), rng)
    assert same_population.values["aats"] == pytest.approx(0.5, abs=0.08)
    low, high = same_population.intervals["aats"]
    assert low < same_population.values["aats"] < high
    complementary = samples_of(1 - real.alleles.reshape(-1, 2000))
    assert privacy.adversarial_accuracy(real, complementary, rng).values["aats"] == 1


def test_the_larger_set_is_thinned():
    found = privacy.adversarial_accuracy(
        random_samples(1, 50), random_samples(2, 20), np.random.default_rng(0)
    )
    assert found.samples == 20


def test_exact_copies_of_haplotypes_and_samples():
    real = samples_of([[0, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 1]])
    mixed = samples_of([[0, 0, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1], [1, 1, 1]])
    rows_equal, samples_equal = privacy.exact_copies(mixed, real)
    all_missing = samples_of([[-1, -1, -1], [-1, -1, -1]])
    assert privacy.exact_copies(all_missing, all_missing) == (0, 0)
    assert rows_equal == 4
    assert samples_equal == 1  # the second, whose haplotypes stand the other way round


@pytest.mark.parametrize("phased", [True, False])
def test_missing_calls_of_real_samples_hide_no_copy(phased):
    real = random_samples(1, 20, 100)
    incomplete = np.where(
        np.random.default_rng(3).random(real.alleles.shape) < 0.02, np.int8(-1), real.alleles
    )
    synthetic = real.chosen(np.arange(5))
    sparse = np.where(np.arange(100) % 5 == 0, np.int8(-1), real.alleles)
    found = []
    for alleles in (incomplete, sparse):
        known, generated = replace(real, alleles=alleles), synthetic
        if not phased:
            known, generated = known.without_phase(), generated.without_phase()
        found.append(privacy.exact_copies(generated, known))
    assert found == [((10, 5) if phased else (5, 5)), (0, 0)]  # too little is known of the sparse


def test_another_haplotype_of_the_same_sample_is_no_other():
    real = samples_of([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 1, 1]])
    assert nearest_other(real.rows).tolist() == [0, 0, 0.25, 0.25]
    assert nearest_other(real.rows, real.haplotypes).tolist() == [0.5, 0.5, 0.5, 0.75]
    assert privacy.nearest_other_by_sample(real).tolist() == [0.5, 0.625]


def test_extremely_near_samples_by_hand():
    # 1 % of 8 is one sample: the nearest, and those as near as it is.
    generated, others = np.array([0.1, 0.1, 0.4, 0.5]), np.array([0.1, 0.6, 0.7, 0.8])
    found = privacy.extremes(generated, others)
    assert (found.generated, found.others) == (2, 1)
    # Of the 56 ways to choose three of eight, 24 have two of the four, and 4 three.
    assert found.p == pytest.approx(28 / 56)


def test_a_few_copies_among_many_are_found_and_none_where_there_are_none():
    rng = np.random.default_rng(0)
    generated, others = rng.random(1000) + 0.5, rng.random(1000) + 0.5
    assert privacy.extremes(generated, others).p > 0.01
    assert privacy.extremes(np.append(generated[:-20], np.zeros(20)), others).p < 1e-4


def test_who_is_nearer_to_those_trained_on():
    rng = np.random.default_rng(0)
    training, held_out, others = (random_samples(seed, 100, 200) for seed in (1, 2, 3))
    share, (low, high) = privacy.nearer_training(others, training, held_out, rng)
    assert low < 0.5 < high
    mixed = SampleGenotypes(others.names, others.alleles.copy(), True)
    mixed.alleles[:40] = training.alleles[:40]
    share, (low, _) = privacy.nearer_training(mixed, training, held_out, rng)
    assert share == pytest.approx(0.4 + 0.6 / 2, abs=0.08)
    assert low > 0.5
    same = privacy.nearer_training(others, training, training, rng)
    assert same[0] == 0.5


def test_membership_auc_by_hand():
    near, far = np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.4])
    # Pairs in which the member is nearer: 0.1 twice, 0.2 once and a half, 0.3 once.
    area, (low, high) = privacy.membership_auc(near, far)
    assert area == pytest.approx(4.5 / 6)
    assert 0 <= low < area < high <= 1
    assert privacy.membership_auc(near, near)[0] == 0.5
    assert privacy.membership_auc(near, near + 1)[0] == 1


def test_the_distance_of_a_sample_is_the_mean_of_the_haplotypes():
    real = samples_of([[0, 0, 0, 0], [1, 1, 1, 1]])
    sample = samples_of([[0, 0, 0, 1], [0, 0, 1, 1]])
    assert privacy.nearest_by_sample(sample, real).tolist() == [(0.25 + 0.5) / 2]


# --- structure -------------------------------------------------------------------------------


def test_frequencies_are_of_known_alleles():
    found = structure.frequencies(samples_of([[0, 1, -1], [1, 1, -1], [1, -1, -1], [0, -1, -1]]))
    assert found[:2].tolist() == [0.5, 1.0]
    assert np.isnan(found[2])


def test_linkage_by_hand():
    # The second site equals the first, the third is its opposite, the fourth has nothing to do with it.
    found = structure.linkage(samples_of([[0, 0, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 1]]))
    assert found[0] == pytest.approx([1, 1, -1, 0])
    assert np.isnan(structure.linkage(samples_of([[0, 0], [1, 0]]))[0, 1])


@without_deadline
@given(st.integers(0, 99))
def test_linkage_is_pearsons_r(seed):
    samples = random_samples(seed)
    expected = np.corrcoef(samples.alleles.reshape(-1, SITES).T)
    assert structure.linkage(samples) == pytest.approx(expected)
    genotypes = samples.without_phase()
    assert structure.linkage(genotypes) == pytest.approx(np.corrcoef(samples.copies.T))


def test_decay_by_distance():
    r = np.array([[1, 1, 0.5, 0], [1, 1, 0.5, 0], [0.5, 0.5, 1, 0], [0, 0, 0, 1]])
    chrom, positions = np.array(["1", "1", "1", "2"]), np.array([100.0, 600.0, 5600.0, 100.0])
    found = structure.decay(r, r / 2, chrom, positions)
    assert list(found) == ["<1kb", "1-10kb", "apart"]
    assert (found["<1kb"].pairs, found["1-10kb"].pairs, found["apart"].pairs) == (1, 2, 3)
    assert (found["1-10kb"].real, found["1-10kb"].synthetic) == (0.25, 0.0625)


def test_wasserstein_by_hand():
    assert structure.wasserstein(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 2
    assert structure.wasserstein(np.array([0.0, 4.0]), np.array([1.0])) == 2
    assert structure.wasserstein(np.array([1.0, 2.0]), np.array([2.0, 1.0])) == 0


def test_overlap_by_hand():
    square = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert structure.overlap(square, square) == 1
    assert structure.overlap(square, np.array([[0.0, 0.0], [1.0, 0.0]])) == 0.5
    assert structure.overlap(square, square + 5) == 0


def test_components_separate_two_groups():
    haplotypes = np.repeat([[0] * SITES, [1] * SITES], 20, axis=0)
    noise = np.random.default_rng(0).random(haplotypes.shape) < 0.1
    samples = samples_of(haplotypes ^ noise)
    components = structure.Components.of(samples)
    coordinates = components(samples)
    assert coordinates.std(axis=0) == pytest.approx(1)
    assert (coordinates[:10, 0] * coordinates[10:, 0] < 0).all()
    assert abs(coordinates[0, 0] - coordinates[-1, 0]) > 1.5


def test_recognition_counts_what_was_asked_for():
    requested = {
        "a": "EUR",
        "b": "EUR",
        "c": "GBR",
        "d": "null",
        "e": "EUR:0.5,AFR:0.5",
        "f": "AFR",
    }
    called = {name: ("EUR", "GBR") for name in "abcde"} | {"b": ("AFR", "YRI")}
    found = recognition_measures(requested, called)
    assert {name: estimate.value for name, estimate in found.items()} == {
        "all": 2 / 3,
        "as:EUR": 1 / 2,
        "as:GBR": 1,
    }


# --- genotypes --------------------------------------------------------------------------------


def letters(panel, copies):
    from genomai_cli.population.barcode import genotypes_to_letters

    return genotypes_to_letters(np.array(copies, np.int8), panel).tobytes().decode()


def test_barcodes_have_no_phase(panel):
    copies = [0, 1, 2, -1] * 3
    records = [SequenceRecord("x", letters(panel, copies), "phenotype=EUR model=m seed=1")]
    found = genotypes_of_sequences(records, panel)
    assert (found.phased, found.requested) == (False, {"x": "EUR"})
    assert found.copies[0].tolist() == copies
    assert found.alleles[0, :, 1].tolist() == [1, 0]


def test_haplotypes_are_put_together(panel):
    pairs = {"x_A": [0] * 12, "y_B": [2] * 12, "x_B": [2] * 12, "y_A": [0, 2] * 6}
    records = [SequenceRecord(name, letters(panel, row)) for name, row in pairs.items()]
    found = genotypes_of_sequences(records, panel)
    assert (found.phased, found.names) == (True, ["x", "y"])
    assert found.copies[1].tolist() == [1, 2] * 6
    alone = genotypes_of_sequences(records[:3], panel)
    assert (alone.phased, alone.alleles.shape) == (True, (3, 1, 12))


def test_genotypes_of_a_vcf(panel, cohort):
    full = Panel.read(cohort.panel)
    found = genotypes_of_variants(open_inputs([cohort.newcomers]), full)
    assert found.phased
    assert list(found.names) == cohort.names
    assert (found.alleles == cohort.alleles).all()
    text = cohort.newcomers.read_text()
    unphased_path = cohort.newcomers.with_name("unphased.vcf")
    unphased_path.write_text(text.replace("0|1", "0/1", 1))
    unphased = genotypes_of_variants(open_inputs([unphased_path]), full)
    assert not unphased.phased
    assert (unphased.copies == found.copies).all()
    assert unphased.rows.shape == (len(cohort.names), 2 * 120)
    unphased_path.write_text(text.replace("0|1", "./1", 1))
    half = genotypes_of_variants(open_inputs([unphased_path]), full)
    assert half.phased  # without phase is half a genotype, which is missing
    changed = np.argwhere(half.alleles != found.alleles)
    assert len(changed) == 2
    assert half.copies[changed[0, 0], changed[0, 2]] == -1


def test_the_sites_of_a_vcf(cohort, tmp_path):
    (source,) = open_inputs([cohort.newcomers])
    found, panel = panel_of_variants(source), Panel.read(cohort.panel)
    assert (found.chrom, found.ref, found.alt) == (panel.chrom, panel.ref, panel.alt)
    (tmp_path / "b38.vcf").write_text(cohort.variant_text(build="GRCh38"))
    (source,) = open_inputs([tmp_path / "b38.vcf"])
    assert (panel_of_variants(source).positions[GRCH38] == panel.positions[GRCH38]).all()


def test_the_length_of_barcodes_is_that_of_the_panel(panel):
    with pytest.raises(InputError, match=r"f.fa:2: x has 3 letters, the panel 12 sites"):
        genotypes_of_sequences([SequenceRecord("x", "ACG", path="f.fa", line=2)], panel)


# --- the report ------------------------------------------------------------------------------


def test_the_report_compares_at_common_sites_and_common_knowledge_of_phase(panel):
    real, synthetic = random_samples(1), random_samples(2)
    alleles = synthetic.alleles.copy()
    alleles[:, :, 3] = -1
    unphased = SampleGenotypes(synthetic.names, alleles, True).without_phase()
    found = report(Comparison.of(panel, real, unphased), 0)
    assert found["data"]["sites"].value == 11
    assert found["data"]["phased"].value == 0
    assert "exact_haplotypes" not in found["copies"]
    assert "privacy" not in found


def test_the_report_has_the_held_out_samples_as_baseline(panel):
    real, copied, others = random_samples(1), random_samples(1), random_samples(3)
    found = report(Comparison.of(panel, real, copied, others), 0)
    assert found["copies"]["exact_people"].value == 40
    assert found["copies"]["exact_people"].baseline < 40
    assert found["linkage"]["r2_r"].value == pytest.approx(1)
    assert found["linkage"]["r2_r"].baseline < 1
    assert found["nearest_real"]["median"].value == 0
    assert found["privacy"]["membership_auc"].value > 0.8
    assert found["privacy"]["nearer_training"].low > 0.5
    assert set(alarms(found)) == {"nearest_real", "privacy"}
    assert found["components"]["overlap"].value == 1


def test_a_sample_without_a_known_site_does_no_harm(panel):
    alleles = random_samples(2).alleles.copy()
    alleles[0] = -1
    found = report(
        Comparison.of(
            panel, random_samples(1), SampleGenotypes(random_samples(2).names, alleles, True)
        ),
        0,
    )
    for measures in found.values():
        assert all(np.isfinite(estimate.value) for estimate in measures.values())


def test_haplotypes_alone_are_compared_with_haplotypes_of_samples(panel):
    real = random_samples(1)
    alone = SampleGenotypes(["h"] * 80, real.alleles.reshape(80, 1, SITES), True)
    found = report(Comparison.of(panel, real, alone), 0)
    assert found["copies"]["exact_haplotypes"].value == 80
    with pytest.raises(InputError, match="without phase cannot be compared"):
        Comparison.of(panel, real.without_phase(), alone)
