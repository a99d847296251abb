"""HyenaDNA: its formulas, causality, blocks and caches, released layouts, what is refused, training from it, parity."""

import gzip
import json
import os
import sys
import types
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import SHARED, made_and_asked, needs_shared, run
from torch.nn import functional

from genomai_cli.backbones.hyenadna import HyenaDnaConfig, HyenaDnaNetwork
from genomai_cli.bundles import bundle as bundles
from genomai_cli.errors import BundleError

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
WIDTH, INNER, LAYERS, L_MAX, ROWS, FILTER, FEATURES = 6, 10, 2, 40, 16, 7, 5
LAYER = {
    "_name_": "hyena",
    "emb_dim": FEATURES,
    "filter_order": FILTER,
    "local_order": 3,
    "l_max": L_MAX,
    "modulate": True,
    "w": 10,
    "lr": 6e-4,
    "wd": 0.0,
    "lr_pos_emb": 0.0,
}
ORIGINAL = {
    "d_model": WIDTH,
    "n_layer": LAYERS,
    "d_inner": INNER,
    "vocab_size": 12,
    "resid_dropout": 0.0,
    "embed_dropout": 0.1,
    "residual_in_fp32": True,
    "pad_vocab_size_multiple": 8,
    "checkpoint_mixer": False,
    "layer": LAYER,
}
HUGGING_FACE = {
    "model_type": "hyenadna",
    "activation_freq": 10,
    "d_model": WIDTH,
    "d_inner": INNER,
    "emb_dim": FEATURES,
    "embed_dropout": 0.1,
    "filter_order": FILTER,
    "hyena_order": 2,
    "layer_norm_epsilon": 1e-5,
    "max_seq_len": L_MAX,
    "n_layer": LAYERS,
    "num_inner_mlps": 2,
    "pad_vocab_size_multiple": 8,
    "short_filter_order": 3,
    "tie_word_embeddings": False,
    "train_freq": True,
    "use_bias": True,
    "vocab_size": 12,
}


def tensors(*, order=2, depth=2, taps=3, rows=ROWS, seed=1):
    """Random tensors under the names of the stand-alone code, without a prefix and without a head."""
    rng = torch.Generator().manual_seed(seed)
    channels = WIDTH * (order - 1)
    sizes = {"embeddings.word_embeddings.weight": (rows, WIDTH)}
    for number in range(LAYERS):
        block, filters = f"layers.{number}.", f"layers.{number}.mixer.filter_fn."
        linear = [
            (f"{block}mixer.in_proj", WIDTH * (order + 1), WIDTH),
            (f"{block}mixer.out_proj", WIDTH, WIDTH),
            (f"{block}mlp.fc1", INNER, WIDTH),
            (f"{block}mlp.fc2", WIDTH, INNER),
            (f"{filters}implicit_filter.0", FILTER, FEATURES),
            *((f"{filters}implicit_filter.{2 * n}", FILTER, FILTER) for n in range(1, depth + 1)),
        ]
        sizes |= {
            f"{name}.weight": (out_features, in_features)
            for name, out_features, in_features in linear
        }
        sizes |= {f"{name}.bias": (out_features,) for name, out_features, _ in linear}
        sizes[f"{block}mixer.short_filter.weight"] = (WIDTH * (order + 1), 1, taps)
        sizes[f"{block}mixer.short_filter.bias"] = (WIDTH * (order + 1),)
        sizes[f"{filters}implicit_filter.{2 * depth + 2}.weight"] = (channels, FILTER)
        sizes[f"{filters}bias"] = (channels,)
        sizes |= {f"{block}norm{n}.{part}": (WIDTH,) for n in (1, 2) for part in ("weight", "bias")}
    sizes |= {f"ln_f.{part}": (WIDTH,) for part in ("weight", "bias")}
    weights = {name: torch.randn(size, generator=rng) * 0.5 for name, size in sizes.items()}
    for number in range(LAYERS):
        filters = f"layers.{number}.mixer.filter_fn."
        weights[f"{filters}pos_emb.z"] = torch.randn(1, L_MAX, FEATURES, generator=rng)
        weights[f"{filters}pos_emb.t"] = torch.linspace(0, 1, L_MAX)[None, :, None]
        weights[f"{filters}modulation.deltas"] = torch.linspace(-3, -15, channels)[None, None]
        frequency = 10 + torch.randn(1, FILTER, generator=rng)
        for n in range(depth + 1):
            weights[f"{filters}implicit_filter.{2 * n + 1}.freq"] = frequency.clone()
    return weights


