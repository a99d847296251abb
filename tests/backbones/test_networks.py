"""The networks: sizes, padding, what they ignore, how their outputs are joined, names of their tensors."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import assert_expected

from genomai_cli import tokenizers
from genomai_cli.backbones.base import build_network, complete_config
from genomai_cli.backbones.classifier import (
    EVEN,
    KNOWN,
    LIKELIHOOD,
    SMALLEST_INFORMATION,
    SMALLEST_SHARE,
    Classifier,
    Fusion,
)
from genomai_cli.backbones.heads import Heads, attach_heads, logits
from genomai_cli.backbones.transformer import TransformerConfig, TransformerNetwork
from genomai_cli.bundles import bundle as bundles
from genomai_cli.errors import BundleError
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.call_patterns import HAPLOID_CALLS
from genomai_cli.population.networks.genotype_mlp import (
    EXPECTED_HETEROZYGOSITY,
    GenotypeLookup,
    SitesConfig,
    SitesNetwork,
    allele_counts,
    is_haploid,
)
from genomai_cli.population.panel import Panel
from genomai_cli.training import recipe as recipes

pytestmark = pytest.mark.usefixtures("one_thread")
PAD = 20
SMALL = TransformerConfig(width=16, heads=2, layers=2, feed_forward=32, positions=40)


def config_of(preset, heads, **more):
    """The config of an untrained model of a preset."""
    recipe, _ = recipes.read(preset)
    tokenizer = tokenizers.from_config(recipe.tokenizer)
    vocabulary_sizes = {"vocabulary": len(tokenizer.vocabulary), "pad_id": tokenizer.pad_id}
    network = recipe.network | (vocabulary_sizes if recipe.network["kind"] == "transformer" else {})
    labels = {head: [str(n) for n in range(count)] for head, count in heads.items()}
    return {
        "name": preset,
        "tokenizer": tokenizer.to_config(),
        "network": network,
        "members": 1,
        "heads": labels,
        **more,
    }


@pytest.fixture(scope="module")
def reference():
    return bundles.build(config_of("genomai-v2", {"superpop": 5}), SequenceInput())


@pytest.fixture
def transformer():
    torch.manual_seed(1)
    return attach_heads(TransformerNetwork(SMALL), {"a": 3, "b": 2}).double().eval()


@pytest.fixture
def sites():
    torch.manual_seed(2)
    network = attach_heads(SitesNetwork(SitesConfig(sites=50, width=8)), {"a": 3}).double().eval()
    network.frequency.copy_(torch.linspace(0.1, 0.9, 50))
    return network


def random_copies(samples=4, sites=50, seed=3):
    return torch.from_numpy(np.random.default_rng(seed).integers(-1, 3, (samples, sites)))


def test_the_reference_model_has_734213_trainable_parameters(reference):
    assert reference.trainable_parameters == 734_213
    assert sum(p.numel() for p in reference.parameters() if p.requires_grad) == 734_213


def test_the_reference_model_is_counted_as_the_contract_adds_it_up(reference):
    parts = [22 * 128, 1000 * 128, 3 * 198_272, (128 * 64 + 64) + (64 * 5 + 5)]
    (member,) = reference.members
    modules = [member.words, member.positions, member.encoder, member.heads]
    assert [sum(p.numel() for p in module.parameters()) for module in modules] == parts


def test_the_reference_encoder_is_a_post_norm_transformer_of_torch(reference):
    (member,) = reference.members
    layers = member.encoder.layers
    assert type(member.encoder) is torch.nn.TransformerEncoder
    assert len(layers) == 3
    assert all(not layer.norm_first and layer.self_attn.num_heads == 4 for layer in layers)
    assert {layer.linear1.out_features for layer in layers} == {512}


def test_the_reference_vocabulary_is_22_tokens_of_symmetric_3mers():
    tokenizer = tokenizers.from_config(config_of("genomai-v2", {"superpop": 5})["tokenizer"])
    assert (tokenizer.kind, tokenizer.k, tokenizer.stride) == ("symmetric", 3, 1)
    assert len(tokenizer.vocabulary) == 22


def names_and_shapes(classifier: Classifier) -> str:
    lines = (
        f"{name}\t{tuple(t.shape)}\t{t.dtype}\n" for name, t in classifier.state_dict().items()
    )
    return "".join(lines)


def test_tensor_names_of_the_reference_model(reference):
    assert_expected("tensors-genomai-v2.tsv", names_and_shapes(reference))


def test_tensor_names_of_the_sites_model(cohort):
    likelihood = {"head": "pop", "axes": 3, "nesting": {"superpop": [0, 0, 1], "pop": [0, 1, 2]}}
    config = config_of("ancestry", {"superpop": 2, "pop": 3}, likelihood=likelihood)
    config["network"] = {"kind": "sites", "sites": 120, "width": 8}
    classifier = bundles.build(config, BarcodeInput(Panel.read(cohort.panel)))
    assert_expected("tensors-sites.tsv", names_and_shapes(classifier))


def test_padding_does_not_leak(transformer):
    rng = np.random.default_rng(4)
    sequences = [torch.from_numpy(rng.integers(0, PAD, size)) for size in (3, 40, 17)]
    batch = torch.full((3, 40), PAD)
    for row, ids in zip(batch, sequences, strict=True):
        row[: len(ids)] = ids
    with torch.inference_mode():
        batched = logits(transformer, batch, batch != PAD)
        for number, ids in enumerate(sequences):
            single = logits(transformer, ids[None])
            for head in ("a", "b"):
                torch.testing.assert_close(batched[head][number], single[head][0])


def test_a_sequence_of_padding_only_gives_numbers(transformer):
    batch = torch.tensor([[PAD] * 4, [1, 2, 3, 4]])
    for network in (transformer, transformer.train()):
        assert all(
            found.isfinite().all() for found in logits(network, batch, batch != PAD).values()
        )


def test_the_order_of_tokens_matters(transformer):
    forward, backward = (
        logits(transformer, torch.tensor([[0, 1, 2, 3]])),
        logits(transformer, torch.tensor([[3, 2, 1, 0]])),
    )
    assert not torch.allclose(forward["a"], backward["a"])


@pytest.mark.parametrize("kind", ["transformer", "sites"])
def test_dropout_is_off_when_evaluating(kind, transformer, sites):
    network, ids = (
        (transformer, torch.arange(20)[None])
        if kind == "transformer"
        else (sites, random_copies(1))
    )
    assert torch.equal(logits(network, ids)["a"], logits(network, ids)["a"])
    network.train()
    assert not torch.equal(logits(network, ids)["a"], logits(network, ids)["a"])


def test_sites_network_by_hand(sites):
    copies = random_copies()
    counts = copies.numpy()
    known = counts >= 0
    scale = 1 / np.sqrt(known.sum(1, keepdims=True))
    centred = np.where(known, counts - 2 * sites.frequency.numpy(), 0) * scale
    heterozygosity = np.where(known, (counts == 1) - EXPECTED_HETEROZYGOSITY, 0) * scale
    weights = {name: p.detach().numpy() for name, p in sites.named_parameters()}
    total = centred @ weights["alleles.weight"].T + weights["alleles.bias"]
    total += heterozygosity @ weights["heterozygote.weight"].T
    expected = sites.body(torch.from_numpy(total))
    torch.testing.assert_close(sites.pooled(copies), expected)


def test_a_missing_site_adds_nothing(sites):
    wider = attach_heads(SitesNetwork(SitesConfig(sites=51, width=8)), {"a": 3}).double().eval()
    state = wider.state_dict()
    for name, tensor in sites.state_dict().items():
        target = state[name]
        (target[..., :50] if target.shape != tensor.shape else target).copy_(tensor)
    wider.load_state_dict(state)
    copies = random_copies()
    missing = torch.cat([copies, torch.full((len(copies), 1), -1)], dim=1)
    torch.testing.assert_close(logits(wider, missing)["a"], logits(sites, copies)["a"])


def test_a_barcode_without_any_site_gives_numbers(sites):
    scores_without_sites = logits(sites, torch.full((1, 50), -1))["a"]
    assert scores_without_sites.isfinite().all()


def test_genotypes_look_a_letter_up_in_its_own_site():
    # tokens A C G M N; a site with ref A and alt C, one with ref C and alt A, one with ref C and alt G
    table = torch.tensor([[0, 2, -1, 1, -1], [2, 0, -1, 1, -1], [-1, 0, 2, -1, -1]])
    genotypes = GenotypeLookup(table)
    ids = torch.tensor([[0, 0, 0], [1, 1, 1], [3, 3, 3], [4, 4, 4], [2, 2, 2]])
    expected = [[0, 2, -1], [2, 0, 0], [1, 1, -1], [-1, -1, -1], [-1, -1, 2]]
    assert genotypes(ids).tolist() == expected
    assert genotypes(ids).dtype == torch.int64
    assert genotypes.table.dtype == torch.int8


def barcode_with(homozygous, heterozygous, missing=10):
    return torch.tensor([[2] * homozygous + [1] * heterozygous + [-1] * missing])


@pytest.mark.parametrize(
    ("copies", "haploid"),
    [
        (barcode_with(HAPLOID_CALLS, 0), True),
        (barcode_with(HAPLOID_CALLS - 1, 0), False),
        (barcode_with(HAPLOID_CALLS, 1), False),
        (barcode_with(0, 0), False),
    ],
)
def test_many_calls_without_a_heterozygote_are_one_haplotype(copies, haploid):
    assert is_haploid(copies).tolist() == [haploid]


def test_a_diploid_sample_shows_two_alleles_a_site_and_a_haplotype_one():
    individual = torch.tensor([0, 1, 2, -1] * 20)
    haplotype = torch.tensor([0, 2, 2, -1] * 20)
    alternate, total = allele_counts(torch.stack([individual, haplotype]), torch.float64)
    assert alternate.dtype == total.dtype == torch.float64
    assert alternate[:, :4].tolist() == [[0, 1, 2, 0], [0, 1, 1, 0]]
    assert total[:, :4].tolist() == [[2, 2, 2, 0], [1, 1, 1, 0]]


def test_heads_keep_their_names_and_sizes():
    heads = Heads({"z": 2, "a": 5}, lambda count: torch.nn.Linear(4, count))
    found = heads(torch.zeros(3, 4))
    assert {name: tuple(rows.shape) for name, rows in found.items()} == {"z": (3, 2), "a": (3, 5)}
    assert list(found) == ["z", "a"]


def test_members_vote_by_the_mean_of_their_logits():
    torch.manual_seed(5)
    members = [attach_heads(TransformerNetwork(SMALL), {"a": 3}) for _ in range(3)]
    classifier = Classifier(members, Fusion({"a": 3}, {})).double().eval()
    ids = torch.arange(12).reshape(2, 6)
    expected = sum(logits(member, ids)["a"] for member in members) / 3
    torch.testing.assert_close(classifier(ids)["a"], expected)


@pytest.mark.parametrize(
    "network",
    [{"kind": "nothing"}, {}, {"kind": "sites"}, {"kind": "sites", "sites": 3, "depth": 1}],
)
def test_a_network_that_cannot_be_built_is_a_bundle_error(network):
    with pytest.raises(BundleError, match=f"network {network.get('kind')!r}"):
        build_network(network)
    with pytest.raises(BundleError, match=f"network {network.get('kind')!r}"):
        complete_config(network)


def test_a_complete_config_spells_out_every_size():
    complete = complete_config({"kind": "transformer", "width": 64})
    assert complete["width"] == 64
    assert complete["layers"] == 3
    assert complete_config(complete) == complete


@pytest.fixture
def scores():
    rng = np.random.default_rng(6)
    sizes = {"superpop": 2, "pop": 3, "sex": 2, LIKELIHOOD: 3}
    return {name: torch.from_numpy(rng.normal(0, 3, (20, size))) for name, size in sizes.items()}


@pytest.fixture
def fusion():
    nesting = {"superpop": [0, 0, 1], "pop": [0, 1, 2]}
    return Fusion({"superpop": 2, "pop": 3, "sex": 2}, nesting).double()


SHARES = torch.linspace(0, 1, 20, dtype=torch.float64)


def test_probabilities_of_every_head_sum_to_1(fusion, scores):
    for values in fusion.buffers():
        values.copy_(torch.tensor([0.3, -0.2, 0.1]))
    for logs in fusion(scores, SHARES).values():
        torch.testing.assert_close(logs.exp().sum(1), torch.ones(20, dtype=torch.float64))


def test_superpopulations_get_the_sum_of_their_populations(fusion, scores):
    zeros = {name: torch.zeros_like(rows) for name, rows in scores.items()}
    logs = fusion(zeros | {LIKELIHOOD: scores[LIKELIHOOD]}, SHARES)
    populations = logs["pop"].exp()
    torch.testing.assert_close(populations, scores[LIKELIHOOD].softmax(1))
    expected = torch.stack([populations[:, :2].sum(1), populations[:, 2]], dim=1)
    torch.testing.assert_close(logs["superpop"].exp(), expected)


def test_a_head_outside_the_nesting_is_left_to_the_networks(fusion, scores):
    torch.testing.assert_close(fusion(scores, SHARES)["sex"], scores["sex"].log_softmax(1))


def test_the_weight_of_a_source_follows_the_share_of_known_sites(fusion, scores):
    fusion.network_sex.copy_(torch.tensor([0.5, 1.0, -0.25]))
    log_share = SHARES.clamp(min=SMALLEST_SHARE).log()
    weight = torch.exp(0.5 + log_share - 0.25 * log_share**2)
    expected = (scores["sex"] * weight[:, None]).log_softmax(1)
    torch.testing.assert_close(fusion(scores, SHARES)["sex"], expected)


class TestDoubt:
    """A fusion whose evidence doubts that a sample is of one of its classes."""

    def fused(self, doubt, outside=0.0):
        fusion = Fusion({"superpop": 2, "pop": 3}, {"superpop": [0, 0, 1], "pop": [0, 1, 2]})
        scores = {
            "superpop": torch.zeros(1, 2),
            "pop": torch.zeros(1, 3),
            "likelihood": torch.tensor([[0.0, 0.0, 4.0]]),
            "groups": torch.tensor([[5.0, 0.0]]),
            "doubt": torch.tensor([doubt]),
            "outside": torch.tensor([outside]),
        }
        return {head: log.exp() for head, log in fusion(scores, torch.ones(1)).items()}

    def test_without_doubt_the_populations_decide(self):
        populations = torch.tensor([[0.0, 0.0, 4.0]]).softmax(1)
        expected = torch.stack([populations[:, :2].sum(1), populations[:, 2]], dim=1)
        assert torch.allclose(self.fused(0.0)["superpop"], expected, atol=1e-6)

    def test_doubt_is_the_weight_of_what_is_known_of_the_groups(self):
        groups = torch.tensor([[5.0, 0.0]]).softmax(1)
        expected = 0.7 * self.fused(0.0)["superpop"] + 0.3 * groups
        assert torch.allclose(self.fused(0.3)["superpop"], expected, atol=1e-6)

    def test_doubt_is_about_the_coarsest_head_alone(self):
        assert torch.equal(self.fused(0.9)["pop"], self.fused(0.0)["pop"])

    def test_an_outsider_makes_all_probabilities_wide(self):
        full, wide = self.fused(0.0), self.fused(0.0, outside=0.6)
        for head, classes in (("superpop", 2), ("pop", 3)):
            assert torch.allclose(wide[head], 0.4 * full[head] + 0.6 / classes, atol=1e-6)


class TestByGroup:
    """A fusion that compares populations within each superpopulation."""

    NESTING: ClassVar = {"superpop": [0, 1, 0, 1, 1], "pop": [0, 1, 2, 3, 4]}

    @pytest.fixture
    def scores(self):
        rng = np.random.default_rng(8)
        sizes = {"superpop": 2, "pop": 5, LIKELIHOOD: 5}
        found = {n: torch.from_numpy(rng.normal(0, 3, (20, size))) for n, size in sizes.items()}
        known, even = (torch.from_numpy(rng.uniform(0.1, 1, 20)) for _ in range(2))
        return found | {KNOWN: known, EVEN: even}

    @pytest.fixture
    def fusion(self):
        return Fusion({"superpop": 2, "pop": 5}, self.NESTING, by_group=True).double()

    def fused(self, fusion, scores):
        return {head: logs.exp() for head, logs in fusion(scores, SHARES).items()}

    def test_a_superpopulation_has_what_its_populations_have_together(self, fusion, scores):
        fusion.likelihood_pop[1] = -0.7
        found = self.fused(fusion, scores)
        sums = torch.stack([found["pop"][:, [0, 2]].sum(1), found["pop"][:, [1, 3, 4]].sum(1)], 1)
        torch.testing.assert_close(found["superpop"], sums)
        torch.testing.assert_close(sums.sum(1), torch.ones(20).double())

    def test_within_a_superpopulation_its_own_weights_decide(self, fusion, scores):
        fusion.network_pop[1, 0], fusion.likelihood_pop[1, 0] = 0.4, -0.7
        unweighted = scores["pop"] + scores[LIKELIHOOD]
        weighted = scores["pop"] * np.exp(0.4) + scores[LIKELIHOOD] * np.exp(-0.7)
        populations = self.fused(fusion, scores)["pop"]
        for members, expected in (([0, 2], unweighted), ([1, 3, 4], weighted)):
            within = populations[:, members] / populations[:, members].sum(1, keepdim=True)
            torch.testing.assert_close(within, expected[:, members].softmax(1))

    def test_weights_follow_what_is_known_and_how_evenly(self, fusion, scores):
        fusion.network_superpop.copy_(torch.tensor([0.1, 0.4, -0.2]))
        fusion.likelihood_superpop.copy_(torch.tensor([0.1, 0.3, -0.1, 0.2, 0.5]))
        share = SHARES.clamp(min=SMALLEST_INFORMATION).log()
        known, even = scores[KNOWN].log(), scores[EVEN].log()
        network = scores["superpop"] * (0.1 + 0.4 * share - 0.2 * share**2).exp()[:, None]
        weight = 0.1 + 0.3 * known - 0.1 * known**2 + 0.2 * share + 0.5 * even
        evidence = (scores[LIKELIHOOD] * weight.exp()[:, None]).softmax(1)
        sums = torch.stack([evidence[:, [0, 2]].sum(1), evidence[:, [1, 3, 4]].sum(1)], dim=1)
        expected = (network + sums.log()).softmax(1)
        torch.testing.assert_close(self.fused(fusion, scores)["superpop"], expected)

    def test_a_head_that_cuts_across_the_groups_has_no_weights_for_each(self):
        nesting = self.NESTING | {"coast": [0, 0, 1, 2, 2]}
        fusion = Fusion({"superpop": 2, "pop": 5, "coast": 3}, nesting, by_group=True)
        assert fusion.network_coast.shape == (3,)
        assert fusion.network_pop.shape == (2, 3)
