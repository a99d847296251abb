"""Parquet of classify, embed and score: the values of the table with types, row by row, and nothing after a failure."""

import csv
import gc
import io
import sys

import numpy as np
import pytest
from conftest import run

from genomai_cli.formats.outputs import buffered_output
from genomai_cli.formats.parquet import COUNT, NUMBER, OPTIONAL_TEXT, TEXT, parquet_table
from genomai_cli.names import printable

parquet = pytest.importorskip("pyarrow.parquet")
CLASSIFY = ["classify", "--probs", "--proportions", "pop", "--pcs", "2"]


def rows_of(result):
    assert result.status == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout), delimiter="\t"))


def as_text(value, number):
    """A value as a table has it."""
    return "." if value is None else number.format(value) if isinstance(value, float) else value


@pytest.mark.parametrize(
    "options", [["-o", "x.parquet"], ["--to", "parquet", "-o", "x"], ["--to", "parquet"]]
)
def test_calls(options, tiny_bundle, cohort, tmp_path):
    """By the file's name, by option, and on standard output."""
    arguments = [*CLASSIFY, "--model", tiny_bundle, cohort.newcomers]
    result = run(
        [
            *arguments,
            *(tmp_path / option if option.startswith("x") else option for option in options),
        ]
    )
    assert result.status == 0, result.stderr
    source = io.BytesIO(result.output) if options[-1] == "parquet" else tmp_path / options[-1]
    table = parquet.read_table(source)
    expected = rows_of(run(arguments))
    assert table.column_names == list(expected[0])
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert [types[n] for n in ("sample", "pop", "pop_p", "used", "call_rate", "flags", "PC1")] == [
        "string", "string", "double", "int64", "double", "string", "double",
    ]  # fmt: skip
    for row, expected_row in zip(table.to_pylist(), expected, strict=True):
        assert row["used"] == int(expected_row.pop("used"))
        found = {name: as_text(row[name], "{:.4f}") for name in expected_row}
        assert found == expected_row
    assert table.schema.metadata[b"model_name"] == b"tiny"
    assert table.column("flags").null_count


def test_vectors_are_those_of_hdf5(tiny_bundle, cohort, tmp_path):
    import h5py

    arguments = ["embed", "--model", tiny_bundle, cohort.newcomers, "-o"]
    for name in ("x.parquet", "x.h5"):
        assert run([*arguments, tmp_path / name]).status == 0
    table = parquet.read_table(tmp_path / "x.parquet")
    with h5py.File(tmp_path / "x.h5") as hdf5:
        vectors = np.stack(table.column("embedding").to_numpy())
        np.testing.assert_array_equal(vectors, hdf5["embeddings"])
        assert vectors.dtype == np.float32
        assert table.column("id").to_pylist() == cohort.names
        metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        assert metadata["model_sha256"] == hdf5.attrs["model_sha256"]


def test_options_of_hdf5_are_refused(tiny_bundle, cohort, tmp_path):
    arguments = ["embed", "--model", tiny_bundle, cohort.newcomers, "-o", tmp_path / "x.parquet"]
    for option in ("--append", "--resume", "--force"):
        assert run([*arguments, option]).status == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["classify", "embed", "score"])
def test_without_the_library_it_is_named_before_anything_is_read(command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    result = run([command, "--to", "parquet", "-o", tmp_path / "x"])
    assert result.status == 2
    assert "pip install 'genomai[parquet]'" in result.stderr
    assert not list(tmp_path.iterdir())


COLUMNS = [("name", TEXT), ("note", OPTIONAL_TEXT), ("n", COUNT), ("x", NUMBER)]


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr("genomai_cli.formats.parquet._GROUP_CELLS", 1 << 10)


def test_row_groups_go_out_as_they_are_full(small_groups, tmp_path):
    """So memory does not grow with the rows."""
    rows = 1000
    with buffered_output(tmp_path / "x") as out, parquet_table(out, COLUMNS, {}) as table:
        for number in range(rows):
            table.write([number, ".", number, "."])
    file = parquet.ParquetFile(tmp_path / "x")
    assert file.num_row_groups > 2
    written_table = file.read()
    assert written_table.column("n").to_pylist() == list(range(rows))
    assert written_table.column("note").null_count == written_table.column("x").null_count == rows


def test_names_are_text_and_nothing_of_them_is_null(tmp_path):
    names = [".", "a\tb", "\udcfc", "é"]
    with buffered_output(tmp_path / "x") as out, parquet_table(out, COLUMNS, {}) as table:
        for name in names:
            table.write([name, name, 1, "0.5"])
    written_table = parquet.read_table(tmp_path / "x")
    assert written_table.column("name").to_pylist() == list(map(printable, names))
    assert written_table.column("note").to_pylist() == [None, *map(printable, names[1:])]


def test_what_fails_has_no_end(small_groups):
    """Rows that went out before are no Parquet file, so that nobody takes them for all."""
    out = io.BytesIO()

    def rows():
        with parquet_table(out, COLUMNS, {}) as table:
            for number in range(1000):
                table.write([number, ".", number, "."])
            table.write([1, ".", "no number", "."])
            table.flush()

    with pytest.raises(ValueError, match="no number"):
        rows()
    gc.collect()
    assert out.tell() > 4
    assert not out.getvalue().endswith(b"PAR1")
