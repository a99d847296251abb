"""`genomai denoise` of VCF: what is restored, what stays byte for byte, and what the file looks like after it."""

import gzip
import shutil
import subprocess

import numpy as np
import pytest
from conftest import assert_expected, run_process
from test_cli_denoise import MITO, PANEL, VCF, denoise, denoised

pytestmark = pytest.mark.usefixtures("one_thread", "shipped_only")
BCFTOOLS = shutil.which("bcftools")
needs_bcftools = pytest.mark.skipif(not BCFTOOLS, reason="bcftools is not installed here")


def table(text):
    """The samples, and the columns of every record."""
    lines = text.splitlines()
    records = [line.split("\t") for line in lines if not line.startswith("#")]
    names = next(line for line in lines if line.startswith("#CHROM")).split("\t")[9:]
    return names, records


def with_records(text, records):
    head = [line for line in text.splitlines() if line.startswith("#")]
    return "\n".join([*head, *("\t".join(columns) for columns in records)]) + "\n"


def example_vcf(samples=11):
    """The example VCF with its first samples: by default all but the one that is mostly missing."""
    lines = VCF.splitlines()
    head = [line for line in lines if line.startswith("##")]
    rows = [line.split("\t")[: 9 + samples] for line in lines if not line.startswith("##")]
    return "\n".join([*head, *("\t".join(row) for row in rows)]) + "\n"


def incomplete(seed=0, forms=("./.", ".|.", "."), share=0.2, every=2):
    """The example VCF with missing genotypes in every other record."""
    rng = np.random.default_rng(seed)
    text = example_vcf()
    _, records = table(text)
    for number, columns in enumerate(records):
        for at in range(9, len(columns)):
            if number % every == 0 and rng.random() < share:
                columns[at] = str(rng.choice(forms))
    return with_records(text, records)


def test_a_file_in_which_nothing_is_missing_comes_back_as_it_is(tmp_path):
    for text in (example_vcf(), example_vcf().replace("\n", "\r\n"), example_vcf().rstrip("\n")):
        assert denoised(stdin=text) == text
    (tmp_path / "x.vcf").write_text(example_vcf())
    assert denoised(tmp_path / "x.vcf") == example_vcf()


def test_missing_genotypes_are_filled_in():
    text = incomplete()
    names, before = table(text)
    after_names, after = table(denoised(stdin=text))
    assert after_names == names
    for old, new in zip(before, after, strict=True):
        has_missing = any("." in call for call in old[9:])
        assert (old == new) is not has_missing
        if not has_missing:
            continue
        assert new[:8] == old[:8]
        assert new[8] == "GT:GP:DS"
        for old_call, call in zip(old[9:], new[9:], strict=True):
            genotype, probabilities, dosage = call.split(":")
            p = [float(value) for value in probabilities.split(",")]
            assert sum(p) == pytest.approx(1, abs=2e-4)
            assert float(dosage) == pytest.approx(p[1] + 2 * p[2], abs=2e-4)
            assert "|" in genotype  # every sample is phased
            if "." not in old_call:
                assert genotype == old_call
                assert p[sum(map(int, old_call.split("|")))] == 1
            else:
                assert p[sum(map(int, genotype.split("|")))] == max(p)


def test_records_that_are_not_touched_stay_byte_for_byte():
    text = incomplete().replace("\tPASS\t.\tGT\t", "\tPASS\tX=1;Y\tGT\t")
    before, after = (t.splitlines() for t in (text, denoised(stdin=text)))
    records = (line for line in before if not line.startswith("#"))
    complete = [line for line in records if "." not in "".join(line.split("\t")[9:])]
    assert len(complete) > 400
    assert set(complete) <= set(after)


def test_golden_vcf():
    text = incomplete()
    _, records = table(text)
    subset = with_records(text, records[:12])
    assert_expected("denoise.vcf", denoised("--only-present", stdin=subset))


def test_sites_that_the_file_lacks_are_added_in_their_place():
    text = example_vcf()
    _, records = table(text)
    retained = [
        columns for number, columns in enumerate(records) if number % 3 and columns[0] != "7"
    ]
    result = denoised(stdin=with_records(text, retained))
    _, after = table(result)
    assert [columns[:5] for columns in after] == [columns[:5] for columns in records]
    added = [columns for columns in after if columns[7] == "IMPUTED"]
    assert len(added) == len(records) - len(retained)
    assert "##INFO=<ID=IMPUTED," in result
    assert denoised("--only-present", stdin=with_records(text, retained)) == with_records(
        text, retained
    )


