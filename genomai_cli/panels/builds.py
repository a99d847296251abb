"""Which genome build a VCF is in: its header may say, its sites decide."""

import re
from collections.abc import Iterable, Mapping

from genomai_cli.formats.variants import normal_contig
from genomai_cli.panels.panel import BUILDS, GRCH37, GRCH38

_CONTIGS = [*(str(number) for number in range(1, 23)), "X"]
# Lengths of the autosomes and X, enough to tell the two builds apart.
_LENGTHS_IN_ORDER = {
    GRCH37: "249250621 243199373 198022430 191154276 180915260 171115067 159138663 146364022 "
    "141213431 135534747 135006516 133851895 115169878 107349540 102531392 90354753 "
    "81195210 78077248 59128983 63025520 48129895 51304566 155270560",
    GRCH38: "248956422 242193529 198295559 190214555 181538259 170805979 159345973 145138636 "
    "138394717 133797422 135086622 133275309 114364328 107043718 101991189 90338345 "
    "83257441 80373285 58617616 64444167 46709983 50818468 156040895",
}
_LENGTHS = {
    build: frozenset(zip(_CONTIGS, map(int, lengths.split()), strict=True))
    for build, lengths in _LENGTHS_IN_ORDER.items()
}
_NAMES = {
    GRCH37: re.compile(r"grch37|hg19|b37|hs37|g1k_v37", re.IGNORECASE),
    GRCH38: re.compile(r"grch38|hg38|b38|hs38", re.IGNORECASE),
}


def contig_lengths(build: str) -> dict[str, int]:
    """The lengths of the autosomes and X, in their order."""
    lengths = map(int, _LENGTHS_IN_ORDER[build].split())
    return dict(zip(_CONTIGS, lengths, strict=True))


def header_build(lines: Iterable[str]) -> str | None:
    """The build that a VCF's header names, None if it names none or both."""
    votes = {build: 0 for build in BUILDS}
    for line in lines:
        for build in BUILDS:
            votes[build] += _speaks_for(line, build)
    chosen = [build for build in BUILDS if votes[build]]
    return chosen[0] if len(chosen) == 1 else None


def _speaks_for(line: str, build: str) -> bool:
    if line.startswith("##contig="):
        return _contig_length(line) in _LENGTHS[build] or _named(r"assembly=([^,>]+)", line, build)
    return line.startswith(("##reference=", "##assembly=")) and _named("=(.*)", line, build)


def _contig_length(line: str) -> tuple[str, int] | None:
    name, length = re.search(r"[<,]ID=([^,>]+)", line), re.search(r"[<,]length=(\d+)", line)
    return (normal_contig(name[1]), int(length[1])) if name and length else None


def _named(pattern: str, line: str, build: str) -> bool:
    found = re.search(pattern, line)
    return found is not None and _NAMES[build].search(found[1]) is not None


def choose_build(matched: Mapping[str, int], header: str | None) -> str | None:
    """The build with more matching sites; the header decides a tie, None is neither."""
    best = max(matched.values(), default=0)
    winners = [build for build in matched if matched[build] == best]
    if len(winners) == 1:
        return winners[0]
    if header in winners:
        return header
    return winners[0] if best else None
