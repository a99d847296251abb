"""Which genome build a file's coordinates are in, by its header, its contigs' names and its matching sites.

A file in the coordinates of another assembly has some records at a panel's positions by chance: it is refused.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from genomai_cli.formats.contigs import PLINK_CODES, contig_length, normal_contig
from genomai_cli.population.panel import BUILDS, GRCH37, GRCH38

_CONTIGS = [*(str(number) for number in range(1, 23)), "X"]
KNOWN_CONTIGS = frozenset([*_CONTIGS, "Y", "MT", *PLINK_CODES])
CHM13, NCBI36 = "T2T-CHM13", "NCBI36 (hg18)"
LIFT_OVER = (
    f"neither {GRCH37} nor {GRCH38}: call the variants against one of them, or lift them over "
    "(bcftools +liftover)"
)
# Lengths of the autosomes and X, enough to distinguish the assemblies.
_LENGTHS_IN_ORDER = {
    GRCH37: "249250621 243199373 198022430 191154276 180915260 171115067 159138663 146364022 "
    "141213431 135534747 135006516 133851895 115169878 107349540 102531392 90354753 "
    "81195210 78077248 59128983 63025520 48129895 51304566 155270560",
    GRCH38: "248956422 242193529 198295559 190214555 181538259 170805979 159345973 145138636 "
    "138394717 133797422 135086622 133275309 114364328 107043718 101991189 90338345 "
    "83257441 80373285 58617616 64444167 46709983 50818468 156040895",
    CHM13: "248387328 242696752 201105948 193574945 182045439 172126628 160567428 146259331 "
    "150617247 134758134 135127769 133324548 113566686 101161492 99753195 96330374 "
    "84276897 80542538 61707364 66210255 45090682 51324926 154259566",
    NCBI36: "247249719 242951149 199501827 191273063 180857866 170899992 158821424 146274826 "
    "140273252 135374737 134452384 132349534 114142980 106368585 100338915 88827254 "
    "78774742 76117153 63811651 62435964 46944323 49691432 154913754",
}
_LENGTHS = {
    assembly: frozenset(zip(_CONTIGS, map(int, lengths.split()), strict=True))
    for assembly, lengths in _LENGTHS_IN_ORDER.items()
}
_MAX_LENGTH = {
    contig: max(length for build in BUILDS for name, length in _LENGTHS[build] if name == contig)
    for contig in _CONTIGS
}
_NAMES = {
    GRCH37: re.compile(r"grch37|hg19|b37|hs37|g1k_v37", re.IGNORECASE),
    GRCH38: re.compile(r"grch38|hg38|b38|hs38", re.IGNORECASE),
    CHM13: re.compile(r"chm13|t2t|\bhs1\b|NC_0609\d\d|CP0682\d\d", re.IGNORECASE),
    NCBI36: re.compile(r"ncbi36|hg18|\bb36|hs36", re.IGNORECASE),
}
# The RefSeq versions of chromosomes 1 to 22, X and Y in GRCh37; GRCh38 has the next, NCBI36 the one before.
_VERSIONS = (10, 11, 11, 11, 9, 11, 13, 10, 11, 10, 9, 11, 10, 8, 9, 9, 10, 9, 9, 10, 8, 10, 10, 9)
_REFSEQ_37 = dict(enumerate(_VERSIONS, 1))
_BUILD_OF_VERSION_STEP = {0: GRCH37, 1: GRCH38, -1: NCBI36}
_GENBANK_VERSIONS = {1: GRCH37, 2: GRCH38}

_MIN_SITES = 10  # matching sites from which they count more than a header
_MIN_MATCHING_SHARE = 0.9  # share of the sites with a record that match in a file's true build
# Times as many matches as positions are hit by chance (a third of which would match).
_CHANCE_RATIO = 3.0
_MIN_MATCHED_SHARE = 0.3  # share of the sites that match, above which chance is not considered
# Share of the sites that must match where the number of records is not known.
_MIN_INDEXED_SHARE = 0.01
# Of so many sites this share must have the panel's alleles.
_MIN_COMPARED, _MIN_ALLELE_SHARE = 20, 0.6
_MIN_BLOCKS, _MIN_VARIANT_SHARE = 50, 0.03  # variants for each site in a reference block, at least


def contig_lengths(build: str) -> dict[str, int]:
    """The lengths of the autosomes and X, in their order."""
    lengths = map(int, _LENGTHS_IN_ORDER[build].split())
    return dict(zip(_CONTIGS, lengths, strict=True))


def header_build(lines: Iterable[str]) -> str | None:
    """The build that a VCF's header names, None if it names none or both."""
    votes = _votes(lines)
    builds = [build for build in BUILDS if votes[build]]
    return builds[0] if len(builds) == 1 else None


def header_assembly(lines: Iterable[str]) -> str | None:
    """The assembly that a VCF's header names if it is neither build, as a reader would know it."""
    lines = list(lines)
    votes = _votes(lines)
    build_votes = sum(votes[build] for build in BUILDS)
    other_votes = {name: count for name, count in votes.items() if name not in BUILDS and count}
    if other_votes and max(other_votes.values()) > build_votes:
        return max(other_votes, key=lambda name: other_votes[name])
    lengths = filter(None, map(contig_length, lines)) if not build_votes else ()
    too_long = [(name, size) for name, size in lengths if size > _MAX_LENGTH.get(name, size)]
    return (
        f"another assembly (chromosome {too_long[0][0]} of {too_long[0][1]} bp)"
        if too_long
        else None
    )