def prefixed(weights, prefix):
    return {prefix + name: tensor for name, tensor in weights.items()}


def original(weights=None):
    """The tensors of the first release: tied head, counters of a metric."""
    renamed = prefixed(tensors() if weights is None else weights, "model.backbone.")
    renamed["model.lm_head.weight"] = renamed[
        "model.backbone.embeddings.word_embeddings.weight"
    ].clone()
    return renamed | {"train_torchmetrics.num_tokens.count": torch.tensor(3)}


def hugging_face(weights=None):
    """The tensors of Hugging Face's layout: one of the shared frequencies, a head of its own."""
    renamed = prefixed(tensors() if weights is None else weights, "hyena.backbone.")
    renamed = {n: t for n, t in renamed.items() if not n.endswith((".3.freq", ".5.freq"))}
    head = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(7))
    return renamed | {"lm_head.weight": head}


def released(folder, weights, config):
    """A checkpoint in a released layout."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    return folder


def load(folder):
    """The checkpoint in double precision, so that sines of large numbers are the same."""
    return bundles.load(folder, CPU, torch.float64)


LAYOUTS = {"original": (original, ORIGINAL), "hugging face": (hugging_face, HUGGING_FACE)}


@pytest.fixture(params=LAYOUTS)
def checkpoint(request, tmp_path):
    make_tensors, config = LAYOUTS[request.param]
    return released(tmp_path / "hyenadna", make_tensors(), config)


def reference(ids, weights, *, order=2, depth=2, delay=0, eps=1e-5, modulate=True):
    """The hidden states (B, T, D) of every layer by the papers' formulas, the convolutions term by term."""

    def linear(name, x):
        return x @ weights[f"{name}.weight"].double().T + weights.get(
            f"{name}.bias", torch.zeros(1)
        )

    def norm(name, x, eps):
        deviation = (x - x.mean(-1, keepdim=True)) / (
            x.var(-1, unbiased=False, keepdim=True) + eps
        ).sqrt()
        return deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def shifted(x, shift):
        return functional.pad(x, (0, 0, shift, 0))[:, : x.shape[1]]

    def mixer(name, x):
        tokens = x.shape[1]
        u = linear(f"{name}in_proj", x)
        taps = weights[f"{name}short_filter.weight"][:, 0].double()
        last_tap = taps.shape[1] - 1
        u = sum(shifted(u, delay + last_tap - n) * taps[:, n] for n in range(last_tap + 1))
        *gates, v = (u + weights[f"{name}short_filter.bias"]).chunk(order + 1, -1)
        filters = f"{name}filter_fn."
        h = weights[f"{filters}pos_emb.z"][0, :tokens].double()
        for n in range(depth + 1):
            h = linear(f"{filters}implicit_filter.{2 * n}", h)
            h = torch.sin(weights[f"{filters}implicit_filter.1.freq"] * h)
        h = linear(f"{filters}implicit_filter.{2 * depth + 2}", h)
        decay = torch.exp(
            -weights[f"{filters}pos_emb.t"][0, :tokens]
            * weights[f"{filters}modulation.deltas"][0].abs()
        )
        h = h * (decay + 0.05) if modulate else h
        width = x.shape[2]
        for n, gate in enumerate(gates[:0:-1]):
            v = v * gate
            channels = slice(n * width, (n + 1) * width)
            convolved = sum(shifted(v, j) * h[j, channels] for j in range(tokens))
            v = convolved + weights[f"{filters}bias"][channels] * v
        return linear(f"{name}out_proj", v * gates[0])

    x = weights["embeddings.word_embeddings.weight"].double()[ids]
    states = [x]
    for number in range(LAYERS):
        block = f"layers.{number}."
        x = x + mixer(f"{block}mixer.", norm(f"{block}norm1", x, 1e-5))
        wide = linear(f"{block}mlp.fc1", norm(f"{block}norm2", x, 1e-5))
        x = x + linear(f"{block}mlp.fc2", functional.gelu(wide, approximate="tanh"))
        states.append(x)
    return [*states, norm("ln_f", x, eps)]


