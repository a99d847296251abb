"""FASTA, FASTQ and tables of sequences in, FASTA out; and FASTA entries as they were written, byte for byte, to change
some letters of them.

Policies. Letters: the IUPAC nucleotide letters in either case, U is read as T; `-` and `.`, the gaps of an alignment,
become N, so that positions stay comparable, or are taken out; white space inside a FASTA sequence is dropped; any other
letter is refused with file and line (a tokenizer may ask for the case as it is written, or for any text). Empty
sequences and repeated names are passed on as they are: both rows reach the output. Lines may end in LF or CRLF and be
of any length.

FASTA is read in chunks rather than lines: `bytes.translate` cleans a chunk in one call, so an endless line costs no
more than a wrapped one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import IO, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import IUPAC, letter_set
from genomai_cli.errors import InputError
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.stored_text import StoredText
from genomai_cli.formats.streams import Input, text_of
from genomai_cli.formats.tables import MAX_TABLE_BYTES, parse_table, sequence_column, sequences_of
from genomai_cli.names import escaped
from genomai_cli.records import MAX_LETTERS_IN_MEMORY, SequenceRecord

_LETTERS = "".join(IUPAC).encode()
_BLANKS = b" \t\r\n\v\f"
# In translation tables: white space, and letters that are refused.
_DROPPED, _REFUSED = ord("\n"), 0


def _translation_table(letters: bytes, meanings: bytes, *, other: int | None = _REFUSED) -> bytes:
    """A table for `bytes.translate`: letters as they are read; every `other` byte, or with None itself."""
    table = dict(zip(letters, meanings, strict=True)) | dict.fromkeys(_BLANKS, _DROPPED)
    return bytes(table.get(byte, byte if other is None else other) for byte in range(256))


_BOTH_CASES = _LETTERS + _LETTERS.lower()
CLEAN = _translation_table(_BOTH_CASES + b"Uu-.", _LETTERS + _LETTERS + b"TTNN")
_WITH_U = _translation_table(_BOTH_CASES + b"Uu-.", _LETTERS + _LETTERS + b"UUNN")
_WITH_CASE = _translation_table(_BOTH_CASES + b"Uu-.", _BOTH_CASES + b"UuNN")
_ANY_TEXT = _translation_table(b"", b"", other=None)
_QUALITIES = bytes(range(33, 127))
_CHUNK = 1 << 20
_LONGEST_TITLE = 1 << 20
LONGEST_SEQUENCE = 1 << 32  # letters; what is longer has no end
_STORED_ABOVE = 1 << 22  # letters of a sequence, which are kept in a file from there on


def read_sequences(
    source: Input,
    *,
    case_sensitive: bool = False,
    keep_u: bool = False,
    any_text: bool = False,
    keep_gaps: bool = False,
) -> Iterator[SequenceRecord]:
    """The records of a FASTA or FASTQ input, one at a time, or of a table; InputError for what is no nucleotide letter.

    A tokenizer that is `case_sensitive` gets the letters in the case they are written in and U as U, which `keep_u`
    gives alone, and one of `any_text` gets everything but white space. With `keep_gaps` those of an alignment are `-`.
    """
    table = _ANY_TEXT if any_text else _WITH_U if keep_u else CLEAN
    if case_sensitive and not any_text:
        table = _WITH_CASE
    if keep_gaps and not any_text:
        table = _keeping_gaps(table)
    if source.kind is Kind.FASTQ:
        return _read_fastq(source, table)
    if source.kind is Kind.FASTA:
        return _read_fasta(source, table)
    if source.kind is Kind.TABLE:
        return _read_table(source, table)
    if source.kind is Kind.MEMORY:
        return _read_memory(source, table)
    raise InputError(f"{source.kind.value}, where FASTA or FASTQ is needed", path=source.path)


def _keeping_gaps(table: bytes) -> bytes:
    gapped = bytearray(table)
    for letter in b"-.":
        gapped[letter] = GAP
    return bytes(gapped)


def write_fasta(handle: IO[bytes], records: Iterable[SequenceRecord], *, width: int = 0) -> int:
    """The number of records written; `width` letters a line, 0 for one line a sequence."""
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007
        for text in _entry_text(record, width):
            handle.write(text.encode("utf-8", "surrogateescape"))
    return count


def fasta_entry(record: SequenceRecord, *, width: int = 0) -> str:
    """A record as FASTA text, with its last line end."""
    return "".join(_entry_text(record, width))


def _entry_text(record: SequenceRecord, width: int) -> Iterator[str]:
    """The text of an entry in chunks."""
    yield ">" + escaped(f"{record.name} {record.description}".rstrip()) + "\n"
    size, end = (width, "\n") if width else (_CHUNK, "")
    for start in range(0, len(record.sequence), size):
        yield record.sequence[start : start + size] + end
    if not width:
        yield "\n"


def _read_fasta(source: Input, table: bytes) -> Iterator[SequenceRecord]:
    entry: _EntryBuilder | None = None
    line = 0  # `split_entries` puts a line end before the first line
    for begins, text in split_entries(source.stream):
        if begins:
            line += 1
            if entry is not None:
                yield entry.record()
            entry = _EntryBuilder(source.path, line, table)
        if entry is not None:
            entry.add(text)
        elif text.strip():
            raise InputError("text before the first '>'", path=source.path, line=max(line, 1))
        line += text.count(b"\n")
    if entry is not None:
        yield entry.record()


def split_entries(stream: BinaryIO) -> Iterator[tuple[bool, bytes]]:
    """The text in chunks, each with whether it follows a '>' at the start of a line."""
    pending = b"\n"  # a line end is held back until it is known whether a '>' follows
    while chunk := _read_available(stream):
        text = pending + chunk
        pending = b"\n" if text.endswith(b"\n") else b""
        first, *others = text[: len(text) - len(pending)].split(b"\n>")
        yield False, first
        for part in others:
            yield True, part
    yield False, pending


def _read_available(stream: BinaryIO) -> bytes:
    read1 = getattr(stream, "read1", stream.read)  # what a pipe has now, without waiting for more
    piece: bytes = read1(_CHUNK)
    return piece


class _EntryBuilder:
    """A FASTA entry that grows chunk by chunk, each cleaned and checked as it comes."""

    def __init__(self, path: str, line: int, table: bytes) -> None:
        self._path, self._line, self._table = path, line, table
        self._title: bytes = b""
        self._in_title = True
        self._next_line = line + 1
        self._letters: list[bytes] = []
        self._letters_held = 0
        self._stored: StoredText | None = None  # the letters that were moved out of memory

    def add(self, text: bytes) -> None:
        if self._in_title:
            head, end, text = text.partition(b"\n")
            self._title += head
            self._in_title = not end
            if len(self._title) > _LONGEST_TITLE:
                raise InputError("a name of more than a megabyte", path=self._path, line=self._line)
        if text:
            self._letters.append(_cleaned_letters(text, self._table, self._path, self._next_line))
            self._letters_held += len(self._letters[-1])
            self._next_line += text.count(b"\n")
            if self._letters_held > _STORED_ABOVE or (self._stored and self._letters_held > _CHUNK):
                self._store()

    def _store(self) -> None:
        """Move the letters into a file; text of any kind, whose bytes may not be characters, stays in memory."""
        if self._table is _ANY_TEXT:
            _check_length(self._letters_held, self._path, self._line, MAX_LETTERS_IN_MEMORY)
            return
        self._stored = self._stored or StoredText()
        for letters in self._letters:
            self._stored.append(letters)
        self._letters, self._letters_held = [], 0
        _check_length(len(self._stored), self._path, self._line, LONGEST_SEQUENCE)

    def record(self) -> SequenceRecord:
        name, description = _name_and_rest(self._title, self._path, self._line)
        if self._stored is not None:
            self._store()
        sequence = self._stored or text_of(b"".join(self._letters))
        return SequenceRecord(name, sequence, description, self._path, self._line)


def _check_length(length: int, path: str, line: int, max_letters: int) -> None:
    if length > max_letters:
        message = f"a sequence of more than {max_letters:,} letters: cut it into parts first"
        raise InputError(message, path=path, line=line)


def _name_and_rest(title: bytes, path: str, line: int) -> tuple[str, str]:
    title = title.strip()
    if b"\r" in title:
        message = "lines end in CR only (old Mac); convert them with: tr '\\r' '\\n'"
        raise InputError(message, path=path, line=line)
    name, *rest = title.split(None, 1) or [b""]
    if not name:
        raise InputError("an entry without a name", path=path, line=line)
    return text_of(name), text_of(rest[0]) if rest else ""


def _cleaned_letters(raw: bytes, table: bytes, path: str, line: int) -> bytes:
    """The letters as they are read, without white space; `line` is where the text starts."""
    clean = raw.translate(table)
    refused = clean.find(_REFUSED)
    if refused >= 0:
        _refuse_letter(raw, refused, path, line)
    return clean.replace(b"\n", b"")


def _refuse_letter(raw: bytes, offset: int, path: str, line: int) -> NoReturn:
    letter = chr(raw[offset])
    display_name = (
        f"'{letter}'" if letter.isprintable() and letter.isascii() else f"byte 0x{ord(letter):02x}"
    )
    protein = letter.upper() in "EFILPQZX*J"
    hint = " (a protein sequence?)" if protein else ""
    message = f"{display_name} is not a nucleotide letter{hint}"
    raise InputError(message, path=path, line=line + raw.count(b"\n", 0, offset))


def _read_fastq(source: Input, table: bytes) -> Iterator[SequenceRecord]:
    lines = enumerate(source.stream, start=1)
    for line, raw in lines:
        if raw.strip():
            yield _fastq_record(raw.rstrip(b"\r\n"), line, lines, source.path, table)


def _fastq_record(
    title: bytes, line: int, lines: "enumerate[bytes]", path: str, table: bytes
) -> SequenceRecord:
    if not title.startswith(b"@"):
        raise InputError("a FASTQ entry must begin with '@'", path=path, line=line)
    name, description = _name_and_rest(title[1:], path, line)
    sequence, plus_line, plus = _fastq_sequence(lines, path, line, table)
    if plus not in (b"", title[1:].rstrip()):
        message = f"the name after '+' is not that of the entry ({name})"
        raise InputError(message, path=path, line=plus_line)
    _skip_qualities(lines, len(sequence), path, plus_line)
    return SequenceRecord(name, text_of(sequence), description, path, line)


def _fastq_sequence(
    lines: "enumerate[bytes]", path: str, line: int, table: bytes
) -> tuple[bytes, int, bytes]:
    """The letters up to the '+' line, that line's number and what follows the '+'."""
    parts: list[bytes] = []
    letters = 0
    for number, raw in lines:
        if raw.startswith(b"+"):
            return b"".join(parts), number, raw[1:].rstrip()
        text = raw.rstrip(b"\r\n")
        if b" " in text or b"\t" in text:
            raise InputError("white space within a sequence", path=path, line=number)
        parts.append(_cleaned_letters(text, table, path, number))
        letters += len(text)
        _check_length(letters, path, line, MAX_LETTERS_IN_MEMORY)
    raise InputError("truncated: the last entry has no '+' line", path=path, line=line)


