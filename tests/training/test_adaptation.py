"""How much of a network is trained that begins with another model's values: all, the heads, or low-rank changes."""

import likelihood_bundles
import pytest
import tiny_causal
import torch
from conftest import run
from torch import nn
from torch.nn.utils import parametrize

from genomai_cli.backbones.base import build_network
from genomai_cli.backbones.heads import attach_heads, logits
from genomai_cli.bundles import bundle as bundles
from genomai_cli.errors import TrainingError, UsageError
from genomai_cli.training.adaptation import Adaptation
from genomai_cli.training.recipe_tables import as_toml

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TOKENS = torch.tensor([[5, 9, 17, 60, 33], [8, 8, 12, 40, 7]])
SETTINGS = [
    *("optimization.steps=30", "optimization.batch_size=16", "optimization.evaluate_every=10"),
    "optimization.learning_rate=2e-2",
]


def network():
    torch.manual_seed(0)
    backbone = build_network(
        {"kind": "dnabert", "vocabulary": 69, "dropout": 0.0, **likelihood_bundles.DNABERT}
    )
    return attach_heads(backbone, {"kind": 3})


def parameters_of(network):
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def step(network):
    """A step of gradient descent on all that is trained."""
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)
    nn.functional.cross_entropy(logits(network, TOKENS)["kind"], torch.tensor([0, 2])).backward()
    optimizer.step()
    optimizer.zero_grad()


class TestAdaptation:
    def test_a_probe_changes_the_heads_alone(self):
        backbone, adaptation = network(), Adaptation("probe")
        before = parameters_of(backbone)
        adaptation.apply(backbone)
        assert adaptation.trainable_count(backbone) == sum(
            p.numel() for p in backbone.heads.parameters()
        )
        step(backbone)
        adaptation.merge(backbone)
        changed = {
            name for name, value in parameters_of(backbone).items() if not value.equal(before[name])
        }
        assert changed == {name for name in before if name.startswith("heads.")}
        assert all(parameter.requires_grad for parameter in backbone.parameters())

    def test_the_network_of_a_probe_is_not_in_training_mode(self):
        for kind, modes in (("probe", {False}), ("lora", {True}), ("full", {True})):
            backbone, adaptation = network().eval(), Adaptation(kind)
            adaptation.apply(backbone)
            adaptation.training_mode(backbone)
            assert {m.training for m in backbone.heads.modules()} == {True}
            heads = set(backbone.heads.modules())
            assert {m.training for m in backbone.modules() if m not in heads} == modes

    def test_low_rank_changes_begin_with_nothing(self):
        backbone = network()
        before = logits(backbone, TOKENS)["kind"]
        Adaptation("lora", rank=2).apply(backbone)
        assert logits(backbone, TOKENS)["kind"].equal(before)

    def test_low_rank_changes_are_added_and_the_network_is_plain_again(self):
        backbone, adaptation = network(), Adaptation("lora", rank=2, alpha=8)
        before = parameters_of(backbone)
        adaptation.apply(backbone)
        layer = backbone.layer[0].intermediate
        a, b = (getattr(layer.parametrizations.weight[0], name) for name in "ab")
        assert (
            adaptation.trainable_count(backbone)
            < sum(value.numel() for value in before.values()) / 2
        )
        for _ in range(2):
            step(backbone)
        expected = before["layer.0.intermediate.weight"] + 4 * (b @ a).detach()
        outputs = logits(backbone, TOKENS)["kind"]
        adaptation.merge(backbone)
        assert not any(parametrize.is_parametrized(module) for module in backbone.modules())
        after = parameters_of(backbone)
        assert after.keys() == before.keys()
        assert after["layer.0.intermediate.weight"] == pytest.approx(expected.numpy(), abs=1e-6)
        change = after["layer.0.query.weight"] - before["layer.0.query.weight"]
        assert torch.linalg.matrix_rank(change, atol=1e-5) <= 2
        linear = {
            f"{name}.weight" for name, m in backbone.named_modules() if isinstance(m, nn.Linear)
        }
        untouched = before.keys() - linear - {n for n in before if n.startswith("heads.")}
        assert all(after[name].equal(before[name]) for name in untouched)
        merged_outputs = logits(backbone, TOKENS)["kind"].detach().numpy()
        assert merged_outputs == pytest.approx(outputs.detach().numpy(), abs=1e-5)

    @pytest.mark.parametrize(
        "config",
        [
            {"kind": "hyenadna", "width": 8, "layers": 1, "feed_forward": 8, "positions": 32},
            {"kind": "caduceus", "width": 8, "layers": 1, "states": 2},
            {"kind": "striped_hyena", "blocks": "SMLA", "width": 16, "heads": 2, "modes": 2, "feed_forward": 8},
        ],
        ids=lambda config: config["kind"],
    )  # fmt: skip
    def test_every_family_can_be_adapted(self, config):
        torch.manual_seed(0)
        ids = torch.randint(7, 11, (2, 12))
        backbone = attach_heads(build_network(config), {"kind": 3}).float()
        names, adaptation = set(parameters_of(backbone)), Adaptation("lora", rank=2)
        before = logits(backbone.eval(), ids)["kind"].detach()
        adaptation.apply(backbone)
        backbone.train()
        nn.functional.cross_entropy(logits(backbone, ids)["kind"], torch.tensor([0, 2])).backward()
        optimizer = torch.optim.AdamW(backbone.parameters(), lr=0.1)
        optimizer.step()
        outputs = logits(backbone.eval(), ids)["kind"].detach()
        adaptation.merge(backbone)
        assert set(parameters_of(backbone)) == names
        merged_outputs = logits(backbone.eval(), ids)["kind"].detach()
        assert merged_outputs.numpy() == pytest.approx(outputs.numpy(), abs=1e-4)
        assert not torch.allclose(merged_outputs, before, atol=1e-3)

    def test_all_of_it_is_the_default(self):
        backbone, adaptation = network(), Adaptation()
        adaptation.apply(backbone)
        assert adaptation.trainable_count(backbone) == sum(p.numel() for p in backbone.parameters())

    def test_what_has_nothing_to_keep_is_refused(self):
        with pytest.raises(UsageError, match="name a --model"):
            Adaptation("lora").check(has_start=False)
        with pytest.raises(UsageError, match="solved are not trained"):
            Adaptation("probe").check(has_start=True, fits_in_closed_form=True)
        with pytest.raises(TrainingError, match="no linear layers"):
            Adaptation("lora").apply(nn.ReLU())


