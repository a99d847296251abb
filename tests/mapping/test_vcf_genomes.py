"""VCF and BCF to genomes in a reference's coordinates: alleles, ploidies, gaps, other references, real tools."""

import io
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.errors import InputError
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.streams import Input, open_input
from genomai_cli.mapping.mapper import Mapper
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.vcf_genomes import read_genomes

BCFTOOLS = shutil.which("bcftools")
needs_bcftools = pytest.mark.skipif(not BCFTOOLS, reason="bcftools is not installed here")
#                            1234567890123456789012345678901234567890
TOY = Reference("NC_012920.1", "GATTACACACAGGTCCCATNGACTTGACCATGGTCAAGCT", circular=True)


def vcf(rows, samples=("a",), contig="MT", header=(), layout="GT"):
    """A VCF of rows `POS REF ALT CALL...`, fields between spaces."""
    lines = ["##fileformat=VCFv4.2", *header]
    fixed = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines.append("\t".join([*fixed, *samples]))
    for row in rows:
        position, ref, alt, *calls = row.split()
        lines.append("\t".join([contig, position, ".", ref, alt, ".", ".", ".", layout, *calls]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def read(tmp_path):
    """The sequences that texts of VCFs give, by sample."""

    def read(*texts, reference=TOY, **options):
        paths = [tmp_path / f"{number}.vcf" for number in range(len(texts))]
        for path, content in zip(paths, texts, strict=True):
            path.write_text(content)
        cohorts = read_genomes(map(open_input, paths), reference, **options)
        return {r.name: r.sequence for cohort in cohorts for r in cohort.records()}

    return read


def letters(sequence):
    """Position from 1 and letter of what is known."""
    return {position: x for position, x in enumerate(sequence, start=1) if x != "N"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("3 T C 1", {3: "C"}),
        ("3 T C 0", {3: "T"}),
        ("3 T C .", {}),
        ("3 T C 1/1", {3: "C"}),
        ("3 T C 0|0", {3: "T"}),
        ("3 T C 0/1", {}),  # heteroplasmy
        ("3 T C ./1", {}),
        ("3 T C,G 2", {3: "G"}),
        ("3 T C,G 1/2", {}),
        ("3 T . 0", {3: "T"}),
        ("3 T * 1", {}),
        ("3 T <DEL> 1", {}),
        ("3 T <DEL> 0", {3: "T"}),
        ("3 T G]2:5] 1", {}),
        ("3 T <NON_REF> 0", {3: "T"}),
        ("3 T <NON_REF> 1", {}),
        ("3 T R 1", {}),
        ("3 TTA CTG 1", {3: "C", 4: "T", 5: "G"}),
        ("3 TTA CTG 0", {3: "T", 4: "T", 5: "A"}),
        ("3 T TGG 1", {3: "T"}),
        ("3 T TGG 0", {3: "T"}),
        ("3 T TGG 0/1", {3: "T"}),
        ("27 ACC A 1", {27: "A"}),
        ("27 ACC A 0", {27: "A", 28: "C", 29: "C"}),
        ("27 ACC A 0/1", {27: "A"}),
        ("27 AC A,GC 2", {27: "G", 28: "C"}),
        ("27 AC A,GC 1", {27: "A", 28: "C"}),
        ("27 ACC GT 1", {27: "G", 28: "T"}),
    ],
)
def test_what_a_record_says(read, row, expected):
    found = letters(read(vcf([row]))["a"])
    assert found == expected


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ("5 ACA A 1", {10, 11}),  # of ACACACAGG, as bcftools norm places it, the last CA
        ("15 CC C 1", {17}),
        ("4 T TA 1", set()),
        ("27 ACC A 1", {28, 29}),
    ],
)
def test_a_deletion_in_a_repeat_counts_at_its_end(read, row, missing):
    found = read(vcf([row]), absent_is_ref=True)["a"]
    expected = "".join("N" if n + 1 in missing else x for n, x in enumerate(TOY.sequence))
    assert found == expected


def test_absent_positions_are_unknown_or_the_reference(read):
    text = vcf(["3 T C 1 0", "40 T A . 1"], samples=("a", "b"))
    assert read(text) == {
        "a": "NNC" + "N" * 37,
        "b": "NNT" + "N" * 36 + "A",
    }
    filled = read(text, absent_is_ref=True)
    assert filled["a"] == "GAC" + TOY.sequence[3:39] + "N"
    assert filled["b"] == TOY.sequence[:39] + "A"


@pytest.mark.parametrize(
    ("rows", "letter"),
    [
        (["3 T C 1", "3 T G 0"], "C"),  # bcftools norm -m-
        (["3 T C .", "3 T G 1"], "G"),
        (["3 T C 0", "3 T G 0"], "T"),
        (["3 T C 1", "3 T G 1"], "N"),
        (["3 T C .", "3 T G 0"], "N"),
        (["3 T TA 0", "3 T G 1"], "G"),
        (["3 T TA .", "3 T G 0"], "T"),
        (["2 AT A 1", "3 T G 0"], "N"),
        (["3 T G 1", "2 AT A 0"], "G"),
    ],
)
def test_several_records_for_a_position(read, rows, letter):
    reference = Reference("MT", "GATCGACTTGACCATG", circular=True)
    assert read(vcf(rows), reference=reference)["a"][2] == letter