def _votes(lines: Iterable[str]) -> dict[str, int]:
    votes = dict.fromkeys(_LENGTHS, 0)
    for line in lines:
        for assembly in votes:
            votes[assembly] += _names_assembly(line, assembly)
    return votes


def _names_assembly(line: str, assembly: str) -> bool:
    if line.startswith("##contig="):
        return (
            contig_length(line) in _LENGTHS[assembly]
            or _name_matches(r"assembly=([^,>]+)", line, assembly)
            or _name_matches(r"[<,]ID=([^,>]+)", line, assembly)
            or _accession_of(line) == assembly
        )
    return line.startswith(("##reference=", "##assembly=")) and _name_matches(
        "=(.*)", line, assembly
    )


def _name_matches(pattern: str, line: str, assembly: str) -> bool:
    found = re.search(pattern, line)
    return found is not None and _NAMES[assembly].search(found[1]) is not None


def _accession_of(line: str) -> str | None:
    """The assembly that the version of a contig's accession goes with."""
    if found := re.search(r"NC_0000(\d\d)\.(\d+)", line):
        version_37 = _REFSEQ_37.get(int(found[1]))
        return (
            None if version_37 is None else _BUILD_OF_VERSION_STEP.get(int(found[2]) - version_37)
        )
    if found := re.search(r"CM0006(?:6[3-9]|7\d|8[0-6])\.(\d+)", line):
        return _GENBANK_VERSIONS.get(int(found[1]))
    return None


def choose_build(matched: Mapping[str, int], header: str | None) -> str | None:
    """The build with more matching sites; the header decides a tie, None is neither."""
    best = max(matched.values(), default=0)
    winners = [build for build in matched if matched[build] == best]
    if len(winners) == 1:
        return winners[0]
    if header in winners:
        return header
    return winners[0] if best else None


def mixed_builds(header: Iterable[str], contigs: Iterable[str]) -> str | None:
    """A message if some of the contigs with records are of one build by their lengths, and others of the other."""
    with_records = {normal_contig(name) for name in contigs}
    declared = {found for line in header if (found := contig_length(line))}
    names_of_build = {
        build: [name for name, length in declared & _LENGTHS[build] if name in with_records]
        for build in BUILDS
    }
    first, second = (min(names, default=None) for names in names_of_build.values())
    if first is None or second is None or set.intersection(*map(set, names_of_build.values())):
        return None
    return (
        f"by their lengths in the header, contig {first} is of {BUILDS[0]} and contig {second} of {BUILDS[1]}: "
        "records of two builds do not make one file"
    )


def mixed_files(build: str | None, matches: Mapping[str, Mapping[str, int]]) -> str | None:
    """A message if one of the files of a cohort, which is in a build by all of them, is in the other by its own matches
    (by file and build)."""
    for path, matched in matches.items():
        own = max(BUILDS, key=lambda name: matched[name])
        if build not in (None, own) and matched[own] >= max(_MIN_SITES, 2 * matched[build]):
            return (
                f"by their sites, {path} is of {own} and the other files of its samples of {build}: "
                "records of two builds do not make one cohort"
            )
    return None


@dataclass(frozen=True)
class BuildMatches:
    """Matches of a file's records with a panel's sites in one build.

    matched: sites with a record of the panel's alleles; other_alleles: with other alleles only; blocks: within
    reference blocks only; present: sites on the contigs that the file has records of; expected_by_chance: how many
    positions so many records would hit anywhere, None where the number of records is not known.
    """

    build: str
    matched: int
    other_alleles: int
    blocks: int
    present: int
    expected_by_chance: float | None

    def contradiction(self, assembly: str | None) -> str | None:
        """Why these are not coordinates of the build, None if they are; `assembly` is another that the header names."""
        recorded = self.matched + self.other_alleles
        is_consistent = recorded >= _MIN_SITES and self.matched > _MIN_MATCHING_SHARE * recorded
        if assembly is not None and not (is_consistent and not self._by_chance):
            return f"the header is that of {assembly}, {LIFT_OVER}"
        if self._by_chance:
            return (
                f"matches {self.matched} panel sites in {self.build}, as few as chance gives among so "
                f"many records: neither {GRCH37} nor {GRCH38}?"
            )
        if recorded >= _MIN_COMPARED and self.matched < _MIN_ALLELE_SHARE * recorded:
            return (
                f"at {self.other_alleles} of {recorded} sites the alleles are not the panel's: "
                f"neither {GRCH37} nor {GRCH38}?"
            )
        if self.blocks >= _MIN_BLOCKS and self.matched < _MIN_VARIANT_SHARE * self.blocks:
            return (
                f"its reference blocks cover {self.blocks} panel sites, but only {self.matched} have "
                f"variants: neither {GRCH37} nor {GRCH38}?"
            )
        return None

    @property
    def _by_chance(self) -> bool:
        if self.expected_by_chance is None:
            return self.matched < _MIN_INDEXED_SHARE * self.present
        return (
            self.matched <= _CHANCE_RATIO * self.expected_by_chance
            and self.matched < _MIN_MATCHED_SHARE * self.present
        )


def expected_by_chance(
    records: Mapping[str, int | None], sites: Mapping[str, int], build: str
) -> float | None:
    """How many sites records anywhere on their contigs would hit; `sites` are counted by contig, as the records."""
    lengths, expected = contig_lengths(build), 0.0
    for name, count in records.items():
        contig = human_contig(name)
        if count is None:
            return None
        expected += count * sites.get(contig, 0) / lengths.get(contig, max(lengths.values()))
    return expected


def human_contig(name: str) -> str:
    """The normal name of a contig of a human file, plink's numbers included."""
    normal = normal_contig(name)
    return PLINK_CODES.get(normal, normal)