def test_a_table_as_toml():
    import tomllib

    table = {
        "kind": "x",
        "eps": 1e-05,
        "tied": True,
        "none": None,
        "list": [1, 2],
        "more": {"a": "b'\""},
    }
    del table["none"]
    assert tomllib.loads(f"v = {as_toml(table | {'none': None})}")["v"] == table


@pytest.fixture(scope="module")
def tiny_causal_registered():
    with pytest.MonkeyPatch.context() as patch:
        tiny_causal.register(patch)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Sequences of two kinds that their letters tell apart, and their labels."""
    folder = tmp_path_factory.mktemp("kinds")
    text, labels = "", "name\tkind\n"
    for number in range(40):
        kind = ("AAC", "GGT")[number % 2]
        text += f">s{number}\n{(kind * 12)[number % 3 :][:30]}\n"
        labels += f"s{number}\t{kind}\n"
    (folder / "s.fa").write_text(text)
    (folder / "l.tsv").write_text(labels)
    return folder / "s.fa", folder / "l.tsv"


class TestCommand:
    @pytest.mark.parametrize("adapt", ["probe", "lora"])
    @pytest.mark.parametrize("kind", ["causal", "masked"])
    def test_the_network_is_the_models_own_and_the_bundle_plain(
        self, tiny_causal_registered, files, tmp_path, monkeypatch, kind, adapt
    ):
        start = likelihood_bundles.saved(getattr(likelihood_bundles, kind)(), tmp_path / "start")
        fasta, labels = files
        changes = [argument for change in SETTINGS for argument in ("--set", change)]
        arguments = [
            "train",
            fasta,
            "--labels",
            labels,
            "--model",
            start,
            "--adapt",
            adapt,
            "--device",
            "cpu",
        ]
        if kind == "causal" and adapt == "lora":
            result = run([*arguments, "-o", tmp_path / "made", *changes])
            assert result.status == 1
            assert "no linear layers" in result.stderr
            return
        dropped, forward = set(), nn.Dropout.forward

        def spy(module, values):
            dropped.add(module.training)
            return forward(module, values)

        monkeypatch.setattr(nn.Dropout, "forward", spy)
        rank = ["--lora-rank", 2] if adapt == "lora" else []
        result = run([*arguments, *rank, "-o", tmp_path / "made", *changes])
        assert result.status == 0, result.stderr
        assert kind == "causal" or (True in dropped) is (adapt == "lora")
        adapted, initial = bundles.load(tmp_path / "made", CPU), bundles.load(start, CPU)
        assert adapted.config["network"] == initial.config["network"]
        assert adapted.config["provenance"]["adapt"]["kind"] == adapt
        assert adapted.config["provenance"]["adapt"]["sha256"] == initial.weights_sha256
        initial_values = parameters_of(initial.classifier.networks[0])
        adapted_values = {
            n: v
            for n, v in parameters_of(adapted.classifier.networks[0]).items()
            if not n.startswith("heads.")
        }
        assert adapted_values.keys() == initial_values.keys()
        changed = {
            name for name in adapted_values if not adapted_values[name].equal(initial_values[name])
        }
        assert bool(changed) is (adapt == "lora")
        card = (tmp_path / "made" / "README.md").read_text()
        assert (
            "the heads alone trained" if adapt == "probe" else "changes of rank 2 (alpha 16)"
        ) in card
        calls = [row[1] for row in run(["classify", "--model", tmp_path / "made", fasta]).rows[1:]]
        assert len(calls) == 40
        if kind == "causal":  # of the other network's vectors 30 steps learn nothing
            assert calls == ["AAC", "GGT"] * 20

    @pytest.mark.parametrize("adapt", ["probe", "lora"])
    def test_it_needs_a_model_to_begin_from(self, tmp_path, adapt):
        unread = tmp_path / "nowhere.fa"  # usage is looked at before the input
        result = run(["train", unread, "--adapt", adapt, "-o", tmp_path / "m"])
        assert result.status == 2
        assert f"--adapt {adapt} keeps what a network knows: name a --model" in result.stderr
