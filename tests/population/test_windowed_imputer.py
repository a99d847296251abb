"""Windows of linked sites: imputation by kriging, its calibration, the network, and a bundle."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from genomai_cli.bundles import bundle as bundles
from genomai_cli.cli.app import app
from genomai_cli.formats.vcf_rewrite import Site, write_variants
from genomai_cli.population.networks.haplotype_imputer import haplotypes_of
from genomai_cli.population.networks.kriging import RIDGE, SPREAD, KrigingReference
from genomai_cli.population.networks.kriging_fit import fill, known_site_sets
from genomai_cli.population.networks.windowed_imputer import (
    Neighbours,
    RegionConfig,
    RegionNetwork,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SITES, PEOPLE = 24, 40
PLACE = torch.arange(SITES).double() * 1000


@pytest.fixture
def copies():
    """Genotypes (N, S) of samples that have two of six haplotypes each, some of them unknown."""
    rng = np.random.default_rng(3)
    haplotypes = rng.random((6, SITES)) < 0.4
    chosen = rng.integers(6, size=(PEOPLE, 2))
    found = haplotypes[chosen].sum(axis=1)
    found[rng.random(found.shape) < 0.02] = -1
    return torch.from_numpy(found).to(torch.int8)


def haplotypes_as(copies):
    """Alleles (N, 2, S) that make these genotypes."""
    return torch.stack([(copies > 0).long(), (copies > 1).long()], 1).masked_fill(
        (copies < 0)[:, None], -1
    )


@pytest.fixture
def library(copies):
    made = KrigingReference(PEOPLE, SITES)
    made.learn(copies)
    return made


def kriged(copies, sites, asked):
    """The same as `KrigingReference._predicted` from one sample's copies at all sites, by the textbook (eq. 2.25)."""
    learnt = copies.double()
    known = learnt >= 0
    mean = (learnt * known).sum(0) / known.sum(0)
    surplus = ((learnt - mean) * known)[:, sites]
    own = ((asked.double() - mean) * (asked >= 0))[sites]
    width = SPREAD * 2 * surplus.var(0, correction=0).sum()
    like = torch.exp(-torch.cdist(surplus, surplus).square() / width)
    near = torch.exp(-(surplus - own).square().sum(1) / width)
    weights = near @ torch.linalg.inv(like + RIDGE * torch.eye(len(like)))
    answers = []
    for genotype in (1, 2):
        is_one = (learnt == genotype).double()
        usual = is_one.sum(0) / known.sum(0)
        answers.append(usual + weights @ ((is_one - usual) * known))
    return torch.stack(answers, dim=1)


def test_kriging_as_the_textbook_says(library, copies):
    sites = torch.arange(0, SITES, 3)
    asked = copies[4:5, sites]
    (found,) = library._predicted(asked, sites)
    torch.testing.assert_close(
        found.double(), kriged(copies, sites, copies[4]), atol=1e-4, rtol=1e-4
    )


def test_left_out_is_a_refit_without_the_sample(library, copies):
    """Up to the means, which are everybody's: that of a refit differs by one sample."""
    sites = torch.arange(1, SITES, 2)
    found = library.left_out(sites, torch.tensor([3, 7]))[1]
    rest = torch.cat([copies[:7], copies[8:]])
    torch.testing.assert_close(found.double(), kriged(rest, sites, copies[7]), atol=0.06, rtol=0)
    inside = library._predicted(copies[7:8, sites], sites)[0]
    assert (found - inside).abs().max() > 0.05  # it does make a difference


def test_a_sample_does_not_depend_on_the_others_of_its_batch(library, copies):
    asked = copies[:6].long().clone()
    asked[0, ::2] = -1
    asked[1, 5:] = -1
    asked[2] = -1
    alleles = haplotypes_as(asked)
    phased = torch.zeros(6, dtype=torch.bool)
    together, pairs = library.genotypes(alleles, phased)
    assert pairs is None
    for number in range(6):
        alone = library.genotypes(alleles[number : number + 1], phased[:1])[0][0]
        torch.testing.assert_close(together[number], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.sum(dim=2), torch.ones(6, SITES))


