"""Samples and their split, views, the loop and its checkpoints, calibration, and how a model is put together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from genomai_cli import tokenizers
from genomai_cli.backbones.classifier import LIKELIHOOD, Fusion
from genomai_cli.backbones.heads import attach_heads, logits
from genomai_cli.errors import InputError, TrainingError
from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import read_labels
from genomai_cli.inputs.samples import Samples, TrainingBatch
from genomai_cli.inputs.sequences import SequenceInput, SequenceViews, SequenceViewsSettings
from genomai_cli.objectives.base import cross_entropy
from genomai_cli.population.barcode import join, letters_to_genotypes, read_barcodes
from genomai_cli.population.barcode_input import BarcodeInput, BarcodeViews, BarcodeViewsSettings
from genomai_cli.population.networks.genotype_mlp import SitesConfig, SitesNetwork
from genomai_cli.population.panel import Panel, most_informative
from genomai_cli.records import SequenceRecord
from genomai_cli.training import finetuning, trainer
from genomai_cli.training.calibration import HeldOut, calibrate
from genomai_cli.training.labelled_data import (
    folds,
    gather,
    nesting,
    others,
    require_all_classes,
)
from genomai_cli.training.recipe import from_tables
from genomai_cli.training.trainer import Average, Loop, Optimization, learning_rate

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def records(*names, letters="ACGT"):
    return [
        SequenceRecord(name, letters, path="x.fa", line=2 * i + 1) for i, name in enumerate(names)
    ]


def samples_of(**labels):
    """Samples without sequences, of as many individuals, from lists of class numbers."""
    columns = {head: np.array(numbers) for head, numbers in labels.items()}
    count = len(next(iter(columns.values())))
    classes = {head: [f"{head}{n}" for n in range(max(c) + 1)] for head, c in columns.items()}
    names = [str(n) for n in range(count)]
    return Samples(names, [""] * count, columns, classes, np.arange(count))


def same(one, other):
    """Whether two states hold the same tensors, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


class TestSamples:
    def test_labels_become_numbers_of_sorted_classes(self):
        labels = {"pop": {"a": "Z", "b": "Y", "c": "Z"}, "sex": {"a": "F", "b": "M"}}
        samples, unlabelled = gather(records("a", "b", "c"), labels)
        assert samples.classes == {"pop": ["Y", "Z"], "sex": ["F", "M"]}
        assert samples.labels["pop"].tolist() == [1, 0, 1]
        assert samples.labels["sex"].tolist() == [0, 1, -1]
        assert unlabelled == 0

    def test_a_haplotype_goes_by_the_label_of_its_individual(self):
        labels = {"pop": {"a": "Z", "b": "Y", "b_A": "Z"}}
        samples, _ = gather(records("a_A", "a_B", "b_A", "b_B"), labels)
        assert [samples.classes["pop"][n] for n in samples.labels["pop"]] == ["Z", "Z", "Z", "Y"]

    def test_samples_without_any_label_are_left_out_and_counted(self):
        samples, unlabelled = gather(records("a", "x", "b", "y"), {"pop": {"a": "Z", "b": "Y"}})
        assert samples.names == ["a", "b"]
        assert unlabelled == 2

    def test_a_barcode_of_another_length_is_refused_with_its_line(self, cohort):
        five_sites = BarcodeInput(Panel.read(cohort.panel).subset(np.arange(5)))
        with pytest.raises(InputError, match=r"x\.fa:1: a has 4 letters, the panel 5 sites"):
            gather(records("a"), {"pop": {"a": "Z"}}, check=five_sites.check_record)

    @pytest.mark.parametrize("names", [["a"], ["a", "c"]])
    def test_one_class_is_nothing_to_learn(self, names):
        with pytest.raises(TrainingError, match="head pop: needs two labels at least"):
            gather(records(*names), {"pop": {"a": "Z", "c": "Z"}})

    def test_no_label_at_all_is_nothing_to_learn(self):
        with pytest.raises(TrainingError, match="none of the 2 samples has a label"):
            gather(records("a", "b"), {"pop": {"A": "Z"}})

    @pytest.mark.parametrize(
        ("names", "labelled", "people"),
        [
            (["a_A", "a_B", "b"], ["a", "b"], 2),
            (["a_A", "a_B", "b"], ["a_A", "a_B", "b"], 2),
            (["a", "a_A", "a_B", "b"], ["a", "b"], 2),
            (["a", "a", "b"], ["a", "b"], 2),
            (["line_A", "other_B", "b"], ["line_A", "other_B", "b"], 3),
            (["a_A", "b_A"], ["a_A", "b_A"], 2),
            (["a_C", "a_D"], ["a_C", "a_D"], 2),
        ],
    )
    def test_both_haplotypes_and_repeated_names_are_one_individual(self, names, labelled, people):
        column = {name: str(number % 2) for number, name in enumerate(labelled)}
        samples, _ = gather(records(*names), {"pop": column | {"b": "9"}})
        assert len(np.unique(samples.individuals)) == people