@pytest.mark.parametrize("contig", ["MT", "M", "chrM", "chrMT", "NC_012920.1"])
def test_names_of_the_mitochondrial_contig(read, contig):
    assert letters(read(vcf(["3 T C 1"], contig=contig))["a"]) == {3: "C"}


def test_a_reference_of_another_name(read):
    plasmid = Reference("pUC19", TOY.sequence, circular=True)
    text = vcf(["3 T C 1"], contig="pUC19") + vcf(["4 T C 1"]).splitlines()[-1] + "\n"
    assert letters(read(text, reference=plasmid)["a"]) == {3: "C"}


def test_other_contigs_are_passed_over_or_refused(read):
    text = vcf(["3 T C 1"]) + "1\t5\t.\tA\tG\t.\t.\t.\tGT\t1\n"
    assert letters(read(text)["a"]) == {3: "C"}
    with pytest.raises(InputError, match=r"0.vcf: a record on 1 after those on MT: name it"):
        read(text, refuse_others="name it")


def test_blocks_of_a_gvcf_are_the_reference(read):
    lines = vcf(["2 A <NON_REF> 0/0", "6 C G,<NON_REF> 1/1"]).splitlines()
    lines[-2] = lines[-2].replace("\t.\t.\t.\tGT", "\t.\t.\tEND=5\tGT")
    found = letters(read("\n".join([*lines, ""]))["a"])
    assert found == {2: "A", 3: "T", 4: "T", 5: "A", 6: "G"}


def test_a_block_covers_each_sample_to_its_own_length(read):
    rows = [
        "2 A <*> 0/0:4 0/0:2",
        "4 T <*> .:. 0/0:3",
    ]  # the second sample's has another one behind
    found = read(vcf(rows, samples=("a", "b"), layout="GT:LEN"))
    assert letters(found["a"]) == {2: "A", 3: "T", 4: "T", 5: "A"}
    assert letters(found["b"]) == {2: "A", 3: "T", 4: "T", 5: "A", 6: "C"}


@pytest.mark.parametrize(
    ("alt", "calls", "missing"),
    [
        ("<DEL>", ("1", "0"), set(range(6, 13))),
        ("<DEL:ME>", ("1", "."), set(range(6, 13))),
        ("<DUP>", ("1", "0"), set()),
        ("C,<DEL>", ("2", "1"), set(range(6, 13))),
    ],
)
def test_symbolic_deletions_reach_to_their_end(read, alt, calls, missing):
    lines = vcf([f"5 A {alt} {' '.join(calls)}", "9 A T 0 0"], samples=("a", "b")).splitlines()
    lines[-2] = lines[-2].replace("\t.\t.\t.\tGT", "\t.\t.\tEND=12\tGT")
    found = read("\n".join([*lines, ""]), absent_is_ref=True)
    unknown = {
        name: {n for n, x in enumerate(text, start=1) if x == "N" and 5 < n < 15}
        for name, text in found.items()
    }
    assert unknown == {"a": missing, "b": set()}


def test_files_of_the_same_samples_are_one_cohort(read):
    assert letters(read(vcf(["3 T C 1"]), vcf(["4 T G 1"]))["a"]) == {3: "C", 4: "G"}
    two = read(vcf(["3 T C 1"]), vcf(["4 T G 1"], samples=("b",)))
    assert {name: letters(x) for name, x in two.items()} == {"a": {3: "C"}, "b": {4: "G"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            vcf(["3 T C 1", "4 G C 1"]),
            ":4: REF G at MT:4, where NC_012920.1 has T; so 1 of 2 records: made with another reference",
        ),
        (vcf(["3 T C 1"], header=["##contig=<ID=chrM,length=16571>"]), "Yoruba chrM of hg19"),
        (
            vcf(["3 T C 1"], header=["##contig=<ID=MT,length=99>"]),
            "40 letters, but in the header 99",
        ),
        (vcf(["39 CTG C 1"]), ":3: a record at MT:39, where NC_012920.1 has 40 letters"),
        (vcf(["3 T C 1"], contig="2"), "no record on NC_012920.1"),
        (
            vcf(["3 T C 5"], layout="DP"),
            "no genotypes: the records on NC_012920.1 have no GT field",
        ),
    ],
)
def test_what_is_refused(read, text, message):
    with pytest.raises(InputError) as error:
        read(text)
    assert "0.vcf:" in str(error.value)
    assert message in str(error.value)


def test_a_header_with_both_mitochondrial_contigs_is_fine(read):
    header = ["##contig=<ID=chrM,length=16571>", "##contig=<ID=chrMT,length=40>"]
    assert letters(read(vcf(["3 T C 1"], contig="chrMT", header=header))["a"]) == {3: "C"}


