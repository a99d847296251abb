"""Records that do not fit a reference as they are: swapped, turned, of another reference; allele fractions."""

import io
import shutil
import subprocess

import numpy as np
import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.streams import Input, open_input
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.vcf_genomes import read_genomes

BCFTOOLS = shutil.which("bcftools")
COMPLEMENT = str.maketrans("ACGT", "TGCA")
TRANSITION = str.maketrans("ACGT", "GTAC")
SIZE = 1500
LETTERS = "".join(np.random.default_rng(1).choice(list("ACGT"), SIZE))
REFERENCE = Reference("NC_012920.1", LETTERS, circular=True)
POSITIONS = list(range(10, 1490, 24))  # from 1
PLINK = ("##source=PLINKv1.90", "##contig=<ID=26,length=1490>")


def line(contig, position, ref, alt, calls, layout="GT"):
    return "\t".join([contig, str(position), ".", ref, alt, ".", ".", ".", layout, *calls])


def text(rows, samples=("a",), header=()):
    fixed = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]
    return "\n".join(["##fileformat=VCFv4.2", *header, "\t".join(fixed), *rows, ""])


def cohort(content, **options):
    source = Input("-", Kind.VCF, "plain", io.BytesIO(content.encode()))
    (found,) = read_genomes([source], REFERENCE, **options)
    return found


def genomes(content, **options):
    return {r.name: r.sequence for r in cohort(content, **options).records()}


def base(position):
    return LETTERS[position - 1]


def variant(position):
    return base(position).translate(TRANSITION)


def with_variants(positions):
    letters = list(LETTERS)
    for position in positions:
        letters[position - 1] = variant(position)
    return "".join(letters)


def mutect(positions, call="0/1", layout="GT:AD:AF:DP", values="2,2998:0.999:3000"):
    return [
        line("chrM", p, base(p), variant(p), [f"{call}:{values}"], layout) for p in positions
    ]  # fmt: skip


@pytest.mark.parametrize("call", ["0/1", "1/0", "0|1", "1|0", "1/1", "1"])
@pytest.mark.parametrize(
    ("layout", "values"),
    [
        ("GT:AD:AF:DP", "2,2998:0.999:3000"),
        ("GT:AF", "0.93"),
        ("GT:AD", "1,99"),
        ("GT:AD:AF", "0,4:0.83"),  # few reads: Mutect2's AF is drawn to the middle
        ("GT:DP:AO:RO", "100:99:1"),
        ("GT:DP:AO", "100:99"),
        ("GT:RD:AD:FREQ", "3:297:99%"),
        ("GT:FREQ", "98,5%"),  # VarScan where the decimal sign is a comma
        ("GT:RD:AD", "3:297"),
        ("GT:VAF", "0.98"),
        ("GT:DP:HF", "50:1.0"),
    ],
)
def test_a_variant_of_all_reads_is_the_genomes(call, layout, values):
    rows = mutect(POSITIONS[:9], call, layout, values)
    found = cohort(text(rows), absent_is_ref=True)
    assert next(found.records()).sequence == with_variants(POSITIONS[:9])
    assert found.report.warnings == ()
    assert found.report.heteroplasmic == 0