@st.composite
def split_cases(draw):
    """Samples of one or two haplotypes each with labels of two heads, shuffled; a number of parts; a seed."""
    people = draw(st.integers(6, 40))
    pops = draw(st.lists(st.integers(0, 2), min_size=people, max_size=people))
    haplotypes = draw(st.lists(st.integers(1, 2), min_size=people, max_size=people))
    order = draw(st.permutations([p for p in range(people) for _ in range(haplotypes[p])]))
    individuals = np.array(order)
    labels = {"pop": np.array(pops)[individuals], "super": np.array(pops)[individuals] // 2}
    names = [""] * len(order)
    samples = Samples(names, names, labels, {"pop": list("abc"), "super": list("de")}, individuals)
    return samples, draw(st.integers(2, 5)), draw(st.integers(0, 99))


class TestSplit:
    @settings(deadline=None, max_examples=40)
    @given(split_cases())
    def test_every_sample_is_in_one_part_with_its_whole_individual(self, case):
        samples, count, seed = case
        parts = folds(samples, count, seed)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(samples)))
        people = [set(samples.individuals[part].tolist()) for part in parts]
        assert sum(map(len, people)) == len(set().union(*people))

    @settings(deadline=None, max_examples=40)
    @given(split_cases())
    def test_every_group_is_spread_over_all_parts(self, case):
        samples, count, seed = case
        parts = folds(samples, count, seed)
        for group in np.unique(samples.labels["pop"]):
            members = samples.labels["pop"] == group
            sizes = [len(np.unique(samples.individuals[part][members[part]])) for part in parts]
            assert max(sizes) - min(sizes) <= 1

    def test_a_split_depends_on_the_seed_alone(self):
        samples = samples_of(pop=[0, 1] * 30)
        one, again, other = (folds(samples, 5, seed) for seed in (1, 1, 2))
        assert all(map(np.array_equal, one, again))
        assert not all(map(np.array_equal, one, other))

    def test_the_others_are_all_but_the_part(self):
        assert others(samples_of(pop=[0, 1, 0, 1]), np.array([2, 0])).tolist() == [1, 3]

    def test_every_class_must_be_left_to_train_on(self):
        samples = samples_of(pop=[0, 0, 1, 1, 2])
        require_all_classes(samples, np.array([0, 2]))
        with pytest.raises(TrainingError, match="head pop: too few individuals are pop2"):
            require_all_classes(samples, np.array([4]))

    def test_an_empty_part_means_too_few_samples(self):
        with pytest.raises(TrainingError, match="4 samples are too few"):
            require_all_classes(samples_of(pop=[0, 0, 1, 1]), np.array([], np.int64))


class TestNesting:
    def test_populations_nest_in_superpopulations(self):
        samples = samples_of(superpop=[0, 0, 1, 1], pop=[1, 0, 2, 2])
        assert nesting(samples, "pop") == {"superpop": [0, 0, 1], "pop": [0, 1, 2]}

    def test_a_head_that_cuts_across_is_left_out(self):
        samples = samples_of(sex=[0, 1, 0, 1], pop=[0, 0, 1, 1])
        assert nesting(samples, "pop") == {"pop": [0, 1]}

    def test_missing_labels_do_not_matter(self):
        samples = samples_of(superpop=[0, -1, 1, 1], pop=[0, 0, 1, -1])
        assert nesting(samples, "pop") == {"superpop": [0, 1], "pop": [0, 1]}

    def test_a_class_without_populations_leaves_its_head_to_the_networks(self):
        samples = samples_of(superpop=[0, 0, 1, 2], pop=[0, 0, 1, -1])
        assert nesting(samples, "pop") == {"pop": [0, 1]}

    def test_a_head_without_labels_is_refused(self):
        with pytest.raises(TrainingError, match="'pop', which has no labels"):
            nesting(samples_of(superpop=[0, 1]), "pop")