def test_the_report(tmp_path):
    path = tmp_path / "x.vcf"
    path.write_text(vcf(["3 T C 1 0"], samples=("a", "b")))
    for absent_is_ref in (False, True):
        (cohort,) = read_genomes([open_input(path)], TOY, absent_is_ref=absent_is_ref)
        assert (cohort.report.samples, cohort.report.covered, cohort.report.size) == (2, 1, 40)
        assert str(cohort.report).startswith(f"{path}: NC_012920.1, 1 of 40 positions")
        assert ("--absent-is-ref" in str(cohort.report)) != absent_is_ref


LONG = Reference("MT", "".join(np.random.default_rng(1).choice(list("ACGT"), 1500)), circular=True)


def variants(rng):
    """Rows of a VCF with substitutions, insertions and deletions at least forty letters apart."""
    rows = []
    for position in range(60, 1440, int(rng.integers(40, 80))):
        base, size = LONG.sequence[position - 1], int(rng.integers(1, 10))
        kind = rng.integers(3)
        alternate = str(rng.choice([x for x in "ACGT" if x != base]))
        inserted = base + "".join(rng.choice(list("ACGT"), size))
        deleted = LONG.sequence[position - 1 : position + size]
        row = [(base, alternate), (base, inserted), (deleted, base)][int(kind)]
        rows.append(f"{position} {row[0]} {row[1]} 1")
    return rows


def bcftools(*arguments):
    completed = subprocess.run([BCFTOOLS, *map(str, arguments)], capture_output=True, check=False)
    assert completed.returncode == 0, completed.stderr.decode()
    return completed.stdout


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "MT.fa"
    path.write_text(f">MT\n{LONG.sequence}\n")
    return path


CONTIG = ["##contig=<ID=MT,length=1500>", '##FORMAT=<ID=GT,Number=1,Type=String,Description="G">']


@needs_bcftools
@pytest.mark.parametrize("seed", range(6))
def test_bcftools_consensus_mapped_is_the_genome_of_the_vcf(read, fasta, tmp_path, seed):
    rng = np.random.default_rng(seed)
    path, packed = tmp_path / "x.vcf", tmp_path / "x.vcf.gz"
    path.write_text(vcf(variants(rng), header=CONTIG))
    bcftools("norm", "-f", fasta, "-Oz", "-o", packed, path)
    bcftools("index", packed)
    consensus = bcftools("consensus", "-f", fasta, "-H", "1", packed).decode()
    sequence = "".join(consensus.splitlines()[1:])
    offset = int(rng.integers(len(sequence)))
    mapped = Mapper(LONG)(sequence[offset:] + sequence[:offset])
    genome = read(path.read_text(), reference=LONG, absent_is_ref=True)["a"]
    assert mapped.letters.tobytes().decode() == genome


@needs_bcftools
def test_normalised_files_and_bcf_give_the_same(read, fasta, tmp_path):
    rng = np.random.default_rng(9)
    rows = [
        *variants(rng),
        f"1470 {LONG.sequence[1469]} {'ACGT'.replace(LONG.sequence[1469], '')[0]} 0",
    ]
    rows.append(f"1480 {LONG.sequence[1479]} {','.join('ACGT'.replace(LONG.sequence[1479], ''))} 2")
    text = vcf(rows, header=CONTIG)
    expected = read(text, reference=LONG, absent_is_ref=True)
    path = tmp_path / "x.vcf"
    path.write_text(text)
    for options in (["norm", "-f", fasta], ["norm", "-m-"], ["norm", "-m-", "-f", fasta], ["view"]):
        for output_type in ("v", "b", "z"):
            converted = tmp_path / f"done.{output_type}"
            bcftools(*options, "-O", output_type, "-o", converted, path)
            (cohort,) = read_genomes([open_input(converted)], LONG, absent_is_ref=True)
            assert next(cohort.records()).sequence == expected["a"], (options, output_type)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_letters_of_a_cohort_are_those_of_its_samples_alone(seed):
    rng = np.random.default_rng(seed)
    positions = np.sort(rng.choice(np.arange(1, 1500), 8, replace=False))
    calls = rng.choice(["0", "1", ".", "0/1", "1/1"], (8, 3))
    bases = [LONG.sequence[position - 1] for position in positions]
    alts = ["ACGT".replace(base, "")[int(rng.integers(3))] for base in bases]
    genomes = [list("N" * 1500) for _ in range(3)]
    for position, base, alt, row in zip(positions, bases, alts, calls, strict=True):
        for genome, call in zip(genomes, row, strict=True):
            genome[position - 1] = {"0": base, "1": alt, "1/1": alt}.get(call, "N")
    rows = [
        f"{p} {b} {a} {' '.join(c)}"
        for p, b, a, c in zip(positions, bases, alts, calls, strict=True)
    ]
    assert list(read_text(vcf(rows, ("a", "b", "c")))) == ["".join(g) for g in genomes]


def read_text(content):
    """The sequences of a VCF's text."""
    source = Input("-", Kind.VCF, "plain", io.BytesIO(content.encode()))
    return [r.sequence for cohort in read_genomes([source], LONG) for r in cohort.records()]
