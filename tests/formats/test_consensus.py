"""Haplotype sequences of regions: SNPs and indels put into a reference, as bcftools consensus does."""

import random
import shutil
import subprocess
from pathlib import Path

import pysam
import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats.consensus import haplotype_sequences
from genomai_cli.formats.streams import open_inputs

META = (
    '##fileformat=VCFv4.2\n##contig=<ID=1>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
)
COLUMNS = "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT"
REFERENCE = ">chr1 test\nACGTACGTAC\nGTACGTACGT\n>2\nTTTT\n"
TOOLS = all(shutil.which(tool) for tool in ("bcftools", "samtools"))


def write(folder: Path, *rows: str, samples: str = "S", bed: str = "1\t0\t20\n") -> list[Path]:
    text = META + "\n".join([f"{COLUMNS} {samples}", *rows]).replace(" ", "\t") + "\n"
    contents = {"x.vcf": text, "r.fa": REFERENCE, "r.bed": bed}
    for name, content in contents.items():
        (folder / name).write_text(content)
    return [folder / name for name in contents]


def haplotypes(paths: list[Path]) -> dict[str, str]:
    vcf, reference, bed = paths
    found = haplotype_sequences(open_inputs([vcf]), reference, bed)
    return {record.name: record.sequence for record in found}


def site(pos: int, ref: str, alt: str, *calls: str) -> str:
    return f"1 {pos} . {ref} {alt} . . . GT {' '.join(calls)}"


def test_snps_and_indels(tmp_path: Path) -> None:
    rows = [site(2, "C", "T", "1|0"), site(5, "A", "AGG", "0|1"), site(9, "AC", "A", "1|1")]
    found = haplotypes(write(tmp_path, *rows, bed="chr1\t0\t12\tpiece\n1\t4\t8\n"))
    assert found == {
        "S_A|piece": "ATGTACGTAGT",
        "S_B|piece": "ACGTAGGCGTAGT",
        "S_A|1:5-8": "ACGT",
        "S_B|1:5-8": "AGGCGT",
    }


def test_samples_haploid_and_missing_calls(tmp_path: Path) -> None:
    paths = write(tmp_path, site(1, "A", "G", "1", ".|1"), samples="S T", bed="1\t0\t4\n")
    assert list(haplotypes(paths).values()) == ["GCGT", "GCGT", "ACGT", "GCGT"]


@pytest.mark.parametrize("index", [False, True])
def test_a_contig_that_is_there_twice_is_refused(tmp_path: Path, index: bool) -> None:
    paths = write(tmp_path, site(1, "A", "G", "1"), bed="1\t0\t4\n")
    paths[1].write_text(">chr1\nACGT\n>2\nTTTT\n>chr1\nCCCC\n>3\nGGGG\n")
    if index:
        pysam.faidx(str(paths[1]))
    with pytest.raises(InputError, match=r"r\.fa:5: the contig chr1 is there twice"):
        haplotypes(paths)


def test_alleles_that_are_no_bases_leave_the_reference(tmp_path: Path) -> None:
    rows = [site(1, "A", "<DEL>,*", "1|2"), site(3, "G", ".", "0|0")]
    assert set(haplotypes(write(tmp_path, *rows, bed="1\t0\t4\n")).values()) == {"ACGT"}


def test_overlapping_variants_are_skipped_with_a_warning(tmp_path: Path) -> None:
    rows = [site(1, "ACGT", "A", "1|0"), site(3, "G", "C", "1|1")]
    vcf, reference, bed = write(tmp_path, *rows, bed="1\t0\t6\n")
    warnings: list[str] = []
    found = list(haplotype_sequences(open_inputs([vcf]), reference, bed, warn=warnings.append))
    assert [record.sequence for record in found] == ["AAC", "ACCTAC"]
    assert len(warnings) == 1
    assert "1:3 overlaps" in warnings[0]


@pytest.mark.parametrize(
    ("rows", "bed", "message"),
    [
        ([site(1, "C", "T", "0|1")], "1\t0\t4\n", "but the reference has A"),
        ([], "1\t0\t21\n", "r.bed:1: 1:0-21 runs over the contig's end (20)"),
        ([], "1\t0\t4\n7\t0\t4\n", "r.bed:2: contig 7 is not in"),
        ([], "1\t4\t4\n", "r.bed:1: the region is empty"),
        ([], "# none\n", "no regions"),
        ([], "track x\n1\tx\t4\n", "r.bed:2: a BED line needs"),
    ],
)
@pytest.mark.parametrize("index", [False, True])
def test_faults(tmp_path: Path, rows: list[str], bed: str, message: str, index: bool) -> None:
    paths = write(tmp_path, *rows, bed=bed)
    if index:
        pysam.faidx(str(paths[1]))
    with pytest.raises(InputError) as caught:
        haplotypes(paths)
    assert message in str(caught.value)


def random_rows(rng: random.Random, reference: str) -> list[str]:
    rows = []
    for pos in sorted(rng.sample(range(1, len(reference) - 6), 12)):
        ref = reference[pos - 1 : pos + rng.choice([0, 0, 1, 3])]
        alt = ref[0] + "".join(rng.choices("ACGT", k=rng.choice([0, 1, 3])))
        if len(ref) == 1 == len(alt):
            alt = rng.choice([base for base in "ACGT" if base != ref])
        if ref != alt and (len(ref) == 1 or len(alt) == 1):
            rows.append(site(pos, ref, alt, rng.choice(["0|1", "1|0", "1|1", ".|."])))
    return rows


def consensus(folder: Path, region: str, haplotype: int) -> str:
    command = f"samtools faidx r.fa {region} | bcftools consensus -s S -H {haplotype} x.vcf.gz"
    completed = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, check=True
    )
    return "".join(completed.stdout.split("\n")[1:])


@pytest.mark.skipif(not TOOLS, reason="bcftools and samtools are not here")
@pytest.mark.parametrize("seed", range(8))
def test_agreement_with_bcftools_consensus(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    reference = "".join(rng.choices("ACGT", k=120))
    paths = write(tmp_path, *random_rows(rng, reference), bed="1\t20\t90\n")
    paths[1].write_text(f">1\n{reference}\n")
    pysam.faidx(str(paths[1]))
    sequences = haplotypes(paths)
    pysam.tabix_index(str(paths[0]), preset="vcf", force=True)
    for haplotype, sequence in enumerate(sequences.values(), start=1):
        assert sequence == consensus(tmp_path, "1:21-90", haplotype)
