"""Targets of training from the columns of a table of labels: classes, numbers or several labels a sample."""

import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats.label_sets import label_column, split_labels, with_label_columns
from genomai_cli.formats.tables import labels_of, parse_table
from genomai_cli.training.targets import CLASSES, REGRESSION, are_measured, targets_of


def table(*labels, column="y"):
    rows = "".join(f"s{number}\t{label}\n" for number, label in enumerate(labels))
    return labels_of(parse_table(f"name\t{column}\n{rows}".encode(), "labels.tsv"))


@pytest.mark.parametrize(
    ("values", "measured"),
    [
        (["0.5", "1"], True),
        (["-1e-3", "2"], True),
        (["0", "1"], False),
        (["1.0", "0.0", "1.0"], False),
        ([str(n) for n in range(20)], False),
        ([str(n) for n in range(21)], True),
        (["a", "b", "0.5"], False),
        ([f"{n}_1" for n in range(30)], False),
        (["NA", "0.5", "0.7"], True),  # an error to be reported, and no three classes
        ([], False),
    ],
)
def test_which_numbers_are_measured(values, measured):
    assert are_measured(values) is measured


def test_notes_name_the_kind_of_target_that_was_chosen():
    targets = targets_of(table("0.1", "0.2"), {"y": "y"})
    assert targets.numbers == {"y"}
    assert "numbers to be predicted (--target classes" in targets.notes[0]
    assert "2 whole numbers, taken for classes" in targets_of(table("0", "1"), {"y": "y"}).notes[0]
    assert targets_of(table("a", "b"), {"y": "y"}).notes == ()


def test_numbers_are_no_classes():
    """So that 1e-3 and 1E-3 are not warned of as labels that only case tells apart."""
    table = labels_of(parse_table(b"name\tx\tkind\na\t1e-3\tP\nb\t1E-3\tQ\n", "l.tsv"))
    assert targets_of(table, {"x": "x", "head": "kind"}).classes == {"head": "kind"}


def test_the_requested_kind_of_target_comes_first():
    assert targets_of(table("0", "1"), {"y": "y"}, REGRESSION).numbers == {"y"}
    assert targets_of(table("0.1", "0.7"), {"y": "y"}, CLASSES).numbers == set()
    assert targets_of(table("A;B", "A"), {"y": "y"}, CLASSES).heads == {"y": "y"}


def test_several_labels_become_yes_and_no():
    targets = targets_of(table("A;B", "A", "-", ".", "B; C d"), {"h": "y"})
    assert targets.heads == {"y_A": "y_A", "y_B": "y_B", "y_C_d": "y_C_d"}
    assert targets.table.columns["y_A"] == ("yes", "yes", "no", None, "no")
    assert targets.table.columns["y_C_d"] == ("no", "no", "no", None, "yes")
    dev = targets.of(table("C d", "A"))
    assert dev.columns == {"y_A": ("no", "yes"), "y_B": ("no", "no"), "y_C_d": ("yes", "no")}
    with pytest.raises(InputError, match=r"labels.tsv:3: no sample to train on has the label D"):
        targets.of(table("A", "B;D", "."))


def test_labels_that_would_have_one_name_are_refused():
    with pytest.raises(InputError, match="two labels would be called y_a_b"):
        with_label_columns(table("a b;a_b", "c"), "y")
    assert split_labels(" A;;B;A ") == ["A", "B"]
    assert label_column("y", "x.1") == "y_x_1"


def test_a_validation_set_of_words_among_numbers_is_refused():
    targets = targets_of(table("0.1", "0.2"), {"y": "y"})
    with pytest.raises(InputError, match=r"labels.tsv:3: label 'x' is no number"):
        targets.of(table("0.4", "x"))
