"""Sites as files have them: strands, contigs, other assemblies, lists of variants, records that reach a site."""

import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, needs_shared

from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.streams import open_inputs
from genomai_cli.population import cohorts
from genomai_cli.population.absent_sites import SiteCoverage, assumed_reference_sites
from genomai_cli.population.barcode import Barcodes, genotypes_to_letters, read_barcodes
from genomai_cli.population.builds import contig_lengths, header_assembly, header_build
from genomai_cli.population.packed_haplotypes import read_packed_haplotypes
from genomai_cli.population.panel import Panel

SITES, SAMPLES = 400, 6
CHROMOSOMES = ["1", "2", "3", "X"]
COMPLEMENT = str.maketrans("ACGT", "TGCA")
PALINDROMES = {"AT", "TA", "CG", "GC"}
T2T = "##contig=<ID=chr1,length=248387328>\n##contig=<ID=chr2,length=242696752>\n"
Row = list[str]


def random_cohort() -> tuple[Panel, np.ndarray, list[Row]]:
    """A panel, the alternate allele counts (samples, sites) of simulated samples, and the rows of their VCF."""
    rng = random.Random(11)
    chrom = tuple(CHROMOSOMES[site * len(CHROMOSOMES) // SITES] for site in range(SITES))
    positions_grch37 = np.array(
        [100_000 * (1 + site) + rng.randrange(9000) for site in range(SITES)]
    )
    alleles = [rng.sample("ACGT", 2) for _ in range(SITES)]
    refs, alts = (tuple(bases) for bases in zip(*alleles, strict=True))
    dots = (".",) * SITES
    positions = {"GRCh37": positions_grch37, "GRCh38": positions_grch37 + 37}
    panel = Panel("made", chrom, positions, dots, refs, alts, dots)
    copies = np.array([[int(rng.random() < 0.4) + int(rng.random() < 0.4) for _ in range(SITES)]
                       for _ in range(SAMPLES)], np.int8)  # fmt: skip
    rows = []
    for site in range(SITES):
        calls = [("0/0", "0/1", "1/1")[count] for count in copies[:, site]]
        row = [chrom[site], str(positions_grch37[site]), ".", refs[site], alts[site]]
        rows.append([*row, ".", "PASS", ".", "GT", *calls])
    return panel, copies, rows


PANEL, COPIES, ROWS = random_cohort()
LETTERS = genotypes_to_letters(COPIES, PANEL)
PALINDROMIC = np.array([row[3] + row[4] in PALINDROMES for row in ROWS])


def complemented(row: Row) -> Row:
    """The row on the other strand."""
    return [*row[:3], row[3].translate(COMPLEMENT), row[4].translate(COMPLEMENT), *row[5:]]


def swapped(row: Row) -> Row:
    """The row with REF and ALT exchanged."""
    calls = [call.translate(str.maketrans("01", "10")) for call in row[9:]]
    return [*row[:3], row[4], row[3], *row[5:9], *calls]


def of_sample(number: int) -> list[Row]:
    return [[*row[:9], row[9 + number]] for row in ROWS]


def variants_of(number: int) -> list[Row]:
    """The rows in which the sample has an alternate allele."""
    return [row for row in of_sample(number) if "1" in row[9]]


def write(folder: Path, rows: list[Row], meta: str = "", name: str = "x.vcf") -> Path:
    samples = [f"S{number}" for number in range(len(rows[0]) - 9)]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]
    text = "".join("\t".join(row) + "\n" for row in [columns, *rows])
    path = folder / name
    path.write_text("##fileformat=VCFv4.2\n" + meta + text)
    return path


def read(*paths: Path, absent_is_ref: bool = False) -> Barcodes:
    return read_barcodes(open_inputs(paths), PANEL, absent_is_ref=absent_is_ref)


def refusal(*paths: Path, absent_is_ref: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        read(*paths, absent_is_ref=absent_is_ref)
    return str(caught.value)


def text(letters: np.ndarray) -> str:
    return letters.tobytes().decode()


# --- strand


def test_more_genotypes_than_are_held_are_refused_before_a_record_is_read(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(cohorts, "MAX_GENOTYPES", SITES * SAMPLES - 1)
    path = tmp_path / "x.vcf"
    samples = "\t".join(f"s{number}" for number in range(SAMPLES))
    path.write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
        f"{samples}\nno record\n"
    )
    with pytest.raises(InputError) as refused:
        read_barcodes(open_inputs([path]), PANEL)
    assert "6 samples at 400 sites are more than are held at once: at most 5" in str(refused.value)
    with pytest.raises(InputError, match="columns separated by tabs"):
        read_packed_haplotypes(open_inputs([path]), PANEL)  # there is room for more in bits
    monkeypatch.setattr(cohorts, "MAX_PACKED_GENOTYPES", SITES * SAMPLES - 1)
    with pytest.raises(InputError, match="at most 5 of them"):
        read_packed_haplotypes(open_inputs([path]), PANEL)


def test_errors_of_single_calls_make_no_other_individuals(tmp_path: Path) -> None:
    """A fifth of the sites have a call that differs, but only a thirtieth of the calls of all six samples."""
    first, errors = write(tmp_path, ROWS), []
    for number, row in enumerate(ROWS):
        sample = 9 + number // 5 % SAMPLES
        call = "0/1" if row[sample] != "0/1" else "1/1"
        errors.append([*row[:sample], call, *row[sample + 1 :]] if number % 5 == 0 else row)
    found = read(first, write(tmp_path, errors, name="errors.vcf"))
    assert found.report.conflicting == SITES / 5
    letters = LETTERS.copy()
    for site in range(0, SITES, 5):
        letters[site // 5 % SAMPLES, site] = ord("N")
    assert (found.letters == letters).all()


@pytest.mark.parametrize("order", [1, -1])
def test_files_of_two_builds_make_no_cohort(tmp_path: Path, order: int) -> None:
    """Also if each has the header of all contigs of its build."""
    positions = PANEL.positions["GRCh37"] + np.random.default_rng(0).integers(2000, 90_000, SITES)
    panel = replace(PANEL, positions={**PANEL.positions, "GRCh38": positions})
    paths = []
    for build, contigs in (("GRCh37", "123"), ("GRCh38", "X")):
        lengths = contig_lengths(build).items()
        meta = "".join(f"##contig=<ID=chr{name},length={length}>\n" for name, length in lengths)
        rows = [
            [row[0], str(panel.positions[build][site]), *row[2:]]
            for site, row in enumerate(ROWS)
            if row[0] in contigs
        ]
        paths.append(write(tmp_path, rows, meta, f"{build}.vcf"))
    with pytest.raises(InputError, match=r"GRCh38\.vcf is of GRCh38 and the other files of its"):
        read_barcodes(open_inputs(paths[::order]), panel)
    assert (read_barcodes(open_inputs(paths[1:]), panel).letters != ord("N")).mean() == 0.25


def test_two_samples_exchanged_among_many_are_named(tmp_path: Path) -> None:
    exchanged = [[*row[:9], row[10], row[9], *row[11:]] for row in ROWS]
    rows = [[*row, *row[9:] * 9] for row in ROWS]  # sixty samples
    others = [[*row, *old[9:] * 9] for row, old in zip(exchanged, ROWS, strict=True)]
    message = refusal(write(tmp_path, rows), write(tmp_path, others, name="exchanged.vcf"))
    assert "sample S0 is in" in message
    assert "another individual under the same name?" in message


@pytest.mark.parametrize("change", [complemented, lambda row: swapped(complemented(row))])
def test_a_file_on_the_other_strand_is_turned(tmp_path: Path, change) -> None:
    found = read(write(tmp_path, [change(row) for row in ROWS]))
    assert (found.letters == LETTERS).all()
    assert found.report.turned == SITES
    assert f"{SITES} turned from the other strand" in str(found.report)


def test_of_two_strands_palindromic_sites_are_told_by_the_order_of_alleles(tmp_path: Path) -> None:
    rows = [complemented(row) if site % 2 else row for site, row in enumerate(ROWS)]
    found = read(write(tmp_path, rows))
    assert (found.letters == LETTERS).all()
    assert (found.report.turned, found.report.unclear_strand) == (SITES // 2, 0)


def test_of_two_strands_palindromic_sites_are_left_out_where_the_order_does_not_tell(
    tmp_path: Path,
) -> None:
    rows = [complemented(row) if site % 2 else row for site, row in enumerate(ROWS)]
    rows = [swapped(row) if site % 3 else row for site, row in enumerate(rows)]
    found = read(write(tmp_path, rows))
    assert (found.letters[:, ~PALINDROMIC] == LETTERS[:, ~PALINDROMIC]).all()
    assert (found.letters[:, PALINDROMIC] == ord("N")).all()
    assert found.report.unclear_strand == PALINDROMIC.sum() > 0
    assert "palindromic" in found.report.warnings[0]


def test_one_turned_record_of_many_leaves_the_palindromic_ones_alone(tmp_path: Path) -> None:
    first = int(np.flatnonzero(~PALINDROMIC)[0])
    rows = [complemented(row) if site == first else row for site, row in enumerate(ROWS)]
    found = read(write(tmp_path, rows))
    assert (found.letters == LETTERS).all()
    assert (found.report.turned, found.report.unclear_strand) == (1, 0)


def test_bases_without_an_alternate_allele_tell_the_order_too(tmp_path: Path) -> None:
    """plink writes what all have as REF and no ALT: one individual's homozygotes say that the order means nothing."""
    rows = []
    for site, row in enumerate(of_sample(0)):
        if row[9] != "0/1":
            row = [*row[:3], row[3] if row[9] == "0/0" else row[4], ".", *row[5:9], "0/0"]
        rows.append(complemented(row) if site % 2 else row)
    found = read(write(tmp_path, rows))
    assert (found.letters[0, ~PALINDROMIC] == LETTERS[0, ~PALINDROMIC]).all()
    assert (found.letters[0, PALINDROMIC] == ord("N")).all()


def test_palindromic_sites_alone_on_the_other_strand_are_turned(tmp_path: Path) -> None:
    rows = [complemented(row) if PALINDROMIC[site] else row for site, row in enumerate(ROWS)]
    found = read(write(tmp_path, rows))
    assert (found.letters == LETTERS).all()
    assert found.report.turned == PALINDROMIC.sum()


def test_a_few_palindromic_sites_with_the_other_reference_base_stay(tmp_path: Path) -> None:
    few = np.flatnonzero(PALINDROMIC)[:2]
    rows = [swapped(row) if site in few else row for site, row in enumerate(ROWS)]
    found = read(write(tmp_path, rows))
    assert (found.letters == LETTERS).all()
    assert found.report.turned == 0


def test_complements_among_many_other_alleles_are_other_alleles(tmp_path: Path) -> None:
    plain = np.flatnonzero(~PALINDROMIC)
    rows = [list(row) for row in ROWS]
    for site in plain[1:6]:
        rows[site][4] = next(base for base in "ACGT" if base not in (PANEL.ref[site], PANEL.alt[site])
                             and base.translate(COMPLEMENT) != PANEL.ref[site])  # fmt: skip
    rows[plain[0]] = complemented(rows[plain[0]])
    found = read(write(tmp_path, rows))
    assert (found.report.turned, found.report.other_alleles) == (0, 6)
    assert (found.letters[:, plain[0]] == ord("N")).all()


def test_each_file_of_a_cohort_has_its_strand(tmp_path: Path) -> None:
    half = SITES // 2
    first = write(tmp_path, ROWS[:half], name="1.vcf")
    second = write(tmp_path, [complemented(row) for row in ROWS[half:]], name="2.vcf")
    assert (read(first, second).letters == LETTERS).all()


# --- contig names and builds


@pytest.mark.parametrize(
    "names",
    [
        ["NC_000001.10", "NC_000002.11", "NC_000003.11", "NC_000023.10"],
        ["CM000663.1", "CM000664.1", "CM000665.1", "CM000685.1"],
        ["GRCh37#0#chr1", "GRCh37#0#chr2", "GRCh37#0#chr3", "GRCh37#0#chrX"],
        ["chr01", "Chr02", "CHR03", "chrx"],
        ["1", "2", "3", "23"],
        ["nc_000001.10", "chrNC_000002.11", "ref|NC_000003.11", "gi|1|ref|NC_000023.10|"],
        [f"{name} dna:chromosome chromosome:GRCh37:{name}:1:9:1" for name in CHROMOSOMES],
    ],
)
def test_contigs_by_any_name(tmp_path: Path, names: list[str]) -> None:
    table = dict(zip(CHROMOSOMES, names, strict=True))
    found = read(write(tmp_path, [[table[row[0]], *row[1:]] for row in ROWS]))
    assert (found.letters == LETTERS).all()
    assert found.report.header_build == ("GRCh37" if len(names[0]) > len("chr01") else None)


@pytest.mark.parametrize("codes", [("A", "B"), ("1", "2"), ("B", ".")])
def test_alleles_that_are_no_bases_are_nothing_to_use(
    tmp_path: Path, codes: tuple[str, str]
) -> None:
    message = refusal(write(tmp_path, [[*row[:3], *codes, *row[5:]] for row in ROWS]))
    assert "400 records at panel sites have alleles that are no bases" in message
    assert "plink --alleleACGT" in message


def test_of_coded_alleles_those_that_look_like_a_base_are_not_read(tmp_path: Path) -> None:
    rows = [
        [*row[:3], *(("A", ".") if n % 3 else ("B", "A")), *row[5:]] for n, row in enumerate(ROWS)
    ]
    assert "alleles that are no bases" in refusal(write(tmp_path, rows))


def test_unknown_contigs_are_named(tmp_path: Path) -> None:
    rows = [[f"scaffold_{row[0]}", *row[1:]] for row in ROWS]
    message = refusal(write(tmp_path, rows))
    assert "no contig name is known (the first is scaffold_1)" in message
    assert "bcftools annotate --rename-chrs" in message


@pytest.mark.parametrize(
    ("name", "build", "assembly"),
    [
        ("NC_000005.9", "GRCh37", None),
        ("NC_000005.10", "GRCh38", None),
        ("NC_000005.8", None, "NCBI36 (hg18)"),
        ("CM000667.2", "GRCh38", None),
        ("CHM13#0#chr5", None, "T2T-CHM13"),
        ("5", None, None),
    ],
)
def test_accessions_tell_the_build(name: str, build: str | None, assembly: str | None) -> None:
    lines = [f"##contig=<ID={name}>"]
    assert (header_build(lines), header_assembly(lines)) == (build, assembly)


@pytest.mark.parametrize("build", ["GRCh37", "GRCh38"])
def test_lengths_of_a_build_are_of_no_other_assembly(build: str) -> None:
    lines = [f"##contig=<ID={c},length={n}>" for c, n in contig_lengths(build).items()]
    assert (header_build(lines), header_assembly(lines)) == (build, None)


# --- other assemblies


@pytest.mark.parametrize(
    ("meta", "assembly"),
    [
        (T2T, "T2T-CHM13"),
        ("##contig=<ID=1,length=247249719>\n", "NCBI36 (hg18)"),
        ("##reference=file:///ref/chm13v2.0_maskedY_rCRS.fa\n", "T2T-CHM13"),
        ("##contig=<ID=chr13,length=120421639>\n", "another assembly (chromosome 13 of 120421639 bp)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("absent_is_ref", [True, False])
def test_another_assembly_is_refused(
    tmp_path: Path, meta: str, assembly: str, absent_is_ref
) -> None:
    path = write(tmp_path, variants_of(0)[:2], meta)
    assert f"the header is that of {assembly}" in refusal(path, absent_is_ref=absent_is_ref)


def test_sites_that_all_match_count_more_than_an_old_header(tmp_path: Path) -> None:
    assert (read(write(tmp_path, ROWS, T2T)).letters == LETTERS).all()


def test_as_few_matches_as_chance_gives_are_no_build(tmp_path: Path) -> None:
    rng = random.Random(2)
    elsewhere = [["1", str(rng.randrange(240_000_000)), ".", "A", "G", ".", ".", ".", "GT", "0/1"]
                 for _ in range(2_000_000 // 100)]  # fmt: skip
    path = write(tmp_path, variants_of(0)[:2] + elsewhere * 100)
    assert "as few as chance gives" in refusal(path)


def test_alleles_by_chance_are_no_build(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [[*row[:3], *rng.sample("ACGT", 2), *row[5:]] for row in ROWS]
    assert "the alleles are not the panel's" in refusal(write(tmp_path, rows))


def test_blocks_without_variants_are_no_build(tmp_path: Path) -> None:
    blocks = [[c, "1", ".", "N", "<NON_REF>", ".", ".", "END=90000000", "GT", "0/0"] for c in CHROMOSOMES]  # fmt: skip
    path = write(tmp_path, [*blocks, *variants_of(0)[:3]], "##reference=hg19\n")
    assert "reference blocks cover" in refusal(path)
    full = read(write(tmp_path, [*blocks, *variants_of(0)], "##reference=hg19\n"))
    assert (full.letters[0] == LETTERS[0]).all()
    assert full.report.in_blocks == (COPIES[0] == 0).sum()


# --- lists of variants


def test_a_list_of_variants_gives_the_whole_barcode(tmp_path: Path) -> None:
    for number in range(SAMPLES):
        found = read(write(tmp_path, variants_of(number)), absent_is_ref=True)
        assert (found.letters[0] == LETTERS[number]).all()
        assert found.report.assumed_ref == found.report.absent == (COPIES[number] == 0).sum()
        assert f"{found.report.absent} of them assumed homozygous reference" in str(found.report)
        assert not found.report.warnings


def test_a_list_of_several_samples_and_one_in_pieces(tmp_path: Path) -> None:
    rows = [row for row in ROWS if any("1" in call for call in row[9:])]
    assert (read(write(tmp_path, rows), absent_is_ref=True).letters == LETTERS).all()
    files = [
        write(tmp_path, [row for row in rows if row[0] == c], name=f"{c}.vcf") for c in CHROMOSOMES
    ]
    assert (read(*files, absent_is_ref=True).letters == LETTERS).all()
    first = read(files[0], absent_is_ref=True)
    known = np.array([chrom == CHROMOSOMES[0] for chrom in PANEL.chrom])
    assert (first.letters[:, known] == LETTERS[:, known]).all()
    assert (first.letters[:, ~known] == ord("N")).all()
    assert "no record on chromosome 2, 3, X" in first.report.warnings[0]


def test_half_of_a_published_panel_s_sites_are_no_list_of_variants() -> None:
    """One individual's variants are at more than half of the 805 sites; at a third only half of them were looked at."""
    panel = replace(PANEL.subset(np.arange(805) % SITES), tags=("snp805",) * 805)
    all_sites = np.ones(805, np.bool_)
    for share, is_believed in ((0.6, True), (0.33, False)):
        recorded = np.random.default_rng(1).random(805) < share
        copies = np.where(recorded, 1 + np.arange(805) % 2, 0)
        coverage = SiteCoverage(all_sites, recorded, copies, all_sites)
        assert assumed_reference_sites(panel, coverage, 1, "GRCh37").any() == is_believed


def test_a_few_records_are_no_list_of_a_genome_s_variants(tmp_path: Path) -> None:
    few = variants_of(0)[::12]
    assert "too few to take the others for reference" in refusal(write(tmp_path, few), absent_is_ref=True)  # fmt: skip
    rng = random.Random(1)
    random_rows = [row for row in ROWS if rng.random() < 0.1]
    random_rows = [row for row in random_rows if any("1" in call for call in row[9:])]
    found = read(write(tmp_path, random_rows), absent_is_ref=True)
    assert found.report.assumed_ref == 0
    assert "not believed" in found.report.warnings[0]


def test_a_long_gap_is_not_assumed(tmp_path: Path) -> None:
    rows = [row for row in variants_of(0) if not (row[0] == "2" and int(row[1]) > 11_500_000)]
    found = read(write(tmp_path, rows), absent_is_ref=True)
    gap = (np.array(PANEL.chrom) == "2") & (PANEL.positions["GRCh37"] > 11_600_000)
    assert (found.letters[0, gap] == ord("N")).all()
    assert (found.letters[0, ~gap] == LETTERS[0, ~gap]).sum() > (~gap).sum() - 15


def test_a_file_with_reference_calls_is_no_list_of_variants(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, of_sample(0)[::2]), absent_is_ref=True)
    assert "homozygous reference in all samples" in message
    assert "leave --absent-is-ref out" in message
    block = ["1", "1", ".", "N", "<NON_REF>", ".", ".", "END=9000000", "GT", "0/0"]
    message = refusal(write(tmp_path, [block, *variants_of(0)]), absent_is_ref=True)
    assert "a gVCF" in message


# --- records that reach a site


def record_near(
    site: int, offset: int, ref: str, alt: str, call: str = "0/1", info: str = "."
) -> Row:
    position = str(PANEL.positions["GRCh37"][site] - offset)
    return [PANEL.chrom[site], position, ".", ref, alt, ".", ".", info, "GT", call]


@pytest.mark.parametrize(
    ("row", "letter"),
    [
        (lambda ref, alt: ("AC" + ref + "T", "A", "0/1", "."), "N"),
        (lambda ref, alt: ("AC" + ref + "T", "A", "0/0", "."), "ref"),
        (lambda ref, alt: ("AC" + ref + "T", "AC" + ref, "0/1", "."), "ref"),
        (lambda ref, alt: ("AC" + ref, "AT" + alt, "0/1", "."), "het"),
        (lambda ref, alt: ("AC" + ref, "AT" + alt, "1/1", "."), "alt"),
        (lambda ref, alt: ("A", "<DEL>", "0/1", "END=99999999"), "N"),
        (lambda ref, alt: ("A", "<DUP>", "0/1", "END=99999999"), "ref"),
    ],
)
@pytest.mark.parametrize("kind", ["vcf", "bcf", "indexed"])
def test_deletions_and_substitutions_that_reach_a_site(
    tmp_path: Path, row, letter: str, kind: str, monkeypatch
) -> None:
    if kind != "vcf" and not shutil.which("bcftools"):
        pytest.skip("bcftools is not here")
    site = int(np.flatnonzero(COPIES[0] == 0)[-1])
    ref, alt = PANEL.ref[site], PANEL.alt[site]
    bases, other_bases, call, info = row(ref, alt)
    rows = [*variants_of(0), record_near(site, 2, bases, other_bases, call, info)]
    meta = "".join(f"##contig=<ID={c}>\n" for c in CHROMOSOMES)
    meta += '##INFO=<ID=END,Number=1,Type=Integer,Description="">\n'
    meta += '##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
    rows.sort(key=lambda row: (CHROMOSOMES.index(row[0]), int(row[1])))
    path = write(tmp_path, rows, meta)
    if kind != "vcf":
        converted = tmp_path / f"x.{kind}.gz"
        output_type = "-Ob" if kind == "bcf" else "-Oz"
        subprocess.run(["bcftools", "view", output_type, "-o", converted, path], check=True)
        if kind == "indexed":
            subprocess.run(["bcftools", "index", "-t", converted], check=True)
            monkeypatch.setattr("genomai_cli.formats.regions._MIN_BYTES_PER_SITE", 0)
        path = converted
    expected = {
        "N": "N",
        "ref": ref,
        "alt": alt,
        "het": text(genotypes_to_letters(np.full((1, SITES), 1, np.int8), PANEL)[0, [site]]),
    }[letter]
    assert text(read(path, absent_is_ref=True).letters[0, [site]]) == expected


# --- the field's own files


@needs_shared
@pytest.mark.parametrize("name", ["genbank.vcf", "pansn.vcf"])
def test_the_field_s_contig_names(name: str) -> None:
    path = SHARED / "field" / "contig_names_genbank_pansn" / name
    contigs = {line.split("\t")[0] for line in path.read_text().splitlines() if line[0] != "#"}
    assert {normal_contig(contig) for contig in contigs} == {str(n) for n in range(1, 23)}