def token_ids(tokens=33, batch=3):
    return torch.randint(0, 12, (batch, tokens), generator=torch.Generator().manual_seed(2))


def assert_close(found, expected, atol=1e-5):
    torch.testing.assert_close(found.double(), expected.double(), atol=atol, rtol=1e-4)


def test_hidden_states_and_logits_are_those_of_the_papers_formulas(checkpoint):
    bundle, ids = load(checkpoint), token_ids()
    network, head = bundle.classifier.networks[0], bundle.auxiliary["causal"]
    expected = reference(ids, tensors())
    with torch.inference_mode():
        assert network.num_layers + 1 == len(expected)
        for layer, states in enumerate(expected):
            assert_close(network(ids, layer=layer), states)
        assert_close(network(ids), expected[-1])
        rows = (
            hugging_face()["lm_head.weight"]
            if "model_type" in (checkpoint / "config.json").read_text()
            else tensors()["embeddings.word_embeddings.weight"]
        )
        assert_close(network.lm_logits(head, network(ids)), expected[-1] @ rows.double().T, 1e-4)


def test_the_options_of_the_configs(tmp_path):
    ids = token_ids()
    cases = {
        "three gates": (original, {"order": 3}, {"layer": LAYER | {"order": 3}}, {"order": 3}),
        "inner layers": (
            original,
            {"depth": 1},
            {"layer": LAYER | {"num_inner_mlps": 1}},
            {"depth": 1},
        ),
        "no modulation": (
            original,
            {},
            {"layer": LAYER | {"modulate": False}},
            {"modulate": False},
        ),
        "a long short filter": (original, {"taps": 5}, {"layer": LAYER}, {}),
        "the last norm alone": (hugging_face, {}, {"layer_norm_epsilon": 0.1}, {"eps": 0.1}),
        "a short filter of two": (
            hugging_face,
            {"taps": 2},
            {"short_filter_order": 2},
            {"delay": 1},
        ),
        "more inner layers": (
            hugging_face,
            {"depth": 3},
            {"num_inner_mlps": 3},
            {"depth": 3},
        ),
    }
    for name, (make_tensors, sizes, changed, options) in cases.items():
        weights = tensors(**sizes)
        config = (ORIGINAL if make_tensors is original else HUGGING_FACE) | changed
        renamed = {n: t for n, t in make_tensors(weights).items() if not n.endswith(".7.freq")}
        network = load(released(tmp_path / name, renamed, config)).classifier.networks[0]
        with torch.inference_mode():
            assert_close(network(ids), reference(ids, weights, **options)[-1])


def test_defaults_may_be_left_out_of_a_config(tmp_path):
    required = (
        "model_type",
        "d_model",
        "n_layer",
        "max_seq_len",
        "vocab_size",
        "d_inner",
        "emb_dim",
    )
    required += ("filter_order",)
    config = {name: HUGGING_FACE[name] for name in required}
    network = load(released(tmp_path / "x", hugging_face(), config)).classifier.networks[0]
    with torch.inference_mode():
        assert_close(network(token_ids()), reference(token_ids(), tensors())[-1])


def test_a_frequency_that_is_not_trained_is_the_configs(tmp_path):
    weights = {
        n: torch.full_like(t, 4.0) if n.endswith(".freq") else t for n, t in tensors().items()
    }
    renamed = {n: t for n, t in hugging_face(weights).items() if not n.endswith(".freq")}
    config = HUGGING_FACE | {"train_freq": False, "activation_freq": 4}
    network = load(released(tmp_path / "x", renamed, config)).classifier.networks[0]
    with torch.inference_mode():
        assert_close(network(token_ids()), reference(token_ids(), weights)[-1])