@pytest.fixture(scope="module")
def people(cohort):
    """The cohort's samples, its panel and its letters."""
    panel = Panel.read(cohort.panel)
    table = read_labels(cohort.labels)
    heads = {"superpop": table.column("superpopulation"), "pop": table.column("population")}
    samples, _ = gather(read_barcodes(open_inputs([cohort.vcf]), panel).records(), heads)
    return samples, panel


def barcode_views(people, *, haplotypes=False, parents=None, letters=None, **views):
    samples, _ = people
    parents = np.arange(len(samples)) if parents is None else parents
    tokenizer = tokenizers.from_config({"kind": "iupac"})
    given = samples.letters if letters is None else letters
    recipe = BarcodeViewsSettings(**views)
    return BarcodeViews(samples, given, parents, tokenizer, recipe, haplotypes=haplotypes)


def letters_of(batch):
    tokenizer = tokenizers.from_config({"kind": "iupac"})
    return np.stack([np.frombuffer(tokenizer.decode(ids).encode(), np.uint8) for ids in batch.ids])


def step_rng(step, seed=1):
    return np.random.default_rng([seed, step])


EVERYTHING = {"cross": 0.5, "hide": 0.9, "hide_often": 0.7, "haploid": 0.2}
ROWS = np.array([3, 40, 70, 3, 11, 60])


class TestBarcodeViews:
    def test_the_same_seed_and_step_make_the_same_batch(self, people):
        views = barcode_views(people, **EVERYTHING)
        one, again, other = (views.varied(ROWS, step_rng(step)) for step in (5, 5, 6))
        assert torch.equal(one.ids, again.ids)
        assert torch.equal(one.share, again.share)
        assert not torch.equal(one.ids, other.ids)

    def test_a_plain_view_is_the_barcode(self, people):
        batch = barcode_views(people).plain(ROWS)
        assert np.array_equal(letters_of(batch), people[0].letters[ROWS])
        assert batch.windows == 1
        assert batch.share.tolist() == [1.0] * 6
        assert batch.labels["pop"].tolist() == people[0].labels["pop"][ROWS].tolist()

    def test_a_plain_view_of_haplotypes_is_both(self, people):
        batch = barcode_views(people, haplotypes=True).plain(ROWS)
        first, second = letters_of(batch).reshape(2, len(ROWS), -1)
        assert batch.windows == 2
        assert np.array_equal(join(first, second), people[0].letters[ROWS])

    def test_a_plain_view_masks_the_share_asked_for(self, people):
        batch = barcode_views(people).plain(np.arange(75), 0.8, 3)
        known = letters_of(batch) != ord("N")
        assert known.mean() == pytest.approx(0.2, abs=0.02)
        assert batch.share.numpy() == pytest.approx(known.mean(axis=1))

    def test_a_varied_view_without_variation_is_the_barcode(self, people):
        batch = barcode_views(people).varied(ROWS, step_rng(1))
        assert np.array_equal(letters_of(batch), people[0].letters[ROWS])

    def test_a_varied_view_of_haplotypes_holds_bases_of_the_barcode(self, people):
        batch = barcode_views(people, haplotypes=True).varied(ROWS, step_rng(1))
        seen = letters_of(batch)
        assert set(seen.ravel().tobytes().decode()) <= set("ACGT")
        letters = people[0].letters[ROWS]
        homozygous = np.isin(letters, np.frombuffer(b"ACGT", np.uint8))
        assert np.array_equal(seen[homozygous], letters[homozygous])

    def test_at_most_the_share_asked_for_is_masked(self, people):
        batch = barcode_views(people, hide=0.4, hide_often=1.0).varied(np.arange(75), step_rng(2))
        known = (letters_of(batch) != ord("N")).mean(axis=1)
        assert batch.share.numpy() == pytest.approx(known)
        assert known.min() > 0.45
        assert known.mean() == pytest.approx(0.8, abs=0.05)

    def test_masking_touches_the_share_of_samples_asked_for(self, people):
        rows = np.tile(np.arange(75), 4)
        batch = barcode_views(people, hide=0.9, hide_often=0.25).varied(rows, step_rng(3))
        assert float((batch.share < 1).double().mean()) == pytest.approx(0.25, abs=0.08)

    def test_a_haploid_view_has_no_heterozygote(self, people):
        batch = barcode_views(people, haploid=1.0).varied(ROWS, step_rng(4))
        assert set(letters_of(batch).ravel().tobytes().decode()) <= set("ACGT")

    def test_crossing_draws_from_the_own_group_of_those_to_train_on(self, people):
        samples, panel = people
        refs, alts = panel.ref_codes, panel.alt_codes
        train, held_out = np.arange(0, 75, 2), np.arange(1, 75, 2)
        letters = np.tile(refs, (75, 1))
        letters[samples.labels["pop"] == 1] = alts
        letters[held_out] = np.where(letters[held_out] == refs, alts, refs)
        views = barcode_views(people, parents=train, letters=letters, cross=1.0)
        seen = letters_of(views.varied(train, step_rng(5)))
        assert np.array_equal(seen, letters[train])

    def test_crossing_makes_new_individuals(self, people):
        batch = barcode_views(people, cross=1.0).varied(ROWS, step_rng(6))
        assert (letters_of(batch) == people[0].letters[ROWS]).mean() < 0.9

    def test_the_two_haplotypes_of_a_crossed_sample_are_drawn_apart(self, people):
        _, panel = people
        letters = np.where(np.arange(75)[:, None] % 2, panel.ref_codes, panel.alt_codes)
        seen = letters_of(
            barcode_views(people, letters=letters, cross=1.0).varied(ROWS, step_rng(8))
        )
        heterozygous = ~np.isin(seen, np.frombuffer(b"ACGT", np.uint8))
        assert heterozygous.mean() == pytest.approx(0.5, abs=0.1)

    def test_missing_letters_stay_missing(self, people):
        letters = people[0].letters.copy()
        letters[:, :30] = ord("N")
        seen = letters_of(
            barcode_views(people, letters=letters, **EVERYTHING).varied(ROWS, step_rng(7))
        )
        assert (seen[:, :30] == ord("N")).all()


