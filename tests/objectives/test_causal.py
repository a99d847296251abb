"""Next-token prediction: its views and loss by hand, its baseline, whom it refuses, and a run that learns a rule."""

import math

import numpy as np
import pytest
import tiny_causal
import torch
from conftest import changes, run
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli import tokenizers
from genomai_cli.backbones.base import build_network
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.sequences import SequenceInput, vocabulary_sizes
from genomai_cli.objectives.base import NO_TARGET, Alphabet, Model, SingleProcess
from genomai_cli.objectives.causal import Causal, CausalSettings
from genomai_cli.training import corpus_writer
from genomai_cli.training.baselines import Baselines, Markov
from genomai_cli.training.corpus_writer import PieceCutter
from genomai_cli.training.pretraining import piece_cutter, pretrain
from genomai_cli.training.recipe import from_tables

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIGS = [
    {"kind": "characters"},
    {"kind": "bytes"},
    {"kind": "kmers", "k": 3, "stride": 1},
    {"kind": "kmers", "k": 3, "stride": 3},
    {"kind": "bert_kmers", "k": 3},
]
TABLES = {
    "name": "tiny",
    "objectives": {"causal": 1.0},
    "tokenizer": {"kind": "characters"},
    "network": {"kind": tiny_causal.KIND},
    "corpus": {"window": 40},
    "optimization": {"steps": 150, "batch_size": 16, "evaluate_every": 50, "learning_rate": 2e-2},
}


@pytest.fixture(autouse=True)
def tiny_causal_registered(monkeypatch):
    tiny_causal.register(monkeypatch)


def letters(*sequences):
    rows = np.zeros((len(sequences), max(map(len, sequences))), np.uint8)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = np.frombuffer(sequence.encode(), np.uint8)
    return rows


def objective(config=CONFIGS[0], **settings):
    return Causal(CausalSettings(**settings), Alphabet(tokenizers.from_config(config)))


def views(causal, *sequences, seed=0):
    return causal.views(letters(*sequences), np.random.default_rng(seed))


def targets_of(ids, tokenizer):
    """The target of each token, one by one: the next token where it is DNA."""
    next_ids = [*ids[1:], tokenizer.pad_id]
    return [
        next_id
        if tokenizer.is_dna(np.array([next_id]))[0] and token != tokenizer.pad_id
        else NO_TARGET
        for token, next_id in zip(ids, next_ids, strict=True)
    ]


class TestViews:
    @given(st.lists(st.text("ACGTN", min_size=4, max_size=20), min_size=1, max_size=4))
    @pytest.mark.parametrize("config", CONFIGS)
    def test_targets_are_the_tokens_that_follow(self, config, sequences):
        causal = objective(config)
        batch = views(causal, *sequences)
        for ids, targets in zip(batch["ids"].tolist(), batch["targets"].tolist(), strict=True):
            assert targets == targets_of(ids, causal.alphabet.tokenizer)

    def test_neither_the_first_base_nor_an_unknown_one_is_predicted(self):
        targets = views(objective(), "ACNGT", "AC")["targets"].tolist()
        assert targets == [[1, -1, 2, 3, -1], [1, -1, -1, -1, -1]]

    def test_a_prefix_lets_the_first_token_be_predicted(self):
        causal = objective({"kind": "bert_kmers", "k": 3})
        batch = views(causal, "ACGTA")
        assert (batch["targets"] != NO_TARGET).sum() == causal.alphabet.tokenizer.length(5)

    def test_the_other_strand_is_read_as_often_as_asked(self):
        flipped = views(objective(reverse_complement=1.0), "AACGT", "TTG")["ids"]
        assert flipped.tolist() == views(objective(), "ACGTT", "CAA")["ids"].tolist()


class TestLoss:
    def test_it_is_the_mean_over_what_was_predicted(self):
        causal = objective()
        batch = {
            n: torch.from_numpy(v) for n, v in views(causal, "ACNGTT", "GATTACA", "CG").items()
        }
        torch.manual_seed(0)
        network = build_network({"kind": tiny_causal.KIND})
        head = network.lm_head(7)
        loss = causal.loss(Model(network, head, lambda ids: ids), batch, SingleProcess())
        nats = []
        for sequence in ("ACNGTT", "GATTACA", "CG"):
            ids = torch.from_numpy(causal.alphabet.tokenizer.encode(sequence)).long()
            log_probs = head(network(ids[None]))[0].log_softmax(1)
            nats += [
                -log_probs[t - 1, ids[t]].item() for t in range(1, len(ids)) if sequence[t] != "N"
            ]
        assert loss.item() == pytest.approx(np.mean(nats), rel=1e-5)

    @pytest.mark.parametrize(
        ("config", "bases"), [(CONFIGS[0], 1), (CONFIGS[2], 1), (CONFIGS[3], 3)]
    )
    def test_bits_are_for_each_base_that_a_token_adds(self, config, bases):
        assert objective(config).bits_per_base(math.log(4)) == pytest.approx(2 / bases)