@pytest.mark.parametrize(
    ("layout", "changed", "message"),
    [
        ("hugging face", {"short_filter_order": 4}, "would read tokens ahead"),
        ("hugging face", {"hyena_order": 3}, "has 2 only"),
        ("hugging face", {"vocab_size": 8}, "embeddings of 8 tokens"),
        ("hugging face", {"max_seq_len": None}, "no positions"),
        ("original", {"attn_layer_idx": [1]}, r"attn_layer_idx \[1\] is not supported"),
        ("original", {"max_position_embeddings": 5}, "max_position_embeddings 5"),
        ("original", {"layer": LAYER | {"normalized": True}}, "normalized True"),
        ("original", {"layer": LAYER | {"_name_": "attention"}}, "_name_ 'attention'"),
        ("original", {"layer": LAYER | {"emb_dim": 4}}, "odd, and at least 3"),
        ("original", {"n_layer": 3}, "missing tensor"),
    ],
)
def test_configs_that_this_network_does_not_follow_are_refused(tmp_path, layout, changed, message):
    make_tensors, config = LAYOUTS[layout]
    with pytest.raises(BundleError, match=message):
        load(released(tmp_path / "x", make_tensors(), config | changed))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("model.backbone.layers.1.mlp.fc2.bias"), "missing tensor"),
        (lambda t: t.update(more=torch.ones(1)), "unknown tensor more"),
        (lambda t: t["model.lm_head.weight"].add_(1), "should equal"),
        (
            lambda t: t["model.backbone.layers.0.mixer.filter_fn.implicit_filter.3.freq"].add_(1),
            "should equal",
        ),
        (
            lambda t: t.pop("model.backbone.layers.0.mixer.filter_fn.implicit_filter.1.freq"),
            "should equal",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, damage, message):
    weights = original()
    damage(weights)
    with pytest.raises(BundleError, match=message):
        load(released(tmp_path / "x", weights, ORIGINAL))


# --- the network


@pytest.fixture
def network():
    torch.manual_seed(3)
    config = HyenaDnaConfig(width=8, feed_forward=12, positions=64, order=3, filter_width=6)
    return HyenaDnaNetwork(config).eval()


def test_no_token_knows_a_later_one_and_padding_changes_nothing(network):
    ids = token_ids(30)
    other = ids.clone()
    other[:, 20:] = (other[:, 20:] + 1) % 12
    with torch.inference_mode():
        full = network(ids)
        assert_close(network(other)[:, :20], full[:, :20], 1e-6)
        assert not torch.allclose(network(other)[:, 20], full[:, 20])
        mask = torch.arange(30) < torch.tensor([[30], [11], [1]])
        padded = network(ids.where(mask, 4), mask)
        for row, length in enumerate((30, 11, 1)):
            assert_close(padded[row, :length], network(ids[row : row + 1, :length])[0], 1e-6)


@pytest.mark.parametrize("values", [1, 700, 3000])
def test_blocks_of_any_size_give_the_same(network, values):
    ids = token_ids(50)
    with torch.inference_mode():
        expected = network(ids)
        network.block_values = values
        assert_close(network(ids), expected, 1e-5)
    loss = network(ids).square().sum()
    assert torch.isclose(loss.detach(), expected.square().sum(), rtol=1e-4)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(4)
    config = HyenaDnaConfig(width=3, feed_forward=4, positions=9, filter_width=4, layers=1)
    network = HyenaDnaNetwork(config).double().eval()
    ids = token_ids(7, 2)
    loss = network(ids).sin().sum()
    loss.backward()
    for parameter in network.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        index = int(gradient.abs().argmax())
        losses = []
        for step in (1e-6, -2e-6):
            flat[index] += step
            losses.append(float(network(ids).sin().sum().detach()))
        flat[index] += 1e-6
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(float(gradient[index]), rel=1e-4)