def _skip_qualities(lines: "enumerate[bytes]", length: int, path: str, line: int) -> None:
    """Pass over the quality lines; '@' may begin one, so only the length tells where they end."""
    count = 0
    while count < length:
        line, raw = next(lines, (line, b""))
        if not raw:
            raise InputError("truncated: qualities are missing", path=path, line=line)
        qualities = raw.rstrip(b"\r\n")
        if qualities.translate(None, _QUALITIES):
            raise InputError("a quality that is no printable character", path=path, line=line)
        count += len(qualities)
    if count > length:
        message = f"{count} qualities for a sequence of {length} letters"
        raise InputError(message, path=path, line=line)


def _read_table(source: Input, letters: bytes) -> Iterator[SequenceRecord]:
    """The records of a table of sequences, which is read at once."""
    table = parse_table(source.stream.read(MAX_TABLE_BYTES + 1), source.path)
    column = sequence_column(table)
    if column is None:
        raise InputError("no column 'sequence'", path=source.path, line=1)
    for name, sequence, line in sequences_of(table, column):
        clean = _cleaned_letters(
            sequence.encode("utf-8", "surrogateescape"), letters, source.path, line
        )
        yield SequenceRecord(name, text_of(clean), "", source.path, line)


def _read_memory(source: Input, letters: bytes) -> Iterator[SequenceRecord]:
    """The records as those of a file; one that comes from a file is shown as there."""
    for number, record in enumerate(source.records, start=1):
        path, line = (record.path, record.line) if record.line else (source.path, number)
        text = record.held.encode("utf-8", "surrogateescape").replace(b"\n", b" ")
        clean = _cleaned_letters(text, letters, path, line)
        yield replace(record, sequence=text_of(clean), path=path, line=line)


