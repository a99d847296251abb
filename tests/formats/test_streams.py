"""Inputs: kind and compression from the content; files, pipes and redirects alike; damage named."""

import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from genomai_cli.errors import GenomaiError, InputError, UsageError
from genomai_cli.formats.bgzf import END_MARKER, BgzfWriter, compress_block
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.outputs import atomic_output, atomic_text
from genomai_cli.formats.streams import open_bytes, open_input, open_inputs

FASTA = b">a\nACGT\n"
FASTQ = b"@a\nACGT\n+\nIIII\n"
VCF = b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS\n"
CONTENTS = {Kind.FASTA: FASTA, Kind.FASTQ: FASTQ, Kind.VCF: VCF, Kind.BCF: b"BCF\2\2" + bytes(80)}


def bgzip(content: bytes) -> bytes:
    return compress_block(content) + END_MARKER


COMPRESSIONS = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "members": lambda content: gzip.compress(content[:3]) + gzip.compress(content[3:]),
    "bgzf": bgzip,
}


def write(folder: Path, content: bytes, name: str = "misleading.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as caught, open_input(path) as source:
        source.stream.read()
    return caught.value


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_kind_is_found_whatever_the_name(tmp_path: Path, kind: Kind, compression: str) -> None:
    content = CONTENTS[kind]
    path = write(tmp_path, COMPRESSIONS[compression](content))
    with open_input(path) as source:
        assert source.kind is kind
        assert source.stream.read() == content
        assert source.compression == compression.replace("members", "gzip")


@pytest.mark.parametrize("content", [b"", b"\n\n \n", gzip.compress(b"", mtime=0), bgzip(b"\n")])
def test_empty_inputs_say_so(tmp_path: Path, content: bytes) -> None:
    assert "empty" in str(refusal(write(tmp_path, content)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x7fELF" + bytes(range(256)), "binary data"),
        (b"@HD\tVN:1.6\n", "a SAM file"),
        (b"PK\3\4" + bytes(40), "the zip archive cannot be read"),
        (b"##nothing\n", "##fileformat"),
        (b"chr1\t10\t20\n", "it begins with 'chr1"),
        (b"seq,label\nACGT,1\n", "'seq,label' (a table of sequences has a column `sequence`)"),
        (gzip.compress(gzip.compress(FASTA, mtime=0), mtime=0), "compressed twice"),
    ],
)
def test_foreign_content_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in str(refusal(write(tmp_path, content)))


@pytest.mark.parametrize("compress", [gzip.compress, bgzip])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.6, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, compress, fraction: float) -> None:
    data = compress(b">a\n" + os.urandom(40_000).hex().encode()[:60_000])
    path = write(tmp_path, data[: max(20, int(len(data) * fraction))])
    assert "truncated" in str(refusal(path))


def test_a_bgzf_cut_between_blocks_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, compress_block(FASTA) + compress_block(FASTA))
    assert "end-of-file marker" in str(refusal(path))


def test_damaged_compression_is_refused(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b">a\n" + os.urandom(5000).hex().encode()))
    data[2000:2020] = bytes(20)
    assert "damaged" in str(refusal(write(tmp_path, bytes(data))))


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    assert "no such file" in str(refusal(tmp_path / "nowhere"))
    assert "directory" in str(refusal(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, FASTA)
    path.chmod(0)
    assert "permission denied" in str(refusal(path))


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    with open_input(write(tmp_path, b"\xef\xbb\xbf" + FASTA)) as source:
        assert source.stream.read() == FASTA


def test_a_missing_second_input_is_told_before_the_first_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_inputs([write(tmp_path, FASTA), tmp_path / "nowhere"])


def test_standard_input_is_given_once() -> None:
    for paths in (["-", "-"], ["-", "/dev/stdin"]):
        with pytest.raises(UsageError):
            open_inputs(paths)


READ_ALL = """
import sys
from genomai_cli.formats.streams import open_input
with open_input("-") as source:
    sys.stdout.buffer.write(source.kind.name.encode() + source.stream.read())
"""


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_pipe_and_redirect_give_the_bytes_of_the_file(tmp_path: Path, compress) -> None:
    content = b">a\n" + b"ACGT" * 100_000
    path = write(tmp_path, compress(content[:60_000]))
    command = [sys.executable, "-c", READ_ALL]
    piped = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=True)
    with path.open("rb") as handle:
        redirected = subprocess.run(command, stdin=handle, capture_output=True, check=True)
    assert piped.stdout == redirected.stdout == b"FASTA" + content[:60_000]


