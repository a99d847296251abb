"""PLINK 2's .pgen with .pvar and .psam: the same records as from the VCF they were made of; damage is refused."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, run

from genomai_cli.errors import InputError
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.plink2 import read_pgen
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.vcf import read_variants

pgenlib = pytest.importorskip("pgenlib")
HEADER = """\
##fileformat=VCFv4.2
##contig=<ID=1,length=249250621>
##FILTER=<ID=LowQual,Description="">
##INFO=<ID=END,Number=1,Type=Integer,Description="">
##ALT=<ID=DEL,Description="">
##FORMAT=<ID=GT,Number=1,Type=String,Description="">
"""
NAMES = ["a", "b", "c"]
ROWS = """\
1 100 r1 A G . PASS . GT 0|1 1|0 ./.
1 200 r2 A G,T . . . GT 0|2 1/2 ./.
1 300 r3 ACG A . PASS . GT 0|1 1/1 0/0
1 310 r4 A G . LowQual . GT 0|1 1/1 0/0
1 320 r5 A <DEL> . PASS END=324 GT 0/1 0/0 1/1
X 400 r6 C . . PASS . GT 0/0 0/0 ./.
"""
PANEL_SITES = {"1": {100, 200, 302, 310, 323}, "X": {400}}


def as_vcf(folder: Path, rows: str = ROWS) -> Path:
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *NAMES]
    lines = ["\t".join(line.split()) for line in [" ".join(columns), *rows.splitlines()]]
    path = folder / "x.vcf"
    path.write_text(HEADER + "\n".join(lines) + "\n")
    return path


def as_pgen(stem: Path, vcf: Path, *, provisional: bool = False, dosages=None) -> Path:
    """The files that PLINK 2 would make of a VCF, by its library; the .pvar has all of the VCF's first columns."""
    lines = vcf.read_text().splitlines()
    header = [line for line in lines if line.startswith("##")]
    columns, *rows = (line.split("\t") for line in lines if not line.startswith("##"))
    names = columns[9:]
    fixed = ["\t".join(fields[:8]) for fields in (columns, *rows)]
    stem.with_suffix(".pvar").write_text("\n".join([*header, *fixed]) + "\n")
    stem.with_suffix(".psam").write_text("#IID\tSEX\n" + "".join(f"{n}\tNA\n" for n in names))
    max_alleles = max(2 + fields[4].count(",") for fields in rows)
    writer = pgenlib.PgenWriter(
        bytes(stem.with_suffix(".pgen")), len(names), variant_ct=len(rows),
        nonref_flags=provisional, allele_ct_limit=max_alleles, hardcall_phase_present=dosages is None,
        dosage_present=dosages is not None,
    )  # fmt: skip
    for number, fields in enumerate(rows):
        if dosages is not None:
            writer.append_dosages(np.array(dosages[number], np.float32))
            continue
        calls = [call.split(":")[0] for call in fields[9:]]
        pairs = [call.replace("|", "/").split("/") for call in calls]
        alleles = np.array([-9 if a == "." else int(a) for pair in pairs for a in pair], np.int32)
        phased = np.array(["|" in call for call in calls])
        writer.append_partially_phased(alleles, phased, allele_ct=2 + fields[4].count(","))
    writer.close()
    return stem.with_suffix(".pgen")


def records_of(pgen: Path, sites=None, **options):
    with open_input(pgen) as source:
        assert source.kind is Kind.PGEN
        file = read_pgen(source, sites, **options)
        return file, list(file.records)


def record_fields(record):
    """The fields of a record without its line number; phase counts where two alleles differ."""
    calls, phased = (
        record.genotypes,
        record.phased & (record.genotypes[:, 0] != record.genotypes[:, 1]),
    )
    reasons = None if record.no_calls is None else record.no_calls.tolist()
    return (
        record.contig, record.position, record.ref, record.alts, calls.tolist(), phased.tolist(),
        record.offset, record.filters, reasons,
    )  # fmt: skip


@pytest.mark.parametrize("sites", [None, PANEL_SITES])
def test_the_records_of_the_vcf(sites, tmp_path):
    """Several alternate alleles, phase, a deletion and a symbolic one over a position of the panel, FILTER, no ALT."""
    vcf = as_vcf(tmp_path)
    with open_input(vcf) as source:
        expected = [record_fields(r) for r in read_variants(source, sites, covering=True).records]
    file, records = records_of(as_pgen(tmp_path / "x", vcf), sites, covering=True)
    assert [record_fields(record) for record in records] == expected
    assert [record.line for record in records][:2] == [8, 9]
    assert file.samples == tuple(NAMES)
    assert file.contigs == {"1": 5, "X": 1}
    assert file.header[1] == "##contig=<ID=1,length=249250621>"
    assert file.ordered


