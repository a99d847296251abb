"""Samples with labels: how they are gathered, split by individual, and nested."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.errors import InputError, TrainingError
from genomai_cli.inputs.samples import Samples
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord
from genomai_cli.training.labelled_data import (
    digest,
    folds,
    gather,
    nesting,
    remaining_rows,
    require_all_classes,
    validation_parts,
    with_validation,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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


class TestSamples:
    def test_labels_become_numbers_of_sorted_classes(self):
        labels = {"pop": {"a": "Z", "b": "Y", "c": "Z"}, "sex": {"a": "F", "b": "M"}}
        samples, unlabelled = gather(records("a", "b", "c"), labels)
        assert samples.classes == {"pop": ["Y", "Z"], "sex": ["F", "M"]}
        assert samples.labels["pop"].tolist() == [1, 0, 1]
        assert samples.labels["sex"].tolist() == [0, 1, -1]
        assert unlabelled == 0

    def test_strata_are_groups_finer_than_the_labels(self):
        labels = {"pop": {"a": "Z", "b": "Y", "c": "Z", "d": "Z"}}
        strata = {"a": "n", "b": "m", "c": "m"}
        samples, _ = gather(records("a_A", "b", "c", "d"), labels, strata=strata)
        assert samples.strata.tolist() == [1, 0, 0, -1]
        assert len(set(samples.groups().tolist())) == 4
        unstratified, _ = gather(records("a_A", "b", "c", "d"), labels)
        assert unstratified.strata is None
        assert unstratified.groups().tolist() == [1, 0, 1, 1]
        assert digest(samples) != digest(unstratified)

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
        ("names", "labelled", "individual_count"),
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
    def test_both_haplotypes_and_repeated_names_are_one_individual(
        self, names, labelled, individual_count
    ):
        column = {name: str(number % 2) for number, name in enumerate(labelled)}
        samples, _ = gather(records(*names), {"pop": column | {"b": "9"}})
        assert len(np.unique(samples.individuals)) == individual_count

    def test_near_duplicates_count_as_one_individual_where_asked_for(self):
        rng = np.random.default_rng(5)
        texts = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(4)]
        sequences = [texts[0], texts[1], texts[0][:-1] + "A", texts[2], texts[3]]
        records = [SequenceRecord(n, s) for n, s in zip("abcde", sequences, strict=True)]
        labels = {"kind": dict(zip("abcde", "xyxyx", strict=True))}
        samples, _ = gather(records, labels, merge_near_duplicates=True)
        assert samples.individuals.tolist() == [0, 1, 0, 2, 3]
        assert samples.near_duplicates == 2
        unmerged, _ = gather(records, labels)
        assert unmerged.individuals.tolist() == [0, 1, 2, 3, 4]
        assert unmerged.near_duplicates is None

    def test_names_of_haplotypes_say_more_than_similarity(self):
        records = [SequenceRecord(n, "ACGTTGCA" * 9) for n in ("a_A", "a_B", "b_A", "b_B")]
        samples, _ = gather(records, {"kind": {"a": "x", "b": "y"}}, merge_near_duplicates=True)
        assert samples.individuals.tolist() == [0, 0, 1, 1]
        assert samples.near_duplicates is None

    def test_a_pair_of_names_like_haplotypes_does_not_hide_near_duplicates(self):
        rng = np.random.default_rng(7)
        texts = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(4)]
        sequences = [texts[0], texts[0][1:] + "A", texts[1], texts[2], texts[3]]
        names = ["a", "b", "c", "chain_A", "chain_B"]
        records = [SequenceRecord(n, s) for n, s in zip(names, sequences, strict=True)]
        labels = {"kind": dict(zip(names, "xyxyx", strict=True))}
        samples, _ = gather(records, labels, merge_near_duplicates=True)
        assert samples.individuals.tolist() == [0, 0, 1, 2, 2]
        assert samples.near_duplicates == 2

    def test_a_repeated_name_is_one_individual_whatever_its_sequences(self):
        rng = np.random.default_rng(6)
        records = [SequenceRecord(n, "".join(rng.choice(list("ACGT"), 60))) for n in "aab"]
        samples, _ = gather(records, {"kind": {"a": "x", "b": "y"}}, merge_near_duplicates=True)
        assert samples.individuals.tolist() == [0, 0, 1]


class TestValidationSet:
    def test_it_stands_behind_the_samples_to_train_on(self):
        labels = {"kind": {"a": "x", "b": "y", "c": "y"}}
        train, _ = gather(records("a", "b", "c", letters="ACGT"), labels)
        dev, unlabelled = gather(
            records("a", "z", letters="GGCC"), {"kind": {"a": "y"}}, classes=train.classes
        )
        combined, rows = with_validation(train, dev)
        assert unlabelled == 1
        assert rows.tolist() == [3]
        assert combined.names == ["a", "b", "c", "a"]
        assert combined.sequences == ["ACGT"] * 3 + ["GGCC"]
        assert combined.labels["kind"].tolist() == [0, 1, 1, 1]
        assert combined.individuals.tolist() == [0, 1, 2, 3]

    def test_a_class_that_nothing_is_trained_on_is_refused(self):
        with pytest.raises(TrainingError, match="no sample to train on has the label z"):
            gather(records("a"), {"kind": {"a": "z"}}, classes={"kind": ["x", "y"]})


@st.composite
def split_cases(draw):
    """Samples of one or two haplotypes each with labels of two heads, shuffled; a number of parts; a seed."""
    count = draw(st.integers(6, 40))
    populations = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    haplotypes = draw(st.lists(st.integers(1, 2), min_size=count, max_size=count))
    order = draw(st.permutations([p for p in range(count) for _ in range(haplotypes[p])]))
    individuals = np.array(order)
    labels = {
        "pop": np.array(populations)[individuals],
        "super": np.array(populations)[individuals] // 2,
    }
    names = [""] * len(order)
    samples = Samples(names, names, labels, {"pop": list("abc"), "super": list("de")}, individuals)
    return samples, draw(st.integers(2, 5)), draw(st.integers(0, 99))


class TestSplit:
    @settings(deadline=None, max_examples=40)
    @given(split_cases())
    def test_every_sample_is_in_one_part_with_all_of_its_individual(self, case):
        samples, count, seed = case
        parts = folds(samples, count, seed)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(samples)))
        individuals = [set(samples.individuals[part].tolist()) for part in parts]
        assert sum(map(len, individuals)) == len(set().union(*individuals))

    @settings(deadline=None, max_examples=40)
    @given(split_cases())
    def test_every_group_is_spread_over_all_parts(self, case):
        samples, count, seed = case
        parts = folds(samples, count, seed)
        for group in np.unique(samples.labels["pop"]):
            members = samples.labels["pop"] == group
            sizes = [len(np.unique(samples.individuals[part][members[part]])) for part in parts]
            assert max(sizes) - min(sizes) <= 1

    @pytest.mark.parametrize("seed", range(5))
    def test_an_individual_of_very_many_samples_is_in_the_last_part(self, seed):
        labels = {"pop": np.arange(600) % 2}
        individuals = np.where(np.arange(600) < 40, 0, np.arange(600))
        samples = Samples([""] * 600, [""] * 600, labels, {"pop": ["x", "y"]}, individuals)
        parts = folds(samples, 5, seed)
        assert set(range(40)) <= set(parts[-1].tolist())
        assert sorted(np.concatenate(parts).tolist()) == list(range(600))

    def test_a_validation_set_that_is_given_is_the_only_part(self):
        samples = samples_of(pop=[0, 1, 0, 1, 0])
        rows = np.array([0, 1])
        assert [part.tolist() for part in validation_parts(samples, 1, 0.1, 0, rows)] == [[0, 1]]
        with pytest.raises(TrainingError, match="is for one network"):
            validation_parts(samples, 2, 0.1, 0, rows)
        with pytest.raises(TrainingError, match="too few individuals are pop1"):
            validation_parts(samples, 1, 0.1, 0, np.array([1, 3]))

    def test_a_split_depends_on_the_seed_alone(self):
        samples = samples_of(pop=[0, 1] * 30)
        one, again, other = (folds(samples, 5, seed) for seed in (1, 1, 2))
        assert all(map(np.array_equal, one, again))
        assert not all(map(np.array_equal, one, other))

    def test_the_others_are_all_but_the_part(self):
        assert remaining_rows(samples_of(pop=[0, 1, 0, 1]), np.array([2, 0])).tolist() == [1, 3]

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
