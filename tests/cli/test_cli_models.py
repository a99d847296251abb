"""`genomai models`: list, show, verify; and the catalogue that finds bundles by name."""

import hashlib
import json
import shutil
import struct

import pytest
from conftest import DATA, REPOSITORY, run

from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError


def make_bundle(folder, name="toy", **changes):
    """A bundle with one 2x3 tensor and one of 4 values; `changes` go into its config."""
    path = folder / name
    path.mkdir()
    header = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [24, 40]},
    }
    text = json.dumps(header).encode()
    weights = struct.pack("<Q", len(text)) + text + bytes(40)
    (path / "model.safetensors").write_bytes(weights)
    (path / "README.md").write_text("# A toy\n\nKnows nothing.\n\n## Data\n\nNone.\n")
    config = {
        "format_version": 1,
        "name": name,
        "version": "0.3",
        "description": "a toy",
        "tokenizer": {"kind": "iupac"},
        "heads": {"superpop": ["AFR", "EUR"]},
        "trainable_parameters": 10,
        "files": {"model.safetensors": hashlib.sha256(weights).hexdigest()},
    } | changes
    (path / "config.json").write_text(json.dumps(config))
    return path


def loadable_bundle(folder, name):
    """A bundle that can be loaded, under this name."""
    return shutil.copytree(DATA / "bundles-format-1" / "sites", folder / name)


@pytest.fixture
def toy(models_folder):
    return make_bundle(models_folder)


def row_of(result, name):
    return next(row for row in result.rows if row[0] == name)


def test_list_has_a_row_a_model(toy):
    result = run("models list")
    assert result.status == 0
    assert result.rows[0] == ["name", "version", "heads", "parameters", "bytes", "description"]
    size = str(sum(file.stat().st_size for file in toy.iterdir()))
    assert row_of(result, "toy") == ["toy", "0.3", "superpop:2", "10", size, "a toy"]


def test_list_counts_values_where_the_config_does_not(models_folder):
    make_bundle(models_folder, "bare", trainable_parameters=None, heads={})
    assert row_of(run("models list"), "bare")[2:4] == [".", "10"]


def test_list_leaves_out_a_model_it_cannot_read(toy, models_folder):
    (models_folder / "broken").mkdir()
    (models_folder / "broken" / "config.json").write_text("{")
    result = run("models list")
    assert result.status == 0
    assert row_of(result, "toy")
    assert "broken" not in result.stdout
    assert "not JSON" in result.stderr


def test_show_prints_facts_card_and_config(toy):
    result = run("models show toy")
    assert result.status == 0
    assert ["parameters", "10"] in result.rows
    assert "Knows nothing." in result.stdout
    assert "## Data" not in result.stdout
    assert '"kind": "iupac"' in result.stdout


def test_show_takes_a_folder(toy):
    assert run(["models", "show", toy]).stdout == run("models show toy").stdout


def test_show_names_what_is_installed(toy):
    result = run("models show tyo")
    assert result.status == 1
    assert result.stdout == ""
    assert result.stderr.startswith("genomai models show: no model named 'tyo': installed are ")
    assert "toy" in result.stderr


def test_verify_says_ok(models_folder):
    loadable_bundle(models_folder, "toy")
    result = run("models verify toy")
    assert result.status == 0
    assert result.rows == [["toy", "OK", "."]]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "model.safetensors").write_bytes(b"x"), "damaged safetensors header"),
        (lambda path: (path / "panel.tsv").write_bytes(b"x"), "SHA-256 differs"),
        (lambda path: (path / "model.safetensors").unlink(), "missing"),
        (lambda path: (path / "config.json").write_text("[]"), "no format_version"),
        (lambda path: (path / "config.json").write_text("{"), "not JSON"),
        (lambda path: (path / "config.json").write_text('{"format_version": 2}'), "newer"),
        (lambda path: (path / "config.json").write_text('{"format_version": 1}'), "no checksum"),
    ],
)
def test_verify_names_each_damage(models_folder, damage, reason):
    loadable_bundle(models_folder, "sound")
    damage(loadable_bundle(models_folder, "toy"))
    result = run("models verify sound toy")
    assert result.status == 1
    assert result.rows[0] == ["sound", "OK", "."]
    assert result.rows[1][:2] == ["toy", "DAMAGED"]
    assert reason in result.rows[1][2]
    assert result.stderr == "genomai models verify: damaged: toy\n"


