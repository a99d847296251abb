"""Tables in and out: labels, their gaps and faults; the header that waits for the first row."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import TableWriter, read_labels, read_table


def write(folder: Path, content: bytes) -> Path:
    path = folder / "labels.tsv"
    path.write_bytes(content)
    return path


LABELS = b"sample\tpop\tsex\na\tGBR\tmale\nb\t.\tfemale\nc\t\t.\n"


@pytest.mark.parametrize(
    "content", [LABELS, gzip.compress(LABELS, mtime=0), LABELS.replace(b"\n", b"\r\n")]
)
def test_labels(tmp_path: Path, content: bytes) -> None:
    labels = read_labels(write(tmp_path, content))
    assert labels.samples == ("a", "b", "c")
    assert labels.columns["pop"] == ("GBR", None, None)
    assert labels.column("sex") == {"a": "male", "b": "female"}
    assert labels.row("b") == {"pop": None, "sex": "female"}
    with pytest.raises(InputError, match=r"no column 'age'.*pop, sex"):
        labels.column("age")


@pytest.mark.parametrize(
    ("content", "names", "columns"),
    [
        (b"sequence,label\nACGT,1\nGGCC,0\n", ("1", "2"), ["label"]),
        (b"label\tSequence\n1\tACGT\n0\tGGCC\n", ("1", "2"), ["label"]),
        (b"label,sequence,id\n1,ACGT,b\n0,GGCC,a\n", ("b", "a"), ["label"]),
        (b"accession;sequence;label\nb;ACGT;1\na;GGCC;0\n", ("b", "a"), ["label"]),
        (b"sequence,sex,label\nACGT,m,1\nGGCC,f,0\n", ("1", "2"), ["sex", "label"]),
        (b",sequence,label\n0,ACGT,1\n1,GGCC,0\n", ("0", "1"), ["label"]),  # pandas
        (b'"","label","sequence"\n"a","1","ACGT"\n"b","0","GGCC"\n', ("a", "b"), ["label"]),  # R
    ],
)
def test_a_table_of_sequences_names_its_rows(tmp_path, content, names, columns):
    labels = read_labels(write(tmp_path, content))
    assert labels.samples == names
    assert list(labels.columns) == columns
    assert labels.columns["label"] == ("1", "0")
    assert labels.lines == (2, 3)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"sequence\nACGT\n", 1, "two or more columns"),
        (b"name,sequence,label\na,ACGT,1\na,GGCC,0\n", 3, "sample a again"),
        (b",sequence,label\na,ACGT,1\na,GGCC,0\n", 3, "sample a again"),
        (b",name,sequence,label\n0,a,ACGT,1\n1,b,GGCC,0\n", 1, "without a name, number 1"),
        (b",sequence,label\n,ACGT,1\nb,GGCC,0\n", 2, "a row without a sample"),
        (
            b"label,sequence,split\n1,ACGT,a\n0,GGCC,a\n1,ACCA,a\n",
            2,
            "the first column, label, would name",
        ),
        (b"level,sequence,tissue\n2,ACGT,a\n0.5,GGCC,b\n", 2, "2 is a number: if it holds labels"),
        (b"", None, "empty"),
        (b"\n\n", None, "empty"),
        (b"sample\n", 1, "two or more columns"),
        (b"sample\tpop\n", None, "no samples"),
        (b"sample\tpop\na\tx\na\ty\n", 3, "sample a again (first in line 2)"),
        (b"sample\tpop\na\tx\ty\n", 2, "3 columns where the header has 2"),
        (b"sample\tpop\na\n", 2, "1 columns"),
        (b"sample\tpop\n\n\tx\n", 3, "without a sample"),
        (b"sample\t\na\tx\n", 1, "column without a name"),
        (b"sample\t\tpop\na\t\tx\n", 1, "column without a name"),
        (b"sample\tpop\t\t\na\tx\n\nb\ty\tz\n", 1, "column without a name"),
        (b"sample\tpop\tpop\na\tx\ty\n", 1, "column pop is there twice"),
        (b"sample\tpop\na\tx\0\n", None, "binary"),
    ],
)
def test_faulty_labels(tmp_path: Path, content: bytes, line: int | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_labels(write(tmp_path, content))
    assert caught.value.line == line
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"sample\tpop\t\t\na\tx\nb\t\n",
        b"sample\tpop\t\t\na\tx\t\t\nb\t\t\t\n",
        b"sample\tpop\t \r\na\tx\r\nb\t.\r\n",
        b"sample\tpop\na\tx\t\nb\t.\t\t\n",
    ],
)
def test_empty_columns_at_the_end_are_passed_over(tmp_path: Path, content: bytes) -> None:
    labels = read_labels(write(tmp_path, content))
    assert list(labels.columns) == ["pop"]
    assert labels.columns["pop"] == ("x", None)


PANEL = "sample\tpop\tsuper_pop\na\tGWD\tAFR\nb\tCHB\tEAS\n"


@pytest.mark.parametrize(
    "content",
    [
        PANEL.encode("utf-16"),
        b"\xfe\xff" + PANEL.encode("utf-16-be"),
        b"\xef\xbb\xbf" + PANEL.encode(),
        PANEL.replace("\n", "\r").encode(),
        PANEL.replace("\t", ",").encode(),
        PANEL.replace("\t", ";").replace("\n", "\r\n").encode(),
        PANEL.replace("\t", "   ").encode(),
        b"".join(b'"%s"\n' % line.replace(b"\t", b'"\t"') for line in PANEL.encode().splitlines()),
        b"".join(b'"%s"\n' % line.replace(b"\t", b'", "') for line in PANEL.encode().splitlines()),
        b"".join(b'"%s"\n' % line.replace(b"\t", b'","') for line in PANEL.encode().splitlines()),
        b"# made by\tsomeone\n## else\n" + PANEL.encode(),
        b"# made by someone\n#" + PANEL.replace("b\tCHB", "# a remark\n \nb\tCHB").encode() + b"\n  \n",
        b"#FID\tIID\tpop\tsuper_pop\n0\ta\tGWD\tAFR\n0\tb\tCHB\tEAS\n",
    ],
)  # fmt: skip
def test_labels_as_programs_write_them(tmp_path: Path, content: bytes) -> None:
    labels = read_labels(write(tmp_path, content))
    assert labels.samples == ("a", "b")
    assert dict(labels.columns) == {"pop": ("GWD", "CHB"), "super_pop": ("AFR", "EAS")}


def test_a_workbook_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("xl/workbook.xml", "")
    with pytest.raises(InputError, match="an Excel workbook: save it as text"):
        read_labels(path)


def test_separators_within_quotes_and_within_tabs_are_no_separators(tmp_path: Path) -> None:
    quoted = read_labels(write(tmp_path, b'sample,"name, long"\na,"Gambian, ""West"""\n'))
    assert dict(quoted.columns) == {"name, long": ('Gambian, "West"',)}
    tabs = read_labels(write(tmp_path, b"sample\tname, long\na\tx, y; z\n"))
    assert dict(tabs.columns) == {"name, long": ("x, y; z",)}


