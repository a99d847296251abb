"""The shipped models: complete, with cards, and correct for the example samples."""

import re
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, SHARED, needs_shared, run

from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles import catalog

MODELS = REPOSITORY / "models"
EXAMPLES = REPOSITORY / "examples"
DATA_1KGP = SHARED / "data" / "1kgp"
SHIPPED = sorted(path for path in MODELS.iterdir() if (path / "model.safetensors").is_file())
SUPERPOPULATIONS = {
    "AFR": "ACB ASW ESN GWD LWK MSL YRI",
    "AMR": "CLM MXL PEL PUR",
    "EAS": "CDX CHB CHS JPT KHV",
    "EUR": "CEU FIN GBR IBS TSI",
    "SAS": "BEB GIH ITU PJL STU",
}
SUPERPOPULATION_OF = {p: name for name, pops in SUPERPOPULATIONS.items() for p in pops.split()}

pytestmark = pytest.mark.usefixtures("one_thread", "shipped_only")


@pytest.fixture(params=SHIPPED, ids=lambda path: path.name)
def model(request) -> Path:
    return request.param


@pytest.fixture(scope="module")
def example_calls(shipped_only):
    """The rows of the example samples, from VCF, by name: column to field."""
    result = run(["classify", "--device", "cpu", "-q", EXAMPLES / "samples.vcf.gz"])
    assert result.status == 0, result.stderr
    header, *rows = result.rows
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def test_a_model_loads(model):
    bundle = bundles.load(model, torch.device("cpu"))
    assert bundle.name == model.name
    assert re.fullmatch(r"\d+\.\d+\.\d+", bundle.version)


def test_a_model_is_as_it_was_made(model):
    result = run(["models", "verify", model])
    assert (result.status, result.rows[0][1]) == (0, "OK")


def test_a_model_has_all_its_files(model):
    files = {file.name for file in model.iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "recipe.toml"} <= files
    if catalog.read_config(model)["input"]["kind"] != "sequence":
        assert "panel.tsv" in files or {"reference.fa", "sites.tsv"} <= files
    assert not any(name.endswith((".pt", ".pkl", ".bin")) for name in files)


def test_a_card_has_figures_limits_and_the_command_that_made_it(model):
    card = (model / "README.md").read_text()
    headings = {line[3:].lower() for line in card.splitlines() if line.startswith("## ")}
    for section in ("data", "method", "results", "limits", "reproduce"):
        assert any(section in heading for heading in headings), section
    assert re.search(r"0\.\d{3}|\d\d\.\d %", card)
    assert re.search(r"genomai ((pre)?train|models new)", card)


@pytest.mark.parametrize("name", ["ancestry", "ancestry-967"])
def test_the_ancestry_models_answer_with_the_labels_of_the_1000_genomes_project(name):
    heads = catalog.read_config(MODELS / name)["heads"]
    assert list(heads) == ["superpop", "pop"]
    assert heads["superpop"] == sorted(SUPERPOPULATIONS)
    assert heads["pop"] == sorted(SUPERPOPULATION_OF)


@pytest.mark.parametrize("name", ["ancestry", "ancestry-967"])
def test_the_ancestry_models_know_which_population_lies_where(name):
    config = catalog.read_config(MODELS / name)
    parents = config["likelihood"]["nesting"]["superpop"]
    labels = config["heads"]
    for population, parent in zip(labels["pop"], parents, strict=True):
        assert labels["superpop"][parent] == SUPERPOPULATION_OF[population]


def test_the_reference_model_has_734213_parameters():
    result = run("models show genomai-v2")
    assert result.status == 0
    assert ["parameters", "734,213"] in result.rows
    config = catalog.read_config(MODELS / "genomai-v2")
    assert config["heads"] == {"superpop": sorted(SUPERPOPULATIONS)}
    assert len((MODELS / "genomai-v2" / "panel.tsv").read_text().splitlines()) == 201