SEQUENCES = ["ACGTACGTAC", "TTTTT", "ACGNNACGTA", "A", ""]


def sequence_views(longest=50, **views):
    columns = {"kind": np.array([0, 1, 0, 1, 0])}
    samples = Samples(list("abcde"), SEQUENCES, columns, {"kind": ["x", "y"]}, np.arange(5))
    tokenizer = tokenizers.from_config({"kind": "kmers", "k": 3, "stride": 1})
    return SequenceViews(
        samples, tokenizer, SequenceViewsSettings(**views), longest=longest
    ), tokenizer


class TestSequenceViews:
    def test_a_plain_view_is_the_padded_tokens(self):
        views, tokenizer = sequence_views()
        batch = views.plain(np.arange(5))
        assert batch.ids.shape == (5, 8)
        for ids, sequence in zip(batch.ids, SEQUENCES, strict=True):
            known = tokenizer.encode(sequence)
            assert ids[: len(known)].tolist() == known.tolist()
            assert (ids[len(known) :] == tokenizer.pad_id).all()
        assert torch.equal(batch.mask, batch.ids != tokenizer.pad_id)
        assert batch.share.tolist() == pytest.approx([1.0, 1.0, 0.8, 1.0, 0.0])

    def test_a_varied_view_without_variation_is_the_plain_one(self):
        views, _ = sequence_views()
        rows = np.arange(5)
        assert torch.equal(views.varied(rows, step_rng(1)).ids, views.plain(rows).ids)

    def test_a_long_sequence_is_cut_at_random_to_what_the_network_can_read(self):
        views, tokenizer = sequence_views(longest=4)
        cuts = {tuple(views.varied(np.array([0]), step_rng(s)).ids[0].tolist()) for s in range(40)}
        assert cuts == {tuple(tokenizer.encode(SEQUENCES[0][a : a + 6]).tolist()) for a in range(5)}
        assert views.plain(np.array([0])).ids[0].tolist() == tokenizer.encode("ACGTAC").tolist()

    def test_the_other_strand_is_read_as_often_as_asked_for(self):
        views, tokenizer = sequence_views(reverse_complement=0.5)
        strands = {"there": tokenizer.encode("TTTTT"), "back": tokenizer.encode("AAAAA")}
        batch = views.varied(np.ones(400, np.int64), step_rng(2))
        back = [ids.tolist() == strands["back"].tolist() for ids in batch.ids]
        there = [ids.tolist() == strands["there"].tolist() for ids in batch.ids]
        assert all(a or b for a, b in zip(back, there, strict=True))
        assert np.mean(back) == pytest.approx(0.5, abs=0.08)

    def test_the_same_seed_and_step_make_the_same_batch(self):
        views, _ = sequence_views(longest=4, hide=0.5, hide_often=0.5, reverse_complement=0.5)
        one, again = (views.varied(np.arange(5), step_rng(3)) for _ in range(2))
        assert torch.equal(one.ids, again.ids)