@pytest.mark.parametrize("copying", [False, True])
def test_calibration_tells_the_masked_genotypes(copies, copying):
    library = KrigingReference(PEOPLE, SITES, haplotypes=copying)
    fill(library, haplotypes_as(copies), PLACE)
    hidden = torch.arange(0, SITES, 2)
    asked = copies.long().clone()
    asked[:, hidden] = -1
    phased = torch.zeros(PEOPLE, dtype=torch.bool)
    told = library.genotypes(haplotypes_as(asked), phased)[0][:, hidden].argmax(dim=2)
    truth = copies.long()[:, hidden]
    known = truth >= 0
    usual = torch.stack([(copies == g).sum(0) for g in range(3)]).argmax(0)[hidden].expand_as(truth)
    right = (told == truth)[known].double().mean()
    assert right > 0.95 > (usual == truth)[known].double().mean() + 0.1
    other = KrigingReference(PEOPLE, SITES, haplotypes=copying)
    fill(other, haplotypes_as(copies), PLACE)
    assert torch.equal(library.calibration.weight, other.calibration.weight)


def test_known_sets_are_sparse_and_dense():
    sets = list(known_site_sets(200, np.random.default_rng(0)))
    assert min(map(len, sets)) <= 3
    assert max(map(len, sets)) >= 100
    assert all(len(np.unique(s)) == len(s) and s.min() >= 0 and s.max() < 200 for s in sets)


def test_haplotypes_of_genotypes():
    genotypes = torch.tensor([[[0.2, 0.7, 0.1], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]]])
    first = torch.tensor([[True, False, True, True]])
    one, two = haplotypes_of(genotypes, first)[0]
    together = torch.stack([(1 - one) * (1 - two), one + two - 2 * one * two, one * two], dim=1)
    torch.testing.assert_close(together[:3], genotypes[0, :3])
    assert one[0] > two[0]
    assert one[3] == two[3] == 0.5  # no two independent haplotypes make these


def test_neighbours_hear_of_both_sides():
    layer = Neighbours(10, 4)
    torch.nn.init.ones_(layer.weight)
    evidence = torch.zeros(1, 2, 3, 10)
    evidence[0, 1, 0, 5] = 1.0  # in the second block of three
    (said,) = layer(evidence)
    assert said[0].tolist() == [0.0] * 10
    assert said[1].tolist() == [1.0] * 10
    evidence[0, 1, 0, 5], evidence[0, 1, 0, 0] = 0.0, 1.0
    assert layer(evidence)[0, 1].tolist() == [1.0] * 8 + [0.0] * 2


@pytest.fixture
def network(copies):
    torch.manual_seed(0)
    made = RegionNetwork(RegionConfig(PEOPLE, SITES, 3, width=16, layers=1, block=8)).eval()
    made.frequency.uniform_(0.1, 0.9)
    torch.nn.init.normal_(made.sites.weight)
    made.library.learn(copies)
    return made.requires_grad_(False)


