"""DNABERT: a released checkpoint read as it is, its tokens and masks, what is refused, training from it, parity."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import SHARED, made_and_asked, needs_shared, run
from torch.nn import functional

from genomai_cli.bundles import bundle as bundles
from genomai_cli.errors import BundleError
from genomai_cli.tokenizers.bert_kmers import BertKmers

CPU = torch.device("cpu")
K, WIDTH, LAYERS, HEADS, POSITIONS = 3, 8, 2, 2, 32
VOCABULARY = 4**K + 5
CONFIG = {
    "architectures": ["BertForMaskedLM"],
    "hidden_act": "gelu",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 12,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "vocab_size": VOCABULARY,
}
PARITY = SHARED / "parity" / "dnabert"


def tensors(seed=1):
    """Random tensors under the released names, tied ones included."""
    rng = torch.Generator().manual_seed(seed)
    sizes = {f"bert.embeddings.{n}_embeddings.weight": (rows, WIDTH) for n, rows in (
        ("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2))}  # fmt: skip
    layers = [
        ("bert.pooler.dense", WIDTH, WIDTH),
        ("cls.predictions.transform.dense", WIDTH, WIDTH),
    ]
    norms = ["bert.embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"]
    for number in range(LAYERS):
        block = f"bert.encoder.layer.{number}."
        names = ("attention.self.query", "attention.self.key", "attention.self.value")
        layers += [(block + n, WIDTH, WIDTH) for n in (*names, "attention.output.dense")]
        layers += [(f"{block}intermediate.dense", 12, WIDTH), (f"{block}output.dense", WIDTH, 12)]
        norms += [f"{block}attention.output.LayerNorm", f"{block}output.LayerNorm"]
    sizes |= {f"{name}.weight": (rows, columns) for name, rows, columns in layers}
    sizes |= {f"{name}.bias": (rows,) for name, rows, _ in layers}
    sizes |= {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")}
    weights = {name: torch.randn(size, generator=rng) * 0.5 for name, size in sizes.items()}
    weights["cls.predictions.bias"] = torch.randn(VOCABULARY, generator=rng)
    weights["cls.predictions.decoder.weight"] = weights[
        "bert.embeddings.word_embeddings.weight"
    ].clone()
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"].clone()
    return weights


def released(folder, weights=None, config=CONFIG):
    """A checkpoint in the released layout."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(BertKmers(K).vocabulary) + "\n")
    safetensors.torch.save_file(weights or tensors(), folder / "model.safetensors")
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    return released(tmp_path / "DNA_bert_3")


def reference(ids, mask, weights):
    """The hidden states (B, T, D) by the paper's formulas, head by head."""

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x):
        deviation = (x - x.mean(-1, keepdim=True)) / (
            x.var(-1, unbiased=False, keepdim=True) + 1e-12
        ).sqrt()
        return deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    tables = {
        n: weights[f"bert.embeddings.{n}_embeddings.weight"]
        for n in ("word", "position", "token_type")
    }
    x = tables["word"][ids] + tables["position"][: ids.shape[1]] + tables["token_type"][0]
    x = norm("bert.embeddings.LayerNorm", x)
    for number in range(LAYERS):
        name = f"bert.encoder.layer.{number}."
        query, key, value = (
            linear(f"{name}attention.self.{n}", x).chunk(HEADS, -1)
            for n in ("query", "key", "value")
        )
        head_outputs = []
        for q, k, v in zip(query, key, value, strict=True):
            scores = q @ k.transpose(1, 2) / (WIDTH / HEADS) ** 0.5
            head_outputs.append(scores.masked_fill(~mask[:, None, :], -torch.inf).softmax(-1) @ v)
        attended = linear(f"{name}attention.output.dense", torch.cat(head_outputs, -1))
        x = norm(f"{name}attention.output.LayerNorm", x + attended)
        intermediate = functional.gelu(linear(f"{name}intermediate.dense", x))
        x = norm(f"{name}output.LayerNorm", x + linear(f"{name}output.dense", intermediate))
    return x


def test_hidden_states_are_those_of_the_papers_formulas_and_padding_does_not_leak(checkpoint):
    network = bundles.load(checkpoint, CPU).classifier.networks[0]
    ids = torch.randint(5, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(12) < torch.tensor([[12], [5], [1]])
    with torch.inference_mode():
        found = network(ids, mask)
        expected = reference(ids, mask, tensors())
        torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)
        single = network(ids[1:2, :5])
        torch.testing.assert_close(found[1, :5], single[0], atol=1e-5, rtol=1e-5)