def test_the_mean_over_windows_joins_first_and_second_windows():
    scores = {"pop": torch.tensor([[1.0], [2.0], [3.0], [10.0], [20.0], [30.0]])}
    batch = TrainingBatch(torch.zeros(6, 1), 2, torch.ones(3), {})
    assert batch.mean(scores)["pop"].tolist() == [[5.5], [11.0], [16.5]]


def test_a_missing_label_does_not_enter_the_loss():
    scores = {"a": torch.tensor([[2.0, 0.0], [0.0, 9.0]]), "b": torch.zeros(2, 3)}
    labels = {"a": torch.tensor([0, -1]), "b": torch.tensor([-1, -1])}
    assert float(cross_entropy(scores, labels)) == pytest.approx(np.log1p(np.exp(-2)))


def test_the_loss_of_several_heads_is_the_sum_of_their_means():
    scores = {"a": torch.zeros(4, 2), "b": torch.zeros(4, 3)}
    labels = {"a": torch.tensor([0, 1, 0, 1]), "b": torch.tensor([2, -1, -1, -1])}
    assert float(cross_entropy(scores, labels)) == pytest.approx(np.log(2) + np.log(3))


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
        self.dies_at = None

    def network(self):
        torch.manual_seed(7)
        return attach_heads(SitesNetwork(SitesConfig(sites=12, width=8, dropout=0.3)), {"pop": 2})

    def loss_at(self, network, step):
        if step == self.dies_at:
            raise InterruptionError
        rows = np.random.default_rng([1, step]).choice(40, 8)
        return cross_entropy(logits(network, self.copies[rows]), {"pop": self.labels["pop"][rows]})

    def validation_loss(self, network):
        with torch.no_grad():
            return float(cross_entropy(logits(network, self.copies), self.labels))

    def loop(self, file=None, changed=SETTINGS, seed=3):
        return Loop(self.network(), changed, seed=seed, device=CPU, checkpoint_file=file)

    def fit(self, loop):
        return loop.fit(self.loss_at, self.validation_loss, lambda *_: None)


@pytest.fixture
def problem():
    return Problem()