_CASE = ord("a") - ord("A")
_IS_GAP = letter_set("-.")
GAP = ord("-")


@dataclass(frozen=True, eq=False)
class Entry:
    """`title` is the first line without its `>` and line end, `body` all that follows up to the next entry."""

    title: bytes
    body: bytes
    path: str
    line: int
    has_title: bool = True  # False for the text before the first entry
    has_line_end: bool = True  # whether a line end stands between title and body

    @property
    def name(self) -> str:
        words = self.title.split(None, 1)
        return text_of(words[0]) if words else ""

    @property
    def raw(self) -> bytes:
        """The entry's bytes."""
        return (
            (b">" if self.has_title else b"")
            + self.title
            + (b"\n" if self.has_line_end else b"")
            + self.body
        )

    def positions(self) -> NDArray[np.int64]:
        """The indices (L,) of its letters in the body."""
        return np.flatnonzero(_cleaned_body(self.body) != _DROPPED)

    def letters(self) -> NDArray[np.uint8] | None:
        """The letters, upper case, U as T; gaps stay `-`. None if there is one that is no nucleotide letter."""
        clean = _cleaned_body(self.body)
        if (clean == _REFUSED).any():
            return None
        raw = np.frombuffer(self.body, np.uint8)
        clean[_IS_GAP[raw]] = GAP
        letters: NDArray[np.uint8] = clean[clean != _DROPPED]
        return letters

    def changed(self, indices: NDArray[np.int64], letters: NDArray[np.uint8]) -> "Entry":
        """The entry with the letters at these indices (from 0) replaced; each keeps its case."""
        if not len(indices):
            return self
        body = np.frombuffer(self.body, np.uint8).copy()
        offsets = self.positions()[indices]
        lower = (body[offsets] >= ord("a")) & (body[offsets] <= ord("z"))
        body[offsets] = letters + np.where(lower, _CASE, 0).astype(np.uint8)
        return replace(self, body=body.tobytes())


