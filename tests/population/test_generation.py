"""Training samples and generated ones: phenotypes, rows, linkage, the denoiser, its objective, requests."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genomai_cli.diffusion.phenotypes import Phenotypes
from genomai_cli.errors import BundleError, InputError, TrainingError, UsageError
from genomai_cli.formats.tables import read_labels
from genomai_cli.formats.vcf_rewrite import Site, write_variants
from genomai_cli.objectives.base import Alphabet, Model, SingleProcess
from genomai_cli.objectives.diffusion import TICKS, Diffusion, DiffusionSettings
from genomai_cli.population.barcode import letters_to_alleles
from genomai_cli.population.generation.denoiser import (
    HaplotypeDenoiser,
    HaplotypeNoising,
    draw_conditions,
)
from genomai_cli.population.generation.output import sites
from genomai_cli.population.generation.requests import parsed_request, quotas_of, requests_of
from genomai_cli.population.generation.sampler import Chromosomes
from genomai_cli.population.haplotype_input import frequencies as frequencies_of
from genomai_cli.population.haplotype_rows import HaplotypeRows
from genomai_cli.population.networks import linkage_fit
from genomai_cli.population.networks.denoiser import (
    DenoiserConfig,
    DenoiserNetwork,
    Linkage,
    PhenotypeAttention,
    VisibleAlleles,
)
from genomai_cli.population.networks.likelihood_fit import likeliest_shrinkage, shrunken_frequencies
from genomai_cli.population.networks.linkage_fit import Effects
from genomai_cli.population.panel import LINKAGE_DISTANCE, Panel, coordinates, linked_pairs
from genomai_cli.tokenizers.characters import iupac

pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = """sample\tcontinent\tcountry\tsex
a\tNORTH\tNOA\tmale
b\tNORTH\tNOA\tfemale
c\tNORTH\tNOB\tmale
d\tSOUTH\tSOC\tmale
e\tSOUTH\t.\tmale
"""
PANEL = """chrom\tpos_grch37\tpos_grch38\trsid\tref\talt
2\t500\t.\trs1\tA\tG
1\t1000000\t1100000\trs2\tC\tT
1\t1500000\t1600000\trs3\tA\tC
1\t9000000\t9100000\trs4\tG\tT
1\t.\t7000\trs5\tG\tA
"""
SITES = 5


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "labels.tsv").write_text(LABELS)
    return read_labels(tmp_path / "labels.tsv")


@pytest.fixture
def phenotypes(labels):
    return replace(
        Phenotypes.of(labels, ["continent", "country"]), counts={"NOA": 6, "NOB": 3, "SOC": 1}
    )


@pytest.fixture
def panel(tmp_path):
    (tmp_path / "panel.tsv").write_text(PANEL)
    return Panel.read(tmp_path / "panel.tsv")


# --- phenotypes ------------------------------------------------------------------------------


def test_phenotypes_are_null_and_the_labels_of_the_columns(phenotypes):
    assert phenotypes.names == ["null", "NORTH", "SOUTH", "NOA", "NOB", "SOC"]
    assert phenotypes.numbers({"continent": "SOUTH", "country": None}) == [2, 0]
    assert phenotypes.numbers({}) == [0, 0]
    assert phenotypes.parents == {"NOA": "NORTH", "NOB": "NORTH", "SOC": "SOUTH"}


def test_a_name_stands_for_its_finest_parts(phenotypes):
    assert phenotypes.finest_labels("NORTH") == {"NOA": 6, "NOB": 3}
    assert phenotypes.finest_labels("NOB") == {"NOB": 1}
    assert phenotypes.finest_labels("reference") == {"NOA": 6, "NOB": 3, "SOC": 1}
    assert Phenotypes().finest_labels("reference") == {"null": 1}


def test_labels_without_samples_are_no_parts_and_cannot_be_requested(phenotypes):
    """A window of the panel may be trained on fewer individuals than the table of labels names."""
    partial = replace(phenotypes, counts={"NOA": 6})
    assert partial.finest_labels("NORTH") == {"NOA": 6}
    assert partial.finest_labels("reference") == {"NOA": 6}
    assert parsed_request("NORTH", 2, partial)[0].parts == (("NORTH", 1.0),)
    for name in ("NOB", "SOUTH", "SOC", "NOA:0.5,NOB:0.5"):
        with pytest.raises(UsageError, match="the model was trained on nobody of it"):
            parsed_request(name, 2, partial)
    assert replace(phenotypes, counts={}).finest_labels("SOUTH") == {"SOUTH": 1}
    assert parsed_request("SOUTH", 1, replace(phenotypes, counts={}))[0].name == "SOUTH"


def test_labels_that_cross_are_not_nested(labels):
    crossing = Phenotypes.of(labels, ["country", "sex"])
    assert crossing.parents == {}
    assert crossing.finest_labels("NOA") == {"NOA": 1}


def test_phenotypes_survive_a_config(phenotypes):
    restored = Phenotypes.from_config({"phenotypes": phenotypes.to_config()})
    assert (restored.names, restored.counts) == (phenotypes.names, phenotypes.counts)
    with pytest.raises(BundleError, match="'other' generates nobody"):
        Phenotypes.from_config({"name": "other"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SOC", "NORTH", "label of two columns"),
        ("SOC", "null", "cannot be the name"),
        ("SOC", "S:C", "cannot be the name"),
    ],
)
def test_labels_that_could_not_be_asked_for_are_refused(tmp_path, old, new, message):
    (tmp_path / "labels.tsv").write_text(LABELS.replace(old, new))
    with pytest.raises(InputError, match=message):
        Phenotypes.of(read_labels(tmp_path / "labels.tsv"), ["continent", "country"])


# --- requests ----------------------------------------------------------------------------------


def test_one_name_is_one_phenotype(phenotypes):
    (request,) = parsed_request("NORTH", 7, phenotypes)
    assert (request.parts, request.individuals, request.name, request.text) == (
        (("NORTH", 1.0),),
        7,
        "NORTH",
        "NORTH",
    )


def test_weights_are_made_to_add_up(phenotypes):
    (request,) = parsed_request("NOA:3, SOC:1", 2, phenotypes)
    assert request.parts == (("NOA", 0.75), ("SOC", 0.25))
    assert (request.name, request.text) == ("NOA-SOC", "NOA:0.75,SOC:0.25")
    assert parsed_request("NOA,SOC", 2, phenotypes)[0].parts == (("NOA", 0.5), ("SOC", 0.5))


def test_the_reference_is_everybody_in_proportion(phenotypes):
    requests = parsed_request("reference", 20, phenotypes)
    assert {request.name: request.individuals for request in requests} == {
        "NOA": 12,
        "NOB": 6,
        "SOC": 2,
    }
    assert [request.name for request in parsed_request("reference", 1, phenotypes)] == ["NOA"]


def test_an_unknown_name_brings_the_known_ones(phenotypes):
    with pytest.raises(UsageError, match=r"'XYZ'.*reference null; NORTH SOUTH; NOA NOB SOC"):
        parsed_request("NOA:0.5,XYZ:0.5", 1, phenotypes)


@pytest.mark.parametrize(
    "text", ["NOA:0,SOC:1", "NOA:-1,SOC:1", "NOA:x,SOC:1", "NOA:nan,SOC:1", "NOA,NOA", "NOA:"]
)
def test_weights_that_are_none_are_refused(phenotypes, text):
    with pytest.raises(UsageError, match="--phenotype"):
        parsed_request(text, 1, phenotypes)


def test_no_sample_is_requested_twice(phenotypes):
    with pytest.raises(UsageError, match="NOA twice"):
        requests_of(["reference", "NOA"], 4, phenotypes)


def test_quotas_are_nearest_to_the_shares():
    assert quotas_of([1, 1, 1], 10) == [4, 3, 3]
    assert quotas_of([5, 3, 2], 10) == [5, 3, 2]
    assert sum(quotas_of([7, 11, 13, 2], 2504)) == 2504


# --- rows, linkage, mosaics --------------------------------------------------------------------


def test_a_sample_as_a_row_and_back():
    layout = HaplotypeRows(3, 2)
    alleles = np.array([[0, 1, -1], [1, 1, 0]], np.int8)
    row = layout.row(alleles, [2, 78])  # 78 is the code of N
    assert len(row) == len(layout) == 8
    assert layout.alleles(row[None]).tolist() == [alleles.tolist()]
    assert layout.numbers(row[None]).tolist() == [[2, 78]]


def test_alleles_of_letters(panel):
    letters = np.frombuffer(b"GCNTA", np.uint8)
    assert letters_to_alleles(letters, panel).tolist() == [1, 0, -1, 1, 1]


def test_only_near_sites_of_one_chromosome_are_linked(panel):
    assert linked_pairs(panel).T.tolist() == [[1, 2], [2, 1]]
    contig, _ = coordinates(panel)
    assert contig[1] == contig[2] == contig[3]
    assert len({contig[0], contig[1], contig[4]}) == 3  # the last one has no position in GRCh37


def test_stretches_of_a_mosaic_follow_the_chromosome(panel):
    chromosomes = Chromosomes.of(panel, stretch=1e6)
    rng = np.random.default_rng(1)
    ancestors = np.stack([chromosomes.ancestors([0.25, 0.75], rng) for _ in range(4000)])
    assert ancestors.mean(axis=0) == pytest.approx(np.full(SITES, 0.75), abs=0.03)
    changed = (ancestors[:, 1] != ancestors[:, 2]).mean()
    assert changed == pytest.approx((1 - np.exp(-0.5)) * 2 * 0.25 * 0.75, abs=0.03)
    assert (ancestors[:, 0] != ancestors[:, 1]).mean() == pytest.approx(2 * 0.25 * 0.75, abs=0.03)


def test_an_isolated_population_is_drawn_less_towards_the_others():
    rng = np.random.default_rng(6)
    base = rng.normal(0, 1, 600)
    logits = np.stack([base + rng.normal(0, spread, 600) for spread in (0.1, 0.1, 0.1, 1.0)])
    total = np.full(logits.shape, 200.0)
    alternate = rng.binomial(200, 1 / (1 + np.exp(-logits))).astype(float)
    shrinkage = likeliest_shrinkage(alternate, total)[:, 0]
    assert shrinkage[3] < 20 < shrinkage[:3].min()
    frequency = shrunken_frequencies(alternate, total, shrinkage[:, None])
    error = np.abs(frequency - 1 / (1 + np.exp(-logits))).mean(axis=1)
    assert (error <= np.abs(alternate / total - 1 / (1 + np.exp(-logits))).mean(axis=1)).all()


# --- the network and its objective -------------------------------------------------------------


@pytest.fixture
def network(panel):
    """A denoiser of five sites with random values everywhere."""
    torch.manual_seed(1)
    pairs = torch.from_numpy(linked_pairs(panel))
    config = DenoiserConfig(sites=SITES, phenotypes=6, pairs=2, width=16, heads=2, dropout=0.0)
    network = DenoiserNetwork(config)
    contig, position = map(torch.from_numpy, coordinates(panel))
    network.frequency.copy_(torch.rand(6, SITES) * 0.8 + 0.1)
    no_effects = Effects(torch.zeros(3, 2), torch.full((2,), 0.5))
    network.linkage.set_pairs(contig, position, pairs, no_effects)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.double().eval().requires_grad_(False)


@pytest.fixture
def weights():
    return torch.eye(6, dtype=torch.float64)[[3, 4, 0]]


def test_an_untrained_network_gives_the_frequencies(panel, weights):
    network = DenoiserNetwork(DenoiserConfig(sites=SITES, phenotypes=6, width=16)).double()
    frequency = torch.linspace(0.1, 0.9, 30, dtype=torch.float64).view(6, SITES)
    network.frequency.copy_(frequency)
    alleles = torch.randint(-1, 2, (3, 2, SITES))
    probability = torch.sigmoid(network.eval()(alleles, weights))
    assert torch.allclose(probability, frequency[[3, 4, 0]][:, None].expand(-1, 2, -1))


def test_exchanging_the_haplotypes_exchanges_the_answers(network, weights):
    alleles = torch.randint(-1, 2, (3, 2, SITES))
    assert torch.allclose(network(alleles.flip(1), weights), network(alleles, weights).flip(1))


def test_both_haplotypes_and_the_phenotype_matter(network, weights):
    alleles = torch.zeros(3, 2, SITES, dtype=torch.int64)
    alleles[:, 0, 0] = -1
    before = network(alleles, weights)
    alleles[:, 1, 3] = 1
    after = network(alleles, weights)
    assert (before[:, 0, 0] - after[:, 0, 0]).abs().min() > 1e-6
    assert (after[0] - after[1]).abs().min() > 1e-9


def test_context_guidance_scales_the_difference_to_the_frequencies(network):
    phenotype = torch.tensor([3, 4, 0])
    tokens = torch.randint(-1, 2, (3, 2 * SITES), generator=torch.Generator().manual_seed(5))
    chosen = tokens < 0
    frequency_logits = torch.logit(network.frequency[phenotype]).repeat(1, 2)[chosen]
    unguided, guided, without_context = (
        HaplotypeDenoiser(network, phenotype, context_guidance=guidance)(
            tokens, chosen, 1.0 * ~chosen
        )
        for guidance in (1.0, 1.5, 0.0)
    )
    logits = unguided[:, 1] - frequency_logits
    assert logits.abs().min() > 1e-3
    assert torch.allclose(guided[:, 1], frequency_logits + 1.5 * logits)
    assert torch.allclose(without_context[:, 1], frequency_logits)


def test_context_guidance_of_tokens_is_refused():
    alphabet, recipe = Alphabet(iupac()), SimpleNamespace(name="mine")
    with pytest.raises(TrainingError, match=r"mine: diffusion\.context_guidance needs frequencies"):
        Diffusion.check(DiffusionSettings(context_guidance=2.0), alphabet, recipe)


def visible_at(site, allele):
    """One sample with a single visible allele, at a site where every frequency is a half."""
    parts = torch.zeros(3, 1, 2, SITES, dtype=torch.float64)
    parts[:, 0, 0, site] = torch.tensor([allele - 0.5, 1, allele])
    return VisibleAlleles(*parts)


def test_linkage_stays_on_the_haplotype_and_its_chromosome(network, panel):
    contig, _ = coordinates(panel)
    blocks = network.linkage.blocks()
    for site in range(SITES):
        logits = network.linkage(visible_at(site, 1.0), blocks)[0]
        other_sites = (contig == contig[site]) & (np.arange(SITES) != site)
        assert (logits[0].numpy() != 0).tolist() == other_sites.tolist()
        assert (logits[1] == 0).all()


def test_near_sites_that_repeat_each_other_do_not_add_up(panel):
    linkage = Linkage(3, 6, 2).double()
    pairs = torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
    weights = torch.tensor([[0.0], [-3.0], [6.0]]).expand(3, 6)
    certain = Effects(weights, torch.full((6,), 0.99))
    linkage.set_pairs(torch.zeros(3, dtype=torch.int64), torch.arange(3.0), pairs, certain)
    alleles = torch.tensor([[[1.0, 0, 0], [0, 0, 0]]], dtype=torch.float64)
    known = torch.tensor([[[1.0, 0, 0], [0, 0, 0]]], dtype=torch.float64)
    single = linkage(VisibleAlleles(0 * alleles, known, alleles), linkage.blocks())
    assert single[0, 0, 1:].tolist() == pytest.approx([3, 3], abs=1e-6)  # alone it says all of it
    both = torch.tensor([[[1.0, 1, 0], [0, 0, 0]]], dtype=torch.float64)
    double = linkage(VisibleAlleles(0 * both, both, both), linkage.blocks())
    assert double[0, 0, 2].item() == pytest.approx(3, abs=0.1)


def test_what_one_allele_says_of_another_is_found_whatever_the_frequency():
    rng = np.random.default_rng(1)
    phenotype = np.repeat([1, 2], 3000)
    frequency = np.array([[0.5], [0.1], [0.9]])
    first = (rng.random((6000, 2)) < frequency[phenotype]).astype(np.int8)
    is_same = rng.random(first.shape) < 0.95
    linked = np.where(is_same, first, 1 - first)
    unlinked = (rng.random(first.shape) < frequency[phenotype]).astype(np.int8)
    alleles = torch.from_numpy(np.stack([first, linked, unlinked], axis=2))
    label_frequency = torch.full((3, 3), 0.5)
    for label in (1, 2):
        label_frequency[label] = (
            alleles[torch.from_numpy(phenotype == label)].float().mean(dim=(0, 1))
        )
    pairs = torch.tensor([[0, 0], [1, 2]])
    found = linkage_fit.pair_effects(alleles, torch.from_numpy(phenotype), label_frequency, pairs)
    for label in (1, 2):
        for allele, expected in ((0, 0.05), (1, 0.95)):
            parts = torch.tensor([allele - label_frequency[label, 0], 1.0, allele])
            logit = torch.logit(label_frequency[label, 1]) + parts @ found.weights[:, 0]
            assert torch.sigmoid(logit).item() == pytest.approx(expected, abs=0.03)
    assert (found.weights[:, 1] == 0).all()
    assert found.share[0] > 0.2 > 0.011 > found.share[1]
    partners = linkage_fit.partner_effects(alleles, torch.from_numpy(phenotype), label_frequency)
    assert (partners.weights == 0).all()  # these haplotypes are independent


def test_sites_that_are_hardly_ever_heterozygous_are_known_for_it():
    allele = np.random.default_rng(2).integers(0, 2, (2000, 1, 1))
    alleles = torch.from_numpy(np.repeat(allele, 2, axis=1).astype(np.int8))
    null_phenotype = torch.zeros(2000, dtype=torch.int64)
    found = linkage_fit.partner_effects(alleles, null_phenotype, torch.full((1, 1), 0.5))
    for own in (0.0, 1.0):
        logit = torch.tensor([own - 0.5, 1, own]) @ found.weights[:, 0]
        assert abs(torch.sigmoid(logit).item() - own) < 0.01


def test_stretches_of_near_sites_are_no_longer_than_requested(panel):
    chromosomes = Chromosomes.of(panel)
    contig, position = coordinates(panel)
    stretches = chromosomes.stretches(SITES)
    for first, second in zip(chromosomes.order[:-1], chromosomes.order[1:], strict=True):
        near = (
            contig[first] == contig[second]
            and position[second] - position[first] < LINKAGE_DISTANCE
        )
        assert (stretches[first] == stretches[second]) == near
    assert len(set(chromosomes.stretches(1))) == SITES


def test_a_mixture_of_phenotypes_has_the_mean_frequencies(network):
    mixture = torch.tensor([[0, 0, 0, 0.25, 0.75, 0]], dtype=torch.float64)
    single = network.frequencies(torch.eye(6, dtype=torch.float64))
    assert torch.allclose(network.frequencies(mixture)[0], 0.25 * single[3] + 0.75 * single[4])


@pytest.fixture
def objective():
    alphabet = Alphabet(iupac(), aligned=True, noising=HaplotypeNoising(HaplotypeRows(SITES, 2)))
    return Diffusion(DiffusionSettings(), alphabet)


@pytest.fixture
def rows():
    layout, rng = HaplotypeRows(SITES, 2), np.random.default_rng(2)
    return np.stack(
        [layout.row(rng.integers(-1, 2, (2, SITES)).astype(np.int8), [1, 3]) for _ in range(16)]
    )


def tensors(views):
    return {name: torch.from_numpy(values) for name, values in views.items()}


def test_views_mask_alleles_and_give_the_time(objective, rows):
    views = objective.views(rows, np.random.default_rng(3))
    again = objective.views(rows, np.random.default_rng(3))
    assert all((views[name] == again[name]).all() for name in views)
    assert (
        views["targets"].tolist() == HaplotypeRows(SITES, 2).alleles(rows).reshape(16, -1).tolist()
    )
    visible = views["ids"] >= 0
    assert (views["ids"][visible] == views["targets"][visible]).all()
    late = views["time"][:, 0] / TICKS > 0.5
    assert visible[~late].mean() > visible[late].mean()


def test_the_loss_is_the_weighted_cross_entropy_of_masked_alleles(objective, rows, network):
    views = tensors(objective.views(rows, np.random.default_rng(3)))
    model = Model(network.float(), torch.nn.Identity(), lambda ids: ids)
    weights = torch.nn.functional.one_hot(views["phenotype"][:, 0], 6).float()
    probability = torch.sigmoid(network(views["ids"].view(16, 2, SITES), weights)).view(16, -1)
    truth = views["targets"]
    cross_entropy = -torch.where(truth == 1, probability, 1 - probability).log()
    masked = (views["ids"] < 0) & (truth >= 0)
    weight = TICKS / views["time"][:, 0]
    expected = (weight * (cross_entropy * masked).sum(1) / (truth >= 0).sum(1)).mean()
    assert float(objective.loss(model, views, SingleProcess())) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_phenotypes_are_given_fine_coarse_or_not_at_all():
    numbers = np.tile([[2, 5]], (6000, 1))
    settings = DiffusionSettings(null=0.1, coarse=0.2)
    shares = (
        np.bincount(draw_conditions(numbers, settings, np.random.default_rng(4)), minlength=6)
        / 6000
    )
    assert shares[[0, 2, 5]] == pytest.approx([0.1, 0.2, 0.7], abs=0.02)
    unknown = draw_conditions(
        np.array([[2, 0], [0, 0]]), DiffusionSettings(null=0), np.random.default_rng(5)
    )
    assert unknown.tolist() == [2, 0]


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="linear, cosine"):
        DiffusionSettings(schedule="square")


# --- VCF ---------------------------------------------------------------------------------------


def test_genotypes_are_written_phased():
    out = io.BytesIO()
    sites = [Site("1", 10, "rs1", "A", "G"), Site("1", 20, ".", "C", "T")]
    alleles = np.array([[[0, 1], [1, 1]], [[0, 0], [0, 0]]], np.int8)
    samples = {"s1": "NOA", "s2": "NOB"}
    write_variants(
        out, sites, samples, alleles, build="GRCh37", contigs={"1": 100}, source="a test"
    )
    header, rows = [], []
    for line in out.getvalue().decode().splitlines():
        (header if line.startswith("##") else rows).append(line)
    assert "##contig=<ID=1,length=100,assembly=GRCh37>" in header
    assert rows[1] == "1 10 rs1 A G . PASS . GT 0|1 0|0".replace(" ", "\t")
    assert rows[2] == "1 20 . C T . PASS . GT 1|1 0|0".replace(" ", "\t")


def test_the_mitochondrial_contig_has_the_name_that_goes_with_the_build():
    positions = {build: np.array([73]) for build in ("GRCh37", "GRCh38")}
    panel = Panel("mt", ("MT",), positions, (".",), ("A",), ("G",), (".",))
    assert [sites(panel, build)[0].contig for build in positions] == ["MT", "chrM"]


def test_attention_is_to_the_phenotypes_that_count_whoever_else_is_in_the_batch():
    attention = PhenotypeAttention(DenoiserConfig(phenotypes=3, width=8, heads=2), 4)
    attention.requires_grad_(False)
    summary, weights = torch.randn(3, 2, 4), torch.eye(3)
    together = attention(summary, weights)
    for number in range(3):
        alone = attention(summary[number : number + 1], weights[number : number + 1])
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-6, rtol=1e-5)


def test_a_label_without_a_call_at_a_site_has_everybodys_frequency():
    phenotypes = Phenotypes({"superpop": ["EUR", "AFR"]})
    layout = HaplotypeRows(2, 1)
    alleles = np.array([[[0, 1], [0, 1]], [[0, 1], [0, 0]], [[-1, 0], [-1, 0]]], np.int8)
    rows = [layout.row(own, [label]) for own, label in zip(alleles, (1, 1, 2), strict=True)]
    corpus = SimpleNamespace(training_letters=lambda: np.stack(rows))
    found = frequencies_of(corpus, layout, phenotypes)
    assert found[:, 0] == pytest.approx(0.1)  # of 0 among the 4 alleles that are known
    assert found[:, 1] == pytest.approx([3.5 / 7, 3.5 / 5, 0.5 / 3])
