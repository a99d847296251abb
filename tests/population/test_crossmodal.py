"""The network of DNA and phenotypes: unit vectors, towers that keep apart, attention that can be read."""

import numpy as np
import pytest
import torch

from genomai_cli.population.networks.crossmodal import CrossmodalNetwork, genotypes_of
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords
from genomai_cli.population.networks.towers import Attention, CrossmodalConfig, GroupEvidence
from genomai_cli.population.phenotype_encoding import encode
from genomai_cli.population.phenotypes import Columns, PhenotypeTable

pytestmark = pytest.mark.usefixtures("one_thread")
SITES, SAMPLES = 12, 7
TABLE = PhenotypeTable(
    "t",
    ("a", "b", "c", "d"),
    (2, 3, 4, 5),
    {
        "pop": ("X", "Y", None, "Z"),
        "height": ("1.5", None, "1.9", "1.7"),
        "latitude": ("1", "50", None, "-30"),
        "longitude": ("2", "100", None, "10"),
    },
)
COLUMNS = Columns.of(TABLE)


def network(groups="pop"):
    """A network that is not trained, with frequencies of its groups, whose genotypes mean something by chance."""
    torch.manual_seed(5)
    config = CrossmodalConfig(SITES, COLUMNS.to_config(), groups, width=16, size=8, layers=2)
    network = CrossmodalNetwork(config).eval()
    network.dna.evidence.frequency.copy_(
        torch.rand(network.dna.evidence.frequency.shape) * 0.8 + 0.1
    )
    network.frequency.copy_(torch.rand(SITES))
    for parameter in (network.dna.allele, network.dna.heterozygote):
        torch.nn.init.normal_(parameter, std=0.25)
    return network


def test_genotypes_mean_nothing_before_training():
    config = CrossmodalConfig(SITES, COLUMNS.to_config(), width=16, size=8)
    vectors = (
        CrossmodalNetwork(config).eval().sample_vectors(torch.randint(-1, 3, (SAMPLES, SITES)))
    )
    assert torch.allclose(vectors, vectors[:1].expand(SAMPLES, -1), atol=1e-6)


@pytest.fixture(params=["pop", ""], ids=["groups", "no groups"])
def net(request):
    return network(request.param)


@pytest.fixture
def copies():
    return torch.randint(-1, 3, (SAMPLES, SITES), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def records():
    return PhenotypeRecords.of(encode(TABLE, COLUMNS))


def test_both_sides_are_unit_vectors(net, copies, records):
    for vectors, count in ((net.sample_vectors(copies), SAMPLES), (net.record_vectors(records), 4)):
        assert vectors.shape == (count, 8)
        assert torch.allclose(vectors.norm(dim=1), torch.ones(count))


def test_items_do_not_see_each_other(net, copies, records):
    together, alone = net.sample_vectors(copies), net.sample_vectors(copies[2:3])
    assert torch.allclose(together[2:3], alone, atol=1e-6)
    record = PhenotypeRecords(records.categories[3:], records.numbers[3:], records.locations[3:])
    assert torch.allclose(net.record_vectors(records)[3:], net.record_vectors(record), atol=1e-6)


def test_a_missing_site_adds_nothing(net):
    tokens_SGT, _ = net.dna.tokens(net.vocabulary.embeddings)
    all_missing = genotypes_of(torch.full((1, SITES), -1)).float()
    assert (net.dna.token_sums(all_missing, tokens_SGT) == 0).all()
    one_known = torch.full((1, SITES), -1)
    one_known[0, 4] = 2
    found = net.dna.token_sums(genotypes_of(one_known).float(), tokens_SGT)
    assert torch.allclose(found[0], tokens_SGT[4, 2])


def test_what_is_expected_of_every_sample_adds_nothing_either():
    net = network("")
    tokens_SGD, _ = net.dna.tokens(net.vocabulary.embeddings)
    f_S = net.frequency
    probabilities_SG = torch.stack([(1 - f_S) ** 2, 2 * f_S * (1 - f_S), f_S**2], 1)
    assert torch.allclose(
        (tokens_SGD * probabilities_SG[..., None]).sum(1), torch.tensor(0.0), atol=1e-5
    )


def test_some_sites_are_the_others_missing(copies):
    net, sites = network(), torch.tensor([1, 5, 8])
    masked = torch.full_like(copies, -1)
    masked[:, sites] = copies[:, sites]
    assert torch.allclose(
        net.sample_vectors(masked), net.sample_vectors(copies[:, sites], sites), atol=1e-6
    )


def sample_attention(net, copies):
    """How samples as a whole attend to the vocabulary, after the layers of their tokens: (B, H, V)."""
    embeddings = net.vocabulary.embeddings
    tokens, _ = net.dna.tokens(embeddings)
    return net.dna.vectors(net.dna.token_sums(genotypes_of(copies).float(), tokens), embeddings)[1]


def test_attention_is_a_share_of_the_vocabulary(net, copies, records):
    tokens = len(COLUMNS.vocabulary)
    layers = net.site_attention()
    assert [layer.shape for layer in layers] == [(SITES, 3, 4, tokens)] * 2
    assert [a.shape for a in net.record_attention(records)] == [(4, 4, SITES)] * 2
    assert sample_attention(net, copies).shape == (SAMPLES, 4, tokens)
    for weights in (*layers, *net.record_attention(records), sample_attention(net, copies)):
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)


