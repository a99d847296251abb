"""`genomai train`: what it reads, the bundle it writes, what it refuses, and runs that are killed and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import likelihood_bundles
import pytest
import torch
from conftest import TINY, TINY_SEQUENCES, changes, run
from safetensors.torch import load_file

from genomai_cli.bundles import catalog

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = f"{TINY} network.width=8 optimization.steps=6 optimization.batch_size=8 optimization.evaluate_every=3"
SHORT_SEQUENCES = f"{TINY_SEQUENCES} optimization.steps=4 optimization.evaluate_every=2"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "model"


@pytest.fixture
def train(cohort, output):
    """Trains for a few steps on the cohort, or on other files and labels."""

    def run_train(*options, inputs=None, labels=None, settings=SHORT, panel=True):
        files = [cohort.vcf] if inputs is None else inputs
        sites = ["--panel", cohort.panel] if panel else []
        recipe = ["--recipe", "ancestry-967"] if inputs is None else []
        arguments = [
            *files,
            "--labels",
            labels or cohort.labels,
            *sites,
            *recipe,
            "-o",
            output,
            "--device",
            "cpu",
        ]
        return run(["train", *arguments, *changes(settings), *options])

    return run_train


@pytest.fixture
def train_sequences(train, sequences):
    def run_train(*options, labels=None, inputs=None):
        fasta, table = sequences
        has_recipe = {"--model", "--recipe"} & set(options)
        return train(
            *([] if has_recipe else ["--recipe", "sequences"]),
            *options,
            inputs=inputs or [fasta],
            labels=labels or table,
            settings=SHORT_SEQUENCES,
            panel=False,
        )

    return run_train


def edited(path, table, edit):
    """The labels with every row (a list of fields) edited; None drops it."""
    header, *rows = (line.split("\t") for line in table.read_text().splitlines())
    retained = [edit(number, row) for number, row in enumerate(rows)]
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *filter(None, retained)]))
    return path


def refused(result, status, message):
    """Whether a run ended with this status, one line that says why, and nothing on standard output."""
    assert result.status == status, result.stderr
    assert result.stdout == ""
    assert message in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("genomai train: ")
    assert "unexpected" not in result.stderr
    return True


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def test_the_bundle_of_a_cohort_is_complete(tiny_bundle):
    assert {file.name for file in tiny_bundle.iterdir()} == {
        "README.md", "config.json", "loss.png", "metrics.tsv", "model.safetensors", "panel.tsv",
        "recipe.toml",
        "structure.safetensors",
    }  # fmt: skip
    assert catalog.problems(tiny_bundle) == []
    assert not tiny_bundle.with_name("tiny.training").exists()
    verified = run(["models", "verify", tiny_bundle])
    assert (verified.status, verified.rows[0][1]) == (0, "OK")


def test_the_card_tells_data_method_results_limits_and_the_command(tiny_bundle):
    card = (tiny_bundle / "README.md").read_text()
    for heading in (
        "# tiny 1.0.0",
        "## Data",
        "## Method",
        "## Results",
        "## Limits",
        "## Reproduce",
    ):
        assert heading in card.splitlines()
    assert "75 labelled samples of 75 individuals" in card
    validation = config_of(tiny_bundle)["provenance"]["validation"]
    for head in ("superpop", "pop"):
        assert f"| {head} | 75 | {validation[head]['accuracy']:.4f} |" in card
    assert "seed 0" in card


def test_the_log_has_a_row_an_evaluation(tiny_bundle):
    rows = [line.split("\t") for line in (tiny_bundle / "metrics.tsv").read_text().splitlines()]
    assert rows[0] == ["member", "step", "loss", "best_held_out_loss", "time"]
    assert [row[:2] for row in rows[1:]] == [["0", "20"], ["0", "40"], ["1", "20"], ["1", "40"]]


def test_the_recipe_is_kept_with_its_changes(tiny_bundle):
    recipe = (tiny_bundle / "recipe.toml").read_text()
    assert recipe.startswith('name = "ancestry-967"')
    assert "# changed on the command line: network.width=16\n" in recipe


def test_heads_and_labels_are_those_of_the_recipe(tiny_bundle):
    config = config_of(tiny_bundle)
    assert config["heads"] == {"superpop": ["NORTH", "SOUTH"], "pop": ["NOA", "NOB", "SOC"]}
    assert config["likelihood"]["nesting"] == {"superpop": [0, 0, 1], "pop": [0, 1, 2]}


def test_every_column_becomes_a_head_for_sequences(tiny_sequence_bundle):
    config = config_of(tiny_sequence_bundle)
    assert config["heads"] == {"content": ["at", "gc"]}
    assert "likelihood" not in config
    assert not (tiny_sequence_bundle / "panel.tsv").exists()


def test_sequences_are_learnt(tiny_sequence_bundle, sequences):
    fasta, labels = sequences
    rows = run(["classify", "--model", tiny_sequence_bundle, fasta]).rows[1:]
    truth = [line.split("\t")[1] for line in labels.read_text().splitlines()[1:]]
    assert sum(row[1] == kind for row, kind in zip(rows, truth, strict=True)) >= 36


def test_progress_is_told_on_standard_error_alone(train):
    result = train()
    assert (result.status, result.output) == (0, b"")
    assert "genomai train: network 1 of 2, step 3 of 6: loss " in result.stderr
    assert "genomai train: pop: accuracy " in result.stderr
    assert result.stderr.endswith("/model\n")


def test_quiet_says_nothing(train):
    assert train("-q").stderr == ""


def test_heads_from_the_command_line(train, output):
    assert train("--head", "region=superpopulation", "--head", "population").status == 0
    config = config_of(output)
    assert list(config["heads"]) == ["region", "population"]
    assert config["likelihood"]["head"] == "population"


def test_one_head_alone_as_in_the_help(train, output):
    assert train("--head", "superpop=superpopulation").status == 0
    config = config_of(output)
    assert config["heads"] == {"superpop": ["NORTH", "SOUTH"]}
    assert config["likelihood"]["nesting"] == {"superpop": [0, 1]}


def test_the_same_seed_writes_the_same_weights(train, output):
    weights = []
    for seed in (5, 5, 6):
        assert train("--force", "--seed", str(seed), "-q").status == 0
        weights.append((output / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_barcodes_in_fasta_teach_what_the_vcf_does(train, output, cohort, tmp_path):
    fasta = tmp_path / "cohort.fa"
    command = ["tokenize", "--to", "fasta", cohort.vcf, "--panel", cohort.panel, "-o", fasta]
    assert run(command).status == 0
    assert train().status == 0
    from_vcf = (output / "model.safetensors").read_bytes()
    assert train("--force", "--recipe", "ancestry-967", inputs=[fasta]).status == 0
    assert (output / "model.safetensors").read_bytes() == from_vcf


def test_a_model_of_sequences_does_not_begin_with_a_vcf(output, cohort, tmp_path):
    model = likelihood_bundles.saved(likelihood_bundles.masked(), tmp_path / "dna")
    result = run(["train", cohort.vcf, "--labels", cohort.labels, "--model", model, "-o", output])
    assert refused(result, 2, f"{cohort.vcf}: the model to be trained reads sequences, not a VCF")
    assert not output.exists()


def test_barcodes_in_fasta_and_a_model_of_barcodes_need_no_recipe(
    train, output, cohort, tiny_bundle, tmp_path
):
    fasta = tmp_path / "cohort.fa"
    command = ["tokenize", "--to", "fasta", cohort.vcf, "--panel", cohort.panel, "-o", fasta]
    assert run(command).status == 0
    options = ["--model", tiny_bundle, *changes("network.width=16")]
    assert train(*options).status == 0
    from_vcf = (output / "model.safetensors").read_bytes()
    assert train("--force", *options, inputs=[fasta]).status == 0
    assert (output / "model.safetensors").read_bytes() == from_vcf


def test_phased_haplotypes_go_by_the_label_of_their_individual(train, output, cohort, tmp_path):
    fasta = tmp_path / "haplotypes.fa"
    command = ["tokenize", "--to", "fasta", "--haplotypes", cohort.vcf, "--panel", cohort.panel]
    assert run([*command, "-o", fasta]).status == 0
    assert train("--recipe", "ancestry-967", inputs=[fasta]).status == 0
    provenance = config_of(output)["provenance"]
    assert (provenance["samples"], provenance["individuals"]) == (150, 75)


def test_the_best_sites_become_the_panel(train, output):
    change = [
        "--set",
        "input.best_sites=40",
        "--set",
        "input.best_for=pop",
        "--set",
        "split.folds=1",
    ]
    assert train(*change).status == 0
    assert len((output / "panel.tsv").read_text().splitlines()) == 41
    assert config_of(output)["network"]["sites"] == 40


def test_unlabelled_samples_are_left_out_and_told(train, output, cohort, tmp_path):
    labels = edited(tmp_path / "few.tsv", cohort.labels, lambda i, row: row if i % 5 else None)
    result = train("--report-json", tmp_path / "run.json", labels=labels)
    assert result.status == 0
    assert "genomai train: warning: 15 samples have no label and are left out" in result.stderr
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["records"] == {"read": 75, "used": 60, "refused": 15}
    assert config_of(output)["provenance"]["samples"] == 60


def test_a_missing_label_of_one_head_is_no_obstacle(train, output, cohort, tmp_path):
    labels = edited(
        tmp_path / "gaps.tsv",
        cohort.labels,
        lambda i, row: [row[0], "." if i % 4 == 0 else row[1], row[2]],
    )
    assert train(labels=labels).status == 0
    validation = config_of(output)["provenance"]["validation"]
    assert (validation["superpop"]["n"], validation["pop"]["n"]) == (75, 56)


def test_a_superpopulation_without_populations_can_be_answered(train, output, cohort, tmp_path):
    def third(number, row):
        return [row[0], ".", "THIRD"] if number < 8 else row

    assert train(labels=edited(tmp_path / "third.tsv", cohort.labels, third)).status == 0
    assert config_of(output)["likelihood"]["nesting"] == {"pop": [0, 1, 2]}
    weights = load_file(output / "model.safetensors")
    assert any(weights[name].any() for name in weights if name.startswith("fusion."))


def test_a_model_of_the_reference_kind(train, output, cohort):
    network = "network.width=8 network.heads=2 network.layers=1 network.feed_forward=8"
    steps = "optimization.steps=4 optimization.batch_size=8 optimization.evaluate_every=4"
    assert (
        train("--recipe", "genomai-v2", settings=f"input.best_sites=40 {network} {steps}").status
        == 0
    )
    rows = run(["classify", "--device", "cpu", "--model", output, cohort.newcomers]).rows
    assert rows[0] == ["sample", "superpop", "superpop_p", "used", "call_rate", "flags", "model"]
    assert {row[1] for row in rows[1:-1]} <= {"NORTH", "SOUTH"}
    assert rows[-1][1] == "UNKNOWN"


def test_strata_that_the_labels_do_not_have_are_told_and_done_without(
    train, output, cohort, tmp_path
):
    table = [line.split("\t") for line in cohort.labels.read_text().splitlines()]
    at = table[0].index("population")
    labels = tmp_path / "coarse.tsv"
    labels.write_text("".join("\t".join(row[:at] + row[at + 1 :]) + "\n" for row in table))
    network = "network.width=8 network.heads=2 network.layers=1 network.feed_forward=8"
    steps = "optimization.steps=2 optimization.batch_size=8 optimization.evaluate_every=2"
    settings = f"input.best_sites=40 {network} {steps}"
    result = train("--recipe", "genomai-v2", labels=labels, settings=settings)
    assert result.status == 0
    assert "no column 'population': trained without knowing finer groups" in result.stderr
    assert config_of(output)["heads"] == {"superpop": ["NORTH", "SOUTH"]}


def test_report_json(train, output, cohort, tmp_path):
    train("--report-json", tmp_path / "run.json", "--seed", "3")
    report = json.loads((tmp_path / "run.json").read_text())
    assert (report["command"], report["status"], report["seed"]) == ("train", "done", 3)
    assert report["records"] == {"read": 75, "used": 75, "refused": 0}
    assert report["model"]["sha256"] == catalog.sha256(output / "model.safetensors")
    assert report["details"]["validation"] == config_of(output)["provenance"]["validation"]
    assert report["device"] == "cpu"


def test_networks_begin_with_those_of_another_model(train, output, tiny_bundle):
    frozen = changes("network.width=16 optimization.learning_rate=1e-30")
    assert train("--model", tiny_bundle, "--head", "region=superpopulation", *frozen).status == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_bundle, output))
    compared = [n for n in after if n.startswith("members.") and ".heads." not in n]
    assert len(compared) > 10
    for name in compared:
        torch.testing.assert_close(after[name], before[name])
    assert after["members.0.heads.0.weight"].shape == (2, 16)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tiny_bundle", "has other networks than the recipe"),
        ("handmade_bundle", "has other networks than the recipe"),
    ],
)
def test_a_model_of_another_kind_is_no_beginning(train, request, output, model, message):
    assert refused(train("--model", request.getfixturevalue(model)), 1, message)
    assert list(output.parent.iterdir()) == []


def test_a_model_of_other_sites_is_no_beginning(train, tiny_bundle, cohort, tmp_path):
    header, *sites = cohort.panel.read_text().splitlines(keepends=True)
    other = tmp_path / "other.tsv"
    other.write_text("".join([header, *sites[::-1]]))
    options = ["--panel", other, *changes("network.width=16")]
    assert refused(train("--model", tiny_bundle, *options), 1, "has other sites")


def test_a_column_that_is_not_there(train, cohort, output):
    message = f"{cohort.labels}:1: no column 'breed' (there are: population, superpopulation)"
    assert refused(train("--head", "pop=breed"), 1, message)
    assert not output.with_name("model.training").exists()


def test_the_recipes_column_that_is_not_there(train, sequences):
    assert refused(
        train(labels=sequences[1]), 1, "no column 'superpopulation' (there are: content)"
    )


def test_one_class_only(train, cohort, tmp_path):
    labels = edited(tmp_path / "one.tsv", cohort.labels, lambda _, row: [row[0], "X", "Y"])
    assert refused(train(labels=labels), 1, "needs two labels at least")


def test_a_class_of_one_individual(train, cohort, tmp_path, output):
    def rare(number, row):
        return [row[0], "RARE", row[2]] if number == 0 else row

    result = train(labels=edited(tmp_path / "rare.tsv", cohort.labels, rare))
    assert refused(result, 1, "head pop: too few individuals are RARE")
    assert not output.with_name("model.training").exists()


def test_no_sample_labelled(train, cohort, tmp_path):
    labels = edited(tmp_path / "none.tsv", cohort.labels, lambda _, row: [f"x{row[0]}", *row[1:]])
    assert refused(train(labels=labels), 1, "none of the 75 samples has a label")


def test_more_parts_than_samples(train):
    assert refused(train("--set", "split.folds=80"), 1, "75 samples are too few")


def test_a_missing_labels_file(train, tmp_path):
    assert refused(train(labels=tmp_path / "nowhere.tsv"), 1, "nowhere.tsv: no such file")


def test_a_barcode_of_another_length(train, sequences):
    fasta, labels = sequences
    result = train("--recipe", "ancestry-967", "--head", "content", inputs=[fasta], labels=labels)
    assert refused(result, 1, f"{fasta}:1: s0 has ")
    assert "the panel 120 sites" in result.stderr


def test_a_panel_is_not_for_sequences(train_sequences, cohort):
    assert refused(train_sequences("--panel", cohort.panel), 2, "--panel is for barcodes")


def test_a_recipe_of_sequences_reads_no_vcf(train):
    result = train("--recipe", "sequences", settings=SHORT_SEQUENCES, panel=False)
    assert refused(result, 2, "the model to be trained reads sequences, not a VCF")


def test_a_vcf_does_not_validate_a_model_of_sequences(train_sequences, cohort):
    result = train_sequences("--dev", cohort.vcf)
    assert refused(result, 2, f"{cohort.vcf}: the model to be trained reads sequences, not a VCF")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--head", "a b=population"], "head 'a b': a name is letters"),
        (["--set", "optimization.steps=many"], "optimization.steps is a int"),
        (["--set", "nonsense"], "--set nonsense: write SECTION.KEY=VALUE"),
        (["--recipe", "nothing"], "no recipe 'nothing'"),
    ],
)
def test_wrong_usage(train, output, options, message):
    assert refused(train(*options), 2, message)
    assert list(output.parent.iterdir()) == []


def test_labels_and_output_must_be_named(cohort):
    assert run(["train", cohort.vcf, "--labels", cohort.labels]).status == 2
    assert run(["train", cohort.vcf, "-o", "x"]).status == 2


def test_an_existing_bundle_is_kept_unless_forced(train, output, tiny_bundle):
    shutil.copytree(tiny_bundle, output)
    before = (output / "model.safetensors").read_bytes()
    assert refused(train(), 2, f"{output} exists: --force replaces it")
    assert (output / "model.safetensors").read_bytes() == before
    assert train("--force").status == 0
    assert (output / "model.safetensors").read_bytes() != before


def test_a_folder_that_is_no_bundle_is_never_replaced(train, output):
    output.mkdir()
    (output / "thesis.tex").write_text("years of work")
    for force in ([], ["--force"]):
        assert refused(train(*force), 2, "exists and is not a model bundle")
    assert [file.name for file in output.parent.rglob("*")] == ["model", "thesis.tex"]


def test_a_run_that_fails_leaves_no_bundle(train, output):
    result = train("--set", "optimization.learning_rate=1e30")
    assert refused(result, 1, "lower the learning rate")
    assert list(output.parent.iterdir()) == []


LONG = f"{SHORT} optimization.steps=200 optimization.evaluate_every=20"


def killed_in_the_second_network(command, folder):
    """Start a run and kill it when its second network has been evaluated; whether it was still running."""
    checkpoint = folder / "model.training" / "member-1.pt"
    process = subprocess.Popen([*command, "-o", str(folder / "model")], env=os.environ)
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.exists():
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL and not (folder / "model").exists()


@pytest.fixture(scope="module")
def killed(cohort, tmp_path_factory):
    """The folder of a run that was killed while it trained its second network, and its arguments."""
    files = [cohort.vcf, "--labels", cohort.labels, "--panel", cohort.panel]
    files += ["--recipe", "ancestry-967"]
    arguments = [*files, "--device", "cpu", "--threads", "1", "-q", *changes(LONG)]
    command = [sys.executable, "-m", "genomai_cli", "train", *map(str, arguments)]
    for _ in range(3):  # on a busy machine the run may be over before we see how far it is
        folder = tmp_path_factory.mktemp("killed")
        if killed_in_the_second_network(command, folder):
            break
    assert {file.name for file in (folder / "model.training").iterdir()} >= {
        "run.json", "metrics.tsv", "member-0.pt", "member-1.pt"
    }  # fmt: skip
    return folder, arguments


@pytest.fixture
def interrupted(killed, tmp_path):
    """A copy of the killed run's folder, and its arguments."""
    folder, arguments = killed
    shutil.copytree(folder, tmp_path / "runs")
    return tmp_path / "runs" / "model", arguments