@pytest.mark.parametrize(
    ("values", "letter"),
    [
        ("0/1:50,50:0.5", "N"),
        ("0/1:110,890:0.89", "N"),
        ("0/1:950,50:0.05", "ref"),
        ("1:950,50:0.05", "ref"),
        ("1:600,400:0.4", "N"),
        ("1:40,60:0.6", "alt"),  # the caller chose
        ("0:98,2:0.02", "ref"),
        ("0/1:.:.", "N"),
        ("./.:0,0:.", "N"),
    ],
)
def test_what_fractions_say(values, letter):
    rows = [*mutect(POSITIONS[1:9]), line("MT", 10, base(10), variant(10), [values], "GT:AD:AF")]
    expected = {"ref": base(10), "alt": variant(10)}.get(letter, "N")
    assert genomes(text(rows), absent_is_ref=True)["a"][9] == expected


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ("0/1/2:5,5,990:0.005,0.99", 1),  # as Mutect2 writes it
        ("0/1/2:5,990,5:0.99,0.005", 0),
        ("0/1/2:500,495,5:0.495,0.005", None),
        ("0/1/2:.:.", None),
        ("1/2:5,5,990:0.005,0.99", 1),
        ("0/2:5,5,990:0.005,0.99", 1),
        ("0/1:5,990,5:0.99,0.005", 0),
        ("1/2:0,500,500:0.5,0.5", None),
        ("0/1:990,5,5:0.005,0.005", "ref"),
    ],
)
def test_fractions_of_several_alternates(values, number):
    alts = [x for x in "ACGT" if x != base(10)][:2]
    rows = [*mutect(POSITIONS[1:9]), line("MT", 10, base(10), ",".join(alts), [values], "GT:AD:AF")]
    expected = {None: "N", "ref": base(10)}.get(number) or alts[number]
    assert genomes(text(rows), absent_is_ref=True)["a"][9] == expected


def test_heterozygotes_without_fractions_are_warned_of_and_never_make_a_reference_genome():
    rows = [line("MT", p, base(p), variant(p), ["0/1"]) for p in POSITIONS[:20]]
    found = cohort(text(rows), absent_is_ref=True)
    assert set(next(found.records()).sequence) == {"N"}
    assert (
        "20 of 20 variant calls are heterozygous, without allele fractions"
        in found.report.warnings[0]
    )
    assert "in spite of --absent-is-ref for 1 of 1 samples" in found.report.warnings[1]
    report = cohort(text(rows)).report
    assert "20 of 20" in report.warnings[0]
    assert "--absent-is-ref" not in str(report)


def test_only_the_samples_with_many_unsettled_or_missing_calls_are_not_filled_in():
    samples = ("mixed", "clear", "failed", "one")
    rows = [
        line("MT", p, base(p), variant(p), ["0/1", "1", ".", "0/1" if p == 10 else "1"])
        for p in POSITIONS[:10]
    ]
    found = genomes(text(rows, samples), absent_is_ref=True)
    assert found["clear"] == with_variants(POSITIONS[:10])
    assert set(found["mixed"]) == set(found["failed"]) == {"N"}
    assert found["one"].count("N") == 1


def test_bcf_has_the_same_fractions(tmp_path):
    if not BCFTOOLS:
        pytest.skip("bcftools is not installed here")
    header = [
        "##contig=<ID=chrM,length=1500>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">',
        '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="g">',
        '##FORMAT=<ID=AF,Number=A,Type=Float,Description="g">',
        '##FORMAT=<ID=FREQ,Number=1,Type=String,Description="g">',
    ]
    rows = [
        *mutect(POSITIONS[:5], layout="GT:AD", values="2,2998"),
        *mutect(POSITIONS[5:10], layout="GT:AF", values="0.95"),
        *mutect(POSITIONS[10:15], layout="GT:FREQ", values="99.5%"),
        *mutect(POSITIONS[15:16], layout="GT:AD", values="."),
    ]
    plain, binary = tmp_path / "x.vcf", tmp_path / "x.bcf"
    plain.write_text(text(rows, header=header))
    subprocess.run([BCFTOOLS, "view", "-Ob", "-o", binary, plain], check=True)
    sequences = []
    for path in (plain, binary):
        (found,) = read_genomes([open_input(path)], REFERENCE, absent_is_ref=True)
        sequences.append(next(found.records()).sequence)
    assert sequences[0] == sequences[1]
    expected = with_variants(POSITIONS[:15])
    assert sequences[0] == expected[: POSITIONS[15] - 1] + "N" + expected[POSITIONS[15] :]