class TestLoop:
    @pytest.mark.parametrize("dies_at", [20, 27, 59])
    def test_an_interrupted_run_goes_on_bit_for_bit(self, problem, tmp_path, dies_at):
        whole = problem.loop()
        best = problem.fit(whole)
        problem.dies_at = dies_at
        with pytest.raises(InterruptionError):
            problem.fit(problem.loop(tmp_path / "state.pt"))
        problem.dies_at = None
        torch.manual_seed(999)
        resumed = problem.loop(tmp_path / "state.pt")
        assert problem.fit(resumed) == best
        assert same(resumed._state(), whole._state())
        assert same(resumed.network.state_dict(), whole.network.state_dict())

    def test_the_best_weights_before_an_interruption_are_not_forgotten(self, problem, tmp_path):
        def fit(loop):
            def validation_loss(_):
                return 0.5 if loop.progress.step == 10 else 0.9

            return loop.fit(problem.loss_at, validation_loss, lambda *_: None)

        whole = problem.loop()
        fit(whole)
        problem.dies_at = 27
        with pytest.raises(InterruptionError):
            fit(problem.loop(tmp_path / "state.pt"))
        problem.dies_at = None
        resumed = problem.loop(tmp_path / "state.pt")
        assert fit(resumed) == 0.5
        assert same(resumed.network.state_dict(), whole.network.state_dict())

    def test_a_run_that_had_ended_is_not_trained_further(self, problem, tmp_path):
        first = problem.loop(tmp_path / "state.pt")
        problem.fit(first)
        again = problem.loop(tmp_path / "state.pt")
        problem.dies_at = 60
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
        seen = []

        def validation_loss(network):
            seen.append({name: t.clone() for name, t in network.state_dict().items()})
            return next(losses)

        settings_ = Optimization(steps=60, batch_size=8, evaluate_every=5, patience=3)
        loop = problem.loop(changed=settings_)
        assert loop.fit(problem.loss_at, validation_loss, lambda *_: None) == 0.5
        assert loop.progress.step == 25
        assert same(loop.network.state_dict(), seen[1])
        assert not loop.network.training

    def test_progress_renews_the_patience(self, problem):
        losses = iter([0.9, 0.95, 0.5, 0.6, 0.7, 0.8])
        loop = problem.loop(changed=Optimization(steps=60, evaluate_every=5, patience=2))
        loop.fit(problem.loss_at, lambda _: next(losses), lambda *_: None)
        assert loop.progress.step == 25

    def test_equal_losses_are_no_progress(self, problem):
        loop = problem.loop(changed=Optimization(steps=60, evaluate_every=5, patience=2))
        loop.fit(problem.loss_at, lambda _: 0.5, lambda *_: None)
        assert loop.progress.step == 15

    def test_the_last_step_is_evaluated(self, problem):
        steps = []
        loop = problem.loop(changed=Optimization(steps=7, evaluate_every=5))
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
        settings_ = Optimization(steps=150, learning_rate=0.02, evaluate_every=50, average=0.5)
        loop = Loop(network, settings_, seed=1, device=CPU)
        rows = slice(0, 10)
        labels = {"pop": problem.labels["pop"][rows]}

        def loss(trained, step=0):
            return cross_entropy(logits(trained, problem.copies[rows]), labels)

        before = float(loss(network).detach())
        after = loop.fit(loss, lambda trained: float(loss(trained).detach()), lambda *_: None)
        assert after < 0.05 < before

    def test_what_is_kept_is_the_average_of_the_weights(self, problem):
        network = torch.nn.Linear(1, 1, bias=False)
        loop = Loop(network, Optimization(steps=3, evaluate_every=1), seed=1, device=CPU)
        weights, averages = [], []

        def validation_loss(candidate):
            averages.append(float(candidate.weight.detach()))
            return -float(len(averages))

        def loss_at(trained, step):
            return trained(torch.ones(1, 1)).sum() * (step + 1)

        def watch(step, loss):
            weights.append(float(network.weight.detach()))

        loop.fit(loss_at, validation_loss, lambda *_: None, watch)
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
        settings_ = Optimization(steps=100, warmup=0.1, learning_rate=1.0)
        rates = [learning_rate(step, settings_) for step in range(100)]
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

    @pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut off"])
    def test_a_damaged_checkpoint_is_refused_in_one_line(self, tmp_path, content):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(InputError, match="not a checkpoint") as raised:
            trainer.load(tmp_path / "x.pt", CPU)
        assert "\n" not in str(raised.value)


def overconfident(factor, share, seed, samples=3000):
    """Scores that are `factor` times too large, with labels drawn from the right ones."""
    rng = np.random.default_rng(seed)
    right = rng.normal(0, 1.5, (samples, 3))
    probabilities = np.exp(right) / np.exp(right).sum(1, keepdims=True)
    labels = (probabilities.cumsum(1) < rng.random((samples, 1))).sum(1)
    return HeldOut(
        {"pop": torch.from_numpy(factor * right)},
        torch.full((samples,), share, dtype=torch.float64),
        {"pop": torch.from_numpy(labels)},
    )


def log_loss(fusion, held_out):
    return float(cross_entropy(fusion(held_out.scores, held_out.share), held_out.labels))


