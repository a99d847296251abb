"""Calls that the file itself marks as no-calls are missing, and counted by reason, in VCF and BCF alike."""

from pathlib import Path

import pysam
import pytest

from genomai_cli.formats.call_quality import REASONS, CallRules, count_no_calls, no_call_message
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.vcf import Variant, read_variants

META = "\n".join(
    [
        "##fileformat=VCFv4.2",
        "##contig=<ID=1,length=1000>",
        *(f'##FILTER=<ID={name},Description="">' for name in ("LowQual", "RefCall", "low")),
        '##INFO=<ID=END,Number=1,Type=Integer,Description="">',
        *(
            f'##FORMAT=<ID={key},Number={number},Type={kind},Description="">'
            for key, number, kind in (
                ("GT", "1", "String"),
                ("FT", "1", "String"),
                ("DP", "1", "Integer"),
                ("MIN_DP", "1", "Integer"),
                ("GQ", "1", "Integer"),
                ("RGQ", "1", "Integer"),
                ("AD", "R", "Integer"),
                ("RO", "1", "Integer"),
                ("AO", "A", "Integer"),
                ("GQX", "1", "Integer"),
                ("PL", "G", "Integer"),
                ("GL", "G", "Float"),
                ("GP", "G", "Float"),
                ("NR", ".", "Integer"),
                ("DS", "A", "Float"),
            )
        ),
    ]
)


def read(folder: Path, *rows: str, rules: CallRules | None = None) -> list[Variant]:
    """The records of a VCF of two samples, after making sure that its BCF has the same."""
    path, bcf = folder / "x.vcf", folder / "x.bcf"
    columns = "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT S1 S2"
    path.write_text(META + "\n" + "\n".join([columns, *rows]).replace(" ", "\t") + "\n")
    with (
        pysam.VariantFile(str(path)) as source,
        pysam.VariantFile(str(bcf), "wb", header=source.header) as copy,
    ):
        for record in source:
            copy.write(record)
    found = []
    for file in (path, bcf):
        with open_input(file) as source:
            options = {} if rules is None else {"rules": rules}
            found.append(list(read_variants(source, {"1": set(range(1, 1000))}, **options).records))
    for text, binary in zip(*found, strict=True):
        assert text.genotypes.tolist() == binary.genotypes.tolist()
        assert reasons(text) == reasons(binary)
        assert text.filters == binary.filters
    return found[0]


def reasons(variant: Variant) -> list[str]:
    names = ["", *REASONS]
    codes = [0, 0] if variant.no_calls is None else variant.no_calls.tolist()
    return [names[code] for code in codes]


@pytest.mark.parametrize(
    ("layout", "first", "reason"),
    [
        ("GT:DP", "0/0:0", "no_reads"),
        ("GT:DP", "0/0:10", ""),
        ("GT:DP", "0/0:.", ""),
        ("GT:DP", "0/0", ""),
        ("GT:DP:MIN_DP", "0/0:3:0", "no_reads"),
        ("GT:AD", "0/1:0,0", "no_reads"),
        ("GT:AD", "0/0:0,5", ""),
        ("GT:AD", "0/1:.,.", ""),
        ("GT:AD", "0/1:0,.", "no_reads"),
        ("GT:AD", "0/1:.,0", "no_reads"),
        ("GT:AD", "0/1:.,3", ""),
        ("GT:GQ", "0/0:0", "gq_0"),
        ("GT:GQ", "0/0:1", ""),
        ("GT:RGQ", "0/0:0", "gq_0"),
        ("GT:GQX", "0/0:0", "gq_0"),
        ("GT:GQX:GQ", "0/0:0:9", ""),
        ("GT:RO:AO", "0/0:0:0", "no_reads"),
        ("GT:RO:AO", "0/1:0:7", ""),
        ("GT:RO:AO", "0/0:0:.", ""),
        ("GT:GQ:PL", "0/0:1:0,0,0", "flat_likelihoods"),
        ("GT:GQ:PL", "0/0:2:0,0,9", ""),
        ("GT:PL", "0/0:0,30,300", ""),
        ("GT:PL", "0/0:7,7,7", "flat_likelihoods"),  # PL not less the least of them
        ("GT:PL", "0/0:120,120,120", "flat_likelihoods"),
        ("GT:PL", "1/1:30,3,0", ""),
        ("GT:PL", "1/1:7,7,0", ""),
        ("GT:PL", "0/0:7,77,777", ""),
        ("GT:PL", "0/0:0,0,.", "flat_likelihoods"),
        ("GT:PL", "0/0:.,7,7", "flat_likelihoods"),
        ("GT:PL", "0/0:7,.,.", ""),
        ("GT:PL", "0/0:.", ""),
        ("GT:PL", "0:7,7", "flat_likelihoods"),
        ("GT:PL:GQ", "0/0:7:7", ""),
        ("GT:GL", "0/0:0,-0,-0.0", "flat_likelihoods"),
        ("GT:GL", "0/0:-0.48,-0.48,-0.48", "flat_likelihoods"),
        ("GT:GL", "0/0:-0.1,-0.48,-2.5", ""),
        ("GT:GP", "0/0:0.333,0.333,0.333", "flat_likelihoods"),
        ("GT:GP", "0/0:0.9,0.1,0", ""),
        ("GT:GP:DS", "0/0:0.333,0.333,0.333:1", ""),
        ("GT:NR", "0/0:0", "no_reads"),  # Platypus
        ("GT:NR", "0/0:12", ""),
        ("GT:DP:FT", "0/0:9:LowGQ", "ft"),
        ("GT:DP:FT", "0/0:9:PASS", ""),
        ("GT:DP:FT", "0/0:9:pass", ""),
        ("GT:DP:FT", "0/0:9:PASSED_ONE_OF_2", "ft"),
        ("GT:FT:DP", "0/0:.:9", ""),
        ("GT:DP:FT", "0/0:9", ""),
        ("GT:DP:DS:PL", "0/1:0:0.98:0,0,0", ""),
        ("GT:DP:GQ", "0|1:0:0", "no_reads"),
        ("GT:DP:GQ", "./.:0:0", ""),
    ],
)
def test_a_call_is_missing_where_its_fields_say_so(
    tmp_path: Path, layout: str, first: str, reason: str
) -> None:
    passing_call = {"GT:DP": "0/1:30", "GT:AD": "0/1:9,9", "GT:DP:MIN_DP": "0/1:20:12"}.get(
        layout, "0/1"
    )
    [variant] = read(tmp_path, f"1 100 . A G . PASS . {layout} {first} {passing_call}")
    assert reasons(variant) == [reason, ""]
    if reason:
        assert variant.genotypes.tolist() == [[-1, -1], [0, 1]]


