"""Names are text: hostile ones break no table, and leave no control code on a terminal."""

from pathlib import Path

import h5py
import pytest
from conftest import DATA, run

from genomai_cli import names
from genomai_cli.errors import InputError
from genomai_cli.formats.streams import text_of
from genomai_cli.formats.tables import read_labels
from genomai_cli.population.phenotypes import Columns, read_phenotypes

HOSTILE = [
    b"J\xf6rg",
    "J\u00f6rg".encode(),
    b"\x1b[31mred\x1b[0m",
    b"\x1b]0;title\x07",
    b"a\x08b\x7f",
    "next\u0085line".encode(),
    "line\u2028separator".encode(),
    b"$\\frac{1}{$",
    b"nul\x00nul",
    b"x" * 10_000,
    b"<script>alert(1)</script>",
    "\ud800".encode("utf-8", "surrogatepass"),
    b"-o",
    b"=1+1",
]


def fasta(sequence: str = "ACGTACGTTAGCA" * 20) -> bytes:
    return b"".join(b">%s\n%s\n" % (name, sequence.encode()) for name in HOSTILE)


def has_control(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape")
    return any(names.escaped(line) != line for line in text.replace("\t", "").split("\n"))


COMMANDS = [
    "tokenize",
    "embed --to tsv --model PLAIN",
    "classify --model PLAIN",
    "augment --views 1 --mask 0.1",
]


@pytest.fixture(scope="module")
def plain_model() -> Path:
    return DATA / "bundles-format-1" / "transformer-kmers"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_table_and_fasta_holds_hostile_names(command: str, plain_model: Path) -> None:
    result = run(command.replace("PLAIN", str(plain_model)), fasta())
    assert result.status == 0, result.stderr
    assert not has_control(result.output)
    assert b"J\xf6rg" in result.output
    assert b"\\x1b[31mred" in result.output
    rows = [line for line in result.output.split(b"\n") if line and not line.startswith(b">")]
    assert len(rows) in (len(HOSTILE), len(HOSTILE) + 1)


def test_hdf5_holds_hostile_names(tmp_path: Path) -> None:
    result = run(["tokenize", "--to", "hdf5", "-o", tmp_path / "x.h5"], fasta())
    assert result.status == 0, result.stderr
    with h5py.File(tmp_path / "x.h5") as file:
        stored_names = file["ids"].asstr()[:].tolist()
    assert stored_names == [names.printable(text_of(name)) for name in HOSTILE]
    assert stored_names[0] == "J\\xf6rg"
    assert stored_names[8] == "nul\\x00nul"


@pytest.mark.parametrize("command", ["tokenize", "classify", "augment --mask 0.1", "embed"])
def test_messages_have_no_control_codes(command: str) -> None:
    for name in HOSTILE[:8]:
        result = run(command, b">" + name + b"\nAC?T\n")
        assert result.status == 1
        assert result.stderr.count("\n") == 1
        assert not has_control(result.stderr.encode())
        assert "unexpected" not in result.stderr


def test_a_label_that_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    table = tmp_path / "l.tsv"
    table.write_bytes(b"sample\tkind\tnote\na\tplain\t\xff\nb\tM\xfcller\tx\n")
    labels = read_labels(table)
    with pytest.raises(InputError, match=r"l.tsv:3: 'M\\xfcller' has bytes that are no UTF-8"):
        labels.column("kind")
    with pytest.raises(InputError, match=r"l.tsv:2: "):
        labels.column("note")
    with pytest.raises(InputError, match=r"l.tsv:3: "):
        Columns.of(read_phenotypes(table))
    table.write_bytes("sample\tkind\nb\tM\u00fcller\n".encode())
    assert read_labels(table).column("kind") == {"b": "M\u00fcller"}


def test_train_refuses_such_a_label_before_it_trains(tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_bytes(b"sample\tkind\na\tx\nb\tM\xfcller\n")
    (tmp_path / "s.fa").write_bytes(b">a\nACGTACGT\n>b\nACGTACGT\n")
    arguments = ["train", tmp_path / "s.fa", "--labels", tmp_path / "l.tsv", "-o", tmp_path / "m"]
    result = run(arguments)
    assert result.status == 1
    assert "l.tsv:3: 'M\\xfcller'" in result.stderr
    assert not (tmp_path / "m.training").exists()


def test_captions_are_no_mathematics() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name in HOSTILE:
        figure = Figure()
        FigureCanvasAgg(figure)
        title = figure.suptitle(names.caption(text_of(name)) + "$" * 2)
        title.set_text(names.caption(text_of(name)))
        figure.draw_without_rendering()
        assert len(title.get_text()) <= 2 * 120