def test_contigs_and_builds_are_named_as_in_the_file():
    text = example_vcf()
    _, records = table(text)
    columns = (PANEL.chrom, *(PANEL.positions[b].tolist() for b in ("GRCh37", "GRCh38")))
    new_position = {(chrom, old): new for chrom, old, new in zip(*columns, strict=True)}
    lifted = []
    for columns in records[5:]:
        position = new_position[columns[0], int(columns[1])]
        if position and columns[0] != "9":
            lifted.append([f"chr{columns[0]}", str(position), *columns[2:]])
    lifted.sort(key=lambda columns: (int(columns[0][3:]), int(columns[1])))
    without_contigs = (
        "\n".join(line for line in text.splitlines() if not line.startswith("##contig")) + "\n"
    )
    result = denoise(stdin=with_records(without_contigs, lifted))
    assert "GRCh38" in result.stderr
    _, after = table(result.output.decode())
    positions = [(int(columns[0][3:]), int(columns[1])) for columns in after]
    assert positions == sorted(positions)
    assert sum(columns[0] == "chr9" for columns in after) > 10
    assert len(after) == 964  # three sites have no position in GRCh38


def test_swapped_alleles_give_the_same_genotypes():
    text = incomplete()
    _, records = table(text)
    swapped = []
    for columns in records:
        calls = [call.translate(str.maketrans("01", "10")) for call in columns[9:]]
        swapped.append([*columns[:3], columns[4], columns[3], *columns[5:9], *calls])
    _, one = table(denoised(stdin=text))
    _, other = table(denoised(stdin=with_records(text, swapped)))
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a[9:], b[9:], strict=True):
            first, second = x.split(":"), y.split(":")
            assert first[0].translate(str.maketrans("01", "10")) == second[0]
            if len(first) > 1:
                probabilities = [
                    [float(p) for p in fields[1].split(",")] for fields in (first, second)
                ]
                assert probabilities[0] == pytest.approx(probabilities[1][::-1], abs=1.01e-4)


def test_half_a_genotype_keeps_its_known_half():
    text = incomplete(forms=("./1", "0/.", ".|1", "1|."))
    for old, new in zip(*(table(t)[1] for t in (text, denoised(stdin=text))), strict=True):
        for old_call, call in zip(old[9:], new[9:], strict=True):
            if "." in old_call:
                genotype = call.split(":")[0]
                assert "." not in genotype
                known_allele = old_call.strip("./|")
                assert known_allele in genotype
                if "|" in old_call:
                    assert genotype[old_call.index(known_allele)] == known_allele


def test_other_fields_are_kept_and_padded():
    text = example_vcf()
    _, records = table(text)
    records[0][8:11] = ["GT:AD:DP", "./.", "0|1:3,4:7"]
    records[0][11:] = [f"{call}:1,1:2" for call in records[0][11:]]
    after = table(denoised(stdin=with_records(text, records)))[1][0]
    assert after[8] == "GT:AD:DP:GP:DS"
    assert after[10] == "0|1:3,4:7:0,1,0:1"
    fields = after[9].split(":")
    assert fields[1:3] == [".", "."]
    assert len(fields) == 5


def test_records_with_other_alleles_are_left_alone():
    text = example_vcf()
    _, records = table(text)
    for columns in records[:3]:
        columns[9] = "./."
    other = next(base for base in "ACGT" if base not in records[0][3:5])
    records[0][4] += f",{other}"
    records[1][4] = next(base for base in "ACGT" if base not in records[1][3:5])
    result = denoise(stdin=with_records(text, records))
    after = table(result.output.decode())[1]
    assert after[:2] == records[:2]
    assert after[2] != records[2]
    assert len(after) == len(records)
    assert "2 records with missing genotypes have other alleles" in result.stderr


def test_a_monomorphic_record_gets_the_other_allele():
    text = example_vcf()
    _, records = table(text)
    alt = records[3][4]
    records[3][4] = "."
    records[3][9:] = ["./.", *["0|0"] * 10]
    after = table(denoised(stdin=with_records(text, records)))[1][3]
    assert after[4] == alt
    assert after[10].startswith("0|0:1,0,0:")


def test_more_than_two_alleles_stay():
    text = example_vcf()
    _, records = table(text)
    records[3][9:11] = ["././.", "./."]
    after = table(denoised(stdin=with_records(text, records)))[1][3]
    assert after[9].split(":")[0] == "././."
    assert after[10].split(":")[0] != "./."


def test_an_unphased_person_stays_unphased():
    text = incomplete().replace("|", "/")
    _, after = table(denoised(stdin=text))
    assert not any("|" in call for columns in after for call in columns[9:])


def test_a_sample_of_whom_nothing_is_known_stays_missing():
    text = example_vcf()
    names, records = table(text)
    records = [[*columns, "./."] for columns in records]
    text = with_records(text, records).replace(f"\t{names[-1]}\n", f"\t{names[-1]}\tnobody\n")
    result = denoise(stdin=text)
    assert result.output.decode() == text
    assert "1 samples have no genotype" in result.stderr


