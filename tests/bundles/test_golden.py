"""Published figures: what the package holds of them, and how `models verify` compares a checkpoint with them."""

import csv
import hashlib
import json

import pytest
import torch
from conftest import SHARED, needs_shared, run
from test_evo_adapter import EVO1, EVO2, folder_of, of_evo1, tensors
from test_evo_adapter import OF_EVO2 as BLOCKS

from genomai_cli.backbones.heads import next_token_logs
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles import golden
from genomai_cli.bundles.adapters.evo2_releases import RELEASED

CPU = torch.device("cpu")
LETTERS = "ACGTNACGT"


@pytest.fixture
def figures(monkeypatch, tmp_path):
    """Figures of our own: of a released checkpoint its vector, and of prompts a loss."""
    folder = folder_of(tmp_path / "evo", of_evo1(), EVO1)
    bundle = bundles.load(folder, CPU)
    ids = torch.tensor([list(LETTERS.encode())])
    with torch.inference_mode():
        values = bundle.classifier.networks[0](ids)[0].mean(0).tolist()
    vector = {
        "source": "somebody/evo",
        "revision": "0123456789abcdef",
        "weights_sha256": bundle.weights_sha256,
        "letters": LETTERS,
        "tolerance": 1e-5,
        "values": values,
    }
    stored = {"vectors": [vector], "losses": {"values": {}}}
    file = tmp_path / "golden.json"
    monkeypatch.setattr(golden, "FILE", file)
    file.write_text(json.dumps(stored))
    return folder, stored, file


def test_a_checkpoint_is_compared_with_the_vector_of_its_checksum(figures):
    folder, stored, file = figures
    result = run(["models", "verify", folder])
    assert result.status == 0, result.stderr
    assert result.rows[0][1] == "OK"
    assert "somebody/evo at 0123456789ab" in result.rows[0][2]
    stored["vectors"][0]["values"][3] += 1e-3
    file.write_text(json.dumps(stored))
    result = run(["models", "verify", folder])
    assert result.status == 1
    assert result.rows[0][1] == "DIFFERENT"
    stored["vectors"][0]["weights_sha256"] = "0" * 64
    file.write_text(json.dumps(stored))
    result = run(["models", "verify", folder])
    assert result.status == 0
    assert result.rows[0][1] == "UNKNOWN"
    assert bundles.load(folder, CPU).weights_sha256 in result.rows[0][2]


def test_a_checkpoint_that_does_not_load_is_damaged(tmp_path):
    tensors = of_evo1()
    del tensors["backbone.norm.scale"]
    folder = folder_of(tmp_path / "evo", tensors, EVO1)
    result = run(["models", "verify", folder])
    assert result.status == 1
    assert result.rows[0][1] == "DAMAGED"
    assert "missing tensor" in result.rows[0][2]


def test_the_loss_of_prompts_is_compared_where_they_are_those_of_the_test(
    figures, monkeypatch, tmp_path
):
    _, stored, figures_file = figures
    monkeypatch.setitem(RELEASED, "evo2_7b", EVO2)
    file = tmp_path / "evo2_7b.pt"
    torch.save(tensors(BLOCKS), file)
    bundle = bundles.load(file, CPU)
    prompts = ["ACGTTGCA", "GATTACA"]
    with torch.inference_mode():
        means = [
            -next_token_logs(
                bundle.classifier.networks[0],
                bundle.auxiliary["causal"],
                torch.tensor([list(text.encode())]),
            ).mean()
            for text in prompts
        ]
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in prompts]
    loss = float(sum(means)) / 2
    stored["losses"] = {"prompts_sha256": digests, "tolerance": 1e-3, "values": {"evo2_7b": loss}}
    figures_file.write_text(json.dumps(stored))
    folder = tmp_path / "prompts"
    folder.mkdir()
    with (folder / golden.PROMPTS).open("w", newline="") as stream:
        csv.writer(stream).writerows([["Sequence", "Name"], *([text, "x"] for text in prompts)])
    result = run(["models", "verify", file, "--against", folder])
    assert result.status == 0, result.stderr
    assert result.rows[1][0] == "mean loss of evo2_7b"
    assert result.rows[1][2] == "OK"
    stored["losses"]["values"]["evo2_7b"] += 0.01
    figures_file.write_text(json.dumps(stored))
    assert run(["models", "verify", file, "--against", folder]).status == 1
    (folder / golden.PROMPTS).write_text("Sequence,Name\nACGT,x\n")
    result = run(["models", "verify", file, "--against", folder])
    assert result.status == 1
    assert "not the prompts" in result.stderr


def test_the_figures_of_the_package_are_whole():
    stored = json.loads(golden.FILE.read_text())
    assert [len(v["values"]) for v in stored["vectors"]] == [256, 512, 256, 256]
    for vector in stored["vectors"]:
        assert len(vector["weights_sha256"]) == 64
        assert len(vector["revision"]) == 40
        assert 0 < vector["tolerance"] <= 1e-4
    assert stored["losses"]["values"].keys() < RELEASED.keys()


@needs_shared
@pytest.mark.shared
def test_the_figures_are_those_of_their_sources():
    stored = json.loads(golden.FILE.read_text())
    for vector in stored["vectors"]:
        files = [*(SHARED / "official" / "golden").rglob("*vector.json")]
        files += (SHARED / "official" / "golden").glob("*-f32.json")
        references = [json.loads(file.read_text()) for file in files]
        (source,) = (
            f for f in references if f["provenance"].get("source_repo") == vector["source"]
        )
        assert vector["values"] == pytest.approx(source["values"], rel=1e-8)
        assert vector["revision"] == source["provenance"]["source_revision"]
    with (SHARED / "official" / "golden" / golden.PROMPTS).open() as stream:
        prompts = [row["Sequence"] for row in csv.DictReader(stream)]
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in prompts]
    assert digests == stored["losses"]["prompts_sha256"]