def test_decoding_goes_on_where_it_stopped(network):
    ids, cache, parts = token_ids(40), None, []
    with torch.inference_mode():
        for first, end in ((0, 17), (17, 18), (18, 19), (19, 40)):
            part, cache = network.decode(ids[:, first:end], cache)
            parts.append(part)
        assert_close(torch.cat(parts, dim=1), network(ids), 1e-5)


def test_more_tokens_than_there_are_positions_are_refused(network):
    ids = token_ids(65)
    with torch.inference_mode(), pytest.raises(IndexError, match="65 tokens, of at most 64"):
        network(ids)
    with torch.inference_mode():
        _, cache = network.decode(ids[:, :64])
        with pytest.raises(IndexError, match="65 tokens"):
            network.decode(ids[:, 64:], cache)


def test_cached_filters_follow_the_weights(network):
    ids = token_ids(20)
    with torch.inference_mode():
        before = network(ids)
        assert_close(network(ids[:, :9]), before[:, :9], 1e-6)
        assert_close(network(torch.cat([ids, ids], dim=1))[:, :20], before, 1e-6)
    with torch.no_grad():
        network.layers[0].mixer.filter.outer.weight.mul_(3)
        changed = network(ids)
    assert not torch.allclose(changed, before)
    assert_close(network(ids).detach(), changed, 1e-6)  # with gradients nothing is cached


def test_fresh_positions_are_the_papers(network):
    filters = network.layers[0].mixer.filter
    times = torch.linspace(0, 1, 64)
    angles = 2 * torch.pi * torch.arange(64) / 64
    assert_close(filters.t[0, :, 0], times)
    assert_close(filters.z[0, :, 0], times)
    assert_close(filters.z[0, :, 2], angles.cos())
    assert_close(filters.z[0, :, 4], -angles.sin())
    decays = -filters.deltas[0, 0]
    assert_close(decays[[0, -1]], torch.tensor([np.log(100) / 1.5, np.log(100) / 0.3]))


# --- with the program


def test_embed_reads_the_released_folder(checkpoint, tmp_path):
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGTACGTTA\n>b\nACGTN\n>low\nacgtt\n")
    result = run(["embed", "--model", checkpoint, "--to", "tsv", fasta, "--device", "cpu"])
    assert result.status == 0, result.stderr
    rows = {row[0]: np.array(row[1:], float) for row in result.rows[1:]}
    bundle = load(checkpoint)
    for name, sequence in (("a", "ACGTACGTTA"), ("b", "ACGTN")):
        ids = torch.from_numpy(bundle.tokenizer.released_ids(sequence).astype(np.int64))[None]
        expected = reference(ids, tensors())[-1][0].mean(0)
        np.testing.assert_allclose(rows[name], expected.numpy(), atol=1e-5)
    assert np.isnan(rows["low"]).all()  # lower case is unknown to these models


def test_inspect_convert_and_verify(checkpoint, tmp_path):
    report = json.loads(run(["models", "inspect", checkpoint, "--json"]).stdout)
    assert report["architecture"] == "hyenadna (released layout)"
    assert report["problem"] is None
    assert run(["models", "convert", checkpoint, "-o", tmp_path / "mine"]).status == 0
    original_bundle, converted = (load(folder) for folder in (checkpoint, tmp_path / "mine"))
    for name, tensor in original_bundle.classifier.state_dict().items():
        assert torch.equal(tensor, converted.classifier.state_dict()[name])
    assert run(["models", "verify", tmp_path / "mine"]).status == 0


TINY = (
    "network.width=6 network.layers=2 network.feed_forward=10 network.positions=40 network.filter_width=7 "
    "optimization.steps=4 optimization.batch_size=4 optimization.evaluate_every=2 corpus.windows=2"
)


