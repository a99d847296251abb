"""Models of mapped genomes: which sites and variants they read, their network, regression and training."""

import json

import numpy as np
import pytest
import torch
from conftest import run

from genomai_cli.bundles import bundle as bundles
from genomai_cli.errors import InputError
from genomai_cli.mapping.reference import Reference, VariableSites
from genomai_cli.phylogeny.regression import fit_regression
from genomai_cli.phylogeny.variant_network import (
    BASES,
    UNSEEN_LOGIT,
    ProfileConfig,
    ProfileNetwork,
    VariantTable,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE, SITES, SAMPLES = 2400, 30, 90
UNKNOWN = 4
COUNTS = torch.tensor([[10, 0, 3, 0], [0, 9, 0, 1], [5, 5, 0, 2], [7, 0, 0, 0]])
COMPLEMENT = str.maketrans("ACGT", "TGCA")
SMALL = (
    "--set network.width=16 --set optimization.steps=60 --set optimization.batch_size=32 "
    "--set optimization.evaluate_every=20 --set split.folds=2 --set input.fewest=2 --set network.dropout=0.1"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Genomes of three groups with variants of their own, their labels, and the reference they lie on."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(5)
    letters = rng.choice(list("ACGT"), SIZE)
    positions = np.sort(rng.choice(np.arange(50, SIZE - 50), SITES, replace=False))
    carries_variant = rng.random((3, SITES)) < 0.35
    genomes, labels = {}, {}
    for sample in range(SAMPLES):
        group = sample % 3
        genome = letters.copy()
        for site in np.flatnonzero(carries_variant[group] ^ (rng.random(SITES) < 0.05)):
            genome[positions[site]] = {"A": "G", "G": "A", "C": "T", "T": "C"}[
                genome[positions[site]]
            ]
        genomes[f"p{sample}"] = "".join(genome)
        labels[f"p{sample}"] = f"group{group}"
    write_fasta(folder / "genomes.fa", genomes)
    (folder / "reference.fa").write_text(f">ref\n{''.join(letters)}\n")
    table = "".join(f"{name}\t{label}\t{label[0]}{label[-1]}\n" for name, label in labels.items())
    (folder / "labels.tsv").write_text("sample\tgroup\tletter\n" + table)
    reoriented = {}
    for number, (name, genome) in enumerate(genomes.items()):
        rotated = genome[37 * number :] + genome[: 37 * number]
        reoriented[name] = rotated if number % 2 else rotated.translate(COMPLEMENT)[::-1]
    write_fasta(folder / "turned.fa", reoriented)
    return folder


def write_fasta(path, genomes):
    path.write_text("".join(f">{name}\n{genome}\n" for name, genome in genomes.items()))


def train(data, output, options=""):
    return run(
        f"train {data / 'genomes.fa'} --labels {data / 'labels.tsv'} --recipe mito --head group --head letter "
        f"-o {output} {SMALL} {options}"
    )


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("models") / "lineages"
    result = train(data, output, f"--reference {data / 'reference.fa'}")
    assert result.status == 0, result.stderr
    return output


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("models") / "genomes"
    result = run(
        f"pretrain {data / 'genomes.fa'} --recipe mito-pretrained --reference {data / 'reference.fa'} -o {output} "
        "--set network.width=16 --set optimization.steps=30 --set optimization.batch_size=16 "
        "--set optimization.evaluate_every=15 --set input.fewest=2 --set split.holdout=0.2"
    )
    assert result.status == 0, result.stderr
    return output


def test_a_variant_is_a_letter_that_is_not_the_major_one_and_was_seen_often_enough():
    table = VariantTable(4, 3)
    table.fit(COUNTS, min_count=2)
    assert table.site.tolist() == [0, 2, 2]
    assert table.letter.tolist() == [2, 1, 3]
    assert table.major.tolist() == [0, 1, 0, 0]
    assert table.frequency.tolist() == pytest.approx([3 / 13, 5 / 12, 2 / 12])


def test_an_unknown_site_says_nothing():
    table = VariantTable(4, 3)
    table.fit(COUNTS, min_count=2)
    centred = table.centred_presence(torch.tensor([[UNKNOWN, 1, 3, 0], [2, 1, UNKNOWN, 0]]))
    assert centred[0].tolist() == pytest.approx([0, -5 / 12, 10 / 12])
    assert centred[1].tolist() == pytest.approx([10 / 13, 0, 0])


def test_predictions_are_about_the_letters_that_occur():
    network = ProfileNetwork(ProfileConfig(4, 3, width=8))
    network.table.fit(COUNTS, min_count=2)
    head = network.lm_head(7)
    with torch.no_grad():
        head.weight.zero_()
    logits = network.predict_masked(head, torch.zeros(2, 4, dtype=torch.int64))
    assert logits.shape == (2, 4, BASES)
    assert logits[0, 3].tolist() == [0, UNSEEN_LOGIT, UNSEEN_LOGIT, UNSEEN_LOGIT]
    assert logits[0, 0].tolist() == pytest.approx(
        [0, UNSEEN_LOGIT, np.log(3 / 10), UNSEEN_LOGIT], abs=1e-5
    )
    chosen = torch.tensor([[True, False, False, False], [False, False, True, False]])
    assert network.predict_masked(head, torch.zeros(2, 4, dtype=torch.int64), chosen).tolist() == [
        logits[0, 0].tolist(),
        logits[1, 2].tolist(),
    ]


def test_the_regression_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(3)
    counts = torch.tensor(rng.integers(5, 20, (12, 4)))
    table = VariantTable(12, 36)
    table.fit(counts, min_count=1)
    ids = torch.tensor(rng.integers(0, 4, (80, 12)))
    classes = torch.tensor(rng.integers(0, 3, 80))
    probabilities = fit_regression(table, ids, classes, 3, penalty=2.0)(ids).log_softmax(1).exp()
    centred = table.centred_presence(ids).numpy()
    sklearn_model = linear_model.LogisticRegression(C=0.5, tol=1e-8, max_iter=5000).fit(
        centred, classes
    )
    assert probabilities.numpy() == pytest.approx(sklearn_model.predict_proba(centred), abs=2e-4)


def test_sites_are_where_two_bases_were_seen_often_and_the_reference_has_one(tmp_path):
    counts = np.array([[9, 2, 0, 0], [9, 1, 0, 0], [0, 5, 5, 0], [3, 3, 3, 3]])
    sites = VariableSites.of(counts, Reference("r", "ACNT", False), min_count=2)
    assert sites.positions.tolist() == [0, 3]
    sites.write(tmp_path / "sites.tsv")
    again = VariableSites.read(tmp_path / "sites.tsv")
    assert again.positions.tolist() == [0, 3]
    assert again.counts.tolist() == counts[[0, 3]].tolist()


@pytest.mark.parametrize(
    "rows", ["2\t1\t1\t0\t0\n2\t1\t1\t0\t0\n", "0\t1\t1\t0\t0\n", "x\t1\t1\t0\t0\n", ""]
)
def test_a_damaged_table_of_sites_is_refused(tmp_path, rows):
    (tmp_path / "sites.tsv").write_text("position\tA\tC\tG\tT\n" + rows)
    with pytest.raises(InputError, match=r"sites\.tsv"):
        VariableSites.read(tmp_path / "sites.tsv")


def test_the_bundle_holds_the_reference_and_the_sites(trained):
    model = bundles.load(trained, torch.device("cpu"))
    assert model.input.reference is not None
    assert model.input.reference.circular
    assert model.input.sites is not None
    assert len(model.input.sites) == model.config["network"]["sites"]
    assert model.config["regression"]["nesting"].keys() == {"group", "letter"}
    assert {"reference.fa", "sites.tsv"} <= model.config["files"].keys()


def test_genomes_are_told_apart_at_any_rotation_on_either_strand(trained, data):
    result = run(f"classify -q --model {trained} {data / 'turned.fa'}")
    truth = dict(
        line.split("\t")[:2] for line in (data / "labels.tsv").read_text().splitlines()[1:]
    )
    correct = [row[1] == truth[row[0]] for row in result.rows[1:]]
    assert len(correct) == SAMPLES
    assert np.mean(correct) > 0.95
    assert result.stdout == run(f"classify -q --model {trained} {data / 'genomes.fa'}").stdout


def test_training_begins_with_a_pretrained_model_and_its_sites(pretrained, data, tmp_path):
    result = train(data, tmp_path / "lineages", f"--model {pretrained}")
    assert result.status == 0, result.stderr
    finetuned = bundles.load(tmp_path / "lineages", torch.device("cpu"))
    pretrained_model = bundles.load(pretrained, torch.device("cpu"))
    assert finetuned.input.sites is not None
    assert pretrained_model.input.sites is not None
    assert (
        finetuned.input.sites.positions.tolist() == pretrained_model.input.sites.positions.tolist()
    )
    assert finetuned.input.reference == pretrained_model.input.reference


def test_a_model_of_genomes_brings_its_recipe(pretrained, data, tmp_path):
    result = run(
        f"train {data / 'genomes.fa'} --labels {data / 'labels.tsv'} --head group --model {pretrained} "
        f"-o {tmp_path / 'lineages'} {SMALL}"
    )
    assert result.status == 0, result.stderr
    config = json.loads((tmp_path / "lineages" / "config.json").read_text())
    assert config["input"]["kind"] == "anchored"


def test_genomes_need_a_reference(data, tmp_path):
    result = train(data, tmp_path / "lineages")
    assert result.status == 2
    assert "give a --reference" in result.stderr


def test_genomes_that_do_not_differ_teach_nothing(data, tmp_path):
    reference = (data / "reference.fa").read_text().split("\n")[1]
    same = tmp_path / "same.fa"
    write_fasta(same, {f"p{n}": reference for n in range(SAMPLES)})
    result = run(
        f"train {same} --labels {data / 'labels.tsv'} --recipe mito --head group -o {tmp_path / 'm'} {SMALL} "
        f"--reference {data / 'reference.fa'}"
    )
    assert result.status == 1
    assert "the genomes differ nowhere" in result.stderr


def test_a_likelihood_is_not_for_genomes(data, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "x"\n[input]\nkind = "anchored"\n[tokenizer]\nkind = "characters"\n[network]\nkind = "profile"\n'
        'width = 8\n[likelihood]\nhead = "group"\n[optimization]\nsteps = 2\nevaluate_every = 1\n'
    )
    result = run(
        f"train {data / 'genomes.fa'} --labels {data / 'labels.tsv'} --recipe {recipe} -o {tmp_path / 'm'} "
        f"--head group --reference {data / 'reference.fa'}"
    )
    assert result.status == 1
    assert "[likelihood] is for barcodes" in result.stderr