@pytest.mark.parametrize(
    ("value", "is_failure"),
    [("PASS", False), (".", False), ("RefCall", False), ("LowQual", True), ("LowQual;low", True)],
)
def test_the_calls_of_a_failed_record_are_missing(
    tmp_path: Path, value: str, is_failure: bool
) -> None:
    [variant] = read(tmp_path, f"1 100 . A G . {value} . GT 0/0 ./.")
    assert reasons(variant) == (["filter", ""] if is_failure else ["", ""])
    assert variant.genotypes.tolist() == [[-1, -1] if is_failure else [0, 0], [-1, -1]]
    assert variant.filters == (tuple(value.split(";")) if is_failure else ())


def test_blocks_without_reads_are_missing_at_each_of_their_positions(tmp_path: Path) -> None:
    rows = read(
        tmp_path, "1 100 . N <NON_REF> . . END=102 GT:DP:GQ:PL 0/0:0:0:0,0,0 0/0:30:99:0,9,90"
    )
    assert [row.position for row in rows] == [100, 101, 102]
    assert all(row.genotypes.tolist() == [[-1, -1], [0, 0]] for row in rows)
    assert all(reasons(row) == ["no_reads", ""] for row in rows)


def test_thresholds_are_for_calls_that_have_the_field(tmp_path: Path) -> None:
    rows = [
        "1 100 . A G . . . GT:DP:GQ 0/1:7:40 0/1:8:19",
        "1 101 . A G . . . GT:DP:GQ 0/1:.:. 0/1:12:20",
        "1 102 . A G . . . GT 0/1 0/1",
    ]
    found = read(tmp_path, *rows, rules=CallRules(min_gq=20, min_dp=8))
    assert [reasons(row) for row in found] == [["min_dp", "min_gq"], ["", ""], ["", ""]]


def test_samples_of_merged_files_go_by_the_fields_that_they_have(tmp_path: Path) -> None:
    rows = [  # as `bcftools merge --gvcf` puts a reference block beside a variant
        "1 100 . A G . . . GT:DP:GQ:MIN_DP 0/0:30:60:5 0/1:7:40:.",
        "1 101 . A G . . . GT:MIN_DP:DP 0/0:12:30 0/1:.:12",
        "1 102 . A G . . . GT:GQ:RGQ 0/1:60:. 0/0:.:19",
        "1 103 . A G . . . GT:GQ:RGQ:GQX 0/1:.:.:0 0/0:.:0:9",
        "1 104 . A G . . . GT:DP:MIN_DP 0/1:7 0/0",
    ]
    found = read(tmp_path, *rows, rules=CallRules(min_gq=20, min_dp=8))
    assert [reasons(row) for row in found] == [
        ["min_dp", "min_dp"],
        ["", ""],
        ["", "min_gq"],
        ["gq_0", "gq_0"],
        ["min_dp", ""],
    ]


def test_counts_are_reported_by_reason(tmp_path: Path) -> None:
    found = read(
        tmp_path, *(f"1 {position} . A G . . . GT:GQ 0/1:0 0/1:60" for position in range(1, 4))
    )
    counts = count_no_calls(row.no_calls for row in found)
    assert counts == {"gq_0": 3}
    assert no_call_message(counts) == "3 calls taken as missing: 3 of GQ 0"
    assert no_call_message({}) == ""
