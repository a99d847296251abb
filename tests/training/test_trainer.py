"""The loop: interrupted and resumed, averaged, stopped; and its checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import same

from genomai_cli.backbones.heads import attach_heads, logits
from genomai_cli.errors import InputError, TrainingError
from genomai_cli.objectives.base import cross_entropy
from genomai_cli.population.networks.genotype_mlp import SitesConfig, SitesNetwork
from genomai_cli.training import trainer
from genomai_cli.training.trainer import Average, Loop, Optimization, learning_rate

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


SETTINGS = Optimization(
    steps=60, batch_size=8, learning_rate=0.02, evaluate_every=10, patience=100, average=0.9
)


class InterruptionError(Exception):
    """What stops a run from outside."""


class Problem:
    """A tiny classification with dropout: losses of a step's batch and of all samples."""

    def __init__(self):
        rng = np.random.default_rng(31)
        self.copies = torch.from_numpy(rng.integers(-1, 3, (40, 12)))
        self.labels = {"pop": torch.from_numpy(rng.integers(0, 2, 40))}
        self.fails_at = None

    def network(self):
        torch.manual_seed(7)
        return attach_heads(SitesNetwork(SitesConfig(sites=12, width=8, dropout=0.3)), {"pop": 2})

    def loss_at(self, network, step):
        if step == self.fails_at:
            raise InterruptionError
        rows = np.random.default_rng([1, step]).choice(40, 8)
        return cross_entropy(logits(network, self.copies[rows]), {"pop": self.labels["pop"][rows]})

    def validation_loss(self, network):
        with torch.no_grad():
            return float(cross_entropy(logits(network, self.copies), self.labels))

    def loop(self, file=None, optimization=SETTINGS, seed=3):
        return Loop(self.network(), optimization, seed=seed, device=CPU, checkpoint_file=file)

    def fit(self, loop):
        return loop.fit(self.loss_at, self.validation_loss, lambda *_: None)


@pytest.fixture
def problem():
    return Problem()


