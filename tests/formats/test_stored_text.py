"""Long sequences are stored in a file; those read in windows are answered as from memory, others refused by length."""

import random

import pytest
from conftest import REPOSITORY, run

from genomai_cli import records
from genomai_cli.errors import InputError
from genomai_cli.formats import fasta
from genomai_cli.formats.stored_text import StoredText
from genomai_cli.records import SequenceRecord

MODEL = REPOSITORY / "tests/data/bundles-format-1/transformer-kmers"


def stored(text: str) -> StoredText:
    stored = StoredText()
    for start in range(0, len(text), 7):
        stored.append(text[start : start + 7].encode())
    return stored


def test_stored_letters_read_as_a_text_does():
    text = "ACGTN-ACCA" * 5
    stored_text = stored(text)
    assert len(stored_text) == 50
    for key in (slice(None), slice(3, 9), slice(-4, None), slice(48, 99), slice(9, 3)):
        assert stored_text[key] == text[key]
    assert stored_text.count("A") == text.count("A")
    assert stored_text.replace("-", "")[:] == text.replace("-", "")
    assert stored_text[:] == text
    with pytest.raises(ValueError, match="without steps"):
        stored_text[::2]


@pytest.fixture
def low_limits(monkeypatch):
    """Sequences of more than a thousand letters are stored."""
    monkeypatch.setattr(fasta, "_STORED_ABOVE", 1000)
    monkeypatch.setattr(fasta, "_CHUNK", 300)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tokenize"],
        ["tokenize", "--to", "fasta"],
        ["tokenize", "--to", "hdf5"],
        ["tokenize", "--shard", "2/2"],
        ["tokenize", "--tokenizer", "bytes"],
        ["embed", "--model", MODEL, "--to", "tsv", "--strand", "both"],
        ["embed", "--model", MODEL, "--to", "tsv", "--per-token", "--window", "20"],
        ["classify", "--model", MODEL],
        ["augment", "--mask", "0.2", "--mutate", "0.1", "--revcomp"],
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_stored_sequences_give_the_same_bytes(tmp_path, request, arguments):
    rng = random.Random(5)
    long, gapped = ("".join(rng.choices(letters, k=4000)) for letters in ("ACGTn", "ACGU-"))
    lines = "\n".join(long[start : start + 61] for start in range(0, len(long), 61))
    (tmp_path / "x.fa").write_text(f">a\n{lines}\n>short\nACGTACGT\n>b two\n{gapped}\n")
    in_memory = run([*arguments, tmp_path / "x.fa"])
    assert in_memory.status == 0, in_memory.stderr
    request.getfixturevalue("low_limits")
    from_file = run([*arguments, tmp_path / "x.fa"])
    assert from_file.stderr == in_memory.stderr
    assert from_file.output == in_memory.output


def test_a_sequence_too_long_for_memory_is_refused_where_it_is_needed_whole(
    tmp_path, monkeypatch, low_limits
):
    monkeypatch.setattr(records, "MAX_LETTERS_IN_MEMORY", 2000)
    (tmp_path / "x.fa").write_text(">a\nACGT\n>b\n" + "ACGT" * 600 + "\n")
    assert run(["tokenize", tmp_path / "x.fa"]).status == 0
    result = run(["augment", "--mask", "0.2", tmp_path / "x.fa", "-o", tmp_path / "y.fa"])
    assert result.status == 1
    assert "x.fa:3: b has 2,400 letters" in result.stderr
    assert "cut it into parts first" in result.stderr
    assert not (tmp_path / "y.fa").exists()
    assert SequenceRecord("c", "ACGT").held == "ACGT"


def test_a_full_disk_for_temporary_files_is_one_line(monkeypatch):
    stored = StoredText()

    class FullDisk:
        def seek(self, offset):
            return offset

        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored, "_file", FullDisk())
    with pytest.raises(InputError, match="no temporary file of this size"):
        stored.append(b"ACGT")
