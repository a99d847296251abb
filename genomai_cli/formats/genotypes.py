"""The sample columns of a VCF line as arrays, all samples at once.

Nearly every call is one digit, `/` or `|`, one digit, so those are taken by their byte offsets; what
remains (haploid calls beside diploid ones, alleles above 9, other ploidies) is parsed one by one.
"""

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING

ABSENT = -2  # the second allele of a haploid call
_TAB, _COLON, _DOT, _ZERO, _SLASH, _PIPE = b"\t:.0/|"
Genotypes = tuple[NDArray[np.int16], NDArray[np.bool_]]


class GenotypeError(Exception):
    """A genotype that cannot be understood; the reader adds file and line."""


def parse_genotypes(calls: bytes, samples: int, key: int, alleles: int) -> Genotypes:
    """Allele numbers (samples, 2) and phased (samples) from tab-separated calls.

    `key` is the index of GT among the colon-separated fields; `alleles` counts the record's alleles.
    """
    if key:
        calls = _genotype_fields(calls, key)
    genotypes, phased = _fixed_width(calls, samples) or _variable_width(calls, samples)
    # Such files exist and validators let them pass; a number without an allele tells nothing.
    genotypes[genotypes >= alleles] = MISSING
    return genotypes, phased


def last_call_is_cut(layout: bytes, calls: bytes) -> bool:
    """Whether the last of the tab-separated calls of a line without a line end cannot be whole: it ends in a separator,
    has fewer fields than all others (a lone one: than FORMAT), or ends in a genotype of fewer alleles than theirs."""
    *others, last = calls.split(b"\t")
    if not last or last[-1:] in b":/|,":
        return True
    fields = last.count(b":")
    if not others:
        has_genotype = last.split(b":")[0].strip(b"./|") != b""
        return has_genotype and fields < layout.count(b":")
    if fields < min(call.count(b":") for call in others):
        return True
    return fields == 0 and _alleles(last) < min(map(_alleles, others))


def _alleles(call: bytes) -> int:
    return len(call.split(b":")[0].replace(b"|", b"/").split(b"/"))


def _genotype_fields(calls: bytes, key: int) -> bytes:
    # GT comes first by the rules of VCF; this is for files that break them.
    fields = (call.split(b":") for call in calls.split(b"\t"))
    return b"\t".join(call[key] if key < len(call) else b"." for call in fields)


def _fixed_width(calls: bytes, samples: int) -> Genotypes | None:
    """The calls if each is three bytes wide, as in files with nothing but diploid genotypes."""
    if len(calls) != 4 * samples - 1:
        return None
    packed = np.frombuffer(calls + b"\t", "<u4")
    separators = (packed >> 8) & 255
    phased = separators == _PIPE
    if not ((phased | (separators == _SLASH)) & (packed >> 24 == _TAB)).all():
        return None
    genotypes = np.empty((samples, 2), np.int16)
    genotypes[:, 0], genotypes[:, 1] = packed & 255, (packed >> 16) & 255
    genotypes -= _ZERO
    if genotypes.min(initial=0) < 0:
        genotypes[genotypes == _DOT - _ZERO] = MISSING
    if genotypes.min(initial=0) < MISSING or genotypes.max(initial=0) > 9:
        return None
    return genotypes, phased


def _digits(column: NDArray[np.uint8]) -> NDArray[np.int16]:
    """0 to 9, -1 for a dot, -9 for anything else."""
    return _DIGITS[column]


def _digit_table() -> NDArray[np.int16]:
    table = np.full(256, -9, np.int16)
    table[_ZERO : _ZERO + 10] = np.arange(10)
    table[_DOT] = MISSING
    return table


_DIGITS = _digit_table()


def _variable_width(calls: bytes, samples: int) -> Genotypes:
    """The calls whatever their widths."""
    text = np.frombuffer(calls + b"\t\t\t\t", np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(text[: len(calls)] == _TAB) + 1])
    c0, c1, c2, c3 = (text[starts + offset] for offset in range(4))
    first, second = _digits(c0), _digits(c2)
    phased = c1 == _PIPE
    haploid = _ends(c1) & (first >= MISSING)
    diploid = (phased | (c1 == _SLASH)) & _ends(c3) & (first >= MISSING) & (second >= MISSING)
    genotypes = np.stack([first, np.where(haploid, np.int16(ABSENT), second)], axis=1)
    phased |= haploid
    stops = np.append(starts[1:] - 1, len(calls))
    for sample in np.flatnonzero(~(haploid | diploid)):
        call = calls[starts[sample] : stops[sample]].split(b":", 1)[0]
        genotypes[sample], phased[sample] = _one_call(call)
    return genotypes, phased


def _ends(column: NDArray[np.uint8]) -> NDArray[np.bool_]:
    ends: NDArray[np.bool_] = (column == _TAB) | (column == _COLON)
    return ends


def _one_call(call: bytes) -> tuple[tuple[int, int], bool]:
    phased = b"|" in call
    alleles = [_allele(part, call) for part in call.lstrip(b"/|").replace(b"|", b"/").split(b"/")]
    if len(alleles) == 1:
        return (alleles[0], ABSENT), True
    if len(alleles) == 2:
        return (alleles[0], alleles[1]), phased
    return (MISSING, MISSING), phased  # no barcode letter tells three alleles apart


def _allele(part: bytes, call: bytes) -> int:
    if part == b".":
        return MISSING
    if not part.isdigit() or len(part) > 4:
        shown = call[:20].decode("ascii", "backslashreplace")
        raise GenotypeError(f"'{shown}' is not a genotype")
    return int(part)
