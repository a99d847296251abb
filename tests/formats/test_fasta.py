"""FASTA and FASTQ byte by byte: what is accepted, what it becomes, what is refused and where."""

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomai_cli.errors import InputError
from genomai_cli.formats import fasta
from genomai_cli.formats.fasta import read_sequences, write_fasta
from genomai_cli.formats.streams import open_input
from genomai_cli.records import SequenceRecord


def read(folder: Path, content: bytes, **options: bool) -> list[SequenceRecord]:
    path = folder / "input"
    path.write_bytes(content)
    with open_input(path) as source:
        return list(read_sequences(source, **options))


def pairs(folder: Path, content: bytes) -> list[tuple[str, str]]:
    return [(record.name, record.held) for record in read(folder, content)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b">a\nACGT\n", [("a", "ACGT")]),
        (b">a\nACGT", [("a", "ACGT")]),
        (b">a\r\nAC\r\nGT\r\n", [("a", "ACGT")]),
        (b">a\r\nAC\r\nGT", [("a", "ACGT")]),
        (b">a\nAC\n\nGT\n\n", [("a", "ACGT")]),
        (b"\n\n>a\nACGT\n", [("a", "ACGT")]),
        (b">a\nacgu\n", [("a", "ACGT")]),
        (b">a\nRYSWKMBDHVN\n", [("a", "RYSWKMBDHVN")]),
        (b">a\nAC GT\tA\n", [("a", "ACGTA")]),
        (b">a\nA-C.T\n", [("a", "ANCNT")]),
        (b">a\n>b\nA\n>c", [("a", ""), ("b", "A"), ("c", "")]),
        (b">a\nA\n>a\nC\n", [("a", "A"), ("a", "C")]),
        (b"> a\nA\n", [("a", "A")]),
        (b"@a\nAC\n+\nII\n", [("a", "AC")]),
        (b"@a\nAC\n+a\nII", [("a", "AC")]),
        (b"@a\r\nAC\r\n+\r\nII\r\n", [("a", "AC")]),
        (b"@a\nAC\nGT\n+\n@I\n+I\n@b\nT\n+\nI\n", [("a", "ACGT"), ("b", "T")]),
        (b"@a\n\n+\n\n@b\nA\n+\nI\n\n", [("a", ""), ("b", "A")]),
        (b"sequence,label\nacgu,1\nGG-C,0\n", [("1", "ACGT"), ("2", "GGNC")]),
        (b'"id"\t"sequence"\r\nb\tAC GT\r\na\t\r\n', [("b", "ACGT"), ("a", "")]),
        (b"\xef\xbb\xbfSequence\nACGT\n", [("1", "ACGT")]),
    ],
)
def test_accepted(tmp_path: Path, content: bytes, expected: list[tuple[str, str]]) -> None:
    assert pairs(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b">a\nACGT\n>\nACGT\n", 3, "without a name"),
        (b">a\nACGT\nACZT\n", 3, "'Z' is not a nucleotide letter"),
        (b">a\nACGT\n>b\nMKVLE\n", 4, "a protein sequence?"),
        (b">a\nACG*\n", 2, "'*'"),
        (b"sequence,label\nACGT,1\n\nMKE,0\n", 4, "'E' is"),
        (b"sequence,label\nACGT,1,2\n", 2, "3 columns where the header has 2"),
        (b">a\nAC1T\n", 2, "'1'"),
        (b">a\nAC\0T\n", 2, "byte 0x00"),
        (b">a\nAC\xc3\xa9T\n", 2, "byte 0xc3"),
        (b">a\nACGT>b\n", 2, "'>'"),
        (b" >a\nACGT\n", 1, "before the first"),
        (b">a\rACGT\r", 1, "old Mac"),
        (b"@a\nAC\n+b\nII\n", 3, "not that of the entry"),
        (b"@a\nAC\n+\nIII\n", 4, "3 qualities for a sequence of 2"),
        (b"@a\nAC\n+\nI\n", 4, "truncated"),
        (b"@a\nAC\n", 1, "truncated"),
        (b"@a\nA C\n+\nIII\n", 2, "white space"),
        (b"@a\nAC\n+\nI\x01\n", 4, "quality"),
        (b"@a\nA\n+\nI\nb\nA\n+\nI\n", 5, "must begin with '@'"),
        (b"@\nA\n+\nI\n", 1, "without a name"),
    ],
)
def test_refused_with_file_and_line(
    tmp_path: Path, content: bytes, line: int, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert caught.value.line == line
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'input'}:{line}: ")


def test_descriptions_and_line_numbers_are_read(tmp_path: Path) -> None:
    first, second = read(tmp_path, b">a some  words\nAC\nGT\n>b\nA\n")
    assert (first.name, first.description, first.line) == ("a", "some  words", 1)
    assert (second.name, second.description, second.line) == ("b", "", 4)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_chunk_borders_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    content = b"\n>a x\nAC\r\nGT\n\n>b\n>c\nTT\n"
    full = read(tmp_path, content)
    monkeypatch.setattr(fasta, "_CHUNK", chunk)
    assert read(tmp_path, content) == full
    with pytest.raises(InputError, match=":9: '!'"):
        read(tmp_path, content + b"A!\n")


def test_a_line_of_many_megabytes(tmp_path: Path) -> None:
    letters = b"ACGTN" * 1_000_000
    assert pairs(tmp_path, b">a\n" + letters) == [("a", letters.decode())]


names = st.text(st.sampled_from("abcXYZ019_.|:"), min_size=1, max_size=8)
letters = st.text(st.sampled_from("ACGTRYSWKMBDHVN"), max_size=90)


@given(
    entries=st.lists(st.tuples(names, letters), min_size=1, max_size=5),
    width=st.integers(0, 30),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    final_newline=st.booleans(),
    compressed=st.booleans(),
)
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_fasta_round_trip(
    tmp_path: Path,
    entries: list[tuple[str, str]],
    width: int,
    line_end: bytes,
    final_newline: bool,
    compressed: bool,
) -> None:
    handle = io.BytesIO()
    assert write_fasta(handle, [SequenceRecord(*entry) for entry in entries], width=width) == len(
        entries
    )
    content = handle.getvalue().replace(b"\n", line_end)
    content = content if final_newline else content.rstrip(b"\r\n")
    assert pairs(tmp_path, gzip.compress(content) if compressed else content) == entries


def test_a_vcf_is_not_a_sequence_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="VCF, where FASTA or FASTQ is needed"):
        read(tmp_path, b"##fileformat=VCFv4.2\n")


def test_a_case_sensitive_tokenizer_gets_the_case_and_uracil(tmp_path):
    records = read(tmp_path, b">a\nACgtU-\nNn\n", case_sensitive=True)
    assert [record.sequence for record in records] == ["ACgtUNNn"]
    with pytest.raises(InputError, match=r":3: '\|' is not a nucleotide letter"):
        read(tmp_path, b">a\nACGT\nA|C\n", case_sensitive=True)


def test_any_text_loses_nothing_but_white_space(tmp_path):
    fasta_records = read(tmp_path, b">a\n|D__B;|\n ACgt\xc3\xa9\xff\n", any_text=True)
    assert [record.sequence for record in fasta_records] == ["|D__B;|ACgt\u00e9\udcff"]
    fastq_records = read(tmp_path, b"@a\n|b*\n+\nIII\n", any_text=True)
    assert [record.sequence for record in fastq_records] == ["|b*"]
