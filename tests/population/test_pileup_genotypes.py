"""Aligned reads at a panel's sites: calls of the genotypes they are simulated from, missing where they are too few."""

import json
import os
from collections import Counter

import numpy as np
import pysam
import pytest
from conftest import SITES, run, site

from genomai_cli.formats.pileups import PileupColumn, aligned_reads
from genomai_cli.formats.streams import open_input
from genomai_cli.population.builds import contig_lengths
from genomai_cli.population.pileup_genotypes import call_genotype

READ_LENGTH = 60  # letters of a read, in whose middle the site lies
SITE_OFFSET = READ_LENGTH // 2


def letters_at(cohort, individual):
    """The two letters of an individual at each site; None where one is missing."""
    for number in range(SITES):
        alleles = cohort.alleles[individual, :, number]
        pair = site(number)[2:]
        yield None if (alleles < 0).any() else tuple(pair[allele] for allele in alleles)


def segment(name, contig, position, base, *, quality=30, mapping=60, flag=0, cigar=None, header):
    read = pysam.AlignedSegment(header)
    read.query_name, read.flag, read.reference_id = name, flag, contig
    read.reference_start, read.mapping_quality = position - 1 - SITE_OFFSET, mapping
    read.cigartuples = cigar or [(0, READ_LENGTH)]
    read.query_sequence = "A" * SITE_OFFSET + base + "A" * (READ_LENGTH - SITE_OFFSET - 1)
    read.query_qualities = pysam.qualitystring_to_array(chr(33 + quality) * READ_LENGTH)
    read.set_tag("RG", "g1")
    return read


def header_of(sample="sam", build="GRCh37", prefix="chr"):
    """The contigs of a build; more than one sample between commas."""
    contigs = [
        {"SN": prefix + name, "LN": size} for name, size in contig_lengths(build).items()
    ] if build in ("GRCh37", "GRCh38") else [{"SN": prefix + "1", "LN": 1_000_000}]  # fmt: skip
    groups = [{"ID": f"g{n}", "SM": name} for n, name in enumerate(sample.split(","), start=1)]
    return pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": contigs, "RG": groups}
    )


def write(path, reads, header, *, index=True):
    ordered = sorted(reads, key=lambda read: (read.reference_id, read.reference_start))
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for read in ordered:
            out.write(read)
    if index:
        pysam.index(str(path))
    return path


def bam_of(
    path, cohort, individual=0, *, depth=30, shift=0, contamination=0.0, seed=1, **header_options
):
    """A BAM of reads at all sites of an individual, a share `contamination` of them those of individual 2."""
    header, rng, reads = header_of(**header_options), np.random.default_rng(seed), []
    pairs = zip(letters_at(cohort, individual), letters_at(cohort, 2), strict=True)
    for site_number, (own, other) in enumerate(pairs):
        chrom, position, *_ = site(site_number)
        for read_number in range(depth if own else 0):
            pair = other if other and rng.random() < contamination else own
            base = pair[int(rng.integers(2))]
            name = f"r{site_number}.{read_number}"
            reads.append(segment(name, chrom - 1, position + shift, base, header=header))
    return write(path, reads, header)


@pytest.mark.parametrize(("build", "prefix", "shift"), [("GRCh37", "chr", 0), ("GRCh38", "", 1000)])
def test_the_calls_of_the_genotypes(build, prefix, shift, handmade_bundle, cohort, tmp_path):
    """Neither the strand of a record's letters nor the reference of the file matters."""
    bam = bam_of(tmp_path / "x.bam", cohort, shift=shift, build=build, prefix=prefix)
    result = run(["classify", "--model", handmade_bundle, bam])
    assert result.status == 0, result.stderr
    expected = run(["classify", "--model", handmade_bundle, cohort.newcomers]).rows[1]
    assert result.rows[1][0] == "sam"
    assert result.rows[1][1:4:2] == expected[1:4:2]
    assert int(result.rows[1][5]) > 0.9 * int(expected[5])
    assert f"{build}, {SITES} of {SITES} panel sites" in result.stderr
    barcode = ["tokenize", "--to", "fasta", "--panel", cohort.panel]
    texts = [run([*barcode, file]).stdout for file in (bam, cohort.newcomers)]
    letters, expected_letters = (text.split(">")[1].splitlines()[1] for text in texts)
    assert all(a in ("N", b) for a, b in zip(letters, expected_letters, strict=True))


def test_few_reads_tell_little(handmade_bundle, cohort, tmp_path):
    """One read a site makes no genotype, so that the flag is there; likelihoods are for models that read them."""
    bam = bam_of(tmp_path / "x.bam", cohort, depth=1)
    result = run(["classify", "--model", handmade_bundle, bam])
    assert result.status == 0, result.stderr
    assert result.rows[1][1] == "UNKNOWN"
    assert result.rows[1][5] == "0"