def test_gradients_reach_genotypes_and_every_parameter(net, copies, records):
    genotypes = genotypes_of(copies).float().requires_grad_()
    vectors = net.genotype_vectors(genotypes)
    (net.scale * vectors @ net.record_vectors(records).T).square().sum().backward()
    assert (genotypes.grad[copies >= 0] != 0).any()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_an_unknown_column_changes_nothing(net, records):
    partial = PhenotypeRecords(
        records.categories[2:3], records.numbers[2:3], records.locations[2:3]
    )
    copied = PhenotypeRecords(partial.categories, partial.numbers, partial.locations.clone())
    assert net.vocabulary(partial)[1].tolist() == [[False, True, False]]
    before = net.record_vectors(partial)
    with torch.no_grad():
        net.vocabulary.embeddings[:3] += 1  # the labels of pop, which is not known
    assert torch.allclose(net.record_vectors(copied), before)


def test_near_locations_are_much_the_same():
    vocabulary = network().vocabulary
    points = torch.tensor([[1.0, 0, 0], [0.999, 0.0447, 0], [0, 1, 0]])
    records = PhenotypeRecords(torch.full((3, 1), -1), torch.full((3, 1), torch.nan), points)
    *_, locations_RA = vocabulary.weights(records)
    assert torch.allclose(locations_RA.sum(1), torch.ones(3))
    near, far = locations_RA[0] @ locations_RA[1], locations_RA[0] @ locations_RA[2]
    assert near > 10 * far


class TestEvidence:
    def test_it_is_how_much_likelier_a_genotype_is(self):
        evidence = GroupEvidence(1, 2)
        evidence.frequency.copy_(torch.tensor([[0.2, 0.5]]))
        found = evidence()[0]
        logs = np.log([[0.8**2, 0.5**2], [0.2 * 0.8, 0.25], [0.2**2, 0.5**2]])
        expected = logs - logs.mean(axis=1, keepdims=True)
        assert np.allclose(found.numpy(), expected, atol=1e-6)

    def test_a_member_is_taken_out_of_its_group(self):
        """As if the frequency had been estimated without it: 3 of 10 alleles, of which 1 is its own."""
        evidence = GroupEvidence(1, 2)
        evidence.frequency.copy_(torch.tensor([[0.3, 0.5]]))
        evidence.worth.copy_(torch.tensor([10.0, 8.0]))
        genotypes = genotypes_of(torch.tensor([[1], [1]])).float()
        own_evidence = evidence.own_evidence(genotypes, None, torch.tensor([0, -1]))
        remaining = 2 / 8
        expected = np.log(0.3 * 0.7) - np.log(remaining * (1 - remaining))
        assert np.allclose(own_evidence.numpy(), [[expected, 0], [0, 0]], atol=1e-6)

    def test_samples_attend_to_the_likelier_group(self):
        net = network()
        net.dna.evidence.frequency.copy_(torch.tensor([[0.05, 0.5, 0.95]]).expand(SITES, 3))
        first = sample_attention(net, torch.tensor([[0] * SITES, [2] * SITES]))[:, 0]
        assert first[0].argmax() == COLUMNS.vocabulary.index("pop=X")
        assert first[1].argmax() == COLUMNS.vocabulary.index("pop=Z")


def test_where_nothing_is_known_nothing_is_found():
    torch.manual_seed(0)
    attention = Attention(8, 2)
    known = torch.tensor([[True, False, True], [False, False, False]])
    found, weights = attention(torch.randn(2, 1, 8), torch.randn(2, 3, 8), known)
    assert (weights[0, :, :, 1] == 0).all()
    assert (weights[1] == 0).all()
    assert torch.allclose(found[1], attention.out.bias)


def test_heads_share_the_width():
    with pytest.raises(TypeError, match="10 cannot be shared by 4 heads"):
        Attention(10, 4)