class TestCalibration:
    def test_the_temperature_of_overconfident_scores_is_found(self):
        held_out = overconfident(4.0, 1.0, 41)
        fusion = Fusion({"pop": 3}, {}).double()
        before = log_loss(fusion, held_out)
        calibrate(fusion, held_out)
        weight = float(fusion.network_pop[0].exp())
        assert weight == pytest.approx(1 / 4, rel=0.08)
        assert log_loss(fusion, held_out) < before - 0.3

    def test_the_temperature_follows_the_share_of_known_sites(self):
        parts = [
            overconfident(*case) for case in ((1.5, 1.0, 42), (4.0, 0.3, 43), (10.0, 0.05, 44))
        ]
        fusion = Fusion({"pop": 3}, {})
        calibrate(fusion, HeldOut.joined(parts))
        for part, factor in zip(parts, (1.5, 4.0, 10.0), strict=True):
            found = fusion(part.scores, part.share)["pop"]
            expected = (part.scores["pop"] / factor).log_softmax(1)
            assert float((found - expected).abs().mean()) < 0.15

    def test_it_helps_with_samples_it_has_not_seen(self):
        fusion = Fusion({"pop": 3}, {}).double()
        fresh = overconfident(3.0, 1.0, 46)
        before = log_loss(fusion, fresh)
        calibrate(fusion, overconfident(3.0, 1.0, 45))
        assert log_loss(fusion, fresh) < before - 0.1
        probabilities = fusion(fresh.scores, fresh.share)["pop"].exp()
        torch.testing.assert_close(probabilities.sum(1), torch.ones(3000, dtype=torch.float64))

    def test_a_source_that_knows_nothing_loses_its_weight(self):
        held_out = overconfident(1.0, 1.0, 47)
        noise = torch.from_numpy(np.random.default_rng(48).normal(0, 3, (3000, 3)))
        scores = {"pop": noise, LIKELIHOOD: held_out.scores["pop"]}
        fusion = Fusion({"pop": 3}, {"pop": [0, 1, 2]})
        calibrate(fusion, HeldOut(scores, held_out.share, held_out.labels))
        assert float(fusion.network_pop[0].exp()) < 0.1
        assert float(fusion.likelihood_pop[0].exp()) == pytest.approx(1, abs=0.1)

    def test_samples_without_a_label_do_not_count(self):
        held_out = overconfident(4.0, 1.0, 49)
        labels = held_out.labels["pop"].clone()
        labels[1000:] = -1
        few = HeldOut(
            {"pop": held_out.scores["pop"][:1000]},
            held_out.share[:1000],
            {"pop": held_out.labels["pop"][:1000]},
        )
        fusions = [Fusion({"pop": 3}, {}) for _ in range(2)]
        calibrate(fusions[0], HeldOut(held_out.scores, held_out.share, {"pop": labels}))
        calibrate(fusions[1], few)
        torch.testing.assert_close(fusions[0].network_pop, fusions[1].network_pop)

    def test_it_returns_the_loss_it_came_to(self):
        held_out = overconfident(2.0, 1.0, 50)
        fusion = Fusion({"pop": 3}, {})
        assert calibrate(fusion, held_out) == pytest.approx(log_loss(fusion, held_out), abs=0.01)

    @pytest.mark.parametrize("seed", [4, 52, 190])
    def test_a_few_samples_leave_finite_weights(self, seed):
        draw = torch.Generator().manual_seed(seed)
        people = 1 + seed % 6
        labels = torch.randint(0, 5, (people,), generator=draw)
        scores = torch.randn(7, people, 5, generator=draw).double() * 3
        scores += one_hot(labels, 5) * (seed % 7) * 3
        hidden = torch.tensor([1, 0.75, 0.5, 0.25, 0.1, 0.04, 0.01], dtype=torch.float64)
        share = hidden[:, None] * torch.rand(7, people, generator=draw).double().clamp(0.7)
        fusion = Fusion({"pop": 5}, {})
        loss = calibrate(
            fusion, HeldOut({"pop": scores.view(-1, 5)}, share.view(-1), {"pop": labels.repeat(7)})
        )
        assert np.isfinite(loss)
        assert torch.isfinite(fusion.network_pop).all()


RECIPE = {
    "name": "tiny",
    "tokenizer": {"kind": "iupac"},
    "network": {"kind": "sites", "width": 8},
    "input": {"kind": "barcode"},
    "likelihood": {"head": "pop", "axes": 1},
    "split": {"folds": 3},
    "optimization": {"steps": 6, "batch_size": 8, "evaluate_every": 3},
}


def fit(people, seed=0, **changed):
    samples, panel = people
    return finetuning.fit(samples, from_tables(RECIPE | changed), BarcodeInput(panel), seed=seed)


@pytest.fixture(scope="module")
def fitted(people):
    """A model of three networks, and what each was trained and validated on."""
    members, train_member = [], finetuning.train_member

    def spy(network, member, *rest, **options):
        members.append(member)
        train_member(network, member, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "train_member", spy)
        return fit(people), members


