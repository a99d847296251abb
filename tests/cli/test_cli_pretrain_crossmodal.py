"""`pretrain --objective crossmodal`: from a cohort and its phenotypes to a model, alone or attached to another."""

import json

import pytest
from conftest import changes, run
from safetensors.torch import load_file

from genomai_cli.bundles import catalog

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = (
    "network.width=16 network.size=8 network.layers=1 optimization.steps=10 "
    "optimization.batch_size=16 optimization.evaluate_every=5"
)


@pytest.fixture(scope="module")
def phenotypes(cohort, tmp_path_factory):
    """The labels of the cohort, and heights."""
    file = tmp_path_factory.mktemp("phenotypes") / "people.tsv"
    header, *rows = cohort.labels.read_text().splitlines()
    lines = [f"{header}\theight\n"]
    lines += [f"{row}\t{150 + number % 40}\n" for number, row in enumerate(rows)]
    file.write_text("".join(lines))
    return file


@pytest.fixture
def pretrain(cohort, phenotypes, tmp_path):
    """Pretrains for a few steps."""

    def run_pretrain(*options, table=phenotypes, output=tmp_path / "model"):
        arguments = ["--objective", "crossmodal", "--panel", cohort.panel, *changes(TINY)]
        if table is not None:
            arguments += ["--phenotypes", table]
        return run(["pretrain", cohort.vcf, "-o", output, "--device", "cpu", *arguments, *options])

    return run_pretrain


def refused(result, status, message):
    assert result.status == status, result.stderr
    assert message in result.stderr.splitlines()[-1]
    return True


def test_a_model_of_ones_own_phenotypes(pretrain, cohort, tmp_path):
    result = pretrain("--set", "crossmodal.groups=population")
    assert result.status == 0, result.stderr
    folder = tmp_path / "model"
    assert catalog.problems(folder) == []
    config = json.loads((folder / "config.json").read_text())
    assert "phenotypes.tsv" in config["files"]
    columns = config["network"]["columns"]
    assert [c["name"] for c in columns["categories"]] == ["population", "superpopulation"]
    assert [n["name"] for n in columns["numbers"]] == ["height"]
    records = (folder / "phenotypes.tsv").read_text().splitlines()
    assert records[0] == "record\tpopulation\tsuperpopulation\theight"
    assert records[1] == "NOA\tNOA\tNORTH\t."
    card = (folder / "README.md").read_text()
    assert "It ranks phenotype records" in card
    aligned = run(["align", cohort.newcomers, "--model", folder, "--device", "cpu", "-q"])
    assert aligned.status == 0, aligned.stderr
    assert aligned.rows[0] == ["sample", "phenotype", "similarity", "rank"]


def test_attached_to_another_model_that_stays_as_it_is(pretrain, tiny_bundle, cohort, tmp_path):
    target = tmp_path / "both"
    result = pretrain("--model", tiny_bundle, output=target)
    assert result.status == 0, result.stderr
    assert catalog.problems(target) == []
    before, after = (load_file(f / "model.safetensors") for f in (tiny_bundle, target))
    assert all(before[name].equal(after[name]) for name in before)
    assert {n.split(".")[1] for n in after.keys() - before.keys()} == {"crossmodal"}
    old, new = (json.loads((f / "config.json").read_text()) for f in (tiny_bundle, target))
    assert (new["version"], new["heads"]) == ("1.1.0", old["heads"])
    assert new["provenance"] == old["provenance"]
    assert (target / "recipe.toml").read_bytes() == (tiny_bundle / "recipe.toml").read_bytes()
    assert {"crossmodal.toml", "crossmodal-metrics.tsv", "crossmodal-loss.png"} <= {
        file.name for file in target.iterdir()
    }
    card = (target / "README.md").read_text()
    heading, body = (tiny_bundle / "README.md").read_text().rstrip().split("\n", 1)
    assert (heading, card.split("\n")[0]) == ("# tiny 1.0.0", "# both 1.1.0")
    assert body in card
    assert "\n# crossmodal\n" in card
    calls = [
        run(["classify", cohort.newcomers, "--model", f, "-q"]).rows for f in (tiny_bundle, target)
    ]
    assert [row[:-1] for row in calls[0]] == [row[:-1] for row in calls[1]]


def test_attached_once_more(pretrain, tiny_bundle, tmp_path):
    """A second network replaces the first."""
    target, again = tmp_path / "both", tmp_path / "again"
    assert pretrain("--model", tiny_bundle, output=target).status == 0
    result = pretrain("--model", target, "--seed", "1", output=again)
    assert result.status == 0, result.stderr
    assert (again / "README.md").read_text().count("\n# crossmodal\n") == 1
    assert catalog.problems(again) == []


def test_what_does_not_go_together(pretrain, tiny_sequence_bundle, tmp_path, cohort, phenotypes):
    assert refused(pretrain(table=None), 2, "--objective crossmodal needs --phenotypes")
    command = ["pretrain", cohort.vcf, "-o", tmp_path / "m", "--phenotypes", phenotypes]
    assert refused(run(command), 2, "--phenotypes are for --objective crossmodal")
    assert refused(pretrain("--model", tiny_sequence_bundle), 1, "has another tokenizer")


def test_samples_without_records_are_left_out(pretrain, phenotypes, tmp_path):
    incomplete = tmp_path / "some.tsv"
    lines = phenotypes.read_text().splitlines(keepends=True)
    incomplete.write_text("".join(lines[:-5]))
    result = pretrain(table=incomplete)
    assert result.status == 0
    assert "5 samples have no phenotypes and are left out" in result.stderr


def test_a_table_of_others_is_refused(pretrain, tmp_path):
    others = tmp_path / "others.tsv"
    others.write_text("who\tpop\nsomebody\tX\n")
    assert refused(pretrain(table=others), 1, "others.tsv: none of the samples has a record")
    assert not (tmp_path / "model").exists()


def test_a_damaged_table_names_its_line(pretrain, tmp_path):
    bad = tmp_path / "bad.tsv"
    bad.write_text("who\tlatitude\tlongitude\nNOA_0\t95\t0\n")
    assert refused(pretrain(table=bad), 1, "bad.tsv:2: latitude is 95")
