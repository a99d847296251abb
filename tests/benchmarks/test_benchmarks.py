"""The benchmark's baselines, folds, conditions and table on made-up samples, and the example files."""

# ruff: noqa: E402
import gzip
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY, run
from safetensors.numpy import save_file
from sklearn.metrics import balanced_accuracy_score, log_loss

from genomai_cli.inputs.samples import Samples
from genomai_cli.population.barcode import genotypes_to_letters
from genomai_cli.population.panel import GRCH37, GRCH38, Panel

sys.path[:0] = [str(REPOSITORY / "examples")]

import make_examples

from benchmarks.ancestry import classification, methods, scores
from benchmarks.crossvalidation import baselines, trials
from benchmarks.crossvalidation.baselines import Problem

POPULATIONS = {"POP1": "NORTH", "POP2": "NORTH", "POP3": "SOUTH", "POP4": "SOUTH"}
PARENTS = np.array([0, 0, 1, 1])
SAMPLES_PER_POPULATION, SITES = 12, 60
BASELINES = {
    "majority": baselines.MAJORITY,
    "logistic": baselines.each_head({c: baselines.logistic(c) for c in (0.01, 0.1)}),
    "bayes": baselines.BAYES,
    "bayes-shrunken": baselines.SHRUNKEN_BAYES,
    "pca-svm": baselines.each_head({3.0: baselines.pca_svm(3.0)}),
}


def toy_panel() -> Panel:
    """Sites on chromosome 1, every third one tagged as Kidd's."""
    sites = range(SITES)
    positions = {GRCH37: np.arange(1, SITES + 1) * 100, GRCH38: np.arange(1, SITES + 1) * 100 + 7}
    tags = tuple("kidd55,toy" if site % 3 == 0 else "toy" for site in sites)
    rsid = tuple(f"rs{site}" for site in sites)
    return Panel("toy", ("1",) * SITES, positions, rsid, ("A",) * SITES, ("G",) * SITES, tags)


def toy_problem() -> Problem:
    """Samples of four populations in two groups; populations of a group differ less."""
    rng = np.random.default_rng(5)
    group = rng.uniform(0.1, 0.9, (2, SITES))[PARENTS]
    frequency = np.clip(group + rng.normal(0, 0.2, (4, SITES)), 0.02, 0.98)
    populations = np.repeat(np.arange(4), SAMPLES_PER_POPULATION)
    copies = rng.binomial(2, frequency[populations]).astype(np.int8)
    return Problem(
        copies, {"superpop": PARENTS[populations], "pop": populations}, {"superpop": 2, "pop": 4}
    )


def toy_cohort() -> trials.Cohort:
    problem, panel = toy_problem(), toy_panel()
    letters = genotypes_to_letters(problem.copies, panel)
    sequences = [row.tobytes().decode() for row in letters]
    names = [f"P{number}" for number in range(len(sequences))]
    classes = {"superpop": ["NORTH", "SOUTH"], "pop": list(POPULATIONS)}
    samples = Samples(names, sequences, dict(problem.labels), classes, np.arange(len(names)))
    return trials.Cohort(samples, panel)


@pytest.fixture(scope="module")
def problem():
    return toy_problem()


@pytest.fixture(scope="module", params=BASELINES)
def fitted(request, problem):
    return BASELINES[request.param](problem, 0)


# --- every baseline ---


def test_probabilities_are_a_distribution_whatever_is_missing(fitted, problem):
    hidden = np.where(
        np.random.default_rng(1).random(problem.copies.shape) < 0.5, -1, problem.copies
    )
    for copies in (problem.copies, hidden.astype(np.int8), np.full_like(problem.copies, -1)):
        for head, table in fitted.probabilities(copies).items():
            assert table.shape == (len(copies), problem.classes[head])
            assert np.all(table >= 0)
            np.testing.assert_allclose(table.sum(axis=1), 1)


def test_samples_without_any_site_get_the_same_answer(fitted, problem):
    for table in fitted.probabilities(np.full((2, SITES), -1, np.int8)).values():
        np.testing.assert_array_equal(table[0], table[1])


