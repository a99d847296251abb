"""PL, GL, GP and DS as evidence of calls that are missing or doubtful, in VCF and BCF alike."""

from pathlib import Path

import numpy as np
import pysam
import pytest

from genomai_cli.formats.call_quality import CallRules
from genomai_cli.formats.genotype_evidence import GenotypeEvidence
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.vcf import Variant, read_variants

FIELDS = ("GT 1 String", "FT 1 String", "DP 1 Integer", "GQ 1 Integer", "PL G Integer")
FLOATS = ("GL G Float", "GP G Float", "DS A Float")
META = [
    "##fileformat=VCFv4.3",
    "##contig=<ID=1,length=1000>",
    '##FILTER=<ID=low,Description="">',
    '##INFO=<ID=END,Number=1,Type=Integer,Description="">',
    *(
        f'##FORMAT=<ID={key},Number={number},Type={kind},Description="">'
        for key, number, kind in map(str.split, FIELDS + FLOATS)
    ),
]
MISSING = [-1, -1]


def read(folder: Path, row: str, rules: CallRules | None = None) -> Variant:
    """The one record of a VCF, after making sure that its BCF has the same."""
    path, bcf = folder / "x.vcf", folder / "x.bcf"
    ref, alt, filters, layout, *calls = row.split()
    samples = [f"S{number}" for number in range(len(calls))]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]
    line = ["1", "10", ".", ref, alt, ".", filters, ".", layout, *calls]
    path.write_text("\n".join([*META, "\t".join(columns), "\t".join(line)]) + "\n")
    with (
        pysam.VariantFile(str(path)) as source,
        pysam.VariantFile(str(bcf), "wb", header=source.header) as copy,
    ):
        for record in source:
            copy.write(record)
    found = []
    for input_file in (path, bcf):
        with open_input(input_file) as source:
            file = read_variants(source, {"1": {10}}, likelihoods=True, rules=rules or CallRules())
            found += list(file.records)
    text, binary = found
    assert text.genotypes.tolist() == binary.genotypes.tolist()
    assert (text.evidence is None) == (binary.evidence is None)
    if text.evidence is not None:
        assert text.evidence.key == binary.evidence.key
        np.testing.assert_allclose(text.evidence.values, binary.evidence.values, atol=1e-5)
    return text


def values_of(variant: Variant) -> list[list[float]]:
    """The values for each sample, in hundredths."""
    assert variant.evidence is not None
    return np.rint(100 * variant.evidence.values).astype(int).tolist()


def test_likelihoods_of_missing_and_doubtful_calls_only(tmp_path):
    row = "A G PASS GT:PL ./.:0,3,30 0/1:5,0,3 0/1:90,0,80 0/0:0,60,255"
    variant = read(tmp_path, row)
    assert variant.genotypes.tolist() == [MISSING, [0, 1], [0, 1], [0, 0]]
    assert values_of(variant) == [[100, 50, 0], [32, 100, 50], [100] * 3, [100] * 3]
    assert variant.evidence.is_informative().tolist() == [True, True, False, False]


def test_log_likelihoods(tmp_path):
    assert values_of(read(tmp_path, "A G PASS GT:GL ./.:-0.1,-0.4,-5.1 0/0:0,-3,-9")) == [
        [100, 50, 0],
        [100] * 3,
    ]


@pytest.mark.parametrize("values", ["0,0,0", "7,7,7", ".", "0,3", "0,3,.", "0,3,30,40", "0"])
def test_uninformative_or_damaged_likelihoods_are_missing(tmp_path, values):
    assert read(tmp_path, f"A G PASS GT:PL ./.:{values} 0/0:0,60,255").evidence is None


def test_gq_tells_which_calls_are_doubtful(tmp_path):
    variant = read(tmp_path, "A G PASS GT:GQ:PL 0/0:60:0,3,30 0/0:3:0,3,30 ./.:.:0,3,30")
    assert variant.evidence.is_informative().tolist() == [False, True, True]


def test_a_call_without_gq_beside_one_that_has_it_is_doubtful_by_its_likelihoods(tmp_path):
    variant = read(tmp_path, "A G PASS GT:GQ:PL 0/0:60:0,3,30 0/0:.:0,3,30 0/0:.:0,60,255")
    assert variant.evidence.is_informative().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("row", "rules"),
    [
        ("A G low GT:PL ./.:0,3,30", CallRules()),
        ("A G PASS GT:FT:PL ./.:bad:0,3,30", CallRules()),
        ("A G PASS GT:DP:PL ./.:0:0,3,30", CallRules()),
        ("A G PASS GT:DP:PL 0/0:1:0,3,30", CallRules(min_dp=2)),
        ("A G PASS GT:GQ:PL ./.:3:0,3,30", CallRules(min_gq=20)),
    ],
)
def test_no_calls_have_no_likelihoods_either(tmp_path, row, rules):
    assert read(tmp_path, row, rules).evidence is None


def test_a_haploid_call_is_one_allele(tmp_path):
    assert values_of(read(tmp_path, "A G PASS GT:PL .:0,20 0:0,3")) == [[100, 50, 1], [100] * 3]


def test_probabilities_of_imputed_genotypes(tmp_path):
    row = "A G PASS GT:DS:GP:PL 0/0:0.5:0.55,0.4,0.05:0,90,90 0|1:1:0,0.995,0.005:0,0,0"
    variant = read(tmp_path, row)
    assert variant.evidence.posterior
    assert variant.evidence.key == "GP"
    assert values_of(variant) == [[55, 40, 5], [100] * 3]


def test_phred_probabilities_of_old_files_are_left_alone(tmp_path):
    assert read(tmp_path, "A G PASS GT:GP ./.:0.2,12,40").evidence is None


def test_a_dosage_is_a_genotype_near_an_integer_and_two_alleles_elsewhere(tmp_path):
    variant = read(tmp_path, "A G PASS GT:DS ./.:0.05 ./.:0.6 0/1:0.6 0/0:0.02 ./.:.")
    assert values_of(variant) == [[100, 0, 0], [49, 42, 9], [49, 42, 9], [100] * 3, [100] * 3]


def test_files_without_genotypes_have_those_that_are_certain(tmp_path):
    variant = read(tmp_path, "A G PASS GP 0.999,0.001,0 0,0,1 0.6,0.4,0 .,.,.")
    assert variant.has_genotypes
    assert variant.genotypes.tolist() == [[0, 0], [1, 1], MISSING, MISSING]
    assert variant.evidence.is_informative().tolist() == [False, False, True, False]
    variant = read(tmp_path, "A G,T PASS PL 0,60,255,60,255,255 99,99,99,0,99,99")
    assert variant.genotypes.tolist() == [[0, 0], [0, 2]]


def test_the_alleles_of_a_panel_among_several():
    pl = np.array([[0, 3, 30, 40, 40, 50], [9, 9, 9, 0, 9, 9], [0, 3, 30, 3, 9, 30]], float)
    evidence = GenotypeEvidence("PL", (10 ** (-pl / 10)).astype(np.float32))
    found = np.rint(100 * evidence.of_alleles([0, 1, -1])).astype(int).tolist()
    assert found == [[100, 50, 0], [100] * 3, [100, 50, 0]]
    swapped = np.rint(100 * evidence.of_alleles([1, 0, -1])).astype(int).tolist()
    assert swapped[0] == [0, 50, 100]
    assert evidence.of_alleles([0, -1, -1]) is None
