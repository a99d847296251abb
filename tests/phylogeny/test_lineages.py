"""Lineages: the tree of genomes that do not recombine, its summary, the network that imputes letters."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import run

from genomai_cli.bundles import bundle as bundles
from genomai_cli.phylogeny import generate
from genomai_cli.phylogeny.lineage_mixture import LineageNetwork, LineagesConfig
from genomai_cli.phylogeny.lineages import (
    MIN_STYLE_GENOMES,
    GenotypeMatrix,
    reported_shares,
    reporting_styles,
    summarize_lineages,
)
from genomai_cli.phylogeny.variant_clustering import Tree, VariantLists, grow_tree
from genomai_cli.phylogeny.variant_network import BASES, VariantTable

pytestmark = pytest.mark.usefixtures("one_thread")
UNKNOWN = 4
SIZE = 1500


def sorted_entries(rng, lineage_count, variants):
    """Entries as lineages and variants: a few of each lineage."""
    presence = rng.random((lineage_count, variants)) < 0.4
    return np.nonzero(presence)


@pytest.fixture
def network():
    """Three lineages, two styles, six variants at five sites, one of which has two."""
    rng = np.random.default_rng(1)
    lineage, variant = sorted_entries(rng, 3, 6)
    model = LineageNetwork(LineagesConfig(5, 6, 3, len(lineage), 2)).double().eval()
    model.table.site.copy_(torch.tensor([0, 1, 2, 2, 3, 4]))
    model.table.letter.copy_(torch.tensor([1, 0, 1, 3, 2, 2]))
    model.table.major.copy_(torch.tensor([0, 1, 0, 3, 0]))
    model.lineage.copy_(torch.from_numpy(lineage))
    model.variant.copy_(torch.from_numpy(variant))
    with torch.no_grad():
        for parameter in (
            model.odds,
            model.chance,
            model.weight,
            model.reported,
        ):
            parameter.copy_(torch.from_numpy(rng.normal(size=parameter.shape)))
        model.chance.sub_(4)
    return model.requires_grad_(False)


def test_names_of_its_tensors(network):
    names = {name for name in network.state_dict() if not name.startswith("table.")}
    assert names == {"lineage", "variant", "odds", "chance", "weight", "reported", "sharpness"}


def dense_probabilities(network):
    """The probabilities (Z, K, V) of variants as a dense array."""
    reported = torch.sigmoid(network.reported)
    probability = torch.sigmoid(network.chance).expand(3, -1).clone()
    probability[network.lineage.long(), network.variant.long()] = torch.sigmoid(network.odds)
    return reported[:, None] * probability


def test_the_posterior_is_that_of_bayes(network):
    ids = torch.tensor([[1, 1, 4, 3, 2], [0, 4, 3, 2, 0]])
    probabilities = dense_probabilities(network)
    found = network.posterior(ids)
    for genome in range(2):
        log = network.weight.clone()
        for v, (site, letter) in enumerate(
            zip(network.table.site, network.table.letter, strict=True)
        ):
            seen = ids[genome, site]
            if seen < BASES:
                p = probabilities[:, :, v]
                log += (p if seen == letter else 1 - p).log()
        expected = log.flatten().softmax(0).view(2, 3)
        assert torch.allclose(found[:, :, genome], expected, atol=1e-12)


def test_a_masked_variant_is_the_mean_over_lineages_and_styles(network):
    ids = torch.tensor([[1, 1, 4, 3, 2]])
    expected = (network.posterior(ids)[:, :, 0, None] * dense_probabilities(network)).sum((0, 1))
    assert torch.allclose(network.variant_probabilities(ids)[0], expected, atol=1e-12)


def test_the_variants_of_a_lineage_are_those_of_a_complete_genome(network):
    complete = dense_probabilities(network) / torch.sigmoid(network.reported)[:, None]
    lineages = torch.tensor([2, 0, 2])
    assert torch.allclose(network.lineage_variants(lineages), complete[0, lineages], atol=1e-12)
    style = torch.sigmoid(network.reported).mean(1).argmax()
    assert torch.allclose(network.frequency(), network.weight[style].softmax(0), atol=1e-12)


def test_the_letters_of_a_site_are_a_distribution_with_the_reference_s(network):
    ids = torch.tensor([[1, 1, 4, 3, 2]])
    p = network.predict_masked(None, ids).softmax(2)[0]
    restored = network.variant_probabilities(ids)[0]
    assert torch.allclose(
        p[0, 1], restored[0], atol=1e-4
    )  # the letters that nobody has get a little
    assert torch.allclose(p[2, 0], 1 - restored[2] - restored[3], atol=1e-4)
    chosen = torch.tensor([[False, False, True, False, True]])
    assert torch.equal(
        network.predict_masked(None, ids, chosen), network.predict_masked(None, ids)[chosen]
    )


def test_a_genome_is_restored_by_itself(network):
    ids = torch.from_numpy(np.random.default_rng(2).integers(0, 5, (40, 5)))
    together = network.predict_masked(None, ids)
    alone = torch.cat([network.predict_masked(None, row[None]) for row in ids])
    assert torch.allclose(together, alone, atol=1e-12)


def test_nothing_visible_leaves_what_is_frequent(network):
    unknown_ids = torch.full((1, 5), UNKNOWN)
    posterior = network.posterior(unknown_ids)[:, :, 0]
    assert torch.allclose(posterior, network.weight.flatten().softmax(0).view(2, 3), atol=1e-12)


def clades(per_leaf, rng):
    """Genomes of a tree with four leaves: which of 14 variants each has, some of its own among them."""
    leaf_variants = [[0, 1, 2], [0, 1, 3, 4], [5, 6], [5, 7, 8]]
    presence = np.zeros((4 * per_leaf, 14), bool)
    for leaf, variants in enumerate(leaf_variants):
        presence[leaf * per_leaf : (leaf + 1) * per_leaf, variants] = True
    presence[np.arange(len(presence)), rng.integers(9, 14, len(presence))] = True
    return presence


def test_the_tree_has_the_clades_as_leaves():
    presence = clades(9, np.random.default_rng(3))
    tree = grow_tree(VariantLists.of([presence]), 5, np.ones(14, bool))
    groups = [np.unique(tree.leaf[i * 9 : (i + 1) * 9]) for i in range(4)]
    assert [len(group) for group in groups] == [1] * 4
    assert len({int(group[0]) for group in groups}) == 4
    assert (tree.parent[1:] < np.arange(1, len(tree.parent))).all()


@pytest.mark.parametrize("min_genomes", [1, 2, 3, 5])
def test_no_leaf_has_fewer_genomes_than_asked_for(min_genomes):
    rng = np.random.default_rng(4)
    presence = rng.random((120, 40)) < rng.random(40) * 0.6
    tree = grow_tree(
        VariantLists.of([presence[:50], presence[50:]]), min_genomes, np.ones(40, bool)
    )
    sizes = np.bincount(tree.leaf)
    assert sizes[sizes > 0].min() >= min_genomes
    assert np.count_nonzero(sizes) > 5


def test_a_variant_that_is_not_usable_divides_nothing():
    presence = clades(9, np.random.default_rng(3))
    usable = np.ones(14, bool)
    usable[:9] = False
    tree = grow_tree(VariantLists.of([presence[:, :9]]), 5, usable[:9])
    assert len(tree.parent) == 1


def test_lists_can_be_taken_apart_and_put_together():
    rng = np.random.default_rng(5)
    presence = rng.random((30, 20)) < 0.3
    lists = VariantLists.of([presence[:7], presence[7:]])
    assert np.array_equal(lists.flags(np.arange(20)), presence)
    rows = rng.permutation(30)[:11]
    assert np.array_equal(lists.at(rows).flags(np.arange(20)), presence[rows])
    genomes, variants = rng.random(30) < 0.5, rng.random(20) < 0.2
    both = genomes[:, None] & variants
    assert np.array_equal(lists.without(genomes, variants).flags(np.arange(20)), presence & ~both)
    assert np.array_equal(
        lists.without(genomes, variants).joined(genomes, variants).flags(np.arange(20)),
        presence | both,
    )


def test_sums_of_a_tree_hold_everything_below():
    tree = Tree(np.array([-1, 0, 0, 1, 1]), np.array([2, 3, 4]))
    sums = tree.summed(np.array([[0.0], [0], [1], [2], [4]], np.float32))
    assert sums[:, 0].tolist() == [7, 6, 1, 2, 4]


def genotype_matrix_of(presence):
    """Genomes with one site a variant: its letter is C instead of A."""
    variants = presence.shape[1]
    table = VariantTable(variants, variants)
    table.site.copy_(torch.arange(variants))
    table.letter.fill_(1)
    return GenotypeMatrix(
        table,
        presence.astype(np.uint8),
        VariantLists.of([presence]),
        VariantLists.of([np.zeros_like(presence)]),
    )


def test_a_share_is_drawn_towards_that_of_the_node_above():
    presence = clades(9, np.random.default_rng(3))
    matrix = genotype_matrix_of(presence)
    tree = grow_tree(matrix.present, 5, np.ones(14, bool))
    found = summarize_lineages(matrix, tree)
    leaf = np.searchsorted(np.unique(tree.leaf), tree.leaf[0])
    own = found.lineage == leaf
    shares = dict(zip(found.variant[own].tolist(), found.share[own].tolist(), strict=True))
    assert min(shares[v] for v in (0, 1, 2)) > 0.95
    assert 0 < shares[3] < 0.05  # of the sister clade: the nine here do not have it
    assert found.frequency.sum() == pytest.approx(1)


def test_no_lineage_is_one_genome():
    rng = np.random.default_rng(6)
    matrix = genotype_matrix_of(rng.random((200, 60)) < rng.random(60) * 0.5)
    tree = grow_tree(matrix.present, 3, np.ones(60, bool))
    found = summarize_lineages(matrix, tree)
    members = np.bincount(tree.leaf)[np.unique(tree.leaf)]
    assert found.frequency.shape == (1, len(members))
    assert members.min() >= 3


@pytest.fixture(scope="module")
def two_styles():
    """Genomes of four clades of which a pipeline has left out two common variants and a clade's own, in one of ten."""
    presence = clades(8 * MIN_STYLE_GENOMES, np.random.default_rng(7))
    presence = np.concatenate(
        [presence, np.ones((len(presence), 3), bool)], axis=1
    )  # three that everybody has
    incomplete = np.random.default_rng(8).random(len(presence)) < 0.095
    presence[np.ix_(incomplete, [14, 15, 5])] = False
    return presence, incomplete


