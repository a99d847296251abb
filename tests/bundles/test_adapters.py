"""Adapters: where a checkpoint's tensors belong, what is refused, and what `models inspect` reports.

The checkpoints are made here, of an architecture in the registry, so that a further family needs no further test.
"""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import run

from genomai_cli import device as devices
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.adapters import Keys, adapter_of
from genomai_cli.errors import BundleError

CPU = torch.device("cpu")
BERT = {
    "architectures": ["BertForMaskedLM"],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "vocab_size": 4**3 + 5,
}


def linear(name, rows, columns):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def bert_shapes(config):
    """The released names and shapes, tied ones left out."""
    width, wide = config["hidden_size"], config["intermediate_size"]
    norm = {"weight": (width,), "bias": (width,)}
    vocabulary = config["vocab_size"]
    shapes = {
        "bert.embeddings.word_embeddings.weight": (vocabulary, width),
        "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "bert.embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "cls.predictions.bias": (vocabulary,),
    }
    norms = ["bert.embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"]
    shapes |= linear("bert.pooler.dense", width, width)
    shapes |= linear("cls.predictions.transform.dense", width, width)
    for number in range(config["num_hidden_layers"]):
        block = f"bert.encoder.layer.{number}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= linear(f"{block}.attention.{name}", width, width)
        shapes |= linear(f"{block}.intermediate.dense", wide, width)
        shapes |= linear(f"{block}.output.dense", width, wide)
        norms += [f"{block}.attention.output.LayerNorm", f"{block}.output.LayerNorm"]
    return shapes | {f"{name}.{part}": shape for name in norms for part, shape in norm.items()}


def bert_tensors(config=BERT, dtype=torch.float32):
    rng = torch.Generator().manual_seed(1)
    sizes = bert_shapes(config).items()
    return {name: torch.randn(size, generator=rng).to(dtype) * 0.1 for name, size in sizes}