def test_the_answer_for_one_does_not_depend_on_the_others(fitted, problem):
    batched = fitted.probabilities(problem.copies)
    single = fitted.probabilities(problem.copies[7:8])
    for head, table in single.items():
        np.testing.assert_allclose(table[0], batched[head][7], atol=1e-9)


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"majority"}))
def test_new_samples_are_recognised(name, problem):
    train = np.arange(len(problem.copies)) % 4 != 0
    fitted = BASELINES[name](problem.rows(np.flatnonzero(train)), 0)
    tables = fitted.probabilities(problem.copies[~train])
    accuracy = {h: (t.argmax(1) == problem.labels[h][~train]).mean() for h, t in tables.items()}
    assert accuracy["superpop"] >= 0.9
    assert accuracy["pop"] >= 0.6  # a quarter by chance


# --- each by itself ---


def test_majority_gives_everyone_the_shares_of_the_classes():
    model = baselines.majority(np.zeros((4, 1), np.int8), np.array([0, 1, 1, 1]), 2)
    np.testing.assert_allclose(model(np.zeros((2, 1), np.int8)), [[0.25, 0.75]] * 2)


def test_naive_bayes_by_hand():
    copies = np.array([[2], [1], [0], [0]], np.int8)
    model = baselines.bayes()(copies, np.array([0, 0, 1, 1]), 2)
    # three of four alleles, none of four, and half of each as a pseudocount
    first, second = 3.5 / 5, 0.5 / 5
    expected = first**2 / second**2
    np.testing.assert_allclose(model(np.array([[2]], np.int8))[0, 0], expected / (1 + expected))
    expected = (1 - first) ** 2 / (1 - second) ** 2
    np.testing.assert_allclose(model(np.array([[0]], np.int8))[0, 0], expected / (1 + expected))


def test_naive_bayes_skips_what_is_missing(problem):
    observed = np.arange(SITES) % 2 == 0
    labels = problem.labels["pop"]
    on_all_sites, on_half = (
        baselines.bayes()(copies, labels, 4)
        for copies in (problem.copies, np.ascontiguousarray(problem.copies[:, observed]))
    )
    hidden = np.where(observed, problem.copies, -1).astype(np.int8)
    np.testing.assert_allclose(
        on_all_sites(hidden), on_half(problem.copies[:, observed]), atol=1e-12
    )


def test_shrinking_goes_from_ones_own_frequency_to_the_groups(problem):
    labels = problem.labels["pop"]
    fully_shrunken = baselines.shrunken_bayes(1e9, PARENTS)(problem.copies, labels, 4)(
        problem.copies
    )
    # a group's populations are one
    np.testing.assert_allclose(fully_shrunken[:, 0], fully_shrunken[:, 1], rtol=1e-3)
    unshrunken = baselines.bayes()(problem.copies, labels, 4)(problem.copies)
    barely_shrunken = baselines.shrunken_bayes(1.0, PARENTS)(problem.copies, labels, 4)(
        problem.copies
    )
    assert (barely_shrunken.argmax(1) == unshrunken.argmax(1)).mean() > 0.95


@pytest.mark.parametrize("name", ["bayes", "bayes-shrunken"])
def test_a_groups_probability_is_the_sum_of_its_populations(name, problem):
    tables = BASELINES[name](problem, 0).probabilities(problem.copies)
    sums = np.stack([tables["pop"][:, :2].sum(1), tables["pop"][:, 2:].sum(1)], axis=1)
    np.testing.assert_allclose(tables["superpop"], sums)


def test_the_scaler_imputes_the_mean():
    copies = np.array([[0, 1], [2, 1], [-1, 1]], np.int8)
    scaled = baselines.Scaler.of(copies)(copies)
    np.testing.assert_allclose(scaled, [[-1, 0], [1, 0], [0, 0]])


def test_the_best_setting_is_chosen(problem):
    grid = {0.0: baselines.majority, 1.0: baselines.bayes()}
    assert baselines.choose(grid, problem, "pop", 0) == 1.0


# --- folds and conditions ---


