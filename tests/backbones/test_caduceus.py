"""Caduceus: a released checkpoint read as it is, both strands alike, padding, blocks, training, parity."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import SHARED, made_and_asked, needs_shared, run
from torch.nn import functional

from genomai_cli.backbones import caduceus
from genomai_cli.backbones.caduceus import CaduceusConfig, CaduceusNetwork
from genomai_cli.backbones.heads import attach_heads, logits
from genomai_cli.bundles import bundle as bundles
from genomai_cli.errors import BundleError

CPU = torch.device("cpu")
WIDTH, LAYERS, STATES, KERNEL, RANK = 6, 2, 3, 4, 1
INNER = 2 * WIDTH
COMPLEMENT = [0, 1, 2, 3, 4, 5, 6, 10, 9, 8, 7, 11, 12, 13, 14, 15]
PARITY = {kind: SHARED / "parity" / f"caduceus_{kind}" for kind in ("ps", "ph")}


def config_of(equivariant, **changed):
    return {
        "model_type": "caduceus",
        "d_model": WIDTH,
        "n_layer": LAYERS,
        "vocab_size": 12,
        "pad_vocab_size_multiple": 8,
        "ssm_cfg": {"d_state": STATES, "d_conv": KERNEL, "expand": 2, "dt_rank": "auto"},
        "rms_norm": True,
        "fused_add_norm": True,
        "norm_epsilon": 1e-5,
        "bidirectional": True,
        "bidirectional_strategy": "add",
        "bidirectional_weight_tie": True,
        "rcps": equivariant,
        "complement_map": {str(token): other for token, other in enumerate(COMPLEMENT)},
    } | changed


def tensors(equivariant):
    """Random tensors under the released names."""
    rng = torch.Generator().manual_seed(1)
    names = "caduceus.backbone."
    embeddings = f"{names}embeddings.word_embeddings.{'embedding.' * equivariant}weight"
    sizes = {embeddings: (16, WIDTH), f"{names}norm_f.weight": (WIDTH,)}
    for number in range(LAYERS):
        mixer = f"{names}layers.{number}.mixer.{'submodule.' * equivariant}"
        sizes[f"{names}layers.{number}.norm.weight"] = (WIDTH,)
        sizes[f"{mixer}mamba_fwd.in_proj.weight"] = (2 * INNER, WIDTH)
        sizes[f"{mixer}mamba_fwd.out_proj.weight"] = (WIDTH, INNER)
        for part in ("fwd", "rev"):
            mamba = f"{mixer}mamba_{part}."
            sizes |= {
                f"{mamba}A_log": (INNER, STATES),
                f"{mamba}D": (INNER,),
                f"{mamba}conv1d.weight": (INNER, 1, KERNEL),
                f"{mamba}conv1d.bias": (INNER,),
                f"{mamba}x_proj.weight": (RANK + 2 * STATES, INNER),
                f"{mamba}dt_proj.weight": (INNER, RANK),
                f"{mamba}dt_proj.bias": (INNER,),
            }
    weights = {name: torch.randn(size, generator=rng) for name, size in sizes.items()}
    if equivariant:
        weights[f"{names}embeddings.word_embeddings.complement_map"] = torch.tensor(COMPLEMENT)
        weights["lm_head.complement_map"] = torch.tensor(COMPLEMENT)
    return weights


def released(folder, equivariant, weights=None, **changed):
    """A checkpoint in the released layout."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config_of(equivariant, **changed)))
    safetensors.torch.save_file(weights or tensors(equivariant), folder / "model.safetensors")
    return folder


@pytest.fixture(params=[True, False], ids=["ps", "ph"])
def checkpoint(request, tmp_path):
    return released(tmp_path / "caduceus", request.param)


def mamba(x, weights, name, projections):
    """One direction (T, D) by the paper's formulas, step by step."""
    wide, gate = (x @ weights[f"{projections}.in_proj.weight"].T).chunk(2, -1)
    padded = functional.pad(wide.T, (KERNEL - 1, 0))
    weight = weights[f"{name}.conv1d.weight"]
    u = functional.conv1d(padded[None], weight, weights[f"{name}.conv1d.bias"], groups=INNER)[0].T
    u = functional.silu(u)
    low, b, c = (u @ weights[f"{name}.x_proj.weight"].T).split([RANK, STATES, STATES], -1)
    projected = low @ weights[f"{name}.dt_proj.weight"].T + weights[f"{name}.dt_proj.bias"]
    delta, a = functional.softplus(projected), -weights[f"{name}.A_log"].exp()
    state, outputs = torch.zeros(INNER, STATES), []
    for t in range(len(x)):
        state = (delta[t][:, None] * a).exp() * state + (delta[t] * u[t])[:, None] * b[t]
        outputs.append(state @ c[t] + weights[f"{name}.D"] * u[t])
    return (
        torch.stack(outputs) * functional.silu(gate) @ weights[f"{projections}.out_proj.weight"].T
    )


