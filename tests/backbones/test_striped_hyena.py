"""StripedHyena: the papers' formulas by sums, every layout, cut anywhere, decoded token by token, trained."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conftest import changes, run
from torch.nn import functional

from genomai_cli.backbones.striped_hyena import StripedHyenaConfig, StripedHyenaNetwork, frequencies

pytestmark = pytest.mark.usefixtures("one_thread")
WIDTH, HEADS = 8, 2
EVO2 = StripedHyenaConfig(
    width=WIDTH,
    blocks="SMLAL",
    heads=HEADS,
    feed_forward=12,
    short_taps=5,
    short_groups=2,
    medium_taps=130,
    medium_groups=4,
    modes=3,
    rotary_scale=2.0,
)
EVO1 = replace(
    EVO2,
    blocks="LAL",
    complex_poles=True,
    systems=4,
    interleaved=False,
    by_head=True,
    qkv_by_head=False,
    input_bias=True,
    qkv_bias=True,
    projection_bias=True,
    linear_gates=False,
    rotary_scale=1.0,
)
OTHER = replace(
    EVO2,
    blocks="MSAL",
    short_taps=131,
    medium_taps=6,
    swapped=True,
    by_head=True,
    activation="silu",
    final_norm=False,
    tied=False,
    out_bias=False,
    attention_out_bias=False,
)
CONFIGS = {"evo2": EVO2, "evo1": EVO1, "other": OTHER}


@pytest.fixture(params=CONFIGS)
def network(request):
    torch.manual_seed(1)
    model = StripedHyenaNetwork(CONFIGS[request.param]).double().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "poles" not in name:  # biases and direct terms count too
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def random_ids(rows=2, tokens=150, seed=2):
    return torch.randint(0, 512, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def causal_sum(u, taps):
    """y_t = sum_j taps_j u_(t-j), for u (D, T) and taps (D, J)."""
    y = torch.zeros_like(u)
    for t in range(u.shape[1]):
        for j in range(min(taps.shape[1], t + 1)):
            y[:, t] += taps[:, j] * u[:, t - j]
    return y


def reference(network, ids):
    """The logits (T, V) of one sequence by the papers' formulas."""
    config, state = network.config, network.state_dict()

    def norm(name, x):
        return x / (x.square().mean(1, keepdim=True).sqrt() + config.eps) * state[f"{name}.scale"]

    def linear(name, x):
        y = x @ state[f"{name}.weight"].T
        return y + state[f"{name}.bias"] if f"{name}.bias" in state else y

    def attention(name, x):
        size, z = WIDTH // HEADS, linear(f"{name}.qkv", x)
        head_outputs = []
        for head in range(HEADS):
            if config.qkv_by_head:
                starts = [(head * 3 + part) * size for part in range(3)]
            else:
                starts = [(part * HEADS + head) * size for part in range(3)]
            q, k, v = (z[:, start : start + size] for start in starts)
            angle = torch.arange(len(x)).double()[:, None] / config.rotary_scale
            angle = angle * state[f"{name}.inv_freq"]
            rotation = torch.polar(torch.ones_like(angle), angle)
            q, k = (
                torch.view_as_real(torch.complex(*(t.chunk(2, 1))) * rotation)
                .transpose(1, 2)
                .flatten(1)
                for t in (q, k)
            )
            scores = (q @ k.T / size**0.5).masked_fill(
                torch.ones(len(x), len(x)).triu(1) > 0, -torch.inf
            )
            head_outputs.append(scores.softmax(1) @ v)
        return linear(f"{name}.out", torch.cat(head_outputs, 1))

    def filtered(name, kind, u):
        direct = state.get(f"{name}.direct", torch.zeros(WIDTH))[:, None] * u
        if kind == "L":
            residues, times = state[f"{name}.residues"], torch.arange(u.shape[1]).double()
            if config.complex_poles:
                poles = torch.view_as_complex(state[f"{name}.poles"])
                taps = torch.view_as_complex(residues) * poles**times
            else:
                taps = residues[..., None] * state[f"{name}.log_poles"].exp() ** times
            taps = taps.sum(1).real
        else:
            taps = state[f"{name}.taps"][:, 0]
            taps = taps if taps.shape[1] >= 128 else taps.flip(1)
        return causal_sum(u, taps.repeat_interleave(WIDTH // len(taps), 0)) + direct

    def convolution(name, kind, x):
        z = linear(f"{name}.projections", x).T
        z = causal_sum(z, state[f"{name}.input_taps"][:, 0].flip(1))
        z = z + state[f"{name}.input_bias"][:, None] if config.input_bias else z
        if config.interleaved:
            z = torch.cat([z[0::3], z[1::3], z[2::3]])
        if config.by_head:
            size = WIDTH // HEADS
            rows = torch.arange(3 * WIDTH).view(HEADS, 3, size).transpose(0, 1).flatten()
            z = z[rows]
        x2, x1, v = z.split(WIDTH)
        x2, x1 = (x1, x2) if config.swapped else (x2, x1)
        return linear(f"{name}.out", (x2 * filtered(f"{name}.filter", kind, x1 * v)).T)

    x = state["embedding.weight"][ids]
    for number, kind in enumerate(config.blocks):
        block = f"blocks.{number}"
        mixer = attention if kind == "A" else lambda name, x, kind=kind: convolution(name, kind, x)
        x = x + mixer(f"{block}.mixer", norm(f"{block}.pre_norm", x))
        y = norm(f"{block}.post_norm", x)
        gate = linear(f"{block}.mlp.l1", y)
        if number == 0 or not config.linear_gates:
            gate = functional.silu(gate) if config.activation == "silu" else functional.gelu(gate)
        x = x + linear(f"{block}.mlp.l3", gate * linear(f"{block}.mlp.l2", y))
    return norm("norm", x) if config.final_norm else x


def test_hidden_states_are_those_of_the_formulas_by_sums(network):
    ids = random_ids(1)
    torch.testing.assert_close(network(ids)[0], reference(network, ids[0]), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("block", [1, 7, 64, 149])
def test_the_block_size_changes_nothing(network, block):
    ids = random_ids()
    full = network(ids)
    network.block_tokens = block
    torch.testing.assert_close(network(ids), full, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("cuts", [[1], [40], [3, 4, 90, 149]])
def test_decoding_goes_on_wherever_the_prompt_was_cut(network, cuts):
    ids = random_ids()
    network.block_tokens = 32
    found, cache = [], None
    for start, end in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True):
        hidden, cache = network.decode(ids[:, start:end], cache)
        found.append(hidden)
    torch.testing.assert_close(torch.cat(found, 1), network(ids), atol=1e-8, rtol=1e-8)


def test_a_cache_can_be_continued_twice(network):
    ids = random_ids(1, 40)
    _, cache = network.decode(ids[:, :30])
    first, _ = network.decode(ids[:, 30:], cache)
    network.decode(ids[:, 30:].flip(1), cache)
    second, _ = network.decode(ids[:, 30:], cache)
    assert torch.equal(first, second)


def test_padding_at_the_right_and_other_rows_do_not_show(network):
    ids, single = random_ids(3, 60), random_ids(1, 25, seed=3)
    ids[1, :25], ids[1, 25:] = single[0], 1
    torch.testing.assert_close(network(ids)[1, :25], network(single)[0], atol=1e-9, rtol=1e-9)


def test_layers_are_the_embeddings_the_blocks_and_the_final_norm(network):
    ids, blocks = random_ids(1, 20), len(network.config.blocks)
    assert torch.equal(network(ids, layer=0), network.embedding(ids))
    assert torch.equal(network(ids, layer=blocks + 1), network(ids))
    assert torch.equal(network.norm(network(ids, layer=blocks)), network(ids))


def test_with_gradients_the_answer_is_the_same_and_every_parameter_has_one(network):
    ids = random_ids(1, 40)
    full = network(ids)
    network.requires_grad_(True).train()
    network.block_tokens = 16
    hidden = network(ids)
    torch.testing.assert_close(hidden.detach(), full, atol=1e-8, rtol=1e-8)
    network.lm_logits(network.lm_head(512).double(), hidden).square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_files_of_mixed_types_are_computed_in_their_types():
    torch.manual_seed(1)
    network = StripedHyenaNetwork(EVO2).eval()
    ids = random_ids(1, 60)
    with torch.inference_mode():
        exact = network(ids)
        for name, tensor in network.named_parameters():
            if "poles" not in name and "residues" not in name:
                tensor.data = tensor.data.bfloat16()
        found = network(ids)
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_frequencies_are_powers_of_the_base():
    torch.testing.assert_close(frequencies(100.0, 4), torch.tensor([1.0, 0.1]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"blocks": "SX"}, "blocks 'SX'"),
        ({"blocks": ""}, "a letter of S, M, L and A"),
        ({"heads": 3}, "heads 3 do not divide width 8"),
        ({"medium_groups": 5}, "medium_groups 5 do not divide"),
        ({"activation": "relu"}, "there are gelu, silu"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(EVO2, **changed)


TINY = (
    "network.width=8 network.blocks=SMLA network.heads=2 network.feed_forward=12 network.positions=48 "
    "network.short_groups=2 network.medium_groups=2 network.modes=3 optimization.steps=4 "
    "optimization.batch_size=4 optimization.evaluate_every=2 corpus.windows=2"
)


def test_it_is_pretrained_embeds_and_gets_heads(sequences, tmp_path):
    rng = np.random.default_rng(5)
    dna = tmp_path / "dna.fa"
    letters = "".join(rng.choice(list("ACGT"), 3000))
    dna.write_text(f">x\n{letters}\n")
    tiny = ["--recipe", "evo2-tiny", *changes(TINY), "--device", "cpu"]
    result = run(["pretrain", dna, "-o", tmp_path / "pretrained", *tiny])
    assert result.status == 0, result.stderr
    fasta, labels = sequences
    arguments = ["--labels", labels, "-o", tmp_path / "trained", "--model", tmp_path / "pretrained"]
    result = run(["train", fasta, *arguments, *tiny])
    assert result.status == 0, result.stderr
    assert run(["classify", "--model", tmp_path / "trained", fasta]).status == 0
    for layer in (-1, 0, 5):
        command = [
            "embed",
            "--to",
            "tsv",
            "--model",
            tmp_path / "pretrained",
            "--layer",
            layer,
            dna,
        ]
        result = run(command)
        assert result.status == 0, result.stderr
        assert len(result.rows[1]) == 1 + 8


def test_embeddings_do_not_depend_on_the_batch(tmp_path):
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.embed import Embedder
    from genomai_cli.inputs.sequences import SequenceInput
    from genomai_cli.records import SequenceRecord

    config = {
        "name": "x",
        "version": "1",
        "input": {"kind": "sequence"},
        "tokenizer": {"kind": "bytes"},
        "network": {"kind": "striped_hyena", **asdict(EVO2)},
        "members": 1,
        "heads": {},
    }
    torch.manual_seed(1)
    classifier = bundles.build(config, SequenceInput()).double().eval()
    embedder = Embedder(bundles.Bundle(config, classifier, SequenceInput()))
    rng = np.random.default_rng(5)
    texts = ["".join(rng.choice(list("ACGTN"), length)) for length in (30, 7, 90, 1)]
    records = [SequenceRecord(str(n), text) for n, text in enumerate(["|D__X|ACG", *texts])]
    single = [found.vector for found in embedder.embed(records, Batching(windows=1))]
    batched = [found.vector for found in embedder.embed(records)]
    np.testing.assert_allclose(single, batched, rtol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_fresh_values_follow_the_seed_and_keep_the_size_of_hidden_states(name):
    from genomai_cli.training.initialization import reset_parameters

    config = replace(CONFIGS[name], width=64, feed_forward=96, systems=0)
    networks = [StripedHyenaNetwork(config), StripedHyenaNetwork(config)]
    for network in networks:
        torch.manual_seed(7)
        reset_parameters(network)
    first, second = (network.state_dict() for network in networks)
    assert [n for n, tensor in first.items() if not torch.equal(tensor, second[n])] == []
    ids = torch.tensor([65, 67, 71, 84])[random_ids(2, 300) % 4]
    with torch.inference_mode():
        assert networks[0](ids, layer=len(config.blocks)).std() < 1