def random_carriers(count=8, seed=5):
    rng = np.random.default_rng(seed)
    carried = rng.random((len(POSITIONS), count)) < 0.3
    carried[:7] = rng.random((7, count)) < 0.9  # what the reference alone has not
    carried[7] = True
    return carried


def plain_rows(carried, contig="MT", call="{0}"):
    return [
        line(contig, p, base(p), variant(p), [call.format(int(x)) for x in row])
        for p, row in zip(POSITIONS, carried, strict=True)
    ]


def plink_rows(carried, contig="26", call="{0}/{0}"):
    """The commoner allele is REF; an allele that nobody has is not there."""
    rows = []
    for position, row in zip(POSITIONS, carried, strict=True):
        ref, alt, numbers = base(position), variant(position), row.astype(int)
        if 2 * numbers.sum() > len(row):
            ref, alt, numbers = alt, ref, 1 - numbers
        alt = alt if numbers.any() else "."
        rows.append(line(contig, position, ref, alt, [call.format(x) for x in numbers]))
    return rows


NAMES = tuple(f"p{n}" for n in range(8))


@pytest.mark.parametrize(
    ("contig", "call", "header"),
    [
        ("26", "{0}/{0}", PLINK),
        ("MT", "{0}", ("##source=PLINKv2.00", "##contig=<ID=MT>")),
        ("chrM", "{0}/{0}", ("##source=PLINKv2.00", "##contig=<ID=chrM,length=1490>")),
        ("M", "{0}|{0}", PLINK),
        ("gi|251831106|ref|NC_012920.1|", "{0}", PLINK),
        ("J01415.2", "{0}", PLINK),
        ("GRCh38#0#chrM", "{0}", PLINK),
    ],
)
@pytest.mark.parametrize("absent_is_ref", [False, True])
def test_a_file_of_plink_is_read_like_the_one_that_went_in(contig, call, header, absent_is_ref):
    carried = random_carriers()
    expected = genomes(text(plain_rows(carried), NAMES), absent_is_ref=absent_is_ref)
    found = cohort(
        text(plink_rows(carried, contig, call), NAMES, header), absent_is_ref=absent_is_ref
    )
    assert {r.name: r.sequence for r in found.records()} == expected
    assert found.report.swapped >= 6


def test_swaps_without_plinks_header():
    carried = random_carriers()
    carried[:8, 0] = False  # without plink's header an allele that nobody has must be there
    found = genomes(text(plink_rows(carried, "MT", "{0}"), NAMES), absent_is_ref=True)
    assert found == genomes(text(plain_rows(carried), NAMES), absent_is_ref=True)


def test_plinks_length_may_be_too_small_but_no_other_may():
    rows = plain_rows(random_carriers(), contig="MT")
    with pytest.raises(InputError, match="has 1500 letters, but in the header 1490"):
        cohort(text(rows, NAMES, ["##contig=<ID=MT,length=1490>"]))
    with pytest.raises(InputError, match="but in the header 1501"):
        cohort(text(rows, NAMES, ["##source=PLINKv1.90", "##contig=<ID=MT,length=1501>"]))


def complement(row):
    fields = row.split("\t")
    fields[3], fields[4] = fields[3].translate(COMPLEMENT), fields[4].translate(COMPLEMENT)
    return "\t".join(fields)


def test_single_markers_on_the_other_strand_are_left_out_and_named():
    rows = plain_rows(random_carriers())
    rows[3], rows[20] = complement(rows[3]), complement(rows[20])
    found = cohort(text(rows, NAMES), absent_is_ref=True)
    expected = genomes(text(plain_rows(random_carriers()), NAMES), absent_is_ref=True)
    for record in found.records():
        letters = list(expected[record.name])
        letters[POSITIONS[3] - 1] = letters[POSITIONS[20] - 1] = "N"
        assert record.sequence == "".join(letters)
    assert found.report.skipped == (POSITIONS[3], POSITIONS[20])
    (warning,) = found.report.warnings
    assert "2 of 62 records left out" in warning
    assert f"{POSITIONS[3]}, {POSITIONS[20]}" in warning


