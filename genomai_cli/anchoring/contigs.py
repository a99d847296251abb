"""Which records of a VCF are about a reference: its contig, by whatever name, and the contig's length."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NoReturn

from genomai_cli.anchoring.reference import Reference
from genomai_cli.errors import InputError
from genomai_cli.formats.sites import Sites
from genomai_cli.formats.variants import normal_contig


class ContigOf(Mapping[str, Sites]):
    """All positions of a reference's contig, and none of other contigs: what a VCF reader is asked for.

    The human mitochondrial reference is found under M and MT too, with or without chr. With a text in
    `refuse_others` the first record of another contig raises an InputError that ends with it.
    """

    def __init__(self, reference: Reference, path: str, refuse_others: str = "") -> None:
        self._name = normal_contig(reference.name)
        self._positions = range(1, len(reference) + 1)
        self._path, self._refusal = path, refuse_others

    def __getitem__(self, contig: str) -> Sites:
        if contig == self._name:
            return self._positions
        if not self._refusal:
            raise KeyError(contig)
        return _Refused(
            f"a record on {contig} after those on {self._name}: {self._refusal}", self._path
        )

    def __iter__(self) -> Iterator[str]:
        return iter([self._name])

    def __len__(self) -> int:
        return 1


class _Refused(Collection[int]):
    """No position; that one was looked for is an error."""

    def __init__(self, message: str, path: str) -> None:
        self._message, self._path = message, path

    def __contains__(self, _: object) -> NoReturn:
        raise InputError(self._message, path=self._path)

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def header_lengths(header: Iterable[str], reference: Reference) -> set[int]:
    """The lengths that a VCF's header gives for contigs of the reference's name."""
    return set(_lengths(header, normal_contig(reference.name)))


def _lengths(header: Iterable[str], contig: str) -> Iterator[int]:
    for line in header:
        name, length = re.search(r"[<,]ID=([^,>]+)", line), re.search(r"[<,]length=(\d+)", line)
        if line.startswith("##contig=") and name and length and normal_contig(name[1]) == contig:
            yield int(length[1])