@pytest.mark.parametrize("start", ["scratch", "checkpoint"])
def test_it_is_pretrained_and_trained(sequences, tmp_path, start):
    checkpoint = released(tmp_path / "released", original(), ORIGINAL)
    start = checkpoint if start == "checkpoint" else None
    result = made_and_asked("hyenadna-tiny", TINY, sequences, tmp_path, start)
    assert len(result.rows) == 41


# --- files of other programs


def settings(**values):
    """Settings as omegaconf would pickle them."""
    module = types.ModuleType("omegaconf.dictconfig")
    module.DictConfig = type("DictConfig", (), {"__module__": module.__name__})
    pickled = module.DictConfig()
    pickled.__dict__ = dict(values)
    return module, pickled


def lightning(file, weights, monkeypatch, **more):
    """A checkpoint as Lightning writes it, of a network trained with gradient checkpoints."""
    module, hyper_parameters = settings(content={"lr": 6e-4}, any=Any)
    modules = {"omegaconf": types.ModuleType("omegaconf"), module.__name__: module}
    for name, stand_in in modules.items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    renamed = {
        name.replace(".mixer.", ".mixer.layer.").replace(".mlp.", ".mlp.layer."): tensor
        for name, tensor in weights.items()
    }
    loops = defaultdict(dict, fit={"done": 3})
    torch.save(
        {
            "epoch": 9,
            "state_dict": renamed,
            "loops": loops,
            "hyper_parameters": hyper_parameters,
            **more,
        },
        file,
    )
    for name in modules:
        monkeypatch.delitem(sys.modules, name)
    return file


@pytest.mark.parametrize("config", [None, ORIGINAL], ids=["a file alone", "beside config.json"])
def test_a_lightning_checkpoint_is_opened_without_what_wrote_it(tmp_path, monkeypatch, config):
    file = lightning(tmp_path / "weights.ckpt", original(), monkeypatch)
    if config:
        (tmp_path / "config.json").write_text(json.dumps(config))
    ids = token_ids()
    for path in (file, tmp_path) if config else (file,):
        bundle = load(path)
        network, head = bundle.classifier.networks[0], bundle.auxiliary["causal"]
        with torch.inference_mode():
            assert_close(network(ids), reference(ids, tensors())[-1])
            assert network.lm_logits(head, network(ids)).shape == (3, 33, ROWS)
    report = json.loads(run(["models", "inspect", file, "--json"]).stdout)
    assert report["problem"] is None
    assert {"hyper_parameters", "loops", "train_torchmetrics.num_tokens.count"} <= set(
        report["extra"]
    )