def test_a_file_on_the_other_strand_is_turned():
    rows = [complement(row) for row in plain_rows(random_carriers())]
    found = cohort(text(rows, NAMES), absent_is_ref=True)
    expected = genomes(text(plain_rows(random_carriers()), NAMES), absent_is_ref=True)
    assert {r.name: r.sequence for r in found.records()} == expected
    assert found.report.turned == len(POSITIONS)
    assert "records are on the other strand" in found.report.warnings[0]


@pytest.mark.parametrize("header", [PLINK, ()])
@pytest.mark.parametrize("absent_is_ref", [False, True])
def test_a_file_of_plink_on_the_other_strand_is_turned_and_swapped(header, absent_is_ref):
    carried = random_carriers()
    carried[:8, 0] = False  # every allele is there
    rows = [complement(row) for row in plink_rows(carried)]
    found = cohort(text(rows, NAMES, header), absent_is_ref=absent_is_ref)
    expected = genomes(text(plain_rows(carried), NAMES), absent_is_ref=absent_is_ref)
    assert {r.name: r.sequence for r in found.records()} == expected
    assert found.report.turned == len(POSITIONS)
    assert found.report.swapped >= 6


def test_few_markers_of_which_some_are_turned_are_refused_as_such():
    rows = plain_rows(random_carriers())[:12]
    rows[3], rows[5] = complement(rows[3]), complement(rows[5])
    with pytest.raises(InputError, match=r"so 2 of 12 records: on the other strand, .*\+fixref"):
        cohort(text(rows, NAMES))


@pytest.mark.parametrize("codes", ["1234", "ABBA"])
def test_alleles_that_are_no_bases_are_refused_with_the_remedy(codes):
    table = str.maketrans("ACGT", codes)
    rows = []
    for row in plink_rows(random_carriers()):
        fields = row.split("\t")
        fields[3:5] = (allele.translate(table) for allele in fields[3:5])
        rows.append("\t".join(fields))
    with pytest.raises(InputError, match=r"alleles that are no bases .*--alleleACGT"):
        cohort(text(rows, NAMES, PLINK))


def test_of_both_strands_in_one_file_the_forward_one_is_read():
    rows = plain_rows(random_carriers())
    rows[::3] = [complement(row) for row in rows[::3]]
    found = cohort(text(rows, NAMES))
    assert len(found.report.skipped) == len(rows[::3])


def ancestor():
    """Another reference of the same length and coordinates, and one genome against it."""
    other = with_variants(POSITIONS[:30:2])
    own = with_variants(POSITIONS[20:40])
    pairs = zip(other, own, strict=True)
    return [line("chrM", p, a, b, ["1"]) for p, (a, b) in enumerate(pairs, start=1) if a != b]


@pytest.mark.parametrize("absent_is_ref", [False, True])
def test_another_reference_of_the_same_length_is_refused_and_no_length_is_made_up(absent_is_ref):
    with pytest.raises(InputError) as error:
        cohort(
            text(ancestor(), header=["##contig=<ID=chrM,length=1500>"]), absent_is_ref=absent_is_ref
        )
    assert "made with another reference of 1,500 letters (RSRS? T2T-CHM13?)" in str(error.value)
    assert "Yoruba" not in str(error.value)


@pytest.mark.parametrize("shift", [1, 2])
def test_shifted_coordinates_are_refused(shift):
    # All are transitions, which on either strand, swapped or not, have the letter of any position.
    rows = [line("MT", p + shift, base(p), variant(p), ["1"]) for p in POSITIONS]
    with pytest.raises(
        InputError, match=r"another reference \(RSRS\? T2T-CHM13\? the Yoruba"
    ) as error:
        cohort(text(rows))
    assert "call the variants against NC_012920.1" in str(error.value)