class TestFit:
    def test_the_same_seed_makes_the_same_model(self, people):
        one_fold = {"folds": 1}
        fits = [fit(people, seed, split=one_fold) for seed in (1, 1, 2)]
        states = [made.bundle.classifier.state_dict() for made in fits]
        assert same(states[0], states[1])
        assert not same(states[0], states[2])

    def test_networks_are_validated_on_individuals_they_were_not_trained_on(self, people, fitted):
        samples, _ = people
        _, members = fitted
        for member in members:
            validated = set(samples.individuals[member.validation].tolist())
            assert not validated & set(samples.individuals[member.train].tolist())
            assert len(member.validation) + len(member.train) == len(samples)
        assert sorted(np.concatenate([m.validation for m in members]).tolist()) == list(range(75))

    def test_every_sample_counts_once_in_the_held_out_results(self, fitted):
        validation = fitted[0].validation
        assert {head: found["n"] for head, found in validation.items()} == {
            "superpop": 75,
            "pop": 75,
        }
        assert validation["superpop"]["majority"] == pytest.approx(2 / 3, abs=1e-4)
        assert validation["pop"]["accuracy"] > 0.6

    def test_a_single_network_holds_out_the_share_asked_for(self, people):
        validation = fit(people, split={"folds": 1, "holdout": 0.2}).validation
        assert validation["pop"]["n"] == 15

    def test_the_tokens_mean_the_panels_alleles(self, people, fitted):
        _, panel = people
        bundle = fitted[0].bundle
        letters = bundle.tokenizer.vocabulary
        table = bundle.classifier.encoder.table
        pairs = {"AG": "R", "CT": "Y", "GC": "S", "TA": "W", "AC": "M", "TG": "K"}
        for site in range(6):
            ref, alt = panel.ref[site], panel.alt[site]
            expected = {ref: 0, alt: 2, pairs[ref + alt]: 1}
            assert table[site].tolist() == [expected.get(word, -1) for word in letters]

    def test_the_networks_know_the_allele_frequencies(self, people, fitted):
        samples, panel = people
        copies = letters_to_genotypes(samples.letters, panel)
        for member in fitted[0].bundle.classifier.networks:
            assert member.frequency.numpy() == pytest.approx(copies.mean(axis=0) / 2, abs=1e-6)

    def test_the_best_sites_are_chosen_on_samples_to_train_on(self, people):
        samples, panel = people
        split = {"folds": 1, "holdout": 0.4}
        fitted = fit(
            people, input={"kind": "barcode", "best_sites": 20, "best_for": "pop"}, split=split
        )
        validation = folds(samples, 2, 0)[0]
        train = others(samples, validation)
        copies = letters_to_genotypes(samples.letters, panel)
        chosen = most_informative(copies[train], samples.labels["pop"][train], 20)
        assert fitted.bundle.input.panel.rsid == tuple(panel.rsid[site] for site in chosen)
        everyone = most_informative(copies, samples.labels["pop"], 20)
        assert everyone.tolist() != chosen.tolist()

    def test_a_head_that_no_held_out_sample_has_is_left_out_of_the_results(self, people):
        samples, panel = people
        rare = np.full(75, -1)
        rare[:4] = [0, 1, 0, 1]
        more = Samples(
            samples.names,
            samples.sequences,
            samples.labels | {"rare": rare},
            samples.classes | {"rare": ["x", "y"]},
            samples.individuals,
        )
        assert not (rare[folds(more, 10, 0)[0]] >= 0).any()
        one_fold = RECIPE | {"split": {"folds": 1}}
        fitted = finetuning.fit(more, from_tables(one_fold), BarcodeInput(panel))
        assert list(fitted.validation) == ["superpop", "pop"]

    def test_another_kind_of_input_than_the_recipes_is_refused(self, people):
        with pytest.raises(TrainingError, match="recipe tiny reads barcode, not sequence"):
            finetuning.fit(people[0], from_tables(RECIPE), SequenceInput())

    def test_evidence_of_another_kind_of_input_is_refused(self, people):
        with pytest.raises(TrainingError, match=r"\[likelihood\] is for barcodes"):
            fit(people, likelihood=None, regression={"head": "pop"})

    def test_a_loss_far_too_large_is_told(self, people):
        with pytest.raises(TrainingError, match="lower the learning rate"):
            fit(people, optimization={"steps": 9, "learning_rate": 1e30})