def test_more_hidden_sites_include_those_hidden_before():
    known = trials.conditions(500, toy_panel(), 0)
    assert list(known) == list(scores.CONDITIONS)
    levels = [known[str(percent)] for percent in trials.HIDDEN]
    for percent, mask in zip(trials.HIDDEN, levels, strict=True):
        assert 1 - mask.mean() == pytest.approx(percent / 100, abs=0.01)
    for fewer, more in zip(levels[1:], levels[:-1], strict=True):
        assert not (fewer & ~more).any()
    assert known["kidd55"][0].nonzero()[0].tolist() == list(range(0, SITES, 3))
    repeated = trials.conditions(500, toy_panel(), 0)
    assert all(np.array_equal(known[name], repeated[name]) for name in known)


class Oracle:
    """A method that knows a sample by its barcode, and counts its runs."""

    name = "oracle"

    def __init__(self, cohort, settings=""):
        self.settings, self.runs = settings, 0
        self.samples = cohort.samples
        self.row_of = {s: n for n, s in enumerate(cohort.samples.sequences)}

    def run(self, fold):
        self.runs += 1
        assert not set(fold.train.sequences) & set(texts(fold.test["0"]))
        rows = [self.row_of[text] for text in texts(fold.test["0"])]
        tables = {
            (condition, head): np.eye(len(self.samples.classes[head]))[labels[rows]]
            for condition in fold.test
            for head, labels in self.samples.labels.items()
        }
        return trials.Outcome(tables, 2.0, SITES)


def texts(letters):
    return [row.tobytes().decode() for row in letters]


@pytest.fixture
def trial(tmp_path):
    return trials.Trial(toy_cohort(), seed=0, count=3, folder=tmp_path / "runs")


def test_every_sample_is_predicted_once_and_never_by_a_method_trained_on_it(trial):
    truth = trial.cohort.samples.labels
    pooled = trial.pooled(Oracle(trial.cohort))
    for (_, head), table in pooled.probabilities.items():
        np.testing.assert_array_equal(table.argmax(axis=1), truth[head])
    rows = scores.rows_of("oracle", pooled, truth)
    assert len(rows) == 2 * len(scores.CONDITIONS)
    assert all(
        (row.accuracy, row.n, row.train_seconds) == (1.0, 4 * SAMPLES_PER_POPULATION, 2.0)
        for row in rows
    )


def test_finished_folds_are_not_run_again_unless_something_changed(trial):
    oracle = Oracle(trial.cohort)
    trial.pooled(oracle)
    assert oracle.runs == 3
    trial.pooled(oracle)
    assert oracle.runs == 3
    (trial.folder / "oracle-fold1.npz").unlink()
    trial.pooled(oracle)
    assert oracle.runs == 4
    trial.pooled(oracle, fresh=True)
    assert oracle.runs == 7
    changed = Oracle(trial.cohort, settings="another recipe")
    trial.pooled(changed)
    assert changed.runs == 3


# --- our models in a fold ---

FEW_STEPS = ("optimization.steps=2", "optimization.evaluate_every=1", "optimization.batch_size=8")


def first_fold(trial):
    return trial.fold(0, np.arange(0, 4 * SAMPLES_PER_POPULATION, 3))


def test_our_model_is_trained_and_evaluated_in_a_fold(trial):
    fold = first_fold(trial)
    outcome = methods.OurMethod("ancestry-967", (*FEW_STEPS, "split.folds=2")).run(fold)
    assert outcome.sites == SITES
    assert set(outcome.probabilities) == {(c, h) for c in fold.test for h in ("superpop", "pop")}
    for (condition, _), table in outcome.probabilities.items():
        usable = (fold.test[condition] != ord("N")).any(axis=1)
        np.testing.assert_allclose(table[usable].sum(axis=1), 1)
        assert np.isnan(table[~usable]).all()


def test_logistic_regression_gets_the_sites_of_genomai_v2(trial):
    changes = (*FEW_STEPS, "input.best_sites=20", "network.layers=1")
    fold, messages = first_fold(trial), []
    outcome = methods.OurMethod("genomai-v2", changes, say=messages.append).run(fold)
    assert outcome.sites == 20
    assert {head for _, head in outcome.probabilities} == {"superpop"}
    assert messages
    sites = methods.sites_of_v2(fold, changes)
    assert len(set(sites.tolist())) == 20
    assert methods.sites_of_v2(fold).tolist() == list(range(SITES))  # 200 of 60 are all


