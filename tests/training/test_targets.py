"""What the columns of a table of labels ask for."""

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
        (["NA", "0.5", "0.7"], True),  # a fault to be told, and no three classes
        ([], False),
    ],
)
def test_which_numbers_are_measured(values, measured):
    assert are_measured(values) is measured


def test_what_was_chosen_is_told():
    found = targets_of(table("0.1", "0.2"), {"y": "y"})
    assert found.numbers == {"y"}
    assert "numbers to be predicted (--target classes" in found.notes[0]
    assert "2 whole numbers, taken for classes" in targets_of(table("0", "1"), {"y": "y"}).notes[0]
    assert targets_of(table("a", "b"), {"y": "y"}).notes == ()


def test_what_is_asked_for_comes_first():
    assert targets_of(table("0", "1"), {"y": "y"}, REGRESSION).numbers == {"y"}
    assert targets_of(table("0.1", "0.7"), {"y": "y"}, CLASSES).numbers == set()
    assert targets_of(table("A;B", "A"), {"y": "y"}, CLASSES).heads == {"y": "y"}


def test_several_labels_become_yes_and_no():
    found = targets_of(table("A;B", "A", "-", ".", "B; C d"), {"h": "y"})
    assert found.heads == {"y_A": "y_A", "y_B": "y_B", "y_C_d": "y_C_d"}
    assert found.table.columns["y_A"] == ("yes", "yes", "no", None, "no")
    assert found.table.columns["y_C_d"] == ("no", "no", "no", None, "yes")
    dev = found.of(table("C d", "A"))
    assert dev.columns == {"y_A": ("no", "yes"), "y_B": ("no", "no"), "y_C_d": ("yes", "no")}


def test_labels_that_would_have_one_name_are_refused():
    with pytest.raises(InputError, match="two labels would be called y_a_b"):
        with_label_columns(table("a b;a_b", "c"), "y")
    assert split_labels(" A;;B;A ") == ["A", "B"]
    assert label_column("y", "x.1") == "y_x_1"


def test_a_validation_set_of_words_among_numbers_is_refused():
    found = targets_of(table("0.1", "0.2"), {"y": "y"})
    with pytest.raises(InputError, match=r"labels.tsv:3: label 'x' is no number"):
        found.of(table("0.4", "x"))
