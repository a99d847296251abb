"""What an input can ask of memory and time is bounded by limits of ours, not by its own numbers."""

import os
import struct
import threading
from pathlib import Path

import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats import fasta, streams, tables
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.streams import open_input, peeked
from genomai_cli.formats.vcf import read_variants
from genomai_cli.formats.vcf_replay import first_records
from genomai_cli.names import first_duplicate

HEAD = b"##fileformat=VCFv4.2\n"
COLUMNS = b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"


def write(folder: Path, content: bytes) -> Path:
    path = folder / "input"
    path.write_bytes(content)
    return path


def bcf(header: bytes, *records: bytes) -> bytes:
    text = header + b"\0"
    return b"BCF\2\2" + struct.pack("<I", len(text)) + text + b"".join(records)


def test_numbers_of_a_bcf_header_take_no_memory(tmp_path: Path) -> None:
    header = HEAD + b"##contig=<ID=1,IDX=2000000000>\n##FILTER=<ID=q,IDX=1999999999>\n"
    path = write(tmp_path, bcf(header + COLUMNS + b"\tS1\n"))
    with open_input(path) as source:
        assert list(read_variants(source).records) == []


def test_sizes_of_a_bcf_take_memory_as_the_bytes_come(tmp_path: Path) -> None:
    record = struct.pack("<IIiiifII", 1 << 27, 1 << 28, 0, 4, 1, 0, 2 << 16, 1)
    path = write(tmp_path, bcf(HEAD + b"##contig=<ID=1>\n" + COLUMNS + b"\tS1\n", record))
    with open_input(path) as source, pytest.raises(InputError, match="truncated"):
        list(read_variants(source).records)


@pytest.mark.parametrize("first", [HEAD, b"@read\n"])
def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch, first: bytes) -> None:
    monkeypatch.setattr(streams, "LONGEST_LINE", 1 << 21)
    path = write(tmp_path, first + b"A" * (1 << 22))
    with open_input(path) as source, pytest.raises(InputError, match="a line of more than 2 MiB"):
        source.stream.read()


@pytest.mark.parametrize("read", [fasta.read_sequences, fasta.read_entries])
@pytest.mark.parametrize("sequence", [b"ACGT" * 1000, b"ACGT\n" * 1000])
def test_a_sequence_without_end_is_refused(
    tmp_path: Path, monkeypatch, read, sequence: bytes
) -> None:
    monkeypatch.setattr(fasta, "LONGEST_SEQUENCE", 3000)
    monkeypatch.setattr(fasta, "MAX_LETTERS_IN_MEMORY", 3000)
    monkeypatch.setattr(fasta, "_STORED_ABOVE", 1000)
    path = write(tmp_path, b">short\nACGT\n>long\n" + sequence)
    with (
        open_input(path) as source,
        pytest.raises(InputError, match="more than 3,000 letters") as caught,
    ):
        list(read(source))
    assert caught.value.line == 3


def test_a_table_of_any_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 1 << 20)
    path = write(tmp_path, b"sample\tlabel\n" + b"a\tb\n" * (1 << 19))
    with pytest.raises(InputError, match="a table of more than 1 MiB"):
        tables.read_table(path)


def test_the_first_name_that_comes_again_is_found_in_one_pass() -> None:
    consumed = []
    names = (consumed.append(n) or str(n % 100_000) for n in range(200_000))
    assert first_duplicate(names) == "0"
    assert len(consumed) == 100_001
    assert first_duplicate("abc") is None


def test_a_long_header_is_scanned_once(tmp_path: Path) -> None:
    """However small the chunks are that a pipe gives."""
    contig_lines = b"".join(b"##contig=<ID=c%d>\n" % n for n in range(20_000))
    content = HEAD + contig_lines + COLUMNS + b"\tS1\n" + b"7\t5\t.\tA\tG\t.\t.\t.\tGT\t0/1\n"
    scanned_sizes: list[int] = []
    reader, writer = os.pipe()

    def feed() -> None:
        with os.fdopen(writer, "wb", buffering=0) as out:
            out.write(content)

    threading.Thread(target=feed).start()
    with open_input(f"/dev/fd/{reader}") as source:
        head, rewound = peeked(
            source, lambda head, scanned: bool(scanned_sizes.append(scanned)), 1 << 30
        )
        assert head == content
        assert scanned_sizes == sorted(scanned_sizes)
        first, _ = first_records(rewound, max_bytes=1 << 26, file_bytes=1 << 20)
    os.close(reader)
    assert first.contigs == {"7"}
    assert len(first.header) == 20_001


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_the_first_record_is_found_wherever_chunks_end(
    tmp_path: Path, monkeypatch, size: int
) -> None:
    monkeypatch.setattr(streams, "_BUFFER", size)
    rows = b"".join(b"chr%d\t5\t.\tA\tG\t.\t.\t.\tGT\t0/1\n" % n for n in (12, 2, 3, 4))
    content = HEAD + COLUMNS + b"\tS1\n" + rows
    with open_input(write(tmp_path, content)) as source:
        assert source.kind is Kind.VCF
        first, rewound = first_records(source, max_bytes=1 << 20, file_bytes=0)
        assert "12" in first.contigs
        assert rewound.stream.read() == content
