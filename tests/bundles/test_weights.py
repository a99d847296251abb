"""Weights: one file or shards, safetensors or torch, mapped and never copied; what does not fit is refused by name."""

import json
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from genomai_cli.bundles.weights import Weights, fill
from genomai_cli.errors import BundleError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([7])}


def write_checkpoint(folder, layout):
    """The tensors in a folder, in one of four layouts."""
    shards = [dict([item]) for item in TENSORS.items()]
    extension = "safetensors" if "safetensors" in layout else "bin"
    stem = "model" if extension == "safetensors" else "pytorch_model"
    save = safetensors.torch.save_file if extension == "safetensors" else torch.save
    if "sharded" not in layout:
        save(dict(TENSORS), folder / f"{stem}.{extension}")
        return folder
    names = [f"{stem}-0000{n}-of-00002.{extension}" for n in (1, 2)]
    for name, shard in zip(names, shards, strict=True):
        save(shard, folder / name)
    file_of = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    (folder / f"{stem}.{extension}.index.json").write_text(json.dumps({"weight_map": file_of}))
    return folder


LAYOUTS = ["safetensors", "sharded safetensors", "torch", "sharded torch"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_tensors(tmp_path, layout):
    weights = Weights.open(write_checkpoint(tmp_path, layout))
    assert set(weights) == set(TENSORS)
    assert len(weights.files) == (2 if "sharded" in layout else 1)
    for name, tensor in TENSORS.items():
        assert torch.equal(weights[name], tensor)
        assert weights.shape(name) == tuple(tensor.shape)


def test_a_module_without_memory_is_filled(tmp_path):
    with torch.device("meta"):
        module = torch.nn.Linear(3, 2, bias=False)
    safetensors.torch.save_file({"weight": torch.ones(2, 3)}, tmp_path / "model.safetensors")
    fill(module, Weights.open(tmp_path), tmp_path)
    assert torch.equal(module.weight, torch.ones(2, 3))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "missing tensor weight"),
        ({"weight": torch.ones(2, 3), "more": torch.ones(1)}, "unknown tensor more"),
        ({"weight": torch.ones(3, 2)}, "weight has another shape"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, tensors, message):
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(BundleError, match=message):
        fill(torch.nn.Linear(3, 2, bias=False), Weights.open(tmp_path), tmp_path)


def test_a_torch_file_that_would_run_something_is_refused(tmp_path):
    torch.save({"weight": subprocess.Popen}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BundleError, match=r"pytorch_model\.bin: not opened"):
        Weights.open(tmp_path)


@pytest.mark.parametrize("name", ["../x.safetensors", "absent.safetensors"])
def test_an_index_names_only_files_beside_it(tmp_path, name):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(BundleError, match="no file beside it"):
        Weights.open(tmp_path)


MEASURE = """
import sys, torch
from genomai_cli.bundles.weights import Weights, fill
torch.set_num_threads(1)
def resident():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(lines["RssAnon"].split()[0])
before = resident()
with torch.device("meta"):
    module = torch.nn.Sequential(*[torch.nn.Linear(2048, 2048, bias=False) for _ in range(16)])
fill(module, Weights.open(__import__("pathlib").Path(sys.argv[1])), "here")
with torch.inference_mode():
    assert torch.isfinite(module(torch.ones(1, 2048))).all()
print(resident() - before)
"""


def test_opening_and_using_256_mib_takes_no_memory_of_ones_own(tmp_path):
    if sys.platform != "linux":
        pytest.skip("memory is read from /proc")
    file_of = {}
    for number in range(16):
        tensor = torch.full((2048, 2048), 1e-4)
        file = f"model-{number}.safetensors"
        safetensors.torch.save_file({f"{number}.weight": tensor}, tmp_path / file)
        file_of[f"{number}.weight"] = file
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": file_of}))
    completed = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr
    assert int(completed.stdout) / 1024 < 64  # MiB, of 256 in the files