def test_provisional_reference_alleles_mean_nothing(tmp_path):
    file, _ = records_of(as_pgen(tmp_path / "x", as_vcf(tmp_path), provisional=True))
    assert not file.ordered


def test_dosages_are_evidence_where_there_is_no_hard_call(tmp_path):
    rows = "1 100 r1 A G . PASS . GT . . .\n1 200 r2 A G . PASS . GT . . .\n"
    dosages = [[0, 0.5, 1.98], [2, 1, 0]]
    pgen = as_pgen(tmp_path / "x", as_vcf(tmp_path, rows), dosages=dosages)
    _, (first, second) = records_of(pgen, likelihoods=True)
    assert first.genotypes.tolist() == [[0, 0], [-1, -1], [1, 1]]
    assert first.evidence is not None
    assert first.evidence.key == "DS"
    values = np.rint(100 * first.evidence.values).astype(int).tolist()
    assert values == [[100, 100, 100], [56, 38, 6], [100, 100, 100]]
    assert second.evidence is None
    assert records_of(pgen)[1][0].evidence is None


@pytest.mark.parametrize("build", ["GRCh37", "GRCh38"])
def test_the_calls_of_a_vcf(build, handmade_bundle, cohort, tmp_path):
    vcf = tmp_path / "people.vcf"
    vcf.write_text(cohort.variant_text(build=build, swapped=frozenset({3, 4, 50})))
    pgen = as_pgen(tmp_path / "people", vcf)
    arguments = ["classify", "--model", handmade_bundle]
    found, expected = run([*arguments, pgen]), run([*arguments, vcf])
    assert found.status == 0, found.stderr
    assert found.stdout == expected.stdout


def test_haplotypes_keep_their_phase(cohort, tmp_path):
    pgen = as_pgen(tmp_path / "people", cohort.newcomers)
    arguments = ["tokenize", "--to", "fasta", "--haplotypes", "--panel", cohort.panel]
    found = run([*arguments, pgen])
    assert found.status == 0, found.stderr
    assert found.stdout == run([*arguments, cohort.newcomers]).stdout


def test_a_pvar_without_header_and_compressed_ones(tmp_path):
    pgen = as_pgen(tmp_path / "x", as_vcf(tmp_path))
    pvar = pgen.with_suffix(".pvar")
    expected = [record_fields(record)[:6] for record in records_of(pgen)[1]]
    fields = [line.split("\t") for line in pvar.read_text().splitlines() if line[0] != "#"]
    unfiltered = [number for number, row in enumerate(fields) if row[6] != "LowQual"]
    pvar.write_text("".join(f"{c} {i} 0 {p} {a} {r}\n" for c, p, i, r, a, *_ in fields))
    found = [record_fields(record)[:6] for record in records_of(pgen)[1]]
    assert [found[n] for n in unfiltered] == [expected[n] for n in unfiltered]
    zstandard = pytest.importorskip("zstandard")
    compressed = zstandard.ZstdCompressor().compress(pvar.read_bytes())
    pvar.unlink()
    (tmp_path / "x.pvar.zst").write_bytes(compressed)
    assert [record_fields(record)[:6] for record in records_of(pgen)[1]] == found
    (tmp_path / "x.pvar.zst").write_bytes(compressed[:-8])
    assert "truncated" in refusal(pgen)
    (tmp_path / "x.pvar.zst").write_bytes(compressed[:8] + b"?" * 8 + compressed[16:])
    assert "the compressed data are damaged" in refusal(pgen)


def test_names_of_samples(tmp_path):
    pgen = as_pgen(tmp_path / "x", as_vcf(tmp_path))
    psam = pgen.with_suffix(".psam")
    for text, names in (
        ("##a comment\n#FID\tIID\tSEX\nf\ta\t1\ng\ta\t1\ng\tc\t1\n", ("f_a", "g_a", "g_c")),
        ("f a 0 0 1 -9\nf b 0 0 1 -9\nf c 0 0 1 -9\n", ("a", "b", "c")),
        ("#IID\na\nb\nc\n", ("a", "b", "c")),
    ):
        psam.write_text(text)
        assert records_of(pgen)[0].samples == names
    psam.write_text("#IID\na\na\nc\n")
    assert "x.psam:2: sample a is there 2 times" in refusal(pgen)