def reference_ph(ids, weights):
    """The last hidden states (T, D) of Caduceus-Ph."""
    names = "caduceus.backbone."

    def norm(name, x):
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weights[f"{name}.weight"]

    hidden, residual = weights[f"{names}embeddings.word_embeddings.weight"][ids], 0
    for number in range(LAYERS):
        layer = f"{names}layers.{number}"
        residual = hidden + residual
        x, forward = norm(f"{layer}.norm", residual), f"{layer}.mixer.mamba_fwd"
        backward = mamba(x.flip(0), weights, f"{layer}.mixer.mamba_rev", forward).flip(0)
        hidden = mamba(x, weights, forward, forward) + backward
    return norm(f"{names}norm_f", hidden + residual)


def random_ids(*shape):
    return torch.randint(7, 12, shape, generator=torch.Generator().manual_seed(2))


def test_hidden_states_are_those_of_the_papers_formulas(tmp_path):
    network = bundles.load(released(tmp_path / "x", False), CPU).classifier.networks[0]
    ids = random_ids(1, 19)
    with torch.inference_mode():
        expected = reference_ph(ids[0], tensors(False))
        torch.testing.assert_close(network(ids)[0], expected, atol=1e-4, rtol=1e-4)


def test_padding_on_either_side_and_blocks_change_nothing(checkpoint, monkeypatch):
    network = bundles.load(checkpoint, CPU).classifier.networks[0]
    ids = random_ids(2, 40)
    with torch.inference_mode():
        full = network(ids)
        for on_the_left in (True, False):
            padding = torch.full((2, 7), 4)
            padded = torch.cat([padding, ids] if on_the_left else [ids, padding], 1)
            mask = padded != 4
            found = network(padded, mask)[mask].view(full.shape)
            torch.testing.assert_close(found, full, atol=1e-5, rtol=1e-5)
        for block in (1, 3, 16, 39):
            monkeypatch.setattr(caduceus, "BLOCK_TOKENS", block)
            torch.testing.assert_close(network(ids), full, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(ids), full, atol=1e-5, rtol=1e-5)  # with gradients


@pytest.mark.parametrize("fused", [True, False])
def test_the_other_strand_has_the_same_logits(tmp_path, fused):
    bundle = bundles.load(released(tmp_path / "x", True, fused_add_norm=fused), CPU)
    network, head = bundle.classifier.networks[0], bundle.auxiliary["masked"]
    ids = random_ids(2, 15)
    other = torch.tensor(COMPLEMENT)[ids.flip(1)]
    with torch.inference_mode():
        found, reverse = (network.lm_logits(head, network(x)) for x in (ids, other))
    torch.testing.assert_close(reverse, found.flip(1)[..., COMPLEMENT], atol=1e-4, rtol=1e-4)


def test_the_exchange_of_strands_is_that_of_fused_add_norm(tmp_path):
    ids, hidden = random_ids(1, 9), []
    for fused in (True, False):
        folder = released(tmp_path / f"{fused}", True, fused_add_norm=fused)
        with torch.inference_mode():
            hidden.append(bundles.load(folder, CPU).classifier.networks[0](ids))
    assert (hidden[0] - hidden[1]).abs().max() > 0.1


def test_classification_does_not_depend_on_the_strand():
    network = CaduceusNetwork(CaduceusConfig(width=8, layers=2, states=4, vocabulary=12))
    attach_heads(network, {"kind": 3})
    ids = random_ids(2, 15)
    other = torch.tensor(COMPLEMENT)[ids.flip(1)]
    torch.testing.assert_close(logits(network, ids)["kind"], logits(network, other)["kind"])


@pytest.mark.parametrize("equivariant", [True, False])
def test_the_released_classification_head_reads_the_mean_over_the_tokens(tmp_path, equivariant):
    weights = {n: t for n, t in tensors(equivariant).items() if not n.startswith("lm_head")}
    head = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(3))
    labels = {"id2label": {"0": "a", "1": "b", "2": "c"}}
    folder = released(
        tmp_path / "x", equivariant, weights | {"score.weight": head}, pad_token_id=4, **labels
    )
    bundle = bundles.load(folder, CPU)
    assert bundle.heads == {"label": ["a", "b", "c"]}
    assert bundle.auxiliary == {}
    texts, fasta = ("ACGTACCGA", "acgtn"), tmp_path / "x.fa"
    fasta.write_text("".join(f">{text}\n{text}\n" for text in texts))
    result = run(["classify", "--model", folder, "--probs", fasta])
    assert result.status == 0, result.stderr
    assert "both strands" in result.stderr if equivariant else "the strand given" in result.stderr
    for row, text in zip(result.rows[1:], texts, strict=True):
        ids = torch.from_numpy(bundle.tokenizer.released_ids(text).astype(np.int64))
        with torch.inference_mode():
            if equivariant:
                hidden = bundle.classifier.networks[0](ids[None])[0]
                strands = (hidden[:, :WIDTH], hidden[:, WIDTH:].flip(0, 1))
            else:
                strands = (reference_ph(ids, weights),)
            expected = sum(strand.mean(0) @ head.T for strand in strands) / len(strands)
            found = bundle.classifier(ids[None])["label"][0]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(np.array(row[-3:], float), expected.softmax(0), atol=1e-4)
    assert run(["models", "convert", folder, "-o", tmp_path / "mine"]).status == 0
    converted = run(["classify", "--model", tmp_path / "mine", "--probs", fasta])
    assert [row[-3:] for row in converted.rows] == [row[-3:] for row in result.rows]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda t: t.pop("caduceus.backbone.layers.1.mixer.submodule.mamba_rev.D"),
            "missing tensor",
        ),
        (lambda t: t.update(more=torch.ones(1)), "unknown tensor more"),
        (lambda t: t["lm_head.complement_map"].add_(1), "should equal"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, damage, message):
    weights = tensors(True)
    damage(weights)
    with pytest.raises(BundleError, match=message):
        bundles.load(released(tmp_path / "x", True, weights), CPU)