class TestLoop:
    @pytest.mark.parametrize("fails_at", [20, 27, 59])
    def test_an_interrupted_run_goes_on_bit_for_bit(self, problem, tmp_path, fails_at):
        uninterrupted = problem.loop()
        best = problem.fit(uninterrupted)
        problem.fails_at = fails_at
        with pytest.raises(InterruptionError):
            problem.fit(problem.loop(tmp_path / "state.pt"))
        problem.fails_at = None
        torch.manual_seed(999)
        resumed = problem.loop(tmp_path / "state.pt")
        assert problem.fit(resumed) == best
        assert same(resumed._state(), uninterrupted._state())
        assert same(resumed.network.state_dict(), uninterrupted.network.state_dict())

    def test_the_best_weights_before_an_interruption_are_not_forgotten(self, problem, tmp_path):
        def fit(loop):
            def validation_loss(_):
                return 0.5 if loop.progress.step == 10 else 0.9

            return loop.fit(problem.loss_at, validation_loss, lambda *_: None)

        uninterrupted = problem.loop()
        fit(uninterrupted)
        problem.fails_at = 27
        with pytest.raises(InterruptionError):
            fit(problem.loop(tmp_path / "state.pt"))
        problem.fails_at = None
        resumed = problem.loop(tmp_path / "state.pt")
        assert fit(resumed) == 0.5
        assert same(resumed.network.state_dict(), uninterrupted.network.state_dict())

    def test_a_run_that_had_ended_is_not_trained_further(self, problem, tmp_path):
        first = problem.loop(tmp_path / "state.pt")
        problem.fit(first)
        again = problem.loop(tmp_path / "state.pt")
        problem.fails_at = 60
        problem.fit(again)
        assert same(again.network.state_dict(), first.network.state_dict())

    def test_the_same_seed_trains_the_same_network(self, problem):
        loops = [problem.loop(seed=seed) for seed in (3, 3, 4)]
        for loop in loops:
            problem.fit(loop)
        one, again, other = (loop.network.state_dict() for loop in loops)
        assert same(one, again)
        assert not same(one, other)

    def test_the_best_weights_are_restored_after_patience_has_run_out(self, problem):
        losses = iter([0.9, 0.5, 0.7, 0.6, 0.55, 0.1])
        states = []

        def validation_loss(network):
            states.append({name: t.clone() for name, t in network.state_dict().items()})
            return next(losses)

        optimization = Optimization(steps=60, batch_size=8, evaluate_every=5, patience=3)
        loop = problem.loop(optimization=optimization)
        assert loop.fit(problem.loss_at, validation_loss, lambda *_: None) == 0.5
        assert loop.progress.step == 25
        assert same(loop.network.state_dict(), states[1])
        assert not loop.network.training

    def test_progress_renews_the_patience(self, problem):
        losses = iter([0.9, 0.95, 0.5, 0.6, 0.7, 0.8])
        loop = problem.loop(optimization=Optimization(steps=60, evaluate_every=5, patience=2))
        loop.fit(problem.loss_at, lambda _: next(losses), lambda *_: None)
        assert loop.progress.step == 25

    def test_equal_losses_are_no_progress(self, problem):
        loop = problem.loop(optimization=Optimization(steps=60, evaluate_every=5, patience=2))
        loop.fit(problem.loss_at, lambda _: 0.5, lambda *_: None)
        assert loop.progress.step == 15

    def test_the_last_step_is_evaluated(self, problem):
        steps = []
        loop = problem.loop(optimization=Optimization(steps=7, evaluate_every=5))
        loop.fit(problem.loss_at, problem.validation_loss, lambda step, *_: steps.append(step))
        assert steps == [5, 7]

    def test_a_loss_that_is_not_finite_stops_the_run(self, problem):
        def loss_at(network, step):
            loss = problem.loss_at(network, step)
            return loss / 0 if step == 4 else loss

        with pytest.raises(
            TrainingError, match="the loss is inf at step 4: lower the learning rate"
        ):
            problem.loop().fit(loss_at, problem.validation_loss, lambda *_: None)

    def test_a_held_out_loss_that_is_not_finite_stops_the_run(self, problem):
        with pytest.raises(TrainingError, match="the loss is nan at step 10"):
            problem.loop().fit(problem.loss_at, lambda _: float("nan"), lambda *_: None)

    def test_it_overfits_one_batch(self, problem):
        config = SitesConfig(sites=12, width=32, dropout=0.0)
        network = attach_heads(SitesNetwork(config), {"pop": 2})
        optimization = Optimization(steps=150, learning_rate=0.02, evaluate_every=50, average=0.5)
        loop = Loop(network, optimization, seed=1, device=CPU)
        rows = slice(0, 10)
        labels = {"pop": problem.labels["pop"][rows]}

        def loss(trained, step=0):
            return cross_entropy(logits(trained, problem.copies[rows]), labels)

        before = float(loss(network).detach())
        after = loop.fit(loss, lambda trained: float(loss(trained).detach()), lambda *_: None)
        assert after < 0.05 < before

    def test_gradients_are_not_clipped_where_that_is_switched_off(self, problem):
        fits = [
            problem.fit(problem.loop(optimization=replace(SETTINGS, clip=clip)))
            for clip in (0.0, 1e9)
        ]
        assert fits[0] == fits[1]

    def test_what_is_kept_is_the_average_of_the_weights(self, problem):
        network = torch.nn.Linear(1, 1, bias=False)
        loop = Loop(network, Optimization(steps=3, evaluate_every=1), seed=1, device=CPU)
        weights, averages = [], []

        def validation_loss(candidate):
            averages.append(float(candidate.weight.detach()))
            return -float(len(averages))

        def loss_at(trained, step):
            return trained(torch.ones(1, 1)).sum() * (step + 1)

        def record_weight(step, loss):
            weights.append(float(network.weight.detach()))

        loop.fit(loss_at, validation_loss, lambda *_: None, record_weight)
        expected = [weights[0]]
        for updates, weight in enumerate(weights[1:], start=1):
            keep = (updates + 1) / (updates + 10)
            expected.append(keep * expected[-1] + (1 - keep) * weight)
        assert averages == pytest.approx(expected)
        assert float(network.weight.detach()) == averages[-1] != weights[-1]

    def test_the_average_forgets_as_slowly_as_asked_for(self):
        network = torch.nn.Linear(1, 1, bias=False)
        average = Average(network, SETTINGS.average)
        average.updates = 10_000
        torch.nn.init.zeros_(average.weights[0])
        torch.nn.init.ones_(network.weight)
        average.update()
        assert float(average.weights[0]) == pytest.approx(1 - SETTINGS.average)

    def test_the_learning_rate_warms_up_and_falls_to_nothing(self):
        optimization = Optimization(steps=100, warmup=0.1, learning_rate=1.0)
        rates = [learning_rate(step, optimization) for step in range(100)]
        assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
        assert rates[10] == 1.0
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert rates[55] == pytest.approx(0.5)
        assert rates[-1] < 0.001


class TestCheckpoint:
    def test_what_was_saved_is_loaded(self, tmp_path):
        state = {"a": torch.arange(3), "progress": [1, 2.5, 0]}
        trainer.save(tmp_path / "x.pt", state)
        assert same(trainer.load(tmp_path / "x.pt", CPU), state)
        assert [file.name for file in tmp_path.iterdir()] == ["x.pt"]

    def test_a_failed_save_keeps_the_state_before(self, tmp_path):
        trainer.save(tmp_path / "x.pt", {"a": torch.arange(3)})
        with pytest.raises(Exception, match="pickle"):
            trainer.save(tmp_path / "x.pt", {"a": lambda: None})
        assert same(trainer.load(tmp_path / "x.pt", CPU), {"a": torch.arange(3)})

    def test_a_changed_bit_of_a_tensor_is_noticed(self, tmp_path):
        trainer.save(tmp_path / "x.pt", {"a": torch.full((100,), 1.5)})
        content = bytearray((tmp_path / "x.pt").read_bytes())
        content[content.index(torch.full((2,), 1.5).numpy().tobytes()) + 2] ^= 1
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(
            InputError, match=r"not a checkpoint: archive/data/0 is not as it was written"
        ):
            trainer.load(tmp_path / "x.pt", CPU)

    @pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut off"])
    def test_a_damaged_checkpoint_is_refused_in_one_line(self, tmp_path, content):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(InputError, match="not a checkpoint") as raised:
            trainer.load(tmp_path / "x.pt", CPU)
        assert "\n" not in str(raised.value)