def refusal(pgen: Path) -> str:
    with pytest.raises(InputError) as message:
        records_of(pgen)
    return str(message.value)


def test_damaged_files_are_refused(tmp_path):
    pgen = as_pgen(tmp_path / "x", as_vcf(tmp_path))
    pgen_file, pvar, psam = (pgen.with_suffix(s) for s in (".pgen", ".pvar", ".psam"))
    data = pgen_file.read_bytes()
    for size in (8, 11, 12, 20, len(data) - 1):
        pgen_file.write_bytes(data[:size])
        assert "truncated" in refusal(pgen)
    pgen_file.write_bytes(data)
    for file, content, message in (
        (psam, "#IID\na\nb\n", "6 variants of 3 samples, where the .pvar has 6 variants and the .psam 2"),
        (psam, "#IID\tSEX\na\n", "x.psam:2: 1 fields where a .psam has #IID SEX"),
        (pvar, "1 r1 x A G\n", "x.pvar:1: 'x' is not a position"),
        (pvar, "1 r1 100\n", "x.pvar:1: 3 fields and no #CHROM line before"),
        (pvar, "#CHROM\tPOS\tREF\n", "x.pvar:1: the #CHROM line must name"),
        (pvar, "#CHROM\tPOS\tID\tREF\tALT\n1\t100\tr1\tA\n", "x.pvar:2: 4 fields"),
        (pvar, "\n".join(pvar.read_text().splitlines()[:-1]) + "\n", "the .pvar has 5 variants"),
        (pvar, pvar.read_text().replace("G,T", "G"), "truncated or damaged, or not the .pvar"),
    ):  # fmt: skip
        original = file.read_text()
        file.write_text(content)
        assert message in refusal(pgen)
        file.write_text(original)
    psam.unlink()
    assert "no x.psam beside it" in refusal(pgen)
    pvar.unlink()
    as_pgen(tmp_path / "y", as_vcf(tmp_path)).with_suffix(".psam").rename(psam)
    assert "no x.pvar beside it" in refusal(pgen)


def test_a_stream_is_refused(tmp_path):
    result = run(["classify"], stdin=as_pgen(tmp_path / "x", as_vcf(tmp_path)))
    assert result.status == 1
    assert "name the file itself" in result.stderr


@pytest.mark.parametrize("library", ["pgenlib", "zstandard"])
def test_without_the_library_it_is_named(library, tmp_path, monkeypatch):
    pgen = as_pgen(tmp_path / "x", as_vcf(tmp_path))
    if library == "zstandard":
        pgen.with_suffix(".pvar").unlink()
        (tmp_path / "x.pvar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    monkeypatch.setitem(sys.modules, library, None)
    result = run(["classify", pgen])
    assert result.status == 2
    assert f"{library}: pip install 'genomai[plink]'" in result.stderr


@pytest.mark.parametrize("options", [[], ["vzs"]])
def test_files_of_plink2_itself(options, handmade_bundle, cohort, tmp_path):
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed")
    arguments = ["plink2", "--vcf", cohort.newcomers, "--make-pgen", *options]
    arguments = [*map(str, arguments), "--out", str(tmp_path / "made")]
    completed = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    arguments = ["classify", "--model", handmade_bundle]
    found = run([*arguments, tmp_path / "made.pgen"])
    assert found.status == 0, found.stderr
    assert found.stdout == run([*arguments, cohort.newcomers]).stdout


def test_records_of_plink2_itself(tmp_path):
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed")
    vcf = as_vcf(tmp_path, ROWS.replace("X 400", "1 400"))
    command = ["plink2", "--vcf", vcf, "--make-pgen", "--out", tmp_path / "made"]
    completed = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    with open_input(vcf) as source:
        expected = [
            record_fields(r) for r in read_variants(source, PANEL_SITES, covering=True).records
        ]
    _, records = records_of(tmp_path / "made.pgen", PANEL_SITES, covering=True)
    assert [record_fields(record) for record in records] == expected


def test_align_reads_it_as_the_vcf(tmp_path, shipped_only):
    vcf = tmp_path / "samples.vcf"
    vcf.write_bytes(gzip.decompress((REPOSITORY / "examples" / "samples.vcf.gz").read_bytes()))
    expected = run(["align", "--top", "1", vcf])
    assert expected.status == 0, expected.stderr
    found = run(["align", "--top", "1", as_pgen(tmp_path / "samples", vcf)])
    assert found.status == 0, found.stderr
    assert found.rows == expected.rows