def test_the_models_are_listed():
    listed = [row[0] for row in run("models list").rows[1:]]
    assert set(listed) >= {path.name for path in SHIPPED}


def test_the_example_samples_are_classified_as_their_names_say(example_calls):
    unadmixed = [name for name in example_calls if re.fullmatch(r"synthetic_[A-Z]{3}_1", name)]
    assert len(unadmixed) == 10
    for name in unadmixed:
        expected = SUPERPOPULATION_OF[name.split("_")[1]]
        assert example_calls[name]["superpop"] == expected, name
        assert SUPERPOPULATION_OF[example_calls[name]["pop"]] == expected, name
        assert float(example_calls[name]["superpop_p"]) > 0.9, name


def test_the_child_of_two_continents_is_flagged(example_calls):
    assert "ADMIXED" in example_calls["synthetic_YRI_CEU_1"]["flags"].split(",")


def test_a_tenth_of_the_sites_suffices_for_the_continent(example_calls):
    sparse = example_calls["synthetic_GBR_sparse_1"]
    assert sparse["superpop"] == "EUR"
    assert int(sparse["used"]) == 97
    assert float(sparse["call_rate"]) == pytest.approx(97 / 24493, abs=1e-4)


def test_the_older_model_flags_a_tenth_of_its_sites():
    result = run(
        ["classify", "--device", "cpu", "--model", "ancestry-967", EXAMPLES / "samples.fa"]
    )
    sparse = dict(zip(result.rows[0], result.rows[-1], strict=True))
    assert (sparse["sample"], sparse["superpop"]) == ("synthetic_GBR_sparse_1", "EUR")
    assert sparse["flags"] == "LOW_CALL_RATE"
    assert float(sparse["call_rate"]) == pytest.approx(0.1, abs=0.03)


def test_examples_in_fasta_have_the_rows_of_the_vcf(example_calls):
    header, *rows = run(["classify", "--device", "cpu", EXAMPLES / "samples.fa"]).rows
    assert [dict(zip(header, row, strict=True)) for row in rows] == list(example_calls.values())


def test_the_reference_model_reads_the_examples_from_vcf_and_fasta():
    command = ["classify", "--device", "cpu", "-q", "--model", "genomai-v2"]
    tables = [run([*command, EXAMPLES / name]) for name in ("samples.vcf.gz", "samples.fa")]
    assert tables[0].output == tables[1].output
    correct = [SUPERPOPULATION_OF[row[0].split("_")[1]] == row[1] for row in tables[0].rows[1:11]]
    assert sum(correct) >= 9


@pytest.fixture(scope="module")
def training_samples():
    """Fifty samples of the training data as FASTA, and their superpopulations."""
    from genomai_cli.formats.fasta import fasta_entry
    from genomai_cli.formats.streams import open_inputs
    from genomai_cli.formats.tables import read_labels
    from genomai_cli.population.barcode import read_barcodes
    from genomai_cli.population.panel import Panel

    panel = Panel.read(MODELS / "ancestry-967" / "panel.tsv")
    barcodes = read_barcodes(open_inputs([DATA_1KGP / "train.grch37.vcf.gz"]), panel)
    selected = list(barcodes.records())[::40][:50]
    labels = read_labels(DATA_1KGP / "train.labels.tsv").column("superpopulation")
    fasta = "".join(fasta_entry(record) for record in selected)
    return fasta, [labels[record.name] for record in selected]


@needs_shared
@pytest.mark.parametrize("name", ["ancestry", "ancestry-967", "genomai-v2"])
def test_training_samples_are_classified_correctly(name, training_samples):
    fasta, truth = training_samples
    result = run(["classify", "--device", "cpu", "--model", MODELS / name], stdin=fasta)
    assert result.status == 0, result.stderr
    correct = [row[1] == label for row, label in zip(result.rows[1:], truth, strict=True)]
    assert len(correct) == 50
    assert sum(correct) >= 48