# --- measures and tables ---


def test_the_measures_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    table, truth = rng.dirichlet(np.ones(3), 50), rng.integers(3, size=50)
    n, accuracy, low, high, balanced, _, loss = scores.measures(table, truth)
    assert (n, accuracy) == (50, (table.argmax(1) == truth).mean())
    assert low < accuracy < high
    assert balanced == pytest.approx(balanced_accuracy_score(truth, table.argmax(1)))
    assert loss == pytest.approx(log_loss(truth, table))


def test_unknown_is_wrong_but_has_no_probability():
    table, truth = np.array([[1.0, 0.0], [np.nan, np.nan]]), np.array([0, 0])
    _, accuracy, *_, ece, loss = scores.measures(table, truth)
    assert (accuracy, ece, loss) == (0.5, 0.0, 0.0)


def test_two_methods_are_compared_on_the_same_samples():
    truth = np.zeros(100, np.int64)
    all_correct, partly_wrong = np.tile([0.9, 0.1], (100, 1)), np.tile([0.9, 0.1], (100, 1))
    partly_wrong[:20] = [0.1, 0.9]
    partly_wrong[20:30] = np.nan
    gain, low, high = scores.paired(all_correct, partly_wrong, truth)
    assert gain == pytest.approx(0.3)
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(0.3 * 0.7 / 99))
    assert scores.paired(all_correct, all_correct, truth) == (0, 0, 0)
    tables = {
        "a": {("0", "pop"): all_correct},
        "b": {("0", "pop"): partly_wrong},
        "c": {("0", "sex"): all_correct},
    }
    lines = classification.differences("a", tables, {"pop": truth, "sex": truth})
    assert lines == ["pop: a less b +0.3000 (+0.2097 to +0.3903)"]


def test_the_markdown_table_marks_the_best():
    rows = [
        scores.Row(method, 9, head, condition, 10, value, 0, 1, value, 0.01, 0.2, 1.0)
        for method, value in (("bayes", 0.5), ("ancestry-967", 0.75))
        for head in ("superpop", "pop")
        for condition in scores.CONDITIONS
    ]
    lines = scores.markdown(rows).splitlines()
    assert lines[0].startswith("| Superpopulation | sites | 0 % | 25 % |")
    assert lines[2] == "| naive Bayes | 9 | " + "0.500 | " * 6 + "0.010 |"
    assert lines[3] == "| **`ancestry-967`** | 9 | " + "**0.750** | " * 6 + "0.010 |"
    assert lines[5].startswith("| Population |")


@pytest.fixture
def cohort_folder(tmp_path):
    """A folder as shared/data/1kgp, with made-up samples."""
    cohort, folder = toy_cohort(), tmp_path / "data"
    folder.mkdir()
    cohort.panel.write(folder / "panel.tsv")
    samples, calls = cohort.samples, {"A": "0|0", "R": "0|1", "G": "1|1"}
    header = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines = ["##fileformat=VCFv4.2", "##contig=<ID=1>", "\t".join(header + samples.names)]
    for site, position in enumerate(cohort.panel.positions[GRCH37]):
        genotypes = [calls[sequence[site]] for sequence in samples.sequences]
        lines.append("\t".join(["1", str(position), ".", "A", "G", *"...", "GT", *genotypes]))
    with gzip.open(folder / "train.grch37.vcf.gz", "wt") as handle:
        handle.write("\n".join(lines) + "\n")
    pops = [list(POPULATIONS)[number] for number in samples.labels["pop"]]
    table = [f"{n}\t{p}\t{POPULATIONS[p]}" for n, p in zip(samples.names, pops, strict=True)]
    text = "\n".join(["sample\tpopulation\tsuperpopulation", *table]) + "\n"
    (folder / "train.labels.tsv").write_text(text)
    return folder