def test_a_file_without_a_site_of_the_model_comes_back_as_it_is():
    text = example_vcf()
    _, records = table(text)
    for columns in records:
        columns[1] = str(int(columns[1]) + 1)
    text = with_records(text, records)
    result = denoise(stdin=text)
    assert result.status == 0
    assert result.output.decode() == text
    assert "the file stays as it is" in result.stderr


def test_a_sample_does_not_depend_on_the_others():
    text = incomplete(3)
    _, records = table(text)
    names, _ = table(text)
    alone = with_records(text, [[*columns[:9], columns[12]] for columns in records])
    alone = alone.replace("\t".join(names), names[3])
    _, one = table(denoised("--error-rate", 0.01, stdin=alone))
    _, together = table(denoised("--error-rate", 0.01, stdin=text))
    for a, b in zip(one, together, strict=True):
        if a[8] == b[8]:
            assert a[9] == b[12]


def test_errors_in_genotypes_are_corrected(tmp_path):
    text = example_vcf()
    _, before = table(text)
    _, after = table(denoised("--error-rate", 0.05, "--changes", tmp_path / "c.tsv", stdin=text))
    rows = [line.split("\t") for line in (tmp_path / "c.tsv").read_text().splitlines()[1:]]
    changed = sum(
        old != new.split(":")[0]
        for old_columns, new_columns in zip(before, after, strict=True)
        for old, new in zip(old_columns[9:], new_columns[9:], strict=True)
    )
    assert changed == len(rows) > 0
    assert all(float(row[4]) > 0.5 for row in rows)
    sample, location, _, new, _ = rows[0]
    columns = next(c for c in after if f"{c[0]}:{c[1]}" == location)
    assert columns[9 + table(text)[0].index(sample)].startswith(f"{new}:")


def test_every_way_in_and_out(tmp_path):
    text = incomplete()
    expected = denoised(stdin=text)
    (tmp_path / "a.vcf").write_text(text)
    with gzip.open(tmp_path / "b.vcf.gz", "wt") as handle:
        handle.write(text)
    assert denoised(tmp_path / "a.vcf") == expected
    assert denoised(tmp_path / "b.vcf.gz") == expected
    denoised(tmp_path / "a.vcf", "-o", tmp_path / "out.vcf.gz")
    assert gzip.decompress((tmp_path / "out.vcf.gz").read_bytes()).decode() == expected
    assert (tmp_path / "out.vcf.gz").read_bytes()[12:14] == b"BC"


def bcftools(*arguments, stdin=None):
    return subprocess.run([BCFTOOLS, *arguments], input=stdin, capture_output=True, check=True)


@needs_bcftools
def test_bcf_becomes_the_same_vcf(tmp_path):
    text = incomplete()
    for kind in "ub":
        bcf = bcftools("view", f"-O{kind}", stdin=text.encode()).stdout
        assert table(denoised(stdin=bcf)) == table(denoised(stdin=text))


@needs_bcftools
@pytest.mark.parametrize("options", [[], ["--error-rate", 0.02], ["--min-confidence", 0.9]])
def test_bcftools_reads_what_comes_out(tmp_path, options):
    text = incomplete(forms=("./.", ".|.", ".", "./1"))
    _, records = table(text)
    text = with_records(text, records[::2])
    denoised(*options, "-o", tmp_path / "x.vcf.gz", stdin=text)
    for arguments in (["index"], ["norm", "-m", "-any", "-o", "/dev/null"], ["stats"]):
        result = bcftools(*arguments, tmp_path / "x.vcf.gz")
        assert b"[W::" not in result.stderr
        assert b"[E::" not in result.stderr
    bcf = bcftools("view", "-Ob", tmp_path / "x.vcf.gz").stdout
    assert b"," in bcftools("query", "-f", "[%GP\t]\n", stdin=bcf).stdout


def test_a_damaged_vcf_leaves_nothing_behind(tmp_path):
    text = incomplete()[:-40]
    result = denoise("-o", tmp_path / "x.vcf", "--changes", tmp_path / "c.tsv", stdin=text)
    assert result.status == 1
    assert "<stdin>:995: " in result.stderr
    assert list(tmp_path.iterdir()) == []


# --- VCF of mitochondrial genomes ----------------------------------------------------------------


