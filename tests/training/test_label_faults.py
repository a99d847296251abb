"""Labels that are wrong are reported with file and line."""

import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import is_number, labels_of, parse_table
from genomai_cli.records import SequenceRecord
from genomai_cli.training.label_faults import (
    check_header,
    check_labels,
    check_names,
    unlikely_labels,
    unlikely_samples,
)
from genomai_cli.training.labelled_data import gather


def table(*labels):
    rows = "".join(f"s{number}\t{label}\n" for number, label in enumerate(labels))
    return labels_of(parse_table(f"name\tkind\n{rows}".encode(), "labels.tsv"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "1", "1"], r"labels\.tsv:2: head kind: needs two labels at least, and all are 1"),
        ([".", "x", "."], r"labels\.tsv:3: head kind: needs two labels at least, and all are x"),
        (["0.5", "NA", "1e3"], r"labels\.tsv:3: label 'NA' is no number, where most are numbers"),
        (["0", "1", "nan"], r"labels\.tsv:4: label 'nan' is no number"),
        (["x", "y", "3"], r"labels\.tsv:4: label '3' is a number, where most are words"),
        (
            ["1", *(f"-{n},5" for n in range(30))],
            r"labels\.tsv:3: label '-0,5' is no number \(with a point it is: -0\.5\)",
        ),
    ],
)
def test_faults_are_told(labels, message):
    with pytest.raises(InputError, match=message):
        check_labels(table(*labels), {"kind": "kind"}, one_kind=True)


@pytest.mark.parametrize(
    "labels", [["x", "y"], ["0", "1", "."], ["-1.5", "2e3"], [".", "."], ["1,2", "2,3", "1,2"]]
)
def test_labels_without_fault_pass(labels):
    check_labels(table(*labels), {"kind": "kind"}, one_kind=True)


def test_words_and_numbers_may_be_mixed_where_that_is_usual():
    check_labels(table("1", "2", "X"), {"kind": "kind"}, one_kind=False)


@pytest.mark.parametrize(
    ("labels", "sentences"),
    [
        (["x", "y", ".", "none"], []),
        (["x", "NA", "y", "NA"], ["head: NA is taken for a label, of 2 samples"]),
        (["x", "X", "y"], ["head: x and X are taken for different labels"]),
        (["1", "1.0", "0"], ["head: 1 and 1.0 are taken for different labels"]),
        (["1e3", "1E3"], ["1e3 and 1E3 are taken for different labels"]),
        (["nan", "NaN"], ["nan is taken", "NaN is taken", "nan and NaN are taken"]),
    ],
)
def test_labels_that_may_not_be_meant(labels, sentences):
    found = list(unlikely_labels(table(*labels), {"head": "kind"}))
    assert len(found) == len(sentences)
    assert all(text in sentence for text, sentence in zip(sentences, found, strict=True))


def test_samples_that_may_not_be_meant():
    letters = {"a": "ACGT", "b": "ACGT", "c": "NNNN", "d": "GGTT", "e": "ACGT"}
    labels = {
        "kind": {"a": "x", "b": "y", "c": "x", "d": "y"},
        "else": {"a": "p", "d": "q", "e": "p"},
    }
    records = [SequenceRecord(name, text) for name, text in letters.items()]
    found = list(unlikely_samples(gather([*records, SequenceRecord("d", "TTTT")], labels)[0]))
    assert found == [
        "1 names are those of several sequences, which have the same labels: d, for example",
        "1 sequences have no base that can be read, and teach nothing: c, for example",
        "kind: 3 sequences are equal to others that have another label: a, for example",
    ]
    kinds = {"kind": labels["kind"]}
    assert list(unlikely_samples(gather(records[1:4], kinds)[0])) == [found[1]]


@pytest.mark.parametrize("names", [{"name", "s0"}, {"name_A", "name_B"}])
def test_a_header_that_names_a_sample_is_none(names):
    with pytest.raises(InputError, match=r"labels\.tsv:1: no header: .* sample name "):
        check_header(table("x", "y"), names)
    check_header(table("x", "y"), {"s0", "s1"})
    check_header(labels_of(parse_table(b"s0\tkind\ns0\tx\n", "labels.tsv")), {"s0"})


def test_labels_of_sequences_that_are_not_there():
    check_names(table("x", "y"), {"s0", "s1", "s2"})
    check_names(table("x", "y"), {"s0_A", "s0_B", "s1"})
    with pytest.raises(InputError, match=r"labels\.tsv:3: no sequence is called s1$"):
        check_names(table("x", "y"), {"s0"})
    with pytest.raises(InputError, match=r":2: .* s0, and there is none for 2 of 3 labels"):
        check_names(table("x", "y", "z"), {"s2"})


def test_numbers():
    assert [is_number(text) for text in ("1", "-.5", "1e9", "inf", "nan", "x", "")] == [
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]
