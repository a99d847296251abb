"""Tokens as lines of a TSV."""

from collections.abc import Iterable, Sequence
from typing import IO

from genomai_cli.names import escaped
from genomai_cli.records import SequenceRecord, Text
from genomai_cli.tokenizers.base import Tokenizer

HEADER = b"id\ttokens\n"


def write_tsv(
    out: IO[bytes],
    records: Iterable[SequenceRecord],
    tokenizer: Tokenizer,
    *,
    as_text: bool = False,
    header: bool = True,
) -> int:
    """Write a `header` and a line a record, and return how many: ids, or with `as_text` tokens as text, between spaces.

    The header waits for the first record, so that bad input leaves no plausible, empty table behind.
    """
    vocabulary = tokenizer.vocabulary
    texts = [token if as_text else str(id_) for id_, token in enumerate(vocabulary)]
    encoded = [token.encode() for token in texts]
    count = 0
    for count, record in enumerate(records, start=1):
        if count == 1 and header:
            out.write(HEADER)
        out.write(_field(record.name) + b"\t")
        _write_tokens(out, record.sequence, tokenizer, encoded)
        out.write(b"\n")
    if not count and header:
        out.write(HEADER)
    return count


def _write_tokens(
    out: IO[bytes], sequence: Text, tokenizer: Tokenizer, encoded: Sequence[bytes]
) -> None:
    separator = b""
    for ids in tokenizer.released_chunks(sequence):
        if len(ids):
            out.write(separator + b" ".join([encoded[id_] for id_ in ids.tolist()]))
            separator = b" "


def _field(name: str) -> bytes:
    return escaped(name).encode("utf-8", "surrogateescape")