def read_entries(source: Input) -> Iterator[Entry]:
    """The entries of a FASTA input; joined by their `raw`, they are the input. Blank lines before the first are an
    entry of their own, without a name."""
    if source.kind is not Kind.FASTA:
        or_vcf = "" if source.has_variants else " or VCF"
        raise InputError(f"{source.kind.value}, where FASTA{or_vcf} is needed", path=source.path)
    parts: list[bytes] = []
    has_title, line, next_line = False, 0, 0  # a line end stands before the first line
    letters = 0
    for begins, text in split_entries(source.stream):
        if begins:
            # The line end before a `>` belongs to the entry before it.
            entry = _parsed_entry(b"".join([*parts, b"\n"]), source.path, line, has_title)
            if entry.raw != b"":
                yield entry
            parts, has_title, letters = [], True, 0
            next_line += 1
            line = next_line
        parts.append(text)
        letters += len(text)
        _check_length(letters, source.path, line, MAX_LETTERS_IN_MEMORY)
        next_line += text.count(b"\n")
    yield _parsed_entry(b"".join(parts), source.path, line, has_title)


def _parsed_entry(text: bytes, path: str, line: int, has_title: bool) -> Entry:
    if not has_title:  # the first line end is not the input's
        return Entry(b"", text[1:], path, line, has_title=False, has_line_end=False)
    title, end, body = text.partition(b"\n")
    return Entry(title, body, path, line, has_line_end=bool(end))


def _cleaned_body(body: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(body.translate(CLEAN), np.uint8).copy()