def test_variants_of_few_reads_leave_a_list_of_variants_one():
    rows = [*mutect(POSITIONS[:6]), *mutect(POSITIONS[6:40], values="2940,60:0.02:3000")]
    found = cohort(text(rows), absent_is_ref=True)
    assert next(found.records()).sequence == with_variants(POSITIONS[:6])
    assert found.report.warnings == ()


def test_filtered_alternates_of_few_reads_leave_the_reference():
    rows = mutect(POSITIONS[6:40], values="2940,60:0.02:3000")
    rows = [row.replace("\t.\t.\t.\tGT", "\t.\tpossible_numt\t.\tGT") for row in rows]
    found = cohort(text([*mutect(POSITIONS[:6]), *rows]), absent_is_ref=True)
    assert next(found.records()).sequence == with_variants(POSITIONS[:6])


def test_filtered_variants_of_most_reads_are_unknown():
    rows = mutect(POSITIONS[:20])
    rows[3:] = [row.replace("\t.\t.\t.\tGT", "\t.\tbase_qual\t.\tGT") for row in rows[3:]]
    found = cohort(text(rows), absent_is_ref=True)
    assert next(found.records()).sequence.count("N") == SIZE - 3
    assert (
        "17 calls are missing, since FILTER says that their records failed (base_qual)"
        in found.report.warnings[0]
    )


def test_an_unknown_contig_is_named():
    rows = [line("chrRSRS", p, base(p), variant(p), ["1"]) for p in POSITIONS]
    with pytest.raises(
        InputError, match=r"no record on NC_012920\.1; contig chrRSRS is not known: .*--rename"
    ):
        cohort(text(rows))


@pytest.mark.parametrize("name", ["rCRS", "chrRCRS", "chrM_rCRS", "mitochondrion", "mtDNA", "90"])
def test_other_names_of_the_mitochondrial_contig(name):
    rows = [line(name, p, base(p), variant(p), ["1"]) for p in POSITIONS[:9]]
    assert genomes(text(rows), absent_is_ref=True)["a"] == with_variants(POSITIONS[:9])


def test_an_array_is_no_list_of_variants():
    rows = [line("MT", p, base(p), ".", ["0"]) for p in POSITIONS[:50]]
    rows += [line("MT", p, base(p), variant(p), ["1"]) for p in POSITIONS[50:]]
    found = cohort(text(rows), absent_is_ref=True)
    assert next(found.records()).sequence.count("N") == SIZE - len(POSITIONS)
    (warning,) = found.report.warnings
    assert "at 50 of 62 positions nobody has a variant, so it is no list of variants" in warning
    assert "--absent-is-ref says" not in str(cohort(text(rows)).report)


@pytest.mark.parametrize(
    ("positions", "is_whole"),
    [
        ([73, 263, 8860, 15326, 16189], True),
        ([73, 263, 15326], True),
        ([1438, 3000], True),  # hardly any variants, as the few have who are like the reference
        ([73, 152, 263, 16189, 16223], False),  # of the control region
        ([73, 263, 750, 1438, 2706, 4769, 7028], False),  # of the first half
        ([16129], False),
    ],
)
def test_variants_of_a_part_of_the_genome_are_not_filled_in(positions, is_whole):
    """Nearly everybody differs from rCRS at 8860 and 15326."""
    letters = "".join(np.random.default_rng(2).choice(list("ACGT"), 16569))
    rows = [line("MT", p, letters[p - 1], letters[p - 1].translate(TRANSITION), ["1"]) for p in positions]  # fmt: skip
    source = Input("-", Kind.VCF, "plain", io.BytesIO(text(rows).encode()))
    reference = Reference("NC_012920.1", letters, circular=True)
    (found,) = read_genomes([source], reference, absent_is_ref=True)
    assert next(found.records()).sequence.count("N") == (0 if is_whole else 16569 - len(positions))
    assert bool(found.report.warnings) != is_whole
    if not is_whole:
        assert "does not list the variants of whole genomes" in found.report.warnings[0]