def test_the_first_folder_of_the_list_wins(tmp_path, monkeypatch):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        make_bundle(folder)
    monkeypatch.setenv("GENOMAI_MODELS", ":".join(map(str, folders)))
    assert catalog.find("toy") == folders[0] / "toy"
    assert catalog.names().count("toy") == 1


def test_a_folder_without_config_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"no config\.json in it"):
        catalog.find(tmp_path)
    with pytest.raises(BundleError, match="no such folder"):
        catalog.find(tmp_path / "nothing")


def test_a_folder_in_the_working_directory_is_found_by_name(tmp_path, monkeypatch):
    make_bundle(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert catalog.find("toy").resolve() == tmp_path / "toy"


@pytest.mark.parametrize("weights", [b"", b"\xff" * 8, struct.pack("<Q", 2) + b"{]"])
def test_a_damaged_header_is_refused(toy, weights):
    (toy / "model.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match="damaged safetensors header"):
        catalog.tensor_shapes(toy)


def test_the_ancestry_panel_is_shipped():
    assert catalog.panel_of("ancestry-967").read_text().startswith("chrom\tpos_grch37\tpos_grch38")


def test_a_model_without_a_panel_says_so(toy):
    with pytest.raises(BundleError, match="has no panel"):
        catalog.panel_of("toy")


def test_a_new_model_is_untrained(tmp_path):
    target = tmp_path / "fresh"
    results = [
        run(["models", "new", "--recipe", "kmers", "--seed", seed, "-o", tmp_path / f"fresh{seed}"])
        for seed in (0, 1)
    ]
    assert [result.status for result in results] == [0, 0], results[0].stderr
    one, other = ((tmp_path / f"fresh{seed}" / "model.safetensors").read_bytes() for seed in (0, 1))
    assert one == other == (REPOSITORY / "models" / "kmers" / "model.safetensors").read_bytes()
    with_network = run(
        ["models", "new", "--recipe", "dnabert-6-tiny", "--set", "network.layers=1", "-o", target]
    )
    assert with_network.status == 0, with_network.stderr
    assert run(["models", "verify", target]).stdout == f"{target}\tOK\t.\n"


def test_a_bundle_that_exists_is_replaced_when_asked_to(tmp_path, monkeypatch):
    made, converted, folder = (tmp_path / name for name in ("made", "converted", "folder"))
    folder.mkdir()
    commands = {
        made: ["models", "new", "--recipe", "kmers", "-o", made],
        converted: ["models", "convert", made, "-o", converted],
    }
    for output, command in commands.items():
        assert run(command).status == 0
        (output / "README.md").write_text("mine\n")
        again = run(command)
        assert (again.status, again.stdout) == (2, "")
        assert f"{output} exists: --force replaces it" in again.stderr
        assert (output / "README.md").read_text() == "mine\n"
        assert run([*command, "--force"]).status == 0
        assert (output / "README.md").read_text() != "mine\n"
        other = run([*command[:-1], folder, "--force"])
        assert other.status == 2
        assert "is not a model bundle: it would not be replaced" in other.stderr
        monkeypatch.chdir(output)
        nameless = run([*command[:-1], ".", "--force"])
        assert nameless.status == 2
        assert "name the folder that is to become a bundle" in nameless.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["converted", "folder", "made"]


@pytest.mark.parametrize("recipe", ["ancestry", "auto"])
def test_a_recipe_that_follows_from_data_makes_no_new_model(recipe, tmp_path):
    result = run(["models", "new", "--recipe", recipe, "-o", tmp_path / "x"])
    assert result.status == 1
    assert "its network follows from data" in result.stderr
    assert not (tmp_path / "x").exists()