def test_a_field_may_be_of_any_length(tmp_path: Path) -> None:
    for sequence in (b"ACGT" * 50_000, b'"' + b"ACGT" * 50_000 + b'"'):
        labels = read_labels(write(tmp_path, b"sequence,label\n" + sequence + b",on\nACGT,off\n"))
        assert labels.columns["label"] == ("on", "off")


def test_a_table_keeps_its_lines(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, b"#a\tb\n\n1\t2\n3\t4\n"))
    assert dict(table.columns) == {"a": ("1", "3"), "b": ("2", "4")}
    assert table.lines == (3, 4)


def test_the_header_comes_with_the_first_row() -> None:
    handle = io.StringIO()
    table = TableWriter(handle, ["sample", "p"])
    assert handle.getvalue() == ""
    table.write(["a", 0.5])
    table.write(["b", "."])
    assert handle.getvalue() == "sample\tp\na\t0.5\nb\t.\n"


def test_a_field_with_a_tab_stays_one_field() -> None:
    handle = io.StringIO()
    table = TableWriter(handle, ["sample", "x"])
    table.write(["a\tb", "\r"])
    table.write_columns(["c\nd", "e"], ["1", "2"])
    assert handle.getvalue() == "sample\tx\na\\tb\t\\r\nc\\nd\t1\ne\t2\n"
