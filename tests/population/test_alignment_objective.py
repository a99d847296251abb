"""The crossmodal objective: its negatives, the columns that records show, and runs that train, stop and go on."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli import tokenizers
from genomai_cli.errors import Stopped, TrainingError
from genomai_cli.objectives.base import Alphabet, Model, SingleProcess
from genomai_cli.population.alignment.objective import (
    EARTH_RADIUS,
    Crossmodal,
    CrossmodalSettings,
    PhenotypeViews,
    chance_loss,
    compatible,
    partner_loss,
    sample_columns,
)
from genomai_cli.population.networks.crossmodal import crossmodal_of
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords, from_ticks
from genomai_cli.population.panel import GRCH37, GRCH38, Panel
from genomai_cli.population.phenotype_encoding import HaplotypeGroups, PhenotypeLayout, encode
from genomai_cli.population.phenotype_input import PhenotypeInput
from genomai_cli.population.phenotypes import Columns, PhenotypeTable
from genomai_cli.training import corpus_writer
from genomai_cli.training.pretraining import CHECKPOINT, RunContext, piece_cutter, pretrain
from genomai_cli.training.recipe import from_tables

pytestmark = pytest.mark.usefixtures("one_thread")
SITES, SAMPLES = 30, 60
TABLES = {
    "name": "tiny",
    "objectives": {"crossmodal": 1.0},
    "crossmodal": {"groups": "pop", "cross": 0.5, "hide": 0.3},
    "input": {"kind": "barcode"},
    "tokenizer": {"kind": "iupac"},
    "network": {"kind": "crossmodal", "width": 16, "size": 8, "layers": 1},
    "split": {"holdout": 0.2},
    "corpus": {"log_every": 5},
    "optimization": {
        "steps": 40, "batch_size": 24, "evaluate_every": 20, "learning_rate": 1e-2, "average": 0.9,
    },
}  # fmt: skip
NAN = math.nan


def panel():
    positions = {build: np.arange(1, SITES + 1) * 100 for build in (GRCH37, GRCH38)}
    names = tuple(f"rs{site}" for site in range(SITES))
    ref, alt = ("A",) * SITES, ("G",) * SITES
    return Panel("toy", ("1",) * SITES, positions, names, ref, alt, ("toy",) * SITES)


def samples():
    """Samples of three populations whose alleles differ at a third of the sites each."""
    rng = np.random.default_rng(2)
    pop = np.arange(SAMPLES) % 3
    frequency = np.where(np.arange(SITES) % 3 == np.arange(3)[:, None], 0.9, 0.1)
    copies = rng.binomial(2, frequency[pop])
    letters = np.frombuffer(b"ARG", np.uint8)[copies]
    names = tuple(f"p{i}" for i in range(SAMPLES))
    degrees = np.array(["10", "50", "-40"])[pop]
    table = PhenotypeTable(
        "t",
        names,
        tuple(range(2, SAMPLES + 2)),
        {
            "pop": tuple(np.array(["X", "Y", "Z"])[pop]),
            "sex": tuple(rng.choice(["female", "male"], SAMPLES)),
            "latitude": tuple(degrees),
            "longitude": tuple(degrees),
        },
    )
    return letters, table


@pytest.fixture
def training(tmp_path):
    """An input kind, and a corpus of the samples."""
    letters, table = samples()
    columns = Columns.of(table)
    kind = PhenotypeInput(panel(), False, columns_read=columns, table=table)
    recipe = from_tables(TABLES)
    rows = kind.layout.rows(letters, encode(table, columns))
    records = zip(table.names, rows, strict=True)
    cutter = piece_cutter(recipe, kind)
    corpus = corpus_writer.write(tmp_path / "corpus", records, cutter, holdout=0.2, seed=0)
    return SimpleNamespace(kind=kind, corpus=corpus, rows=rows, recipe=recipe)


def phenotype_views(categories, shown, locations=None, numbers=None):
    """The phenotypes of samples and the columns their records show, from lists."""
    count = len(categories)
    locations = torch.tensor(locations) if locations is not None else torch.zeros(count, 0)
    numbers = torch.tensor(numbers) if numbers is not None else torch.zeros(count, 0)
    return PhenotypeViews(
        torch.tensor(categories), numbers, locations, torch.tensor(shown), locations
    )


class TestAgreement:
    def test_a_record_could_be_of_all_samples_of_which_it_is_true(self):
        """Columns superpop, pop: samples (0, 0), (0, 1), (1, 2); records show superpop, pop, both."""
        views = phenotype_views(
            [[0, 0], [0, 1], [1, 2]], [[True, False], [False, True], [True, True]]
        )
        assert compatible(views, views).tolist() == [
            [True, True, False],
            [False, True, False],
            [False, False, True],
        ]

    def test_what_is_unknown_of_a_sample_contradicts_nothing(self):
        views = phenotype_views([[0], [-1]], [[True], [False]])
        assert compatible(views, views).tolist() == [[True, True], [True, True]]

    def test_numbers_and_locations_agree_where_they_are_near(self):
        east, near, north = [1.0, 0, 0], [1.0, 1e-4, 0], [0.0, 0, 1]
        views = phenotype_views(
            [[0]] * 3, [[False, True, True]] * 3, [east, near, north], [[0.0], [0.05], [NAN]]
        )
        assert compatible(views, views).tolist() == [
            [True, True, False],
            [True, True, False],
            [False, False, True],
        ]

    def test_the_loss_by_hand(self):
        """Of three candidates one is the partner, one agrees and does not count, one is a negative."""
        logits = torch.tensor([[2.0, 5.0, 1.0]])
        are_compatible = torch.tensor([[True, True, False]])
        expected = -math.log(math.exp(2) / (math.exp(2) + math.exp(1)))
        assert float(partner_loss(logits, are_compatible, torch.tensor([0]))) == pytest.approx(
            expected
        )


@given(st.integers(1, 5), st.integers(0, 2**16), st.floats(0, 1))
def test_records_show_some_of_what_is_known(columns, seed, full):
    rng = np.random.default_rng(seed)
    known = rng.random((20, columns)) < 0.7
    known[:, 0] = True
    shown = sample_columns(known, full, rng)
    assert not (shown & ~known).any()
    assert shown.any(axis=1).all()
    assert (sample_columns(known, 1.0, rng) == known).all()


class TestObjective:
    @pytest.fixture
    def objective(self, training):
        layout = training.kind.layout
        phenotype_layout = PhenotypeLayout(
            layout, HaplotypeGroups.of(training.rows[:40], layout, "pop")
        )
        tokenizer = tokenizers.from_config({"kind": "iupac"})
        settings = CrossmodalSettings(groups="pop", cross=1.0, hide=0.0, jitter=0.0)
        return Crossmodal(
            settings, Alphabet(tokenizer, aligned=True, phenotype_layout=phenotype_layout)
        )

    def test_the_same_draws_give_the_same_views(self, objective, training):
        first, second = (objective.views(training.rows, np.random.default_rng(4)) for _ in range(2))
        assert all((first[name] == second[name]).all() for name in first)
        assert all(view.dtype == np.int64 for view in first.values())

    def test_only_training_samples_are_crossed(self, objective, training):
        ids = objective.views(training.rows, np.random.default_rng(4))["ids"]
        uncrossed_objective = Crossmodal(CrossmodalSettings(hide=0.0), objective.alphabet)
        uncrossed = uncrossed_objective.views(training.rows, np.random.default_rng(4))["ids"]
        assert (ids[40:] == uncrossed[40:]).all()
        assert (ids[:40] != uncrossed[:40]).any(axis=1).mean() > 0.9

    @pytest.mark.parametrize("jitter", [0.0, 100.0])
    def test_locations_move_as_far_as_set(self, objective, training, jitter):
        moving = replace(objective, settings=replace(objective.settings, jitter=jitter, smear=0.0))
        views = moving.views(training.rows, np.random.default_rng(4))
        units = (from_ticks(torch.from_numpy(views[name])) for name in ("places", "shown_places"))
        actual_B3, moved_B3 = units
        distance_B = EARTH_RADIUS * (actual_B3 - moved_B3).norm(dim=1)
        mean_distance = math.sqrt(math.pi / 2) * jitter  # of two normal coordinates
        assert float(distance_B.mean()) == pytest.approx(mean_distance, rel=0.15, abs=1)

    def test_a_network_that_knows_nothing_has_the_loss_of_chance(self, objective, training):
        arrays = objective.views(training.rows, np.random.default_rng(4))
        views = {name: torch.from_numpy(view) for name, view in arrays.items()}
        vectors = torch.nn.functional.normalize(torch.ones(SAMPLES, 4), dim=1)
        uninformed_network = SimpleNamespace(
            training=False,
            scale=torch.tensor(7.0),
            sample_vectors=lambda *_: vectors,
            record_vectors=lambda *_: vectors,
        )
        loss = objective.loss(
            Model(uninformed_network, None, lambda ids: ids), views, SingleProcess()
        )
        assert float(loss) == pytest.approx(chance_loss(views), abs=1e-5)

    def test_it_needs_samples_with_records(self):
        tokenizer = tokenizers.from_config({"kind": "iupac"})
        objective = Crossmodal(CrossmodalSettings(), Alphabet(tokenizer))
        with pytest.raises(TypeError, match="samples with phenotypes"):
            objective.views(np.zeros((1, 3), np.uint8), np.random.default_rng(0))


class TestRuns:
    def test_it_learns_which_sample_is_of_which_population(self, training):
        result = pretrain(training.corpus, training.recipe, training.kind)
        assert result.facts["held_out"]["crossmodal"] < result.facts["baseline"]["crossmodal"]
        network = crossmodal_of(result.bundle)
        letters, _ = samples()
        copies = torch.from_numpy(np.searchsorted(np.array(sorted(b"AGR")), letters))
        copies = torch.tensor([0, 2, 1])[copies]
        table = PhenotypeTable("r", ("X", "Y", "Z"), (2, 3, 4), {"pop": ("X", "Y", "Z")})
        records = PhenotypeRecords.of(encode(table, network.columns))
        with torch.no_grad():
            best = (network.sample_vectors(copies) @ network.record_vectors(records).T).argmax(1)
        assert (best == torch.arange(SAMPLES) % 3).float().mean() > 0.9

    def test_an_interrupted_run_goes_on_bit_for_bit(self, training, tmp_path):
        uninterrupted = pretrain(training.corpus, training.recipe, training.kind, seed=3)
        steps = iter(range(100))
        work = tmp_path / "work"
        work.mkdir()
        context = RunContext(work=work, stop=lambda: next(steps) == 11)
        with pytest.raises(Stopped):
            pretrain(
                training.corpus,
                training.recipe,
                training.kind,
                seed=3,
                context=context,
            )
        assert (work / CHECKPOINT).is_file()
        resumed = pretrain(
            training.corpus,
            training.recipe,
            training.kind,
            seed=3,
            context=RunContext(work=work),
        )
        one, other = (run.bundle.classifier.state_dict() for run in (uninterrupted, resumed))
        assert all(torch.equal(one[name], other[name]) for name in one)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"crossmodal": {"groups": "tribe"}}, "crossmodal.groups: no category 'tribe'"),
            ({"network": {"kind": "sites"}}, "is the one for networks of kind crossmodal"),
            (
                {"objectives": {"crossmodal": 1.0, "masked": 1.0}},
                "needs phenotypes, and is the only one that does",
            ),
        ],
    )
    def test_recipes_that_do_not_fit_are_refused(self, training, changed, message):
        with pytest.raises(TrainingError, match=message):
            pretrain(training.corpus, from_tables(TABLES | changed), training.kind)