def test_a_killed_run_resumes_to_the_same_bytes(interrupted, tmp_path):
    model, arguments = interrupted
    resumed = run(["train", *arguments, "-o", model, "--resume"])
    assert resumed.status == 0, resumed.stderr
    uninterrupted = tmp_path / "unbroken" / model.name
    assert run(["train", *arguments, "-o", uninterrupted]).status == 0
    weights = [(folder / "model.safetensors").read_bytes() for folder in (model, uninterrupted)]
    assert weights[0] == weights[1]
    configs = [config_of(folder) for folder in (model, uninterrupted)]
    for config in configs:
        del config["provenance"]["seconds"]
    assert configs[0] == configs[1]
    assert not model.with_name("model.training").exists()


def test_an_interrupted_run_is_not_overwritten_by_mistake(interrupted):
    model, arguments = interrupted
    result = run(["train", *arguments, "-o", model])
    assert refused(result, 2, "holds an interrupted run: --resume goes on, --force starts over")
    assert model.with_name("model.training").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "1"], "holds a run with other seed"),
        (["--set", "optimization.steps=300"], "holds a run with other recipe"),
        (["--head", "pop=population"], "holds a run with other samples"),
        (["--model", "tiny_bundle"], "holds a run with other start"),
    ],
)
def test_another_run_is_not_resumed(interrupted, options, message, request):
    model, arguments = interrupted
    options = [str(request.getfixturevalue(o)) if o == "tiny_bundle" else o for o in options]
    assert refused(run(["train", *arguments, "-o", model, "--resume", *options]), 2, message)