def test_no_reads_at_the_sites_are_unknown(handmade_bundle, tmp_path):
    header = header_of()
    far = [segment("r", 4, 5_000_000, "A", header=header)]
    result = run(["classify", "--model", handmade_bundle, write(tmp_path / "x.bam", far, header)])
    assert result.status == 0, result.stderr
    assert result.rows[1][:2] == ["sam", "UNKNOWN"]
    assert f"{SITES} without reads" in result.stderr


def test_contaminated_reads_are_told(handmade_bundle, cohort, tmp_path):
    """A tenth of another individual's reads: what fits no genotype is missing, and there is a warning."""
    bam = bam_of(tmp_path / "x.bam", cohort, depth=60, contamination=0.1)
    result = run(["classify", "--model", handmade_bundle, bam])
    assert result.status == 0, result.stderr
    assert "these fit no genotype of one person: contaminated" in result.stderr
    clean = bam_of(tmp_path / "y.bam", cohort, depth=60)
    assert "fit no genotype" not in run(["classify", "--model", handmade_bundle, clean]).stderr


@pytest.mark.parametrize("build", ["GRCh38", "other"])
def test_another_assembly_is_refused(build, handmade_bundle, cohort, tmp_path):
    """By the contigs' lengths; by the bases, if these are of a build whose positions the reads have not."""
    header = header_of(build=build)
    rng, reads = np.random.default_rng(1), []
    for number in range(SITES):
        chrom, position, *own = site(number)
        other_bases = [base for base in "ACGT" if base not in own]
        shift = 1000 if build == "GRCh38" else 0
        base = str(rng.choice([*other_bases, other_bases[0], own[0]]))
        if chrom == 1:
            reads += [
                segment(f"r{number}.{n}", 0, position + shift, base, header=header)
                for n in range(9)
            ]
    result = run(["classify", "--model", handmade_bundle, write(tmp_path / "x.bam", reads, header)])
    assert result.status == 1
    message = (
        "the bases are not the panel's alleles"
        if build == "GRCh38"
        else "are not those of GRCh37 or GRCh38"
    )
    assert message in result.stderr
    assert result.stdout == ""


def test_what_does_not_count(cohort, tmp_path):
    """Duplicates, secondary and failed alignments, poor mapping and poor bases; mates count once, gaps not at all."""
    header = header_of()
    chrom, position, ref, alt = site(0)
    counted = [segment(f"r{n}", chrom - 1, position, ref, header=header) for n in range(7)]
    ignored = [
        segment(f"w{n}.{number}", chrom - 1, position, alt, header=header, **options)
        for n, options in enumerate(
            [{"flag": 0x400}, {"flag": 0x100}, {"flag": 0x200}, {"flag": 0x800}, {"mapping": 19}, {"quality": 9},
             {"cigar": [(0, SITE_OFFSET), (2, 1), (0, READ_LENGTH - SITE_OFFSET)]}]
        )
        for number in range(9)
    ]  # fmt: skip
    mates = [segment("m", chrom - 1, position, base, header=header) for base in (ref, alt)]
    bam = write(tmp_path / "x.bam", counted + ignored + mates, header)
    barcode = ["tokenize", "--to", "fasta", "--panel", cohort.panel]
    assert run([*barcode, bam]).stdout.splitlines()[1][0] == ref
    six_reads = write(tmp_path / "y.bam", [*counted[:6], counted[0]], header)
    assert run([*barcode, six_reads]).stdout.splitlines()[1][0] == "N"


def test_reads_whose_names_were_left_out_are_nobodys_mates(tmp_path):
    header = header_of()
    reads = [segment("*", 0, 1000, base, header=header) for base in "AAACCC"]
    with (
        open_input(write(tmp_path / "x.bam", reads, header)) as source,
        aligned_reads(source) as file,
    ):
        assert file.pileup("chr1", 1000).codes.tolist() == [0, 0, 0, 1, 1, 1]


def pileup_column(bases, quality=30):
    codes = np.array(["ACGT".index(base) for base in bases], np.uint8)
    return PileupColumn(codes, np.full(len(codes), 10 ** (-quality / 10)))


@pytest.mark.parametrize(
    ("bases", "genotype", "certain", "fits"),
    [
        ("A" * 7, "AA", True, True),
        ("A" * 6, "AA", False, True),
        ("AAAAACCCCC", "AC", True, True),
        ("AC", "AC", False, True),
        ("A" * 30 + "C", "AA", True, True),
        ("A" * 30 + "CC", "AA", True, False),
        ("A" * 54 + "C" * 6, "AC", True, False),
        ("A" * 10 + "C" * 10 + "GGG", "AC", True, False),
    ],
)
def test_the_likeliest_genotype(bases, genotype, certain, fits):
    found = call_genotype(pileup_column(bases))
    assert "".join(found.genotype) == genotype
    assert found.is_certain == certain
    assert found.fits == fits