def test_settings_that_nothing_computes_are_refused(tmp_path):
    with pytest.raises(BundleError, match="combine"):
        bundles.load(released(tmp_path / "x", True, bidirectional_strategy="concat"), CPU)


def test_projections_of_their_own_and_products(tmp_path):
    weights = tensors(False)
    for number in range(LAYERS):
        mixer = f"caduceus.backbone.layers.{number}.mixer."
        for name in ("in_proj", "out_proj"):
            weight = weights[f"{mixer}mamba_fwd.{name}.weight"]
            weights[f"{mixer}mamba_rev.{name}.weight"] = weight.clone()
    untied_settings = {"bidirectional_weight_tie": False}
    untied, tied = (
        bundles.load(
            released(tmp_path / name, False, checkpoint_weights, **settings), CPU
        ).classifier.networks[0]
        for name, checkpoint_weights, settings in (
            ("own", weights, untied_settings),
            ("tied", None, {}),
        )
    )
    ids = random_ids(1, 9)
    with torch.inference_mode():
        torch.testing.assert_close(untied(ids), tied(ids))
    product = released(tmp_path / "product", False, bidirectional_strategy="ew_multiply")
    with torch.inference_mode():
        assert bundles.load(product, CPU).classifier.networks[0](ids).isfinite().all()


def test_embed_gives_a_record_the_same_vector_in_any_batch(checkpoint, tmp_path):
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGTACGTTA\n>b\nACGTT\n>low\nacgtt\n>long\n" + "ACCTG" * 30 + "\n")
    rows = []
    for tokens in ("1", "100000"):
        arguments = ["--to", "tsv", fasta, "--device", "cpu", "--batch-size", tokens]
        result = run(["embed", "--model", checkpoint, *arguments])
        assert result.status == 0, result.stderr
        rows.append({row[0]: np.array(row[1:], float) for row in result.rows[1:]})
    for name, vector in rows[0].items():
        np.testing.assert_allclose(rows[1][name], vector, atol=1e-5)
    np.testing.assert_allclose(rows[0]["low"], rows[0]["b"])


TINY = (
    "network.width=8 network.layers=1 network.states=4 optimization.steps=4 optimization.batch_size=4 "
    "optimization.evaluate_every=2 corpus.windows=2 corpus.window=64"
)


def test_it_is_pretrained_and_trained(sequences, tmp_path):
    result = made_and_asked("caduceus-ps-tiny", TINY, sequences, tmp_path)
    assert len(result.rows) == 41


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize("kind", ["ps", "ph"])
def test_parity_with_the_original_code(kind):
    arguments = ["--against", PARITY[kind], "--tolerance", "1e-5"]
    result = run(["models", "verify", PARITY[kind], *arguments])
    assert result.status == 0, result.stderr
    outcomes = {name: outcome for name, _, outcome in result.rows[1:]}
    assert set(outcomes.values()) == {"OK"}
    assert ("logits_if_fused_add_norm_false" in outcomes) is (kind == "ps")


def test_verify_compares_what_another_setting_gives(tmp_path):
    """The stored outputs are those of a checkpoint that has the setting."""
    ids, folders = random_ids(1, 9), {}
    for fused in (True, False):
        folders[fused] = released(tmp_path / f"{fused}", True, fused_add_norm=fused)
        bundle = bundles.load(folders[fused], CPU)
        network, head = bundle.classifier.networks[0], bundle.auxiliary["masked"]
        with torch.inference_mode():
            name = "logits" if fused else "logits_if_fused_add_norm_false"
            logits = network.lm_logits(head, network(ids))
            np.save(tmp_path / f"expected_{name}.npy", logits.numpy())
    np.save(tmp_path / "input_ids.npy", ids.numpy())
    np.save(tmp_path / "expected_logits_if_other_true.npy", logits.numpy())
    result = run(["models", "verify", folders[True], "--against", tmp_path])
    assert result.status == 0, result.stderr
    assert {row[0]: row[2] for row in result.rows[1:]} == {
        "logits": "OK",
        "logits_if_fused_add_norm_false": "OK",
        "logits_if_other_true": "not compared",
    }
    np.save(tmp_path / "expected_logits_if_fused_add_norm_false.npy", logits.numpy() + 1)
    assert run(["models", "verify", folders[True], "--against", tmp_path]).status == 1