def test_force_starts_an_interrupted_run_over(interrupted):
    model, arguments = interrupted
    fewer_steps = changes("optimization.steps=6")
    result = run(["train", *arguments, *fewer_steps, "-o", model, "--force", "--seed", "1"])
    assert result.status == 0
    assert config_of(model)["provenance"]["seed"] == 1


@pytest.mark.parametrize(
    ("file", "damage", "status", "message"),
    [
        ("member-1.pt", b"garbage", 1, "member-1.pt: not a checkpoint"),
        ("run.json", b"garbage", 2, "run.json is damaged: without --resume, --force starts over"),
        ("run.json", b'{"run": {}, "sha256": ""}', 2, "run.json is damaged"),
        ("run.json", None, 2, "model.training holds no run that could be resumed"),
    ],
)
def test_a_damaged_interrupted_run_is_told(interrupted, file, damage, status, message):
    model, arguments = interrupted
    damaged = model.with_name("model.training") / file
    damaged.unlink() if damage is None else damaged.write_bytes(damage)
    assert refused(run(["train", *arguments, "-o", model, "--resume"]), status, message)


def test_resume_without_an_interrupted_run_starts_one(train):
    assert train("--resume").status == 0


def test_the_default_for_genotypes_is_solved_without_steps(cohort, output):
    files = [cohort.vcf, "--labels", cohort.labels, "--panel", cohort.panel, "-o", output]
    result = run(["train", *files, "--device", "cpu", *changes("split.folds=2 likelihood.axes=2")])
    assert result.status == 0, result.stderr
    config = config_of(output)
    assert (config["network"]["kind"], config["members"]) == ("genotype_regression", 1)
    assert config["likelihood"]["information"] is True
    for head, min_accuracy in (("superpop", 0.95), ("pop", 0.8)):
        assert config["provenance"]["validation"][head]["accuracy"] >= min_accuracy


def test_what_is_solved_begins_with_no_model(train, tiny_bundle):
    settings = "split.folds=2 likelihood.axes=2"
    result = train("--recipe", "ancestry", "--model", tiny_bundle, settings=settings)
    assert refused(result, 1, "genotype_regression networks are solved, they begin with no model")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model m --adapt lora --lora-alpha inf", "not a finite number"),
        ("--model m --adapt probe --lora-rank 4", "are for --adapt lora"),
        ("--lora-alpha 0", "are for --adapt lora"),
        ("--recipe sequences --time 5m", "--time is for the recipe auto"),
        ("--reference r.fa", "has no use for it"),
    ],
)
def test_options_without_an_effect_are_refused(tmp_path, options, message):
    (tmp_path / "x.csv").write_text("sequence,label\nACGTACGT,a\nTTGGCCAA,b\n")
    result = run(["train", tmp_path / "x.csv", "-o", tmp_path / "made", *options.split()])
    assert result.status == 2, result.stderr
    assert message in result.stderr
    assert not (tmp_path / "made").exists()