class TestBaseline:
    @pytest.mark.parametrize("config", CONFIGS)
    def test_it_is_a_markov_model_of_the_letters_that_tokens_add(self, config, tmp_path):
        rng = np.random.default_rng(1)
        records = [(f"s{i}", letters("ACGT")[0][rng.integers(0, 4, 90)]) for i in range(8)]
        corpus = corpus_writer.write(
            tmp_path / "c", records, PieceCutter(30, 4, 8), holdout=0.2, seed=0
        )
        causal = objective(config)
        network = build_network(
            {"kind": tiny_causal.KIND, **vocabulary_sizes(causal.alphabet.tokenizer)}
        )
        baselines = Baselines(corpus, causal.alphabet, 30, SequenceInput(), network)
        batch = {n: torch.from_numpy(v) for n, v in views(causal, "ACGTTGACGTGA", "GGATT").items()}
        k, stride = causal.alphabet.tokenizer.k, causal.alphabet.tokenizer.stride
        nats = []
        for text in (b"ACGTTGACGTGA", b"GGATT"):
            codes = np.array([[b"ACGT".index(base) for base in text]])
            nats_per_base = Markov.of_corpus(corpus).nats(codes)[0]
            first = 0 if causal.alphabet.tokenizer.prefix else 1
            for token in range(first, causal.alphabet.tokenizer.length(len(text))):
                end = token * stride + k
                nats.append(nats_per_base[end - (stride if token else k) : end].sum())
        assert baselines.loss("causal", {"causal": batch}) == pytest.approx(np.mean(nats))


class TestRefusals:
    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_a_network_is_told_by_its_sizes_too(self, bidirectional):
        sizes = {"tracks": 1, "width": 8, "layers": 1, "feed_forward": 8, "positions": 40}
        network = {"kind": "omicsfusion", "bidirectional": bidirectional, **sizes}
        recipe = from_tables(TABLES | {"network": network})
        alphabet = Alphabet(tokenizers.from_config({"kind": "kmers", "k": 6, "stride": 1}))
        if not bidirectional:
            Causal.check(None, alphabet, recipe)
            return
        with pytest.raises(TrainingError, match="sees no later token, which this omicsfusion does"):
            Causal.check(None, alphabet, recipe)

    def test_a_network_that_sees_later_tokens_is_refused(self):
        recipe = from_tables(TABLES | {"network": {"kind": "transformer"}})
        with pytest.raises(
            TrainingError, match=r"sees no later token.*tiny_causal.*not 'transformer'"
        ):
            Causal.check(CausalSettings(), objective().alphabet, recipe)

    def test_rows_of_sites_are_refused(self):
        rows = Alphabet(tokenizers.from_config({"kind": "characters"}), aligned=True)
        with pytest.raises(TrainingError, match="causal is for sequences"):
            Causal.check(CausalSettings(), rows, from_tables(TABLES))


def rule_followers(count, size, seed=2):
    """DNA in which each base determines the next one, but for one in ten."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        codes = rng.integers(0, 4, size)
        for position in range(1, size):
            if rng.random() < 0.9:
                codes[position] = (codes[position - 1] + 1) % 4
        yield f"s{number}", letters("ACGT")[0][codes]


def test_a_run_learns_which_base_follows(tmp_path):
    recipe = from_tables(TABLES)
    cutter = piece_cutter(recipe, SequenceInput())
    corpus = corpus_writer.write(
        tmp_path / "c", rule_followers(20, 300), cutter, holdout=0.2, seed=0
    )
    pretrained = pretrain(corpus, recipe, SequenceInput())
    probabilities = [0.9 + 0.1 / 4, *[0.1 / 4] * 3]
    entropy = -sum(p * math.log2(p) for p in probabilities)
    bits, baseline = pretrained.facts["bits_per_base"]["causal"]
    assert entropy - 0.05 < bits < entropy + 0.1
    assert baseline == pytest.approx(entropy, abs=0.2)
    assert pretrained.bundle.auxiliary.keys() == {"causal"}


def test_the_command_reports_bits_per_base(tmp_path):
    records = rule_followers(3, 900)
    fasta = tmp_path / "a.fa"
    fasta.write_text("".join(f">{n}\n{row.tobytes().decode()}\n" for n, row in records))
    settings = f"network.kind={tiny_causal.KIND} corpus.window=40 optimization.steps=3 optimization.batch_size=4"
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[network]\nkind = "dnabert"\n[tokenizer]\nkind = "characters"\n')
    arguments = [
        "pretrain",
        fasta,
        "-o",
        tmp_path / "m",
        "--objective",
        "causal",
        "--recipe",
        recipe,
    ]
    result = run([*arguments, *changes(settings)])
    assert result.status == 0, result.stderr
    assert "bits a base" in result.stderr
    assert "In bits a base, causal:" in (tmp_path / "m" / "README.md").read_text()
    refused = run([*arguments, "--force"])
    assert refused.status == 1
    assert "the objective causal needs a network that sees no later token" in refused.stderr