def test_a_slow_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def drip() -> None:
        with open(pipe, "wb", buffering=0) as handle:
            for byte in gzip.compress(FASTA):
                handle.write(bytes([byte]))

    writer = threading.Thread(target=drip)
    writer.start()
    with open_input(pipe) as source:
        assert (source.kind, source.stream.read()) == (Kind.FASTA, FASTA)
    writer.join()


def write_and_fail(target: Path, error: type[BaseException]) -> None:
    with atomic_text(target) as handle:
        handle.write("half" * 100_000)
        handle.flush()
        raise error


def test_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("before")
    with pytest.raises(RuntimeError):
        write_and_fail(target, RuntimeError)
    assert target.read_text() == "before"
    with atomic_text(target) as handle:
        handle.write("after\n")
        assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert target.read_bytes() == b"after\n"


def test_output_named_gz_is_bgzf(tmp_path: Path) -> None:
    target = tmp_path / "out.fa.gz"
    content = b">a\n" + os.urandom(100_000).hex().encode()
    with atomic_output(target) as handle:
        handle.write(content)
    assert target.read_bytes().endswith(END_MARKER)
    assert gzip.decompress(target.read_bytes()) == content
    with open_input(target) as source:
        assert source.compression == "bgzf"


def test_a_failed_compressed_output_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(tmp_path / "out.gz", KeyboardInterrupt)
    assert not list(tmp_path.iterdir())


def test_output_through_a_link_keeps_the_link_and_the_mode(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("x")
    target.chmod(0o640)
    link.symlink_to(target)
    with atomic_output(link) as handle:
        handle.write(b"y")
    assert link.is_symlink()
    assert target.read_text() == "y"
    assert target.stat().st_mode & 0o777 == 0o640


def test_special_files_are_written_straight_through(tmp_path: Path) -> None:
    with atomic_output("/dev/null") as handle:
        handle.write(b"x")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    with atomic_output(pipe) as handle:
        handle.write(b"through")
    reader.join()
    assert received == [b"through"]


def test_an_output_without_a_folder_is_refused(tmp_path: Path) -> None:
    for target in (tmp_path / "no" / "out", tmp_path):
        with pytest.raises(GenomaiError, match="cannot be written"), atomic_output(target):
            pass


def test_open_bytes_reads_any_text(tmp_path: Path) -> None:
    with open_bytes(write(tmp_path, gzip.compress(b"a\tb\n"))) as stream:
        assert stream.read() == b"a\tb\n"


def test_blocks_of_any_size_join(tmp_path: Path) -> None:
    target = tmp_path / "x.gz"
    content = bytes(range(256)) * 1000
    with target.open("wb") as handle:
        writer = BgzfWriter(handle)
        for start in range(0, len(content), 7777):
            writer.write(content[start : start + 7777])
        writer.close()
    assert gzip.decompress(target.read_bytes()) == content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b">a\nACGT\n", False),
        (b">a\nACGT", True),
        (b">a\nACGT\nAC", True),
        (b"@a\nAC\n+\nII", False),  # FASTQ tells by itself
        (gzip.compress(b">a\nACGT", mtime=0), False),  # and gzip has an end
        (b"sequence\nACGT", False),
    ],
)
def test_text_that_ends_within_a_line_is_known_from_files_and_pipes(
    tmp_path: Path, monkeypatch, content: bytes, expected: bool
) -> None:
    path = write(tmp_path, content)
    with open_input(path) as source:
        source.stream.read()
        assert source.ends_within_line == expected
    path.unlink()
    assert not source.ends_within_line  # nobody knows any more
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    source = open_input("-")
    assert not source.ends_within_line  # not read yet
    source.stream.read()
    assert source.ends_within_line == expected