def test_genomes_that_lack_what_all_have_without_being_a_clade_are_a_style(two_styles):
    presence, incomplete = two_styles
    assert np.array_equal(reporting_styles(genotype_matrix_of(presence)), incomplete.astype(int))


def test_a_clade_that_lacks_what_all_others_have_is_none(two_styles):
    presence, _ = two_styles
    presence = presence.copy()
    presence[:, 14:] = True
    presence[: len(presence) // 12, 14:16] = False  # a third of the first clade
    assert not reporting_styles(genotype_matrix_of(presence)).any()


def test_what_a_style_does_not_report_is_found(two_styles):
    presence, incomplete = two_styles
    complete, members = (
        genotype_matrix_of(presence[~incomplete]),
        genotype_matrix_of(presence[incomplete]),
    )
    found = summarize_lineages(complete, grow_tree(complete.present, 5, np.ones(17, bool)))
    assert (reported_shares(members, found) < 0.5).nonzero()[0].tolist() == [5, 14, 15]


@pytest.fixture(scope="module")
def trained_denoiser(tmp_path_factory):
    """Genomes of the four clades as FASTA, with their reference, and a denoiser made from them."""
    folder = tmp_path_factory.mktemp("lineages")
    rng = np.random.default_rng(9)
    reference = rng.choice(np.frombuffer(b"ACGT", np.uint8), SIZE)
    positions = np.sort(rng.choice(np.arange(50, SIZE - 50), 14, replace=False))
    presence = clades(12, rng)
    genomes = np.tile(reference, (len(presence), 1))
    genomes[:, positions] = np.where(
        presence,
        np.where(reference[positions] == ord("A"), ord("G"), ord("A")),
        reference[positions],
    )
    sequences = [row.tobytes().decode() for row in genomes]
    (folder / "genomes.fa").write_text(
        "".join(f">g{n}\n{sequence}\n" for n, sequence in enumerate(sequences))
    )
    (folder / "reference.fa").write_text(f">ref\n{reference.tobytes().decode()}\n")
    result = run(
        f"pretrain {folder / 'genomes.fa'} --recipe mito-denoiser --reference {folder / 'reference.fa'} "
        f"-o {folder / 'model'} --set optimization.steps=3 --set optimization.batch_size=8 --device cpu "
        "--set optimization.evaluate_every=3 --set input.fewest=2"
    )
    assert result.status == 0, result.stderr
    return folder, sequences, positions


def test_the_recipe_makes_a_denoiser(trained_denoiser):
    folder, _, positions = trained_denoiser
    bundle = bundles.load(folder / "model", torch.device("cpu"))
    assert bundle.config["network"]["kind"] == "lineages"
    assert (
        bundle.config["provenance"]["held_out"]["masked"]
        < bundle.config["provenance"]["baseline"]["masked"]
    )
    assert set(bundle.input.sites.positions) <= set(positions)


def test_denoise_restores_a_clade_s_variants(trained_denoiser):
    folder, sequences, positions = trained_denoiser
    masked = list(sequences[2])
    for position in (positions[1], positions[2], positions[5], *range(10, 40)):
        masked[position] = "N"
    (folder / "hidden.fa").write_text(f">one\n{''.join(masked)}\n")
    result = run(f"denoise --model {folder / 'model'} {folder / 'hidden.fa'} --device cpu")
    assert result.status == 0, result.stderr
    assert b"".join(result.output.split(b"\n")[1:]).decode() == sequences[2]


def test_a_denoiser_has_no_vectors(trained_denoiser):
    folder, _, _ = trained_denoiser
    result = run(f"embed --model {folder / 'model'} {folder / 'genomes.fa'} -o {folder / 'x.tsv'}")
    assert result.status == 2
    assert "it has no vectors" in result.stderr


# --- new genomes


def generated(folder, *arguments):
    result = run(["generate", "--model", folder / "model", "--device", "cpu", *arguments])
    assert result.status == 0, result.stderr
    entries = [entry.split("\n", 1) for entry in result.stdout.split(">")[1:]]
    return {title: sequence.replace("\n", "") for title, sequence in entries}


def test_new_genomes_are_of_the_clades(trained_denoiser):
    """Each has the variants of a clade, and of others what chance gives; all clades come."""
    folder, sequences, positions = trained_denoiser
    genomes = generated(folder, "-n", "40")
    assert next(iter(genomes)) == "synthetic_1 model=model seed=0"
    known = np.array([[sequence[position] for position in positions] for sequence in sequences])
    new = np.array(
        [[sequence[position] for position in positions] for sequence in genomes.values()]
    )
    distances = (new[:, None] != known).sum(axis=2)
    assert np.mean(distances.min(axis=1) <= 1) > 0.8
    assert len({row.tobytes() for row in known[distances.argmin(axis=1)]}) >= 4
    reference = (folder / "reference.fa").read_text().split()[1]
    invariant = np.setdiff1d(np.arange(SIZE), positions)
    assert all(
        "".join(sequence[position] for position in invariant)
        == "".join(reference[position] for position in invariant)
        for sequence in genomes.values()
    )
    assert list(generated(folder, "-n", "3").items()) == list(genomes.items())[:3]


@pytest.fixture
def haplogroup_model(trained_denoiser, monkeypatch):
    """A model that calls genomes by the letter at the first site."""
    folder, _, positions = trained_denoiser
    load = bundles.load

    def classify_by_first_site(bundle, records):
        letters = [record.sequence[positions[0]] for record in records]
        return [SimpleNamespace(labels={"haplogroup": letter}) for letter in letters]

    reference = bundles.load(folder / "model", torch.device("cpu")).input.reference
    classifier = SimpleNamespace(coordinates=reference, heads={"haplogroup": ["A", "C", "G", "T"]})
    monkeypatch.setattr(
        generate.bundles,
        "load",
        lambda name, *_: classifier if name == generate.HAPLOGROUP_MODEL else load(name, *_),
    )
    monkeypatch.setattr(generate, "classify_records", classify_by_first_site)
    return folder, positions


def test_a_haplogroup_is_that_of_lineages(haplogroup_model):
    folder, positions = haplogroup_model
    letters = {}
    for title, sequence in generated(folder, "-n", "60").items():
        letters.setdefault(sequence[positions[0]], []).append(title)
    assert len(letters) == 2
    for letter in letters:
        genomes = generated(folder, "--phenotype", letter, "-n", "20")
        assert next(iter(genomes)) == f"synthetic_{letter}_1 phenotype={letter} model=model seed=0"
        assert np.mean([sequence[positions[0]] == letter for sequence in genomes.values()]) > 0.8
    result = run(["generate", "--model", folder / "model", "--phenotype", "Q"])
    assert result.status == 2
    assert "no phenotype 'Q': the model knows reference null" in result.stderr


def test_genomes_of_another_reference_have_no_haplogroups(trained_denoiser):
    result = run(["generate", "--model", trained_denoiser[0] / "model", "--phenotype", "H"])
    assert result.status == 1
    assert "no model names the lineages of 'model'" in result.stderr


@pytest.mark.parametrize(
    "option", ["--length 5", "--prompt A", "--steps 3", "--guidance 2", "--temperature 2"]
)
def test_options_that_do_not_fit_lineages_are_refused(trained_denoiser, option):
    result = run(["generate", "--model", trained_denoiser[0] / "model", *option.split()])
    assert result.status == 2
    assert (
        f"{option.split()[0]} does not fit the model model: it makes genomes of its reference"
        in result.stderr
    )


def test_a_model_without_lineages_generates_no_genomes():
    result = run("generate --model mito --device cpu")
    assert result.status == 1
    assert "'mito' generates no genomes: it has no lineages" in result.stderr
