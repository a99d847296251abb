"""The benchmarks on mitochondrial genomes and on few labels, on made-up samples."""

import gzip

import numpy as np
import pytest
import torch

from benchmarks.crossvalidation import label_subsets
from benchmarks.crossvalidation.trials import Pooled
from benchmarks.mito import classification, genome_baselines, genomes, methods, scores
from benchmarks.mito.genome_baselines import Variants
from benchmarks.pretraining import label_efficiency, label_rows, label_scores, pretrained_networks
from genomai_cli.inputs.samples import Samples
from genomai_cli.mapping.reference import Reference
from genomai_cli.phylogeny.genome_input import GenomeInput
from genomai_cli.training import recipe

POPULATIONS = {"POP1": "NORTH", "POP2": "NORTH", "POP3": "SOUTH", "POP4": "SOUTH"}
SIZE, PLACEHOLDER, SAMPLES_PER_POPULATION = 3000, 1500, 8
FEW_STEPS = ["optimization.steps=2", "optimization.evaluate_every=2", "optimization.batch_size=8"]
ALL_POSITIONS = np.ones(SIZE, np.bool_)


def letters(text):
    return np.array([list(row.encode()) for row in text.split()], np.uint8)


def made_up_genomes(count, rng):
    """A reference with a placeholder, and genomes of four populations that carry their own variants."""
    reference = rng.choice(np.frombuffer(b"ACGT", np.uint8), SIZE)
    variants_of_population = rng.permutation(np.delete(np.arange(SIZE), PLACEHOLDER))[:80].reshape(
        4, 20
    )
    genome = np.tile(reference, (4 * count, 1))
    for sample in range(4 * count):
        positions = variants_of_population[sample // count][rng.random(20) < 0.8]
        genome[sample, positions] = np.where(reference[positions] == ord("A"), ord("G"), ord("A"))
    reference[PLACEHOLDER] = genome[:, PLACEHOLDER] = ord("N")
    return reference, genome


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as shared/data/1kgp and shared/data/mito in one."""
    data_folder = tmp_path_factory.mktemp("data")
    reference, genome = made_up_genomes(SAMPLES_PER_POPULATION, np.random.default_rng(2))
    genome[::2, PLACEHOLDER] = ord("C")
    text = [row.tobytes().decode() for row in (reference, *genome)]
    (data_folder / "rCRS.fa").write_text(f">NC_012920.1\n{text[0]}\n")
    names = [f"P{number}" for number in range(len(genome))]
    with gzip.open(data_folder / "mt.train.fa.gz", "wt") as handle:
        handle.writelines(f">{name}\n{row}\n" for name, row in zip(names, text[1:], strict=True))
    pops = [list(POPULATIONS)[number // SAMPLES_PER_POPULATION] for number in range(len(genome))]
    labels = "".join(f"{n}\t{p}\t{POPULATIONS[p]}\n" for n, p in zip(names, pops, strict=True))
    (data_folder / "train.labels.tsv").write_text(f"sample\tpopulation\tsuperpopulation\n{labels}")
    groups = "".join(f"{n}\t{'HU'[p > 'POP2']}1a\t0.9\n" for n, p in zip(names, pops, strict=True))
    (data_folder / "mt.train.haplogroups.tsv").write_text(f"sample\thaplogroup\tquality\n{groups}")
    with gzip.open(data_folder / "world.vcf.gz", "wt") as handle:
        handle.writelines(vcf_lines(reference, genome))
    return data_folder


def vcf_lines(reference, genome):
    header = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    yield f"##fileformat=VCFv4.2\n##contig=<ID=MT,length={SIZE}>\n"
    yield "\t".join(header + [f"W{number}" for number in range(len(genome))]) + "\n"
    for position in np.flatnonzero((genome != reference).any(axis=0)):
        if position == PLACEHOLDER:
            continue
        alt = genome[:, position][genome[:, position] != reference[position]][0]
        calls = [str(int(letter == alt)) for letter in genome[:, position]]
        row = [
            "MT",
            str(position + 1),
            ".",
            chr(reference[position]),
            chr(alt),
            *"...",
            "GT",
            *calls,
        ]
        yield "\t".join(row) + "\n"


@pytest.fixture(scope="module")
def cohort(folder):
    return genomes.Genomes.read(folder, folder / "rCRS.fa")


@pytest.fixture(scope="module")
def variants(folder, cohort, one_thread):
    """Networks pretrained for two steps by every objective, made once."""
    store = variant_store(folder)
    return store.variants("here", lambda: world_genomes(folder, cohort.reference))


def variant_store(folder):
    changes = [*FEW_STEPS, "corpus.judged=8", "network.width=8"]
    parsed_recipe, text = recipe.read("mito-pretrained", changes)
    weights = {"contrastive": {"contrastive": 1.0}, "both": {"contrastive": 0.1, "masked": 1.0}}
    reference = Reference.read(folder / "rCRS.fa", circular=True)
    return pretrained_networks.VariantStore(
        folder / "variants", parsed_recipe, text, GenomeInput(reference), weights, seed=0
    )


def world_genomes(folder, reference):
    return pretrained_networks.genomes_of_vcf(folder / "world.vcf.gz", reference)


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- parts of genomes ---


def test_parts_cover_the_genome():
    masks = genomes.part_masks(SIZE)
    assert len(masks) == sum(genomes.PARTS.values())
    by_part = {}
    for condition, mask in masks.items():
        by_part.setdefault(genomes.part_of(condition), []).append(mask)
    for part in (genomes.COMPLETE, genomes.HALVES, genomes.QUARTERS):
        assert (np.sum(by_part[part], axis=0) == 1).all(), part
    assert {int(mask.sum()) for mask in by_part[genomes.SHORT]} == {2000}


def test_what_is_cut_off_is_unknown():
    mask = np.array([True, False, True])
    assert genomes.apply_mask(letters("ACG NTT"), mask).tolist() == letters("ANG NNT").tolist()


def test_the_labels_and_the_letters_are_read(cohort):
    samples = cohort.samples
    assert samples.classes["haplogroup"] == ["H", "U"]
    assert samples.letters.shape == (4 * SAMPLES_PER_POPULATION, SIZE)
    test_rows = np.arange(0, 4 * SAMPLES_PER_POPULATION, 4)
    fold = cohort.fold(1, 0, test_rows)
    assert fold.names == [samples.names[row] for row in test_rows]
    assert not set(fold.names) & set(fold.train.names)


# --- baselines ---


def test_a_letter_at_a_placeholder_is_a_variant_only_if_asked_for():
    reference, train_letters = letters("ANA")[0], letters("ACA GNA GNN")
    variants = Variants.of(train_letters, reference)
    assert (variants.position.tolist(), variants.letter.tolist()) == ([0], [ord("G")])
    assert Variants.of(train_letters, reference, placeholder=True).position.tolist() == [1, 0]
    assert variants.presence(train_letters).tolist() == [[False], [True], [True]]
    assert variants.known(letters("NAA AAA")).tolist() == [[False], [True]]


def test_letters_differ_where_both_are_known():
    distances = genome_baselines.hamming(letters("ACGT NCGT"), letters("ACGT TCNA"))
    assert distances.tolist() == [[0, 2], [0, 1]]


def test_equal_neighbours_share_the_vote():
    distance = np.array([[1.0, 1.0, 2.0, 1.0], [3.0, 2.0, 0.0, 2.0]])
    shares = genome_baselines.shares_of_nearest(distance, np.array([0, 1, 1, 0]), 2)
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3], [0, 1]])


def test_naive_bayes_by_hand():
    train_letters = letters("GA GA AA AA")
    variants = Variants.of(train_letters, letters("AA")[0])
    model = genome_baselines.bayes(variants, train_letters, np.array([0, 0, 1, 1]), 2)
    mask = np.array([True, True])
    expected = (2.5 / 3) / (0.5 / 3)
    table = model(letters("GA NA AA"), mask)
    np.testing.assert_allclose(
        table[:, 0], [expected / (1 + expected), 0.5, 1 / (1 + expected)], rtol=1e-6
    )
    np.testing.assert_allclose(model(letters("GA"), ~mask), [[0.5, 0.5]])


@pytest.mark.parametrize("name", [method.name for method in methods.baselines()])
def test_every_baseline_gives_probabilities_of_every_part(name, cohort):
    method = next(m for m in methods.baselines() if m.name == name)
    test_rows = np.arange(0, 4 * SAMPLES_PER_POPULATION, 4)
    outcome = method.run(cohort.fold(0, 0, test_rows))
    heads = cohort.samples.classes
    assert set(outcome.probabilities) == {(c, h) for c in genomes.part_masks(SIZE) for h in heads}
    for (_, head), table in outcome.probabilities.items():
        assert table.shape == (len(test_rows), len(heads[head]))
        np.testing.assert_allclose(table.sum(axis=1), 1)
    if name != "majority":
        predicted = outcome.probabilities[genomes.COMPLETE, "pop"].argmax(1)
        assert (predicted == cohort.samples.labels["pop"][test_rows]).all()


def test_logistic_regression_gives_every_masked_genome_the_same(cohort):
    train_letters, labels = cohort.samples.letters, cohort.samples.labels["pop"]
    variants = Variants.of(train_letters, cohort.reference.letters)
    model = genome_baselines.logistic(variants, train_letters, labels, 4)
    table = model(train_letters, ~ALL_POSITIONS)
    np.testing.assert_allclose(table, np.tile(table[0], (len(table), 1)))
    assert (model(train_letters, ALL_POSITIONS).argmax(1) == labels).all()


# --- our models ---


def test_rotated_genomes_are_the_same_circle():
    genome = letters("ACNGT")[0]
    rotated = methods.rotated(genome, np.random.default_rng(0)).tobytes().decode()
    assert len(rotated) == 4
    assert rotated in "ACGTACGT"


def test_our_model_is_trained_and_evaluated_in_a_fold(cohort, variants):
    changes = (*FEW_STEPS, "split.folds=2", "network.width=8")
    method = methods.OurMethod("mito", "mito", variants["both"], changes)
    assert variants["both"].weights_sha256 in method.settings
    test_rows = np.arange(0, 4 * SAMPLES_PER_POPULATION, 4)
    outcome = method.run(cohort.fold(0, 0, test_rows))
    conditions = {*genomes.part_masks(SIZE), methods.ROTATED, methods.REVERSED}
    assert {condition for condition, _ in outcome.probabilities} == conditions
    table = outcome.probabilities[genomes.COMPLETE, "pop"]
    np.testing.assert_allclose(table.sum(axis=1), 1)
    for rotated in (methods.ROTATED, methods.REVERSED):
        np.testing.assert_allclose(outcome.probabilities[rotated, "pop"], table, atol=1e-6)


def test_the_nearest_vector_has_the_label(cohort, variants):
    test_rows = np.arange(0, 4 * SAMPLES_PER_POPULATION, 4)
    outcome = methods.EmbeddingMethod(variants["both"]).run(cohort.fold(0, 0, test_rows))
    table = outcome.probabilities[genomes.COMPLETE, "pop"]
    assert (table.argmax(1) == cohort.samples.labels["pop"][test_rows]).mean() > 0.5
    assert {genomes.part_of(c) for c, _ in outcome.probabilities} == {"complete", "halves"}


def test_unknown_is_wrong_and_parts_are_counted():
    tables = [np.array([[1.0, 0.0], [np.nan, np.nan]]), np.array([[1.0, 0.0], [0.0, 1.0]])]
    n, parts, accuracy, low, high, ece, loss = scores.measures(
        tables, np.array([0, 1]), has_probabilities=True
    )
    assert (n, parts, accuracy, ece, loss) == (2, 2, 0.75, 0.0, 0.0)
    assert low <= accuracy <= high
    rotated_tables = {("complete", "pop"): tables[1], ("rotated", "pop"): tables[0]}
    assert [
        s.share for s in scores.same_labels("mito", Pooled(rotated_tables, 0.0, 0, np.arange(1)))
    ] == [0.5]


def test_gains_are_those_of_the_same_samples():
    truth = {"pop": np.array([0, 1, 1, 0])}
    tables = {"a": np.eye(2)[[0, 1, 1, 1]], "b": np.eye(2)[[0, 1, 0, 1]]}
    pooled = {
        name: Pooled({("complete", "pop"): t}, 0.0, 0, np.arange(len(t)))
        for name, t in tables.items()
    }
    (gain,) = scores.gains("a", "b", pooled, truth)
    assert (gain.head, gain.part, gain.gain) == ("pop", "complete", 0.25)
    assert gain.low == 0.0
    assert gain.high == 0.75


def test_the_program_prints_the_tables(folder, tmp_path, capsys, one_thread):
    arguments = ["--data", folder, "--reference", folder / "rCRS.fa", "--runs", tmp_path / "runs"]
    arguments += ["--folds", "2", "--baselines-only", "--methods", "majority,logistic"]
    arguments += ["-o", tmp_path / "a.tsv", "--markdown", tmp_path / "a.md"]
    classification.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert printed.out == (tmp_path / "a.tsv").read_text()
    header, *rows = [line.split("\t") for line in printed.out.splitlines()]
    assert len(rows) == 2 * len(genomes.PARTS) * 3
    assert {row[header.index("n")] for row in rows} == {str(4 * SAMPLES_PER_POPULATION)}
    assert "logistic, fold 2 of 2: superpop 1.000" in printed.err
    text = (tmp_path / "a.md").read_text()
    assert "3107" in text
    assert text.count("| logistic regression |") == 4


# --- few labels ---


def samples_of(sizes):
    pop = np.repeat(np.arange(len(sizes)), sizes)
    names = [f"P{number}" for number in range(len(pop))]
    classes = {"superpop": ["NORTH", "SOUTH"], "pop": [f"POP{n}" for n in range(len(sizes))]}
    return Samples(names, names, {"superpop": pop // 2, "pop": pop}, classes, np.arange(len(pop)))


def test_labels_are_spread_over_the_populations():
    samples = samples_of([100, 60, 40, 200])
    for percent, count in ((2, 8), (5, 20), (20, 80), (100, 400)):
        subset = label_subsets.draw_label_subset(samples, percent, np.random.default_rng(percent))
        assert len(set(subset.names)) == len(subset.names)
        found = np.bincount(subset.labels["pop"], minlength=4)
        expected = np.array([100, 60, 40, 200]) * percent / 100
        assert (np.abs(found - expected) < 2).all()
        assert found.min() >= 2
        assert count <= len(subset) <= count + 2
        np.testing.assert_array_equal(subset.labels["superpop"], subset.labels["pop"] // 2)


def test_too_few_labels_train_the_coarser_head_only():
    subset = label_subsets.draw_label_subset(samples_of([50] * 4), 2, np.random.default_rng(0))
    assert list(subset.labels) == ["superpop"]
    assert np.bincount(subset.labels["superpop"]).tolist() == [2, 2]


def test_other_draws_keep_other_labels():
    samples = samples_of([50] * 4)
    names = [
        label_subsets.draw_label_subset(samples, 10, np.random.default_rng(seed)).names
        for seed in (0, 0, 1)
    ]
    assert names[0] == names[1] != names[2]


def test_pretrained_variants_are_reused(folder, cohort, variants):
    reloaded = variant_store(folder).variants(
        "here", lambda: pytest.fail("the corpus was read again")
    )
    assert {n: b.weights_sha256 for n, b in reloaded.items()} == {
        name: bundle.weights_sha256 for name, bundle in variants.items()
    }
    assert set(variants["both"].auxiliary) == {"contrastive", "masked"}
    assert variants["both"].input.sites is not None
    assert PLACEHOLDER not in variants["both"].input.sites.positions
    assert not list((folder / "variants").glob("*.training"))


def test_plain_networks_have_no_evidence_attached(folder):
    kind = label_rows.mito_kind(folder / "x", folder, folder, 0, [], [], print)
    plain, shipped = (kind.plan(row, ["superpop"]) for row in ("masked", "shipped"))
    assert plain.evidence is None
    assert shipped.evidence is not None
    assert shipped.evidence.head == "superpop"
    assert kind.plan("scratch", ["superpop"]).input.fewest == 1
    assert kind.settings("masked") != kind.settings("scratch")


def test_few_labels_are_tabulated(folder, tmp_path, capsys, one_thread):
    arguments = ["--data", folder, "--mito", folder, "--kinds", "mito", "--runs", tmp_path / "runs"]
    arguments += [
        "--rows",
        "logistic,pca,scratch,masked,frozen-masked",
        "--shares",
        "50,100",
        "--judged",
        "2",
    ]
    arguments += ["--markdown", tmp_path / "a.md"]
    for change in (*FEW_STEPS, "network.width=8"):
        arguments += ["--set", change, "--pretraining-set", change]
    arguments = [str(argument) for argument in arguments]
    label_efficiency.main(arguments)
    first = capsys.readouterr()
    header, *rows = [line.split("\t") for line in first.out.splitlines()]
    assert len(rows) == 2 * 5 * 2
    found = [dict(zip(header, row, strict=True)) for row in rows]
    for row in found:
        low, value, high = (float(row[name]) for name in ("low", "accuracy", "high"))
        assert low <= value <= high
        if row["row"] == "scratch":
            assert float(row["gain"]) == float(row["gain_high"]) == 0
    regression = [row for row in found if row["row"] == "logistic" and row["percent"] == "100"]
    assert {row["accuracy"] for row in regression} == {"1.0000"}
    assert "### `mito`: population" in (tmp_path / "a.md").read_text()
    label_efficiency.main(arguments)  # every run is stored
    assert capsys.readouterr().out == first.out
    assert "held out" in first.err


def test_an_untrained_head_has_no_row():
    class NoPopulations:
        name, folder = "mito", None

    table = np.eye(2)
    trial = label_scores.Trial(NoPopulations(), (1,), 0)
    for number in range(2):
        trial.truths[number] = {"superpop": np.array([0, 0]), "pop": np.array([0, 1])}
        outcome = label_scores.Outcome({("1", "superpop"): table}, 1.0, 2)
        trial.outcomes["scratch", 1, number] = outcome
    rows = label_scores.rows_of(trial)
    assert [(row.head, row.accuracy, row.n) for row in rows] == [("superpop", 0.5, 4)]