def test_masked_sites_say_nothing(network):
    alleles = torch.randint(0, 2, (3, 2, SITES))
    alleles[:, :, 3:] = -1
    weights = torch.eye(3)
    before = network(alleles, weights)
    assert before.shape == (3, 2, SITES)
    swapped = network(alleles.flip(1), weights)
    torch.testing.assert_close(before, swapped.flip(1))
    alone = network(alleles[1:2], weights[1:2])
    torch.testing.assert_close(before[1:2], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("standardized", [False, True])
def test_alleles_that_are_asked_for_are_told_as_all_are(standardized):
    config = RegionConfig(0, SITES, 3, width=16, layers=1, block=8, standardized=standardized)
    network = RegionNetwork(config).eval().requires_grad_(False)
    for table in (network.neighbours.weight, network.sites.weight, network.frequency):
        table.uniform_(0.1, 0.9)
    alleles = torch.randint(-1, 2, (3, 2, SITES))
    weights, chosen = torch.eye(3), alleles < 0
    told = network(alleles, weights)[chosen]
    torch.testing.assert_close(network.of_chosen(alleles, weights, chosen), told)
    torch.testing.assert_close(network.prepared()(alleles, weights, chosen), told)


def test_who_shows_nothing_has_the_frequencies():
    config = RegionConfig(0, SITES, 3, width=16, layers=1, block=8, standardized=True)
    network = RegionNetwork(config).eval().requires_grad_(False)
    network.sites.weight.normal_()
    network.frequency.uniform_(0.1, 0.9)
    told = network(torch.full((3, 2, SITES), -1), torch.eye(3)).sigmoid()
    torch.testing.assert_close(told, network.frequency[:, None].expand(-1, 2, -1))


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
    alleles = torch.stack([copies[:5] >= 1, copies[:5] >= 2], dim=1).long()
    alleles[:, :, ::3] = -1
    phased = torch.zeros(5, SITES, dtype=torch.bool)
    one = network.allele_probabilities(alleles.to(torch.int8), phased)
    turned = alleles.clone()
    turned[:, :, 1::2] = alleles.flip(1)[:, :, 1::2]
    other = network.allele_probabilities(turned.to(torch.int8), phased)
    assert torch.equal(one, other)
    assert ((one >= 0) & (one <= 1)).all()


def test_a_lone_haplotype_is_restored_by_the_network(network, copies):
    alleles = torch.full((1, 2, SITES), -1)
    alleles[0, 0, 5:] = (copies[0, 5:] >= 1).long()
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
@pytest.mark.parametrize("people", [4096, 0])
def test_a_bundle_of_a_window(tmp_path, monkeypatch, people):
    monkeypatch.chdir(tmp_path)
    cohort(tmp_path)
    sizes = {"people": people, "width": 16, "layers": 1}
    settings = {"input.phenotypes": '["side"]', "optimization.steps": 6, "split.holdout": 0.1}
    settings |= {f"network.{name}": size for name, size in sizes.items()}
    changes = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    given = ["--panel", "cohort.vcf", "--labels", "labels.tsv", "cohort.vcf", "-o", "window"]
    made = CliRunner().invoke(app, ["pretrain", "--recipe", "region", *given, *changes, "--quiet"])
    assert made.exit_code == 0, made.output
    bundle = bundles.load("./window", torch.device("cpu"))
    assert len(bundle.coordinates) == 60
    library = bundle.classifier.networks[0].library
    assert (library is None) == (people == 0)
    card = (tmp_path / "window" / "README.md").read_text()
    assert ("haplotypes of 36 people" in card) == (people > 0)
    asked = ["generate", "--model", "./window", "--phenotype", "NORTH", "-n", "3", "--to", "vcf"]
    done = CliRunner().invoke(app, [*asked, "-o", "new.vcf", "--steps", "4"])
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "new.vcf").read_text().splitlines()
    assert sum(not line.startswith("#") for line in lines) == 60


def test_the_number_of_threads_does_not_show():
    rng = torch.Generator().manual_seed(0)
    copies = torch.randint(0, 3, (600, 40), generator=rng)
    asked = torch.stack([copies[:30] > 0, copies[:30] > 1], dim=1).to(torch.int8)
    asked[..., ::2] = -1
    found, threads = [], torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            library = KrigingReference(600, 40)
            library.learn(copies)
            told = library.genotypes(asked, torch.zeros(30, dtype=torch.bool))[0]
            left_out = library.left_out(torch.arange(0, 40, 2), torch.arange(20))
            found.append((told, left_out))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