def test_its_likelihoods_are_those_of_the_binomial():
    """By hand: three reads of ref and one of alt, of quality 20."""
    e = 0.01
    hom, het, other = (1 - e) ** 3 * e / 3, (0.5 * (1 - e + e / 3)) ** 4, (e / 3) ** 3 * (1 - e)
    found = call_genotype(pileup_column("AAAC", 20)).likelihoods(("A", "C"))[0]
    np.testing.assert_allclose(found, np.array([hom, het, other]) / max(hom, het), rtol=1e-4)
    assert call_genotype(pileup_column("")) is None


def test_likelihoods_are_read_by_models_that_do(cohort, tmp_path):
    """One read a site is one allele: `ancestry` counts it as it does PL of a VCF."""
    bam = bam_of(tmp_path / "x.bam", cohort, depth=2)
    from genomai_cli.formats.streams import open_inputs
    from genomai_cli.population.barcode import read_barcodes
    from genomai_cli.population.panel import Panel

    barcodes = read_barcodes(open_inputs([bam]), Panel.read(cohort.panel), likelihoods=True)
    assert barcodes.report.uncertain["GL"] > 0.9 * (cohort.alleles[0] >= 0).all(axis=0).sum()


def test_the_options_of_calls_count(handmade_bundle, cohort, tmp_path):
    bam = bam_of(tmp_path / "x.bam", cohort)
    record = tmp_path / "record.json"
    for option, key in ((["--min-dp", "31"], "min_dp"), (["--min-gq", "900"], "min_gq")):
        arguments = ["classify", "--model", handmade_bundle, bam, *option, "--report-json", record]
        assert run(arguments).status == 0
        no_calls = json.loads(record.read_text())["details"]["matches"][0]["no_calls"]
        assert Counter(no_calls).most_common(1)[0][0] == key


def test_files_that_cannot_be_read_are_refused(handmade_bundle, cohort, tmp_path):
    header = header_of("one,two")
    reads = [segment("r", 0, 1000, "A", header=header)]
    two_samples = write(tmp_path / "two.bam", reads, header)
    unindexed = write(tmp_path / "bare.bam", reads, header_of(), index=False)
    stale = bam_of(tmp_path / "stale.bam", cohort)
    os.utime(tmp_path / "stale.bam.bai", (1, 1))
    truncated = bam_of(tmp_path / "cut.bam", cohort)
    truncated.write_bytes(truncated.read_bytes()[:-28])
    (tmp_path / "cut.bam.bai").touch()
    for file, message in (
        (two_samples, "reads of 2 samples (one, two): one file a sample"),
        (unindexed, "no index beside it: `samtools index bare.bam` makes it"),
        (truncated, "truncated"),
        (stale, "changed after its index: `samtools index stale.bam` makes it anew"),
    ):
        result = run(["classify", "--model", handmade_bundle, file])
        assert result.status == 1, result.stderr
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert "not a stream" in run(["classify", "--model", handmade_bundle], stdin=unindexed).stderr
    mito = run(["classify", "--model", "mito", bam_of(tmp_path / "x.bam", cohort)])
    assert mito.status == 1
    assert "where VCF or BCF is needed" in mito.stderr


def test_a_cram_needs_its_reference(handmade_bundle, cohort, tmp_path):
    header = pysam.AlignmentHeader.from_dict({
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": "NC_000001.10", "LN": 70_000}],
        "RG": [{"ID": "g1", "SM": "sam"}],
    })  # fmt: skip
    rng = np.random.default_rng(2)
    letters = "".join(rng.choice(list("ACGT"), 70_000))
    genome = tmp_path / "genome.fa"
    genome.write_text(f">NC_000001.10\n{letters}\n")
    pysam.faidx(str(genome))
    reads = []
    for number, pair in zip(range(60), letters_at(cohort, 0), strict=False):
        _, position, *_ = site(number)
        reads += [segment(f"r{number}.{n}", 0, position, pair[n % 2], header=header) for n in range(20)]  # fmt: skip
    reads.sort(key=lambda read: read.reference_start)
    cram = tmp_path / "x.cram"
    with pysam.AlignmentFile(str(cram), "wc", header=header, reference_filename=str(genome)) as out:
        for read in reads:
            out.write(read)
    pysam.index(str(cram))
    arguments = ["classify", "--model", handmade_bundle, cram]
    result = run(arguments)
    assert result.status == 1
    assert "--reference FASTA" in result.stderr
    result = run([*arguments, "--reference", genome])
    assert result.status == 0, result.stderr
    assert int(result.rows[1][5]) > 40
    other = tmp_path / "other.fa"
    other.write_text(f">NC_000001.10\n{letters[::-1]}\n")
    other_contig = tmp_path / "lacks.fa"
    other_contig.write_text(f">NC_000002.11\n{letters}\n")
    genome.unlink()  # which the header names
    for reference in (other, other_contig):
        result = run([*arguments, "--reference", reference])
        assert result.status == 1
        assert "not made with this --reference" in result.stderr
        assert len(result.stderr.splitlines()) == 1