def checkpoint(folder, tensors, config=BERT, shards=1):
    """A folder in the released layout, its weights in so many files."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        safetensors.torch.save_file(tensors, folder / "model.safetensors")
        return folder
    file_of = {name: f"model-{number % shards}.safetensors" for number, name in enumerate(tensors)}
    for file in set(file_of.values()):
        shard = {name: tensor for name, tensor in tensors.items() if file_of[name] == file}
        safetensors.torch.save_file(shard, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": file_of}))
    return folder


def test_unknown_names_and_the_second_name_of_one_tensor_are_unexpected():
    keys = Keys(
        {"a.weight": "x", "a.gamma": "x", "b": "y"}, {"c": "b"}, lambda name: name == "known"
    )
    assert keys.unexpected(["a.weight", "b", "c", "known"]) == []
    assert keys.unexpected(["a.weight", "a.gamma", "b", "other"]) == ["a.weight", "other"]


def test_a_bundle_has_no_adapter(tiny_sequence_bundle):
    assert adapter_of(tiny_sequence_bundle) is None


def test_a_folder_of_another_kind_is_refused(tmp_path):
    folder = checkpoint(tmp_path / "x", bert_tensors(), {"architectures": ["LlamaForCausalLM"]})
    assert adapter_of(folder) is None
    with pytest.raises(BundleError, match="not a model's config: no format_version"):
        bundles.load(folder, CPU)


@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_an_encoder_without_its_heads_may_have_no_prefix(tmp_path, prefix):
    tensors = bert_tensors()
    encoder = {n: t for n, t in tensors.items() if n.startswith("bert.")}
    renamed = {prefix + name.removeprefix("bert."): tensor for name, tensor in encoder.items()}
    network = bundles.load(checkpoint(tmp_path / "x", renamed), CPU).classifier.networks[0]
    full = bundles.load(checkpoint(tmp_path / "y", tensors), CPU).classifier.networks[0]
    ids = torch.arange(5, 15)[None]
    with torch.inference_mode():
        assert torch.equal(network(ids), full(ids))
        pooled = network.pooler_output(network(ids))
        assert torch.allclose(pooled, full.pooler_output(full(ids)), atol=1e-6)  # of one row


def test_a_tensor_under_two_names_is_refused(tmp_path):
    tensors = bert_tensors()
    tensors["bert.embeddings.LayerNorm.gamma"] = torch.ones(8)
    with pytest.raises(BundleError, match=r"unknown tensor bert\.embeddings\.LayerNorm\.weight"):
        bundles.load(checkpoint(tmp_path / "x", tensors), CPU)


def test_a_pooler_that_is_not_there_cannot_be_requested(tmp_path):
    tensors = {name: t for name, t in bert_tensors().items() if "pooler" not in name}
    folder = checkpoint(tmp_path / "x", tensors)
    result = run(["embed", "--model", folder, "--pool", "pooler", "-"], ">a\nACGTACGT\n")
    assert result.status == 2
    assert "has no trained pooler" in result.stderr


def fine_tuned(folder, labels=("other", "promoter")):
    """The layout of `BertForSequenceClassification`."""
    tensors = {n: t for n, t in bert_tensors().items() if n.startswith("bert.")}
    rng = torch.Generator().manual_seed(2)
    tensors["classifier.weight"] = torch.randn(len(labels), 8, generator=rng)
    tensors["classifier.bias"] = torch.randn(len(labels), generator=rng)
    config = BERT | {
        "architectures": ["BertForSequenceClassification"],
        "id2label": dict(enumerate(labels)),
    }
    return checkpoint(folder, tensors, config), tensors


def test_a_fine_tuned_bert_classifies_by_its_pooler(tmp_path):
    folder, tensors = fine_tuned(tmp_path / "x")
    bundle = bundles.load(folder, CPU)
    encoder = bundles.load(checkpoint(tmp_path / "y", bert_tensors()), CPU).classifier.networks[0]
    ids = bundle.tokenizer.template(bundle.tokenizer.encode("ACGTAC"))
    ids = torch.from_numpy(ids.astype("int64"))[None]
    with torch.inference_mode():
        pooled = encoder.pooler_output(encoder(ids))
        expected = pooled @ tensors["classifier.weight"].T + tensors["classifier.bias"]
        network = bundle.classifier.networks[0]
        assert torch.allclose(
            network.heads(network.head_vectors(ids))["label"], expected, atol=1e-6
        )
    result = run(["classify", "--model", folder, "-"], ">a\nACGTAC\n")
    assert result.status == 0
    label = ("other", "promoter")[int(expected.argmax())]
    assert result.stdout.splitlines()[1].split("\t")[:2] == ["a", label]


def test_a_fine_tuned_bert_without_its_pooler_is_refused(tmp_path):
    _, tensors = fine_tuned(tmp_path / "x")
    remaining = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    folder = checkpoint(tmp_path / "y", remaining, BERT)
    with pytest.raises(BundleError, match=r"classifier\.weight without bert\.pooler"):
        bundles.load(folder, CPU)


def test_the_digest_of_shards_is_that_of_all_of_them(tmp_path):
    tensors = bert_tensors()
    first = bundles.load(checkpoint(tmp_path / "x", tensors, shards=3), CPU).weights_sha256
    assert bundles.load(checkpoint(tmp_path / "y", tensors, shards=3), CPU).weights_sha256 == first
    tensors["cls.predictions.bias"] += 1
    other = bundles.load(checkpoint(tmp_path / "z", tensors, shards=3), CPU).weights_sha256
    assert len(other) == 64
    assert other != first


def test_inspect_lists_all_that_does_not_fit(tmp_path):
    tensors = bert_tensors()
    del tensors["bert.pooler.dense.bias"], tensors["bert.encoder.layer.1.output.dense.weight"]
    tensors |= {"more": torch.ones(2), "cls.predictions.bias": torch.ones(3)}
    folder = checkpoint(tmp_path / "x", tensors)
    result = run(["models", "inspect", folder, "--json"])
    assert result.status == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["missing"] == [
        "bert.encoder.layer.1.output.dense.weight",
        "bert.pooler.dense.bias",
    ]
    assert report["unexpected"] == ["more"]
    assert report["misshapen"] == ["cls.predictions.bias"]
    assert "unknown tensor more" in report["problem"]
    lines = run(["models", "inspect", folder]).stdout.splitlines()
    assert "missing\tbert.pooler.dense.bias" in lines
    assert "unexpected\tmore" in lines


def test_inspect_of_a_whole_model_finds_nothing_and_counts(tmp_path, tiny_sequence_bundle):
    folder = checkpoint(tmp_path / "x", bert_tensors(), shards=2)
    report = json.loads(run(["models", "inspect", folder, "--json"]).stdout)
    values = sum(tensor.numel() for tensor in bert_tensors().values())
    assert report["parameters"] == report["values"] == values
    assert report["missing"] == report["unexpected"] == report["misshapen"] == []
    assert report["problem"] is None
    assert sorted(report["files"]) == ["model-0.safetensors", "model-1.safetensors"]
    bundle = json.loads(run(["models", "inspect", tiny_sequence_bundle, "--json"]).stdout)
    assert bundle["architecture"] == "transformer"
    assert bundle["problem"] is None
    file = json.loads(run(["models", "inspect", folder / "model-0.safetensors", "--json"]).stdout)
    assert file["problem"].endswith("model-0.safetensors: a part of the weights")


@pytest.mark.parametrize("released", [True, False])
def test_inspect_hashes_each_file_once(released, tmp_path, tiny_sequence_bundle, monkeypatch):
    hashed, digest = [], hashlib.file_digest

    def recording_digest(stream, name):
        hashed.append(stream.name)
        return digest(stream, name)

    monkeypatch.setattr("hashlib.file_digest", recording_digest)
    folder = checkpoint(tmp_path / "x", bert_tensors()) if released else tiny_sequence_bundle
    report = json.loads(run(["models", "inspect", folder, "--json"]).stdout)
    assert report["problem"] is None
    assert hashed
    assert len(set(hashed)) == len(hashed)


def test_verify_names_inputs_that_the_model_cannot_read(tmp_path):
    folder = checkpoint(tmp_path / "x", bert_tensors())
    np.save(folder / "input_ids.npy", np.array([[1, 1000]]))
    np.save(folder / "expected_last_hidden.npy", np.zeros((1, 2, 8), np.float32))
    result = run(["models", "verify", folder, "--against", folder])
    assert result.status == 1
    assert "input_ids.npy: the model cannot read this" in result.stderr


def test_verify_compares_what_the_networks_of_this_program_give(tmp_path, tiny_sequence_bundle):
    bundle = bundles.load(tiny_sequence_bundle, CPU)
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 7, bundle.tokenizer.pad_id]])
    mask = ids != bundle.tokenizer.pad_id
    with torch.inference_mode():
        hidden = bundle.classifier.networks[0](ids, mask)
    for name, values in (
        ("input_ids", ids),
        ("attention_mask", mask),
        ("token_type_ids", ids * 0),  # which the network does not read
        ("expected_last_hidden", hidden),
        ("expected_logits", hidden),
        ("expected_tracks", hidden),
    ):
        np.save(tmp_path / f"{name}.npy", values.numpy())
    result = run(["models", "verify", tiny_sequence_bundle, "--against", tmp_path])
    assert result.status == 0, result.stderr
    outcomes = {name: outcome for name, _, outcome in result.rows[1:]}
    assert outcomes == {"last_hidden": "OK", "logits": "not compared", "tracks": "not compared"}


def test_a_model_of_more_values_is_not_doubled_and_one_of_many_more_not_converted(
    tmp_path, monkeypatch
):
    folder = checkpoint(tmp_path / "x", bert_tensors(dtype=torch.bfloat16))

    def parameter_dtypes():
        classifier = bundles.load(folder, CPU, torch.float64).classifier
        return {parameter.dtype for parameter in classifier.parameters()}

    assert parameter_dtypes() == {torch.float64}
    monkeypatch.setattr(devices, "MAX_VALUES_IN_DOUBLE", 100)
    assert parameter_dtypes() == {torch.float32}
    monkeypatch.setattr(devices, "MAX_VALUES_CONVERTED", 100)
    assert parameter_dtypes() == {torch.bfloat16}
    assert run(["models", "convert", folder, "-o", tmp_path / "y"]).status == 0
    converted, original = (
        bundles.load(f, CPU).classifier.state_dict() for f in (tmp_path / "y", folder)
    )
    for name, tensor in original.items():
        assert converted[name].dtype == tensor.dtype
        assert torch.equal(converted[name], tensor)


LOADED = """
import sys, torch
from genomai_cli.bundles import bundle
torch.set_num_threads(1)
def owned():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(lines["RssAnon"].split()[0]) / 1024
before = owned()
loaded = bundle.load(sys.argv[1], torch.device("cpu"), torch.float64)
network = loaded.classifier.networks[0]
with torch.inference_mode():
    assert torch.isfinite(network(torch.tensor([[2, 5, 6, 3]]))).all()
print(owned() - before)
"""


def test_a_checkpoint_of_300_mb_in_shards_takes_no_memory_of_ones_own(tmp_path):
    if sys.platform != "linux":
        pytest.skip("memory is read from /proc")
    sizes = {"hidden_size": 1024, "num_hidden_layers": 6, "intermediate_size": 4096}
    config = BERT | sizes | {"num_attention_heads": 16}
    shapes = bert_shapes(config)
    tensors = {name: torch.full(shape, 1e-3) for name, shape in shapes.items()}
    folder = checkpoint(tmp_path / "x", tensors, config, shards=4)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size > 300e6
    del tensors
    command = [sys.executable, "-c", LOADED, str(folder)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    assert float(completed.stdout) < 100  # MiB, of which torch's own buffers for matrices are most