class Command:
    """What runs a command where it is unpickled by python's own means."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("name", ["weights.ckpt", "x.pt"])
def test_a_pickle_that_would_run_something_is_refused(tmp_path, monkeypatch, name):
    marker = tmp_path / "ran"
    file = lightning(tmp_path / name, original(), monkeypatch, more=Command(f"touch {marker}"))
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGT\n")
    for command in (["models", "inspect", file], ["embed", "--model", file, fasta]):
        result = run(command)
        assert result.status == 1
        assert f"{name}: not opened" in result.stderr
        assert not marker.exists()
    if name.endswith(".ckpt"):
        assert "system, which weights have no use for" in result.stderr


def test_a_lightning_checkpoint_that_was_cut_is_damaged(tmp_path, monkeypatch):
    file = lightning(tmp_path / "weights.ckpt", original(), monkeypatch)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(BundleError, match=r"weights\.ckpt: damaged"):
        load(file)


def test_a_fine_tuned_network_is_a_classifier(tmp_path):
    """The stand-alone code's head reads the mean of all tokens' hidden states."""
    rng = torch.Generator().manual_seed(9)
    head, bias = torch.randn(3, WIDTH, generator=rng), torch.randn(3, generator=rng)
    head_tensors = {"head.output_transform.weight": head, "head.output_transform.bias": bias}
    file = tmp_path / "finetuned.pt"
    torch.save(prefixed(tensors(), "backbone.") | head_tensors, file)
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGTACGTTA\n>b\nACGTN\n")
    bundle = load(file)
    assert bundle.heads == {"label": ["0", "1", "2"]}
    result = run(["classify", "--model", file, "--probs", fasta])
    assert result.status == 0, result.stderr
    for row, sequence in zip(result.rows[1:], ("ACGTACGTTA", "ACGTN"), strict=True):
        ids = torch.from_numpy(bundle.tokenizer.released_ids(sequence).astype(np.int64))[None]
        assert ids[0, 0] == 0
        logits = reference(ids, tensors())[-1].mean(1) @ head.double().T + bias
        assert_close(bundle.classifier(ids)["label"], logits)
        np.testing.assert_allclose(np.array(row[-3:], float), logits.softmax(1)[0], atol=1e-4)
    assert run(["models", "convert", file, "-o", tmp_path / "mine"]).status == 0
    converted = run(["classify", "--model", tmp_path / "mine", "--probs", fasta])
    assert [row[-3:] for row in converted.rows] == [row[-3:] for row in result.rows]


@pytest.mark.parametrize("command", ["embed", "score", "classify"])
def test_lower_case_and_u_are_reported_once_with_the_remedy(tmp_path, command):
    folder = classifier(tmp_path / "x")[0]
    if command == "score":
        folder = released(tmp_path / "y", hugging_face(), HUGGING_FACE)
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGTacgtnRY\n>b\nACGU\n>c\nACGTN\n")
    result = run([command, "--model", folder, fasta])
    assert result.status == 0, result.stderr
    warning = (
        "5 letters of 2 sequences are lower case or U, which this model reads as unknown letters"
    )
    assert result.stderr.count(warning) == 1
    upper = run(["tokenize", "--to", "fasta", fasta]).stdout
    upper_result = run([command, "--model", folder], upper)
    assert "lower case or U" not in upper_result.stderr
    assert upper_result.rows[3] == result.rows[3]
    assert upper_result.rows[1] != result.rows[1]


LABELS = {"0": "silencer", "1": "promoter", "2": "enhancer"}


def classifier(folder, **changed):
    """Hugging Face's layout with a head `score` instead of that for next tokens, and the head (3, D)."""
    weights = hugging_face()
    del weights["lm_head.weight"]
    weights["score.weight"] = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(9))
    config = HUGGING_FACE | {"id2label": LABELS, "pad_token_id": 4} | changed
    return released(folder, weights, config), weights["score.weight"].double()


def test_the_classification_head_of_hugging_face_reads_the_last_token(tmp_path):
    folder, head = classifier(tmp_path / "x")
    fasta = tmp_path / "x.fa"
    texts = ("ACGTACGTTA", "ACGTN", "GGC")
    fasta.write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(texts)))
    bundle = load(folder)
    assert bundle.heads == {"label": ["silencer", "promoter", "enhancer"]}
    result = run(["classify", "--model", folder, "--probs", fasta])
    assert result.status == 0, result.stderr
    assert result.rows[0][-3:] == [f"label:{label}" for label in LABELS.values()]
    for row, text in zip(result.rows[1:], texts, strict=True):
        ids = torch.from_numpy(bundle.tokenizer.released_ids(text).astype(np.int64))[None]
        assert ids[0, -1] == 1  # [SEP]
        logits = reference(ids, tensors())[-1][:, -1] @ head.T
        assert_close(bundle.classifier(ids)["label"], logits)
        np.testing.assert_allclose(np.array(row[-3:], float), logits.softmax(1)[0], atol=1e-4)
    assert run(["models", "convert", folder, "-o", tmp_path / "mine"]).status == 0
    converted = run(["classify", "--model", tmp_path / "mine", "--probs", fasta])
    assert [row[-3:] for row in converted.rows] == [row[-3:] for row in result.rows]
    report = json.loads(run(["models", "inspect", folder, "--json"]).stdout)
    assert report["problem"] is None
    assert report["missing"] == report["unexpected"] == []


