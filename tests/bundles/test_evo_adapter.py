"""Evo's released layouts: files and parts, names and settings of every release, remarks, extra tensors, refusals."""

import io
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import SHARED, needs_shared, run

from genomai_cli.backbones.base import build_network
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.adapters import adapted_config, adapter_of, evo
from genomai_cli.bundles.adapters.evo2_releases import RELEASED
from genomai_cli.bundles.weights import Weights
from genomai_cli.errors import BundleError

CPU = torch.device("cpu")
WIDTH, HEADS, INNER = 16, 2, 24
EVO2 = {
    "vocab_size": 512,
    "hidden_size": WIDTH,
    "num_layers": 4,
    "num_attention_heads": HEADS,
    "hcs_layer_idxs": [0],
    "hcm_layer_idxs": [1],
    "hcl_layer_idxs": [2],
    "attn_layer_idxs": [3],
    "hcs_filter_length": 7,
    "hcm_filter_length": 128,
    "hcs_filter_groups": 4,
    "hcm_filter_groups": 8,
    "hcl_filter_groups": WIDTH,
    "short_filter_length": 3,
    "short_filter_bias": False,
    "state_size": 3,
    "inner_mlp_size": INNER,
    "eps": 1e-6,
    "rotary_emb_base": 10000,
    "column_split_hyena": False,
    "column_split": True,
    "interleave": True,
    "evo2_style_activations": True,
    "tie_embeddings": True,
    "mha_out_proj_bias": True,
    "hyena_out_proj_bias": True,
    "qkv_proj_bias": False,
    "max_seqlen": 64,
}
EVO1 = {
    "architectures": ["StripedHyenaModelForCausalLM"],
    "model_type": "stripedhyena",
    "vocab_size": 512,
    "hidden_size": WIDTH,
    "num_layers": 2,
    "num_attention_heads": HEADS,
    "hyena_layer_idxs": [0],
    "attn_layer_idxs": [1],
    "short_filter_length": 3,
    "short_filter_bias": True,
    "state_size": 3,
    "inner_mlp_size": INNER,
    "eps": 1e-6,
    "rotary_emb_base": 10000,
    "column_split": False,
    "column_split_hyena": True,
    "hyena_filter_groups": 1,
    "tie_embeddings": True,
    "max_seqlen": 64,
}
BLOCK = {
    "pre_norm.scale": (WIDTH,),
    "post_norm.scale": (WIDTH,),
    "mlp.l1.weight": (INNER, WIDTH),
    "mlp.l2.weight": (INNER, WIDTH),
    "mlp.l3.weight": (WIDTH, INNER),
}
CONVOLUTION = BLOCK | {
    "projections.weight": (3 * WIDTH, WIDTH),
    "out_filter_dense.weight": (WIDTH, WIDTH),
    "out_filter_dense.bias": (WIDTH,),
    "filter.short_filter_weight": (3 * WIDTH, 1, 3),
}
ATTENTION = BLOCK | {
    "inner_mha_cls.Wqkv.weight": (3 * WIDTH, WIDTH),
    "inner_mha_cls.out_proj.weight": (WIDTH, WIDTH),
    "inner_mha_cls.out_proj.bias": (WIDTH,),
    "inner_mha_cls.rotary_emb.inv_freq": (WIDTH // HEADS // 2,),
}
SHORT = CONVOLUTION | {"filter.h": (4, 1, 7)}
MEDIUM = CONVOLUTION | {"filter.h": (8, 1, 128), "filter.D": (WIDTH,)}
MODES = {"filter.log_poles": (WIDTH, 3, 1), "filter.residues": (WIDTH, 3), "filter.D": (WIDTH,)}
COMPLEX = CONVOLUTION | {
    "filter.poles": (WIDTH, 3, 1, 2),
    "filter.residues": (WIDTH, 3, 1, 2),
    "filter.D": (WIDTH,),
    "filter.short_filter_bias": (3 * WIDTH,),
    "projections.bias": (3 * WIDTH,),
}
OF_EVO2 = (SHORT, MEDIUM, CONVOLUTION | MODES, ATTENTION)
OF_EVO1 = (COMPLEX, ATTENTION | {"inner_mha_cls.Wqkv.bias": (3 * WIDTH,)})


def tensors(blocks, prefix=""):
    """Random tensors under the released names; poles decay."""
    rng = torch.Generator().manual_seed(1)
    shapes = {"embedding_layer.weight": (512, WIDTH), "norm.scale": (WIDTH,)}
    for number, block in enumerate(blocks):
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    weights = {n: torch.randn(shape, generator=rng) * 0.3 for n, shape in shapes.items()}
    for name, tensor in weights.items():
        if name.endswith("log_poles"):
            tensor.abs_().neg_()
        if name.endswith("inv_freq"):
            tensor.copy_(evo.frequencies(10000.0, WIDTH // HEADS))
    return {prefix + name: tensor for name, tensor in weights.items()}


def of_evo1(**more):
    found = tensors(OF_EVO1, "backbone.")
    return found | {
        "backbone.unembed.weight": found["backbone.embedding_layer.weight"].clone(),
        **more,
    }


def folder_of(path, tensors, config):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(tensors, path / "model.safetensors")
    return path


@pytest.fixture
def small_release(monkeypatch):
    """A release of Evo 2 that fits into a test, under a released name."""
    monkeypatch.setitem(RELEASED, "evo2_1b_base", EVO2)


def with_extras():
    """What a released `.pt` holds besides: metadata of FP8, time, the decoder."""
    released = tensors(OF_EVO2)
    released |= {
        "blocks.0.projections._extra_state": io.BytesIO(b"fp8"),
        "unembed.weight": torch.ones(512, WIDTH),
    }
    return released | {
        "blocks.2.filter.t": torch.zeros(1, 1, 9),
        "blocks.1.projections._extra_state": None,
    }


def split_file(file, parts):
    """Split the file into so many parts, and remove it."""
    content = file.read_bytes()
    for number in range(parts):
        start, end = (len(content) * n // parts for n in (number, number + 1))
        file.with_name(f"{file.name}.part{number}").write_bytes(content[start:end])
    file.unlink()


def logits(path):
    bundle = bundles.load(path, CPU)
    network = bundle.classifier.networks[0]
    ids = torch.from_numpy(bundle.tokenizer.encode("|D__BACTERIA|ACGTTGCAN")).long()[None]
    with torch.inference_mode():
        return network.lm_logits(bundle.auxiliary["causal"], network(ids))


@pytest.mark.usefixtures("small_release")
@pytest.mark.parametrize("parts", [1, 3, 11])
def test_a_file_of_evo_2_loads_whole_and_in_parts_beside_a_config_or_without(tmp_path, parts):
    file = tmp_path / "evo2_1b_base.pt"
    torch.save(with_extras(), file)
    expected = logits(folder_of(tmp_path / "full", tensors(OF_EVO2), EVO2))
    if parts > 1:
        split_file(file, parts)
        assert torch.equal(logits(tmp_path / "evo2_1b_base.pt.part0"), expected)
    assert torch.equal(logits(file), expected)
    config = {"name": "x", "architecture": ["StripedHyena2"], "_name_or_path": file.name}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(logits(tmp_path), expected)


@pytest.mark.usefixtures("small_release")
def test_inspect_names_what_is_not_needed_and_tells_the_precision(tmp_path):
    file = tmp_path / "evo2_1b_base.pt"
    torch.save(with_extras(), file)
    result = run(["models", "inspect", file, "--json"])
    assert result.status == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["problem"] is None
    assert report["missing"] == report["unexpected"] == report["misshapen"] == []
    assert report["extra"] == [
        "blocks.0.projections._extra_state",
        "blocks.1.projections._extra_state",
        "blocks.2.filter.t",
        "unembed.weight",
    ]
    assert len(report["remarks"]) == 1
    assert "FP8" in report["remarks"][0]
    assert "FP8" in run(["models", "inspect", file]).stdout


@pytest.mark.usefixtures("small_release")
def test_parts_that_lack_one_or_hold_something_else_are_refused(tmp_path):
    file = tmp_path / "evo2_1b_base.pt"
    torch.save(tensors(OF_EVO2), file)
    split_file(file, 3)
    (tmp_path / "evo2_1b_base.pt.part2").unlink()
    with pytest.raises(BundleError, match="damaged"):
        bundles.load(file, CPU)
    (tmp_path / "evo2_1b_base.pt.part0").rename(tmp_path / "x")
    with pytest.raises(BundleError, match=r"part0: missing"):
        bundles.load(file, CPU)
    torch.save({"a": print}, file)
    split_file(file, 2)
    with pytest.raises(BundleError, match="print, which weights have no use for"):
        Weights.open(file)


def test_parts_give_the_tensors_that_were_saved(tmp_path):
    base = torch.arange(24.0).view(4, 6)
    saved = {
        "a": base,
        "turned": base.t(),
        "row": base[2],
        "b": torch.randn(5).bfloat16(),
        "c": torch.nn.Parameter(torch.randn(3)),
        "i": torch.arange(9),
        "none": torch.zeros(0, 3),
        "one": torch.tensor(2.5),
        "state": io.BytesIO(b"x"),
    }
    file = tmp_path / "w.pt"
    torch.save(saved, file)
    split_file(file, 9)
    weights = Weights.open(tmp_path)
    assert weights.non_tensors == ["state"]
    assert len(weights.files) == 9
    for name in weights:
        assert torch.equal(weights[name], saved[name])
        assert weights.shape(name) == tuple(saved[name].shape)
        assert weights.dtype(name) == str(saved[name].dtype).removeprefix("torch.")
    assert len(weights) == len(saved) - 1


def test_rows_of_queries_keys_and_values_are_ordered_by_head_in_evo_2(tmp_path):
    expected = logits(folder_of(tmp_path / "a", tensors(OF_EVO2), EVO2))
    name = "blocks.3.inner_mha_cls.Wqkv.weight"
    permuted = tensors(OF_EVO2)
    permuted[name] = permuted[name].view(HEADS, 3, -1, WIDTH).transpose(0, 1).reshape(-1, WIDTH)
    reordered = logits(folder_of(tmp_path / "b", permuted, EVO2 | {"column_split": False}))
    torch.testing.assert_close(reordered, expected)


def test_evo_1_with_and_without_its_prefix_in_shards(tmp_path):
    released = of_evo1()
    expected = logits(folder_of(tmp_path / "a", released, EVO1))
    unprefixed = {name.removeprefix("backbone."): tensor for name, tensor in released.items()}
    torch.testing.assert_close(logits(folder_of(tmp_path / "b", unprefixed, EVO1)), expected)
    shards = folder_of(tmp_path / "c", {}, EVO1)
    (shards / "model.safetensors").unlink()
    file_of = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(released)}
    for file in set(file_of.values()):
        shard = {n: t for n, t in released.items() if file_of[n] == file}
        safetensors.torch.save_file(shard, shards / file)
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": file_of}))
    torch.testing.assert_close(logits(shards), expected)


def test_evo_1_tells_its_checksum_and_whether_it_is_known(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "a", of_evo1(), EVO1)
    bundle = bundles.load(folder, CPU)
    (remark,) = bundle.remarks
    assert bundle.weights_sha256 in remark
    assert "use revision 1.1_fix" in remark
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGT\n")
    result = run(["embed", "--model", folder, "--to", "tsv", fasta, "--device", "cpu"])
    assert result.status == 0
    assert bundle.weights_sha256 in result.stderr
    monkeypatch.setitem(evo.KNOWN_SHA256, bundle.weights_sha256, "somebody/evo")
    (remark,) = bundles.load(folder, CPU).remarks
    assert remark.endswith("revision 1.1_fix of somebody/evo")


def test_frequencies_in_16_bits_are_computed_anew(tmp_path):
    released = {name: tensor.bfloat16() for name, tensor in of_evo1().items()}
    network = bundles.load(folder_of(tmp_path / "a", released, EVO1), CPU).classifier.networks[0]
    expected = evo.frequencies(10000.0, WIDTH // HEADS)
    assert torch.equal(network.blocks[1].mixer.inv_freq, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"proj_groups": 4}, "proj_groups 4 is not supported"),
        ({"long_fir_threshold": 8}, "long_fir_threshold 8 is not supported"),
        ({"tokenizer_type": "HFAutoTokenizer"}, "tokenizer_type HFAutoTokenizer"),
        ({"mlp_activation": "relu"}, "activation 'relu'"),
        ({"hcl_layer_idxs": []}, "block 2 is in no list of blocks"),
        ({"state_size": None}, "state_size"),
        ({"attn_layer_idxs": [2, 3]}, "unknown tensor|missing tensor"),
    ],
)
def test_settings_that_are_not_followed_are_refused(tmp_path, changed, message):
    config = {name: value for name, value in (EVO2 | changed).items() if value is not None}
    with pytest.raises(BundleError, match=message):
        bundles.load(folder_of(tmp_path / "a", tensors(OF_EVO2), config), CPU)


def test_a_release_that_is_not_known_is_refused(tmp_path):
    config = {"architecture": ["StripedHyena2"], "_name_or_path": "evo3.pt"}
    folder = folder_of(tmp_path / "a", tensors(OF_EVO2), config)
    with pytest.raises(BundleError, match=r"which Evo 2 is this\? There are evo2_1b_base"):
        bundles.load(folder, CPU)
    torch.save(tensors(OF_EVO2), tmp_path / "evo3.pt")
    with pytest.raises(BundleError, match=r"no config\.json beside it"):
        bundles.load(tmp_path / "evo3.pt", CPU)


def test_a_decoder_of_its_own_and_a_decoder_that_should_be_tied(tmp_path):
    released = tensors(OF_EVO2) | {"unembed.weight": torch.zeros(512, WIDTH)}
    untied = folder_of(tmp_path / "a", released, EVO2 | {"tie_embeddings": False})
    assert not logits(untied).any()
    mismatched = of_evo1(**{"backbone.unembed.weight": torch.zeros(512, WIDTH)})
    with pytest.raises(BundleError, match="should equal"):
        bundles.load(folder_of(tmp_path / "b", mismatched, EVO1), CPU)


SIZES = {  # parameters, as the papers round them
    "evo2_1b_base": 1.108e9,
    "evo2_7b_base": 6.481e9,
    "evo2_7b_microviridae": 6.481e9,
    "evo2_7b_262k": 6.481e9,
    "evo2_7b": 6.582e9,
    "evo2_20b": 19.74e9,
    "evo2_40b_base": 40.33e9,
    "evo2_40b": 41.12e9,
}


@pytest.mark.parametrize("size", SIZES)
def test_every_release_has_its_size(tmp_path, size):
    adapter, released = adapter_of(tmp_path / f"{size}.pt")
    config = adapted_config(adapter, released, tmp_path / f"{size}.pt", set())
    assert config["name"] == size
    with torch.device("meta"):
        network = build_network(config["network"])
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(SIZES[size], rel=1e-3)
    assert adapter.keys(config).unexpected(["blocks.0.filter.h", "norm.scale"]) == []


def test_converted_it_gives_the_same_and_keeps_its_remarks(tmp_path, small_release):
    file = tmp_path / "evo2_1b_base.pt"
    torch.save(with_extras(), file)
    result = run(["models", "convert", file, "-o", tmp_path / "mine"])
    assert result.status == 0, result.stderr
    assert torch.equal(logits(tmp_path / "mine"), logits(file))
    assert list(bundles.load(tmp_path / "mine", CPU).remarks) == list(
        bundles.load(file, CPU).remarks
    )


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize("name", ["evo1", "evo2"])
def test_parity_with_the_original_code(name):
    folder = SHARED / "parity" / name
    result = run(["models", "verify", folder, "--against", folder, "--tolerance", "1e-5"])
    assert result.status == 0, result.stderr
    outcomes = {row[0]: row[2] for row in result.rows[1:]}
    assert set(outcomes.values()) == {"OK"}
    expected = {"hidden_states", "last_hidden", "last_hidden_short", "logits"}
    if name == "evo2":
        expected |= {"long_filters", "greedy", "mean_loglik", "sum_loglik", "tokenizer_cases"}
        expected |= {f"keys {size}" for size in SIZES if size != "evo2_7b_microviridae"}
    assert expected <= set(outcomes)


@needs_shared
@pytest.mark.shared
def test_the_settings_of_releases_fit_the_released_shapes(tmp_path):
    shapes_by_release = json.loads(
        (SHARED / "parity" / "evo2" / "official_full_size_keys.json").read_text()
    )
    for release, shapes in shapes_by_release.items():
        sizes = evo.released_sizes(shapes)
        settings = {name: value for name, value in RELEASED[release].items() if name in sizes}
        assert {name: sizes[name] for name in settings} == settings
        assert np.sum([np.prod(s) for s in shapes.values()]) == pytest.approx(
            SIZES[release], rel=1e-3
        )