def test_the_program_prints_the_table_and_writes_it(cohort_folder, tmp_path, capsys):
    arguments = [
        "--data",
        cohort_folder,
        "--runs",
        tmp_path / "runs",
        "--folds",
        "3",
        "--baselines-only",
    ]
    arguments += ["--methods", "majority,bayes", "-o", tmp_path / "a.tsv"]
    classification.main(
        [str(argument) for argument in [*arguments, "--markdown", tmp_path / "a.md"]]
    )
    printed = capsys.readouterr()
    assert printed.out == (tmp_path / "a.tsv").read_text()
    header, *rows = [line.split("\t") for line in printed.out.splitlines()]
    assert header[:5] == ["method", "sites", "head", "missing", "n"]
    assert [row[0] for row in rows[::12]] == ["majority", "bayes"]
    assert {row[header.index("n")] for row in rows} == {str(4 * SAMPLES_PER_POPULATION)}
    assert "bayes, fold 3 of 3: superpop" in printed.err
    assert (tmp_path / "a.md").read_text().count("naive Bayes") == 2


# --- the examples ---


@pytest.fixture
def model_folder(tmp_path):
    """What `make_examples` reads of a model, with made-up frequencies at the sites of the real panel."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(REPOSITORY / "models" / "ancestry-967" / "panel.tsv", folder)
    populations = sorted({name for person in make_examples.PEOPLE for name in person.parents})
    sites = len(Panel.read(folder / "panel.tsv"))
    theta = np.random.default_rng(3).normal(0, 2, (len(populations), sites)).astype(np.float32)
    save_file({"likelihood.theta": theta}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"heads": {"pop": populations}}))
    return folder


def make_examples_in(model_folder, folder, *arguments):
    folder.mkdir()
    make_examples.main(["--model", str(model_folder), "-o", str(folder), *arguments])
    return folder / "samples.fa", folder / "samples.vcf.gz"


def test_both_example_files_hold_the_same_samples(model_folder, tmp_path):
    fasta, vcf = make_examples_in(model_folder, tmp_path / "one")
    assert_same_samples(fasta, vcf)


def test_examples_are_reproducible_and_follow_the_seed(model_folder, tmp_path):
    first, repeated = (
        make_examples_in(model_folder, tmp_path / "one"),
        make_examples_in(model_folder, tmp_path / "two"),
    )
    other = make_examples_in(model_folder, tmp_path / "other", "--seed", "4")
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in repeated]
    assert all(f.read_bytes() != g.read_bytes() for f, g in zip(first, other, strict=True))


def test_examples_have_the_frequencies_of_their_parents(model_folder):
    frequency = make_examples.frequencies(model_folder)
    alleles = make_examples.draw(frequency, 0)
    for person, pair in zip(make_examples.PEOPLE, alleles, strict=True):
        known = pair[0] >= 0
        assert known.mean() == pytest.approx(1 - person.missing, abs=1e-3)
        for parent, haplotype in zip(person.parents, pair, strict=True):
            expected = frequency[parent][known]
            assert np.corrcoef(expected, haplotype[known])[0, 1] > 0.5


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="no bcftools")
def test_bcftools_finds_nothing_amiss_with_the_example_vcf(model_folder, tmp_path):
    _, vcf = make_examples_in(model_folder, tmp_path / "one")
    index = ["bcftools", "index", "--tbi", vcf]
    for command in (["bcftools", "view", vcf], ["bcftools", "sort", vcf], index):
        completed = subprocess.run(command, capture_output=True, text=True, check=True)
        assert not [line for line in completed.stderr.splitlines() if "rn" in line]  # warn, Warning


def test_the_shipped_examples_hold_the_same_samples():
    fasta, vcf = (REPOSITORY / "examples" / name for name in ("samples.fa", "samples.vcf.gz"))
    assert_same_samples(fasta, vcf)


def assert_same_samples(fasta, vcf):
    fasta_lines = [line for line in fasta.read_text().splitlines() if line]
    result = run(f"tokenize -q --model ancestry-967 --to fasta {vcf}")
    assert result.status == 0, result.stderr
    from_vcf = dict(zip(*[iter(result.stdout.splitlines())] * 2, strict=True))
    from_fasta = dict(zip(*[iter(fasta_lines)] * 2, strict=True))
    assert len(from_vcf) == len(make_examples.PEOPLE)
    assert {title.split()[0]: letters for title, letters in from_fasta.items()} == from_vcf
    assert all("no real person" in title for title in from_fasta)