def test_a_classifier_of_hugging_face_embeds_by_the_mean_and_scores_variants(tmp_path):
    folder, head = classifier(tmp_path / "x")
    genome, variants, text = tmp_path / "r.fa", tmp_path / "v.vcf", "ACGTTACGAGTC"
    genome.write_text(f">1\n{text}\n")
    variants.write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n1\t6\t.\tA\tG\n")
    hidden, log_odds = [], []
    for sequence in (text, text[:5] + "G" + text[6:]):
        ids = load(folder).tokenizer.released_ids(sequence).astype(np.int64)
        hidden.append(reference(torch.from_numpy(ids)[None], tensors())[-1][0])
        log_odds.append((hidden[-1][-1] @ head.T).softmax(0).logit())
    row = run(["embed", "--model", folder, "--to", "tsv", genome]).rows[1]
    np.testing.assert_allclose(np.array(row[1:], float), hidden[0].mean(0), rtol=1e-4)
    result = run(["score", "--model", folder, "--reference", genome, variants])
    assert result.status == 0, result.stderr
    effects = [float(result.rows[1][result.rows[0].index(f"label:{n}")]) for n in LABELS.values()]
    np.testing.assert_allclose(effects, log_odds[1] - log_odds[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"problem_type": "regression"}, "score.weight chooses no label"),
        ({"problem_type": "multi_label_classification"}, "chooses no label"),
        ({"id2label": {"0": "a", "1": "b"}}, "does not name the 3 classes"),
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, "does not name the 3 classes"),
    ],
)
def test_a_head_of_other_things_than_labels_is_refused(tmp_path, changed, message):
    with pytest.raises(BundleError, match=message):
        load(classifier(tmp_path / "x", **changed)[0])


def test_the_last_token_is_that_before_the_padding():
    config = HyenaDnaConfig(width=8, layers=1, positions=20, feed_forward=8, head_pool="last")
    network = HyenaDnaNetwork(config).eval()
    ids = torch.tensor([[7, 8, 9, 1], [10, 1, 4, 4]])
    with torch.inference_mode():
        found = network.head_vectors(ids, ids != 4)
        assert_close(found[:1], network.head_vectors(ids[:1]))
        assert_close(found[1:], network.head_vectors(ids[1:, :2]))
    with pytest.raises(ValueError, match="head_pool"):
        HyenaDnaConfig(head_pool="first")


@needs_shared
@pytest.mark.parametrize("name", ["tiny-1k.skeleton.ckpt", "small-32k.skeleton.ckpt.gz"])
def test_skeletons_of_released_files_open(tmp_path, name):
    source = SHARED / "official" / f"hyenadna-{name}"
    file = tmp_path / "weights.ckpt"
    content = source.read_bytes()
    file.write_bytes(gzip.decompress(content) if source.suffix == ".gz" else content)
    network = bundles.load(file, CPU).classifier.networks[0]
    sizes = network.config.width, network.config.layers, network.max_length
    assert sizes == ((128, 2, 1026) if name.startswith("tiny") else (256, 4, 32770))


@needs_shared
def test_logits_of_somebodys_fine_tuned_network():
    file = SHARED / "official" / "hyenadna-tiny-1k.finetuned.pt"
    weights = torch.load(file, weights_only=True, map_location="cpu")
    bundle = load(file)
    ids = torch.from_numpy(bundle.tokenizer.released_ids("ACGTTGCAAGGTCCATTAGC").astype(np.int64))
    unprefixed = {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}
    mean = reference(ids[None], unprefixed)[-1].mean(1)
    head = [weights[f"head.output_transform.{part}"].double() for part in ("weight", "bias")]
    assert_close(bundle.classifier(ids[None])["label"], functional.linear(mean, *head))


@needs_shared
@pytest.mark.parametrize("fixture", ["hyenadna", "hyenadna_hf"])
def test_outputs_of_the_original_code(fixture):
    folder = SHARED / "parity" / fixture
    result = run(["models", "verify", folder, "--against", folder, "--tolerance", "1e-5"])
    assert result.status == 0, result.stderr
    assert {row[2] for row in result.rows[1:]} == {"OK"}
