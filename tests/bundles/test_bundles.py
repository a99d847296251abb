"""Bundles: saved and loaded alike, completely or not at all, and every damage refused with a clear line."""

import hashlib
import json
import shutil
import struct

import numpy as np
import pytest
import torch
from conftest import SITES, run
from safetensors.torch import load_file, save_file

from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles import catalog, writing
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import BundleError

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
EXTRAS = Extras("# A card\n", 'name = "x"\n', {"metrics.tsv": "step\tloss\n"})


@pytest.fixture
def bundle_copy(tiny_bundle, tmp_path):
    """A copy of the tiny bundle, to be damaged."""
    return shutil.copytree(tiny_bundle, tmp_path / "model")


@pytest.fixture(scope="module")
def tiny(tiny_bundle):
    return bundles.load(tiny_bundle, CPU)


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def change_config(folder, **changes):
    config = config_of(folder)
    for name, value in changes.items():
        if value is None:
            del config[name]
        else:
            config[name] = value
    (folder / "config.json").write_text(json.dumps(config))


def record_checksums(folder):
    """Make the recorded checksums those of the files, as someone would who tampers with care."""
    files = {name: sha256(folder / name) for name in config_of(folder)["files"]}
    change_config(folder, files=files)


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def change_tensors(folder, change):
    """Rewrite the weights, their checksum as well."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    record_checksums(folder)


def scores_of(bundle):
    ids = torch.randint(0, 11, (5, SITES), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        scores = bundle.classifier(ids)
        return scores, bundle.classifier.fusion(scores, torch.ones(5))


def test_a_saved_bundle_answers_as_before(tiny, tmp_path):
    bundles.save(tiny, tmp_path / "again", EXTRAS)
    reloaded = bundles.load(tmp_path / "again", CPU)
    for before, after in zip(scores_of(tiny), scores_of(reloaded), strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert reloaded.heads == tiny.heads
    assert reloaded.coordinates.sha256 == tiny.coordinates.sha256


def test_saving_what_was_loaded_gives_the_same_files(tiny_bundle, tiny, tmp_path):
    recipe = (tiny_bundle / "recipe.toml").read_text()
    bundles.save(tiny, tmp_path / "again", Extras("# Another card\n", recipe))
    for name in ("model.safetensors", "panel.tsv", "recipe.toml", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tiny_bundle / name).read_bytes(), name


def test_a_bundle_holds_all_its_files_and_their_checksums(tiny, tmp_path):
    bundles.save(tiny, tmp_path / "again", EXTRAS)
    files = {file.name for file in (tmp_path / "again").iterdir()}
    assert files == {
        "README.md", "config.json", "metrics.tsv", "model.safetensors", "panel.tsv", "recipe.toml",
        "structure.safetensors",
    }  # fmt: skip
    recorded = config_of(tmp_path / "again")["files"]
    assert recorded == {
        name: sha256(tmp_path / "again" / name)
        for name in ("model.safetensors", "panel.tsv", "recipe.toml", "structure.safetensors")
    }


def test_the_config_says_what_the_weights_are(tiny_bundle, tiny):
    config = config_of(tiny_bundle)
    assert config["format_version"] == 1
    assert config["trainable_parameters"] == tiny.classifier.trainable_parameters
    assert config["heads"] == {"superpop": ["NORTH", "SOUTH"], "pop": ["NOA", "NOB", "SOC"]}
    assert {"seed", "device", "torch", "samples"} <= config["provenance"].keys()


def test_weights_are_stored_in_single_precision_and_genotype_tables_in_bytes(tiny_bundle):
    dtypes = {
        name: tensor.dtype for name, tensor in load_file(tiny_bundle / "model.safetensors").items()
    }
    assert dtypes.pop("genotypes.table") == torch.int8
    assert set(dtypes.values()) == {torch.float32}


def test_a_loaded_bundle_is_ready_for_inference(tiny_bundle):
    loaded = bundles.load(tiny_bundle, CPU, torch.float64)
    assert not any(module.training for module in loaded.classifier.modules())
    assert all(
        p.dtype == torch.float64 and not p.requires_grad for p in loaded.classifier.parameters()
    )
    assert loaded.weights_sha256 == sha256(tiny_bundle / "model.safetensors")


def test_an_existing_bundle_is_replaced(tiny, tmp_path):
    for card in ("# Old\n", "# New\n"):
        bundles.save(tiny, tmp_path / "model", Extras(card, ""))
    assert (tmp_path / "model" / "README.md").read_text() == "# New\n"
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_bundle_is_not_replaced(tiny, tmp_path, kind):
    target = tmp_path / "thesis"
    if kind == "folder":
        target.mkdir()
        (target / "chapter1.tex").write_text("years of work")
    else:
        target.write_text("years of work")
    with pytest.raises(BundleError, match="exists and is not a model bundle"):
        bundles.save(tiny, target, EXTRAS)
    existing = target / "chapter1.tex" if kind == "folder" else target
    assert existing.read_text() == "years of work"
    assert [file.name for file in tmp_path.iterdir()] == ["thesis"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_save_that_fails_leaves_things_as_they_were(tiny, tmp_path, monkeypatch, exists):
    target = tmp_path / "model"
    if exists:
        bundles.save(tiny, target, Extras("# Old\n", ""))
    monkeypatch.setattr(writing, "_checksums", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bundles.save(tiny, target, EXTRAS)
    assert [file.name for file in tmp_path.iterdir()] == ["model"] * exists
    if exists:
        assert catalog.problems(target) == []
        assert (target / "README.md").read_text() == "# Old\n"


def test_arrays_that_could_not_be_loaded_are_not_written(tmp_path):
    arrays = {"place": np.array([0, np.nan], np.float32), "packed": np.ones((2, 1), np.uint8)}
    with pytest.raises(BundleError, match=r"not written: members\.0\.place has become NaN"):
        writing.save_arrays(tmp_path / "m", {}, arrays, lambda folder: None, EXTRAS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_could_not_be_loaded_is_not_written(tiny_bundle, tmp_path, number):
    bundle = bundles.load(tiny_bundle, torch.device("cpu"))
    bundle.config["provenance"] = {"loss": number}
    with pytest.raises(BundleError, match="not written: a number of its config is NaN or infinite"):
        bundles.save(bundle, tmp_path / "model", EXTRAS)
    name, weight = next(iter(bundle.classifier.named_parameters()))
    with torch.no_grad():
        weight.view(-1)[0] = number
    with pytest.raises(BundleError, match=f"model: not written: {name} has become NaN"):
        bundles.save(bundle, tmp_path / "model", EXTRAS)
    assert list(tmp_path.iterdir()) == []


def test_the_working_directory_may_be_a_bundle(tiny_bundle, monkeypatch):
    monkeypatch.chdir(tiny_bundle)
    assert bundles.load(".", torch.device("cpu")).name == "tiny"


@pytest.mark.parametrize(
    ("name", "message"), [("", "no model named ''"), ("/", "/: not a model bundle")]
)
def test_what_names_no_folder_is_refused(name, message):
    with pytest.raises(BundleError, match=message):
        bundles.load(name, torch.device("cpu"))


def test_folders_on_the_way_are_made(tiny, tmp_path):
    bundles.save(tiny, tmp_path / "a" / "b", EXTRAS)
    assert catalog.problems(tmp_path / "a" / "b") == []


def truncate(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def truncate_and_record(folder):
    truncate(folder)
    record_checksums(folder)


def not_safetensors(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"{{{{")
    record_checksums(folder)


def remove_panel(folder, *, recorded=True):
    (folder / "panel.tsv").unlink()
    if not recorded:
        files = config_of(folder)["files"]
        del files["panel.tsv"]
        change_config(folder, files=files)


def shorter_panel(folder):
    lines = (folder / "panel.tsv").read_text().splitlines(keepends=True)
    (folder / "panel.tsv").write_text("".join(lines[:-1]))
    record_checksums(folder)


def garbage_panel(folder):
    (folder / "panel.tsv").write_text("garbage\n")
    record_checksums(folder)


def other_shape(tensors):
    tensors["likelihood.log_prior"] = torch.zeros(4)


DAMAGES = {
    "missing tensor": (
        lambda f: change_tensors(f, lambda t: t.pop("likelihood.theta")),
        "model.safetensors: missing tensor likelihood.theta (1 in all)",
    ),
    "extra tensor": (
        lambda f: change_tensors(f, lambda t: t.update(extra=torch.zeros(2))),
        "model.safetensors: unknown tensor extra (1 in all)",
    ),
    "other shape": (
        lambda f: change_tensors(f, other_shape),
        "model.safetensors: tensor likelihood.log_prior has another shape",
    ),
    "weights cut off": (
        truncate,
        "model.safetensors: damaged safetensors header: of another number of bytes",
    ),
    "weights cut off, checksum right": (truncate_and_record, "model.safetensors: "),
    "not safetensors, checksum right": (not_safetensors, "model.safetensors: "),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: missing"),
    "panel changed": (
        lambda f: (f / "panel.tsv").write_text("chrom\n"),
        "panel.tsv: SHA-256 differs",
    ),
    "no panel": (remove_panel, "panel.tsv: missing"),
    "no panel, not recorded": (lambda f: remove_panel(f, recorded=False), "needs a panel"),
    "shorter panel, checksum right": (shorter_panel, "sites, where the network has"),
    "garbage panel, checksum right": (garbage_panel, "panel.tsv:1: no column 'chrom'"),
    "newer format": (lambda f: change_config(f, format_version=2), "format 2 is newer than"),
    "no format": (lambda f: change_config(f, format_version=None), "no format_version"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
    "not text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "config.json: not JSON"),
    "no checksums": (lambda f: change_config(f, files=None), "no checksum of model.safetensors"),
    "odd checksums": (lambda f: change_config(f, files=["x"]), "damaged config: files"),
    "no heads": (lambda f: change_config(f, heads=None), "damaged config: "),
    "odd heads": (lambda f: change_config(f, heads=["x"]), "damaged config"),
    "another head": (
        lambda f: change_config(f, heads={"superpop": ["A", "B"]}),
        "damaged config: as a whole: likelihood is of a head pop that is not there",
    ),
    "no network": (lambda f: change_config(f, network=None), "damaged config"),
    "unknown network": (lambda f: change_config(f, network={"kind": "magic"}), "network 'magic'"),
    "unknown tokenizer": (
        lambda f: change_config(f, tokenizer={"kind": "magic"}),
        "no tokenizer of kind 'magic'",
    ),
    "no input": (lambda f: change_config(f, input=None), "damaged config"),
    "no name": (lambda f: change_config(f, name=None), "damaged config"),
    "fewer members": (lambda f: change_config(f, members=1), "unknown tensor members.1."),
    "odd members": (lambda f: change_config(f, members="two"), "damaged config"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused_in_one_line(bundle_copy, cohort, damage):
    apply_damage, message = DAMAGES[damage]
    apply_damage(bundle_copy)
    result = run(["classify", "--device", "cpu", "--model", bundle_copy, cohort.newcomers])
    assert result.status == 1
    assert result.stdout == ""
    assert result.stderr.startswith("genomai classify: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert "unexpected" not in result.stderr


def test_an_untouched_copy_is_accepted(bundle_copy, cohort):
    assert (
        run(["classify", "--device", "cpu", "--model", bundle_copy, cohort.newcomers]).status == 0
    )


@pytest.mark.parametrize("file", ["README.md", "metrics.tsv"])
def test_what_people_read_may_be_changed(bundle_copy, file):
    (bundle_copy / file).write_text("improved by hand\n")
    assert bundles.load(bundle_copy, CPU).name == "tiny"


def test_a_model_without_a_panel_reads_no_vcf(tiny_sequence_bundle):
    loaded = bundles.load(tiny_sequence_bundle, CPU)
    with pytest.raises(BundleError, match="has no panel: it does not read VCF"):
        _ = loaded.coordinates


def test_the_fusion_is_in_double_precision_whatever_the_rest_is_in(tiny):
    assert all(values.dtype == torch.float64 for values in tiny.fusion.buffers())
    assert all(values.dtype == torch.float32 for values in tiny.classifier.fusion.buffers())


def test_a_bundle_in_memory_needs_no_files(tiny):
    bundle = Bundle(tiny.config, tiny.classifier, tiny.input)
    assert (bundle.name, bundle.version, bundle.weights_sha256) == ("tiny", "1.0.0", "")
