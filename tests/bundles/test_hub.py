"""Checkpoints from Hugging Face, by a stand-in for its library: names, cache, checksums, messages."""

import hashlib
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from conftest import run

from genomai_cli.bundles import hub

NAME = "hf:Owner/tiny@main"
CONFIG = {"model_type": "caduceus", "d_model": 4, "n_layer": 0, "vocab_size": 16}


def weights():
    """Those of Caduceus without a block."""
    names = ("embeddings.word_embeddings.weight", "norm_f.weight")
    values = torch.randn(16, 4, generator=torch.Generator().manual_seed(1)), torch.ones(4)
    return {f"caduceus.backbone.{n}": v for n, v in zip(names, values, strict=True)}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A stand-in with a cache as the library lays it out; it records the requests."""
    folder = tmp_path / "models--Owner--tiny"
    snapshot = folder / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    file = snapshot / "model.safetensors"
    safetensors.torch.save_file(weights(), file)
    blob_file = folder / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
    shutil.move(file, blob_file)
    file.symlink_to(blob_file)
    module = SimpleNamespace(blob=blob_file, requests=[])

    def snapshot_download(repository, *, revision, allow_patterns):
        module.requests.append((repository, revision))
        assert "*.safetensors" in allow_patterns
        return str(snapshot)

    module.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, hub.LIBRARY, module)
    hub.fetch.cache_clear()
    yield module
    hub.fetch.cache_clear()


def embed(fasta, name=NAME):
    return run(["embed", "--model", name, "--to", "tsv", fasta, "--device", "cpu"])


@pytest.fixture
def fasta(tmp_path):
    file = tmp_path / "x.fa"
    file.write_text(">a\nACGT\n")
    return file


def test_a_named_revision_is_fetched_and_read(library, fasta):
    result = embed(fasta)
    assert result.status == 0, result.stderr
    assert set(library.requests) == {("Owner/tiny", "main")}
    assert result.rows[1][0] == "a"
    inspected = run(["models", "inspect", str(library.blob.parent.parent / "snapshots" / "abc123")])
    assert "problem\t." in inspected.stdout


def test_the_model_is_called_as_the_repository(library):
    assert hub.name_of(library.blob.parent.parent / "snapshots" / "abc123") == "tiny"


@pytest.mark.parametrize("name", ["hf:Owner/tiny", "hf:tiny@main", "hf:Owner/tiny@"])
def test_a_name_without_its_revision_is_refused(library, fasta, name):
    result = embed(fasta, name)
    assert result.status == 1
    assert "not of the form hf:OWNER/NAME@REVISION" in result.stderr
    assert not library.requests


def test_a_file_that_is_not_as_recorded_is_refused(library, fasta):
    content = bytearray(library.blob.read_bytes())
    content[-1] ^= 1
    library.blob.write_bytes(content)
    result = embed(fasta)
    assert result.status == 1
    assert "model.safetensors is not as recorded" in result.stderr


def test_errors_of_the_library_are_one_line(library, fasta):
    def raise_error(*_, **__):
        raise OSError("no such repository\nmore about it")

    library.snapshot_download = raise_error
    result = embed(fasta)
    assert result.status == 1
    assert result.stderr.splitlines()[-1].endswith(f"{NAME}: no such repository")


def test_without_the_library_one_line_says_what_to_do(monkeypatch, fasta):
    monkeypatch.setitem(sys.modules, hub.LIBRARY, None)
    result = embed(fasta)
    assert result.status == 1
    assert "pip install huggingface_hub" in result.stderr