def test_the_bias_is_added_once_or_as_the_released_code_does_twice(checkpoint):
    bundle = bundles.load(checkpoint, CPU)
    network, head = bundle.classifier.networks[0], bundle.auxiliary["masked"]
    hidden = torch.randn(2, WIDTH)
    with torch.inference_mode():
        once = network.lm_logits(head, hidden)
        with network.as_released(True):
            twice = network.lm_logits(head, hidden)
        torch.testing.assert_close(twice - once, head.bias.expand(2, -1), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(network.lm_logits(head, hidden), once)


@pytest.mark.parametrize("layout", ["pytorch_model.bin", "gamma and beta", "no pooler", "no head"])
def test_layouts_that_are_found_in_the_field(tmp_path, layout):
    weights = tensors()
    if layout == "gamma and beta":
        weights = {
            n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t
            for n, t in weights.items()
        }
    if layout == "no pooler":
        weights = {n: t for n, t in weights.items() if "pooler" not in n}
    if layout == "no head":
        weights = {n: t for n, t in weights.items() if not n.startswith("cls.")}
    folder = released(tmp_path / "x", weights)
    if layout == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    bundle = bundles.load(folder, CPU)
    ids = torch.arange(5, 15)[None]
    expected = reference(ids, torch.ones(1, 10, dtype=torch.bool), tensors())
    with torch.inference_mode():
        torch.testing.assert_close(
            bundle.classifier.networks[0](ids), expected, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("bert.encoder.layer.1.output.dense.bias"), "missing tensor"),
        (lambda t: t.update(more=torch.ones(1)), "unknown tensor more"),
        (lambda t: t.update({"bert.pooler.dense.bias": torch.ones(3)}), "another shape"),
        (lambda t: t["cls.predictions.decoder.weight"].add_(1), "should equal"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, damage, message):
    weights = tensors()
    damage(weights)
    with pytest.raises(BundleError, match=message):
        bundles.load(released(tmp_path / "x", weights), CPU)


def test_another_vocabulary_is_refused(checkpoint):
    (checkpoint / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nAAA\n")
    with pytest.raises(BundleError, match=r"vocab\.txt: not the k-mers"):
        bundles.load(checkpoint, CPU)


def test_embed_reads_the_released_folder(checkpoint, tmp_path):
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nACGTACGTTA\n>b\nACGTT\n>low\nacgtt\n")
    result = run(["embed", "--model", checkpoint, "--to", "tsv", fasta, "--device", "cpu"])
    assert result.status == 0, result.stderr
    rows = {row[0]: np.array(row[1:], float) for row in result.rows[1:]}
    tokenizer = BertKmers(K)
    ids = torch.from_numpy(tokenizer.template(tokenizer.encode("ACGTACGTTA")).astype(np.int64))[
        None
    ]
    hidden = reference(ids, torch.ones(ids.shape, dtype=torch.bool), tensors())
    np.testing.assert_allclose(rows["a"], hidden[0].mean(0).numpy(), atol=1e-5)
    assert np.isnan(rows["low"]).all()  # lower case is unknown to these models
    for pool, expected in (
        ("cls", hidden[0, 0]),
        (
            "pooler",
            torch.tanh(
                hidden[0, 0] @ tensors()["bert.pooler.dense.weight"].T
                + tensors()["bert.pooler.dense.bias"]
            ),
        ),
    ):
        result = run(
            [
                "embed",
                "--model",
                checkpoint,
                "--to",
                "tsv",
                "--pool",
                pool,
                fasta,
                "--device",
                "cpu",
            ]
        )
        assert result.status == 0, result.stderr
        np.testing.assert_allclose(np.array(result.rows[1][1:], float), expected.numpy(), atol=1e-5)


def test_tokens_have_a_vector_each_without_the_special_ones(checkpoint, tmp_path):
    fasta = tmp_path / "x.fa"
    sequence = "ACGTTGCA" * 12  # longer than the network reads at once
    fasta.write_text(f">a\n{sequence}\n")
    output = tmp_path / "x.tsv"
    result = run(
        ["embed", "--model", checkpoint, "--per-token", "--to", "tsv", fasta, "-o", output]
    )
    assert result.status == 0, result.stderr
    assert len(output.read_text().splitlines()) == 1 + len(sequence) - K + 1


def test_inspect_convert_and_verify(checkpoint, tmp_path):
    result = run(["models", "inspect", checkpoint, "--json"])
    report = json.loads(result.stdout)
    assert report["architecture"] == "dnabert (released layout)"
    assert report["problem"] is None
    assert report["tensors"]["bert.pooler.dense.bias"] == {"shape": [WIDTH], "dtype": "F32"}
    assert run(["models", "convert", checkpoint, "-o", tmp_path / "mine"]).status == 0
    original, converted = (bundles.load(folder, CPU) for folder in (checkpoint, tmp_path / "mine"))
    for name, tensor in original.classifier.state_dict().items():
        assert torch.equal(tensor, converted.classifier.state_dict()[name])
    assert run(["models", "verify", tmp_path / "mine"]).status == 0


def write_fixture(checkpoint, folder):
    """A folder of stored inputs and outputs."""
    shutil.copytree(checkpoint, folder)
    ids = torch.randint(5, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(3))
    np.save(folder / "input_ids.npy", ids.numpy())
    hidden = reference(ids, torch.ones(2, 9, dtype=torch.bool), tensors())
    np.save(folder / "expected_last_hidden.npy", hidden.numpy())
    cases = [{"sequence": "ACGTA", "ids": [2, *BertKmers(K).encode("ACGTA").tolist(), 3]}]
    (folder / "tokenizer_cases.json").write_text(json.dumps(cases))
    return folder


def test_verify_fails_when_a_stored_figure_is_changed(checkpoint, tmp_path):
    folder = write_fixture(checkpoint, tmp_path / "fixture")
    arguments = ["models", "verify", checkpoint, "--against", folder]
    result = run(arguments)
    assert result.status == 0, result.stderr
    assert [row[0] for row in result.rows[1:]] == ["last_hidden", "tokenizer_cases"]
    stored = np.load(folder / "expected_last_hidden.npy")
    stored[1, 2, 3] += 0.01
    np.save(folder / "expected_last_hidden.npy", stored)
    result = run(arguments)
    assert result.status == 1
    assert "above the tolerance" in result.stderr
    assert run([*arguments, "--tolerance", "0.1"]).status == 0
    (folder / "tokenizer_cases.json").write_text('[{"sequence": "ACGTA", "ids": [2, 9, 3]}]')
    assert run([*arguments, "--tolerance", "0.1"]).status == 1


def test_verify_with_nothing_to_compare_is_no_success(checkpoint, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(["models", "verify", checkpoint, "--against", empty]).status == 1


TINY = (
    "network.width=8 network.layers=2 network.heads=2 network.feed_forward=12 network.positions=32 "
    "tokenizer.k=3 optimization.steps=4 optimization.batch_size=4 optimization.evaluate_every=2 corpus.windows=2"
)


@pytest.mark.parametrize("start", ["scratch", "checkpoint"])
def test_it_is_pretrained_and_trained(checkpoint, sequences, tmp_path, start):
    start = checkpoint if start == "checkpoint" else None
    result = made_and_asked("dnabert-6-tiny", TINY, sequences, tmp_path, start)
    assert len(result.rows) == 41


def test_runs_of_tokens_are_masked_together():
    from genomai_cli.objectives.base import Alphabet
    from genomai_cli.objectives.masked import Masked, MaskedSettings

    tokenizer = BertKmers(6)
    objective = Masked(MaskedSettings(share=0.1, span=6), Alphabet(tokenizer))
    rng = np.random.default_rng(6)
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), (4, 200))
    views = objective.views(letters, rng)
    ids, targets = views["ids"], views["targets"]
    assert (ids[:, 0] == tokenizer.special["cls"]).all()
    assert ((ids == tokenizer.mask_id) == (targets >= 0)).all()
    for row in ids == tokenizer.mask_id:
        edges = np.flatnonzero(np.diff(row.astype(int)))
        runs = edges[1::2] - edges[::2]
        assert runs.min() >= 6  # so that no visible neighbour shares a masked letter


@needs_shared
@pytest.mark.shared
def test_parity_with_the_original_code():
    result = run(["models", "verify", PARITY, "--against", PARITY, "--tolerance", "1e-5"])
    assert result.status == 0, result.stderr
    outcomes = {row[0]: row[2] for row in result.rows[1:]}
    assert set(outcomes.values()) == {"OK"}
    keys = {f"keys DNABERT-{k}" for k in (3, 4, 5, 6)}
    assert {"hidden_states", "logits", "pooled", "tokenizer_cases", *keys} <= set(outcomes)
