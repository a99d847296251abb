"""Windows of linked sites: imputation by kriging, its calibration, the network, and a bundle."""

import numpy as np
import pytest
import torch
from conftest import empty_arrays as empty
from typer.testing import CliRunner

from genomai_cli import threads
from genomai_cli.bundles import bundle as bundles
from genomai_cli.cli.app import app
from genomai_cli.formats.vcf_rewrite import Site, write_variants
from genomai_cli.population.networks.haplotype_imputer import haplotypes_of
from genomai_cli.population.networks.kriging import KERNEL_WIDTH, RIDGE, KrigingReference
from genomai_cli.population.networks.kriging_fit import fill, known_site_sets
from genomai_cli.population.networks.windowed_imputer import (
    Neighbours,
    RegionConfig,
    RegionNetwork,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SITES, INDIVIDUALS = 24, 40
POSITIONS = np.arange(SITES) * 1000.0


@pytest.fixture
def copies():
    """Genotypes (N, S) of samples that have two of six haplotypes each, some of them unknown."""
    rng = np.random.default_rng(3)
    haplotypes = rng.random((6, SITES)) < 0.4
    chosen = rng.integers(6, size=(INDIVIDUALS, 2))
    found = haplotypes[chosen].sum(axis=1)
    found[rng.random(found.shape) < 0.02] = -1
    return found.astype(np.int8)


def haplotypes_as(copies):
    """Alleles (N, 2, S) that make these genotypes."""
    alleles = np.stack([copies > 0, copies > 1], axis=1).astype(np.int8)
    return np.where((copies < 0)[:, None], np.int8(-1), alleles)


def reference_of(individuals, sites, **options):
    """An empty reference of so many."""
    return KrigingReference.of(empty(KrigingReference.shapes(individuals, sites, **options)))


@pytest.fixture
def kriging(copies):
    kriging = reference_of(INDIVIDUALS, SITES)
    kriging.set_genotypes(copies)
    return kriging


def kriged(copies, sites, query):
    """The same as `KrigingReference._predictions` from one sample's copies at all sites, by the textbook (eq. 2.25)."""
    known = copies >= 0
    mean = (copies * known).sum(0) / known.sum(0)
    centred = ((copies - mean) * known)[:, sites]
    centred_query = ((query - mean) * (query >= 0))[sites]
    width = KERNEL_WIDTH * 2 * centred.var(0).sum()
    kernel = np.exp(-np.square(centred[:, None] - centred).sum(2) / width)
    similarity = np.exp(-np.square(centred - centred_query).sum(1) / width)
    weights = similarity @ np.linalg.inv(kernel + RIDGE * np.eye(len(kernel)))
    predictions = []
    for genotype in (1, 2):
        has_genotype = copies == genotype
        frequency = has_genotype.sum(0) / known.sum(0)
        predictions.append(frequency + weights @ ((has_genotype - frequency) * known))
    return np.stack(predictions, axis=1)


def test_kriging_as_the_textbook_says(kriging, copies):
    sites = np.arange(0, SITES, 3)
    query = copies[4:5, sites]
    (predicted,) = kriging._predictions(kriging._weights(query, sites))
    np.testing.assert_allclose(predicted, kriged(copies, sites, copies[4]), atol=1e-4, rtol=1e-4)


def test_left_out_is_a_refit_without_the_sample(kriging, copies):
    """Up to the means, which are everybody's: that of a refit differs by one sample."""
    sites = np.arange(1, SITES, 2)
    predicted = kriging.leave_one_out(sites, np.array([3, 7]))[1]
    remaining = np.concatenate([copies[:7], copies[8:]])
    np.testing.assert_allclose(predicted, kriged(remaining, sites, copies[7]), atol=0.06, rtol=0)
    fitted = kriging._predictions(kriging._weights(copies[7:8, sites], sites))[0]
    assert np.abs(predicted - fitted).max() > 0.05  # it does make a difference


def test_a_sample_does_not_depend_on_the_others_of_its_batch(kriging, copies):
    queries = copies[:6].copy()
    queries[0, ::2] = -1
    queries[1, 5:] = -1
    queries[2] = -1
    alleles = haplotypes_as(queries)
    phased = np.zeros(6, np.bool_)
    together, pairs = kriging.genotypes(alleles, phased)
    assert pairs is None
    for number in range(6):
        alone = kriging.genotypes(alleles[number : number + 1], phased[:1])[0][0]
        np.testing.assert_allclose(together[number], alone, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(together.sum(axis=2), 1, rtol=1e-6)


@pytest.mark.parametrize("copying", [False, True])
def test_calibration_tells_the_masked_genotypes(copies, copying):
    kriging = reference_of(INDIVIDUALS, SITES, haplotypes=copying)
    fill(kriging, haplotypes_as(copies), POSITIONS)
    masked = np.arange(0, SITES, 2)
    queries = copies.copy()
    queries[:, masked] = -1
    phased = np.zeros(INDIVIDUALS, np.bool_)
    predicted = kriging.genotypes(haplotypes_as(queries), phased)[0][:, masked].argmax(axis=2)
    truth = copies[:, masked]
    known = truth >= 0
    most_frequent = np.stack([(copies == g).sum(0) for g in range(3)]).argmax(0)[masked]
    accuracy = (predicted == truth)[known].mean()
    assert accuracy > 0.95 > (most_frequent == truth)[known].mean() + 0.1
    refitted = reference_of(INDIVIDUALS, SITES, haplotypes=copying)
    fill(refitted, haplotypes_as(copies), POSITIONS)
    for name, values in kriging.calibration.arrays.items():
        np.testing.assert_array_equal(values, refitted.calibration.arrays[name])


def test_known_sets_are_sparse_and_dense():
    sets = list(known_site_sets(200, np.random.default_rng(0)))
    assert min(map(len, sets)) <= 3
    assert max(map(len, sets)) >= 100
    assert all(len(np.unique(s)) == len(s) and s.min() >= 0 and s.max() < 200 for s in sets)


def test_haplotypes_of_genotypes():
    genotypes = np.array([[[0.2, 0.7, 0.1], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]]])
    first = np.array([[True, False, True, True]])
    p, q = haplotypes_of(genotypes, first)[0]
    recombined = np.stack(
        [
            (1 - p) * (1 - q),
            p + q - 2 * p * q,
            p * q,
        ],
        axis=1,
    )
    np.testing.assert_allclose(recombined[:3], genotypes[0, :3], atol=1e-9)
    assert p[0] > q[0]
    assert p[3] == q[3] == 0.5  # no two independent haplotypes make these


def test_neighbours_on_both_sides_have_logits():
    layer = Neighbours(10, 4)
    torch.nn.init.ones_(layer.weight)
    evidence = torch.zeros(1, 2, 3, 10)
    evidence[0, 1, 0, 5] = 1.0  # in the second block of three
    (logits,) = layer(evidence)
    assert logits[0].tolist() == [0.0] * 10
    assert logits[1].tolist() == [1.0] * 10
    evidence[0, 1, 0, 5], evidence[0, 1, 0, 0] = 0.0, 1.0
    assert layer(evidence)[0, 1].tolist() == [1.0] * 8 + [0.0] * 2


@pytest.fixture
def network(copies):
    torch.manual_seed(0)
    network = RegionNetwork(RegionConfig(INDIVIDUALS, SITES, 3, width=16, layers=1, block=8)).eval()
    network.frequency.uniform_(0.1, 0.9)
    torch.nn.init.normal_(network.sites.weight)
    network.reference.set_genotypes(copies)
    return network.requires_grad_(False)


def test_haplotypes_change_places_and_individuals_stand_alone(network):
    alleles = torch.randint(0, 2, (3, 2, SITES))
    alleles[:, :, 3:] = -1
    weights = torch.eye(3)
    logits = network(alleles, weights)
    assert logits.shape == (3, 2, SITES)
    swapped = network(alleles.flip(1), weights)
    torch.testing.assert_close(logits, swapped.flip(1))
    single = network(alleles[1:2], weights[1:2])
    torch.testing.assert_close(logits[1:2], single, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("standardized", [False, True])
def test_logits_of_chosen_alleles_are_those_of_all(standardized):
    config = RegionConfig(0, SITES, 3, width=16, layers=1, block=8, standardized=standardized)
    network = RegionNetwork(config).eval().requires_grad_(False)
    for table in (network.neighbours.weight, network.sites.weight, network.frequency):
        table.uniform_(0.1, 0.9)
    alleles = torch.randint(-1, 2, (3, 2, SITES))
    weights, chosen = torch.eye(3), alleles < 0
    expected = network(alleles, weights)[chosen]
    torch.testing.assert_close(network.chosen_logits(alleles, weights, chosen), expected)
    torch.testing.assert_close(network.prepared_logits()(alleles, weights, chosen), expected)


def test_who_shows_nothing_has_the_frequencies():
    config = RegionConfig(0, SITES, 3, width=16, layers=1, block=8, standardized=True)
    network = RegionNetwork(config).eval().requires_grad_(False)
    network.sites.weight.normal_()
    network.frequency.uniform_(0.1, 0.9)
    predicted = network(torch.full((3, 2, SITES), -1), torch.eye(3)).sigmoid()
    torch.testing.assert_close(predicted, network.frequency[:, None].expand(-1, 2, -1))


def test_a_near_site_says_less_where_others_are_visible_that_may_repeat_it():
    config = RegionConfig(0, SITES, 1, width=16, layers=1, block=8, standardized=True)
    network = RegionNetwork(config).eval().requires_grad_(False)
    network.neighbours.weight[0, 8, 1] = 1.0  # what the first site says of the second
    alleles = torch.full((1, 2, SITES), -1)
    alleles[:, :, 0] = 1
    alone = network(alleles, torch.ones(1, 1))[0, 0, 1]
    alleles[:, :, 2:] = 0
    among_others = network(alleles, torch.ones(1, 1))[0, 0, 1]
    assert alone > among_others > 0  # at a frequency of one half


def test_it_does_not_matter_how_unphased_heterozygotes_stand(network, copies):
    alleles = torch.from_numpy(np.stack([copies[:5] >= 1, copies[:5] >= 2], axis=1)).long()
    alleles[:, :, ::3] = -1
    phased = torch.zeros(5, SITES, dtype=torch.bool)
    one = network.allele_probabilities(alleles.to(torch.int8), phased)
    flipped = alleles.clone()
    flipped[:, :, 1::2] = alleles.flip(1)[:, :, 1::2]
    other = network.allele_probabilities(flipped.to(torch.int8), phased)
    assert torch.equal(one, other)
    assert ((one >= 0) & (one <= 1)).all()


def test_a_lone_haplotype_is_restored_by_the_network(network, copies):
    alleles = torch.full((1, 2, SITES), -1)
    alleles[0, 0, 5:] = torch.from_numpy(copies[0, 5:] >= 1).long()
    found = network.allele_probabilities(alleles, torch.ones(1, SITES, dtype=torch.bool))
    alone = network(alleles, torch.tensor([[1.0, 0, 0]])).sigmoid()
    assert torch.equal(found, alone)


def cohort(path):
    """A VCF of samples in a window of linked sites, and their labels."""
    rng = np.random.default_rng(1)
    founders = (rng.random((8, 60)) < 0.3).astype(np.int8)
    alleles = founders[rng.integers(8, size=(40, 2))]
    sites = [Site("22", 1000 + 50 * n, ".", "A", "G") for n in range(60)]
    samples = {f"p{n}": "." for n in range(40)}
    with (path / "cohort.vcf").open("wb") as out:
        write_variants(
            out, sites, samples, alleles, build="GRCh37", contigs={"22": 51304566}, source="test"
        )
    rows = [f"p{n}\t{'NORTH' if n % 2 else 'SOUTH'}\n" for n in range(40)]
    (path / "labels.tsv").write_text("".join(["sample\tside\n", *rows]))


@pytest.mark.slow
@pytest.mark.parametrize("individuals", [4096, 0])
def test_a_bundle_of_a_window(tmp_path, monkeypatch, individuals):
    monkeypatch.chdir(tmp_path)
    cohort(tmp_path)
    sizes = {"people": individuals, "width": 16, "layers": 1}
    settings = {"input.phenotypes": '["side"]', "optimization.steps": 6, "split.holdout": 0.1}
    settings |= {f"network.{name}": size for name, size in sizes.items()}
    changes = [
        argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")
    ]
    arguments = ["--panel", "cohort.vcf", "--labels", "labels.tsv", "cohort.vcf", "-o", "window"]
    result = CliRunner().invoke(
        app, ["pretrain", "--recipe", "region", *arguments, *changes, "--quiet"]
    )
    assert result.exit_code == 0, result.output
    bundle = bundles.load("./window", torch.device("cpu"))
    assert len(bundle.coordinates) == 60
    reference = bundle.classifier.networks[0].library
    assert (reference is None) == (individuals == 0)
    card = (tmp_path / "window" / "README.md").read_text()
    assert ("haplotypes of 36 people" in card) == (individuals > 0)
    arguments = [
        "generate",
        "--model",
        "./window",
        "--phenotype",
        "NORTH",
        "-n",
        "3",
        "--to",
        "vcf",
    ]
    result = CliRunner().invoke(app, [*arguments, "-o", "new.vcf", "--steps", "4"])
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "new.vcf").read_text().splitlines()
    assert sum(not line.startswith("#") for line in lines) == 60


def test_the_number_of_threads_does_not_show():
    rng = np.random.default_rng(0)
    copies = rng.integers(0, 3, (600, 40)).astype(np.int8)
    queries = haplotypes_as(copies[:100])
    queries[..., ::2] = -1
    results = []
    try:
        for number in (1, 2):
            threads.use(number)
            kriging = reference_of(600, 40)
            kriging.set_genotypes(copies)
            genotypes = kriging.genotypes(queries, np.zeros(100, np.bool_))[0]
            predicted = kriging.leave_one_out(np.arange(0, 40, 2), np.arange(20))
            results.append((genotypes, predicted))
    finally:
        threads.use(1)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