def mito_vcf(calls, form="{0}"):
    """Genotypes at positions of rCRS, each with the transition as the alternate allele."""
    head = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=chrM,length=16569>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="G">',
    ]
    names = [f"s{number}" for number in range(len(next(iter(calls.values()))))]
    lines = [
        "\t".join(["#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT".replace(" ", "\t"), *names])
    ]
    transition = {"A": "G", "G": "A", "C": "T", "T": "C"}
    for position, row in sorted(calls.items()):
        ref = MITO[position - 1]
        fixed = ["chrM", str(position), ".", ref, transition[ref], ".", ".", ".", "GT"]
        lines.append("\t".join([*fixed, *(form.format(call) for call in row)]))
    return "\n".join([*head, *lines]) + "\n"


COMMON = [73, 263, 750, 1438, 2706, 4769, 7028, 8860, 11719, 14766, 15326, 16223]


def test_haploid_calls_are_filled_in():
    calls = {position: ["1", "0", "1"] for position in COMMON}
    calls[2706] = [".", ".", "1"]
    calls[3500] = ["0", ".", "0"]
    _, after = table(denoised("--only-present", stdin=mito_vcf(calls)))
    records = {int(columns[1]): columns for columns in after}
    for position in (2706, 3500):
        assert records[position][8] == "GT:GP:DS"
        for call in records[position][9:]:
            genotype, probabilities, _ = call.split(":")
            assert genotype in "01"
            assert len(probabilities.split(",")) == 2
    assert records[3500][10].startswith("0:")
    assert records[73][8] == "GT"


@pytest.mark.parametrize("contig", ["chrM", "26"])
def test_records_of_plink_are_restored(contig):
    """REF is the commoner allele, there is no ALT where all have that, and the contig may be 26."""
    text = mito_vcf({position: ["1", "1"] for position in COMMON}).replace("chrM", contig)
    text = text.replace("##contig", "##source=PLINKv1.90\n##contig", 1)
    _, records = table(text)
    given = []
    for number, columns in enumerate(records):
        swapped = [columns[4], columns[3] if number % 2 else "."]
        calls = ["0", "." if number % 3 == 0 else "0"]
        given.append([*columns[:3], *swapped, *columns[5:9], *calls])
    _, after = table(denoised("--only-present", stdin=with_records(text, given)))
    assert len(after) == len(records)
    for before, columns in zip(records, after, strict=True):
        assert (columns[0], columns[3]) == (contig, before[4])
        assert [call.split(":")[0] for call in columns[9:]] == ["0", "0"]


def test_homoplasmic_calls_of_two_alleles_stay_so():
    calls = {position: ["1", "0"] for position in COMMON}
    text = mito_vcf(calls, "{0}/{0}").replace("1/1", "./.", 1)
    _, after = table(denoised("--only-present", stdin=text))
    genotype, probabilities, _ = after[0][9].split(":")
    assert genotype in ("0/0", "1/1")
    assert probabilities.split(",")[1] == "0"


def test_absent_sites_of_a_genome_are_added_unless_they_are_reference():
    calls = {position: ["1", "0", "."] for position in COMMON}
    text = mito_vcf(calls)
    result = denoised(stdin=text)
    _, after = table(result)
    positions = [int(columns[1]) for columns in after]
    assert positions == sorted(positions)
    assert len(after) > 3000
    assert all(columns[0] == "chrM" for columns in after)
    _, added = table(denoised("--absent-is-ref", stdin=text))
    assert len(added) == len(COMMON)


def test_same_bytes_in_a_process_of_its_own():
    text = incomplete()
    result = run_process(["denoise", "--device", "cpu", "--threads", "1", "-q"], stdin=text)
    assert result.output.decode() == denoised("-q", stdin=text)
    assert result.stderr == ""


def test_a_file_on_the_other_strand_is_restored_alike():
    text = incomplete()
    _, records = table(text)
    complement = str.maketrans("ACGT", "TGCA")
    complemented = [
        [*columns[:3], *(bases.translate(complement) for bases in columns[3:5]), *columns[5:]]
        for columns in records
    ]
    _, expected = table(denoised(stdin=text))
    _, denoised_rows = table(denoised(stdin=with_records(text, complemented)))
    assert [columns[9:] for columns in denoised_rows] == [columns[9:] for columns in expected]
    assert [columns[3:5] for columns in denoised_rows] == [columns[3:5] for columns in complemented]


def test_a_list_of_variants_is_told():
    lines = [
        line.replace("0|0", ".|.").replace("0/0", "./.") for line in example_vcf().splitlines()
    ]
    result = denoise(stdin="\n".join(lines) + "\n")
    assert result.status == 0
    (line,) = [line for line in result.stderr.splitlines() if "VARIANTS_ONLY" in line]
    assert "11 of 11 samples" in line
    assert "--absent-is-ref" in line
    assert "VARIANTS_ONLY" not in denoise(stdin=example_vcf()).stderr
