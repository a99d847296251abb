"""Aligned reads at a panel's sites: the calls of those they were made from, and what they cannot tell is missing."""

import json
import os
from collections import Counter

import numpy as np
import pysam
import pytest
from conftest import SITES, run, site

from genomai_cli.formats.pileups import PileupColumn
from genomai_cli.population.builds import contig_lengths
from genomai_cli.population.pileup_genotypes import call_genotype

LENGTH = 60  # letters of a read, in whose middle the site lies
BEFORE = LENGTH // 2


def letters_at(cohort, person):
    """The two letters of a person at each site; None where one is missing."""
    for number in range(SITES):
        alleles = cohort.alleles[person, :, number]
        pair = site(number)[2:]
        yield None if (alleles < 0).any() else tuple(pair[allele] for allele in alleles)


def segment(name, contig, position, base, *, quality=30, mapping=60, flag=0, cigar=None, header):
    read = pysam.AlignedSegment(header)
    read.query_name, read.flag, read.reference_id = name, flag, contig
    read.reference_start, read.mapping_quality = position - 1 - BEFORE, mapping
    read.cigartuples = cigar or [(0, LENGTH)]
    read.query_sequence = "A" * BEFORE + base + "A" * (LENGTH - BEFORE - 1)
    read.query_qualities = pysam.qualitystring_to_array(chr(33 + quality) * LENGTH)
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


def of_person(path, cohort, person=0, *, depth=30, shift=0, others=0.0, seed=1, **about):
    """A BAM of reads at all sites of a person, a share of them those of `others`, person 2."""
    header, rng, reads = header_of(**about), np.random.default_rng(seed), []
    both = zip(letters_at(cohort, person), letters_at(cohort, 2), strict=True)
    for number, (mine, theirs) in enumerate(both):
        chrom, position, *_ = site(number)
        for copy in range(depth if mine else 0):
            pair = theirs if theirs and rng.random() < others else mine
            base = pair[int(rng.integers(2))]
            name = f"r{number}.{copy}"
            reads.append(segment(name, chrom - 1, position + shift, base, header=header))
    return write(path, reads, header)


@pytest.mark.parametrize(("build", "prefix", "shift"), [("GRCh37", "chr", 0), ("GRCh38", "", 1000)])
def test_the_calls_of_the_genotypes(build, prefix, shift, handmade_bundle, cohort, tmp_path):
    """Where the letters of a record are on which strand is not asked, nor what the file's reference was."""
    bam = of_person(tmp_path / "x.bam", cohort, shift=shift, build=build, prefix=prefix)
    found = run(["classify", "--model", handmade_bundle, bam])
    assert found.status == 0, found.stderr
    expected = run(["classify", "--model", handmade_bundle, cohort.newcomers]).rows[1]
    assert found.rows[1][0] == "sam"
    assert found.rows[1][1:4:2] == expected[1:4:2]
    assert int(found.rows[1][5]) > 0.9 * int(expected[5])
    assert f"{build}, {SITES} of {SITES} panel sites" in found.stderr
    barcode = ["tokenize", "--to", "fasta", "--panel", cohort.panel]
    texts = [run([*barcode, file]).stdout for file in (bam, cohort.newcomers)]
    letters, right = (text.split(">")[1].splitlines()[1] for text in texts)
    assert all(a in ("N", b) for a, b in zip(letters, right, strict=True))


def test_few_reads_tell_little(handmade_bundle, cohort, tmp_path):
    """One read a site makes no genotype, so that the flag is there; likelihoods are for models that read them."""
    bam = of_person(tmp_path / "x.bam", cohort, depth=1)
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
    """A tenth of another person's reads: what fits no genotype is missing, and there is a warning."""
    bam = of_person(tmp_path / "x.bam", cohort, depth=60, others=0.1)
    result = run(["classify", "--model", handmade_bundle, bam])
    assert result.status == 0, result.stderr
    assert "these fit no genotype of one person: contaminated" in result.stderr
    clean = of_person(tmp_path / "y.bam", cohort, depth=60)
    assert "fit no genotype" not in run(["classify", "--model", handmade_bundle, clean]).stderr


@pytest.mark.parametrize("build", ["GRCh38", "other"])
def test_another_assembly_is_refused(build, handmade_bundle, cohort, tmp_path):
    """By the contigs' lengths; by the bases, if these are of a build whose positions the reads have not."""
    header = header_of(build=build)
    rng, reads = np.random.default_rng(1), []
    for number in range(SITES):
        chrom, position, *own = site(number)
        others = [base for base in "ACGT" if base not in own]
        shift = 1000 if build == "GRCh38" else 0
        base = str(rng.choice([*others, others[0], own[0]]))
        if chrom == 1:
            reads += [
                segment(f"r{number}.{n}", 0, position + shift, base, header=header)
                for n in range(9)
            ]
    result = run(["classify", "--model", handmade_bundle, write(tmp_path / "x.bam", reads, header)])
    assert result.status == 1
    said = (
        "the bases are not the panel's alleles"
        if build == "GRCh38"
        else "are not those of GRCh37 or GRCh38"
    )
    assert said in result.stderr
    assert result.stdout == ""


def test_what_does_not_count(cohort, tmp_path):
    """Duplicates, secondary and failed alignments, poor mapping and poor bases; mates count once, gaps not at all."""
    header = header_of()
    chrom, position, ref, alt = site(0)
    right = [segment(f"r{n}", chrom - 1, position, ref, header=header) for n in range(7)]
    wrong = [
        segment(f"w{n}.{copy}", chrom - 1, position, alt, header=header, **how)
        for n, how in enumerate(
            [{"flag": 0x400}, {"flag": 0x100}, {"flag": 0x200}, {"flag": 0x800}, {"mapping": 19}, {"quality": 9},
             {"cigar": [(0, BEFORE), (2, 1), (0, LENGTH - BEFORE)]}]
        )
        for copy in range(9)
    ]  # fmt: skip
    apart = [segment("m", chrom - 1, position, base, header=header) for base in (ref, alt)]
    bam = write(tmp_path / "x.bam", right + wrong + apart, header)
    barcode = ["tokenize", "--to", "fasta", "--panel", cohort.panel]
    assert run([*barcode, bam]).stdout.splitlines()[1][0] == ref
    six = write(tmp_path / "y.bam", [*right[:6], right[0]], header)
    assert run([*barcode, six]).stdout.splitlines()[1][0] == "N"


def pile(bases, quality=30):
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
    found = call_genotype(pile(bases))
    assert "".join(found.genotype) == genotype
    assert found.is_certain == certain
    assert found.fits == fits


def test_its_likelihoods_are_those_of_the_binomial():
    """By hand: three reads of ref and one of alt, of quality 20."""
    e = 0.01
    hom, het, other = (1 - e) ** 3 * e / 3, (0.5 * (1 - e + e / 3)) ** 4, (e / 3) ** 3 * (1 - e)
    found = call_genotype(pile("AAAC", 20)).likelihoods(("A", "C"))[0]
    np.testing.assert_allclose(found, np.array([hom, het, other]) / max(hom, het), rtol=1e-4)
    assert call_genotype(pile("")) is None


def test_likelihoods_are_read_by_models_that_do(cohort, tmp_path):
    """One read a site is one allele: `ancestry` counts it as it does PL of a VCF."""
    bam = of_person(tmp_path / "x.bam", cohort, depth=2)
    from genomai_cli.formats.streams import open_inputs
    from genomai_cli.population.barcode import read_barcodes
    from genomai_cli.population.panel import Panel

    read = read_barcodes(open_inputs([bam]), Panel.read(cohort.panel), likelihoods=True)
    assert read.report.uncertain["GL"] > 0.9 * (cohort.alleles[0] >= 0).all(axis=0).sum()


def test_the_options_of_calls_count(handmade_bundle, cohort, tmp_path):
    bam = of_person(tmp_path / "x.bam", cohort)
    record = tmp_path / "record.json"
    for option, key in ((["--min-dp", "31"], "min_dp"), (["--min-gq", "900"], "min_gq")):
        words = ["classify", "--model", handmade_bundle, bam, *option, "--report-json", record]
        assert run(words).status == 0
        told = json.loads(record.read_text())["details"]["matches"][0]["no_calls"]
        assert Counter(told).most_common(1)[0][0] == key


def test_what_is_missing_is_told(handmade_bundle, cohort, tmp_path):
    header = header_of("one,two")
    reads = [segment("r", 0, 1000, "A", header=header)]
    two = write(tmp_path / "two.bam", reads, header)
    bare = write(tmp_path / "bare.bam", reads, header_of(), index=False)
    stale = of_person(tmp_path / "stale.bam", cohort)
    os.utime(tmp_path / "stale.bam.bai", (1, 1))
    cut = of_person(tmp_path / "cut.bam", cohort)
    cut.write_bytes(cut.read_bytes()[:-28])
    (tmp_path / "cut.bam.bai").touch()
    for file, said in (
        (two, "reads of 2 samples (one, two): one file a sample"),
        (bare, "no index beside it: `samtools index bare.bam` makes it"),
        (cut, "truncated"),
        (stale, "changed after its index: `samtools index stale.bam` makes it anew"),
    ):
        result = run(["classify", "--model", handmade_bundle, file])
        assert result.status == 1, result.stderr
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert "not a stream" in run(["classify", "--model", handmade_bundle], stdin=bare).stderr
    mito = run(["classify", "--model", "mito", of_person(tmp_path / "x.bam", cohort)])
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
    words = ["classify", "--model", handmade_bundle, cram]
    refused = run(words)
    assert refused.status == 1
    assert "--reference FASTA" in refused.stderr
    found = run([*words, "--reference", genome])
    assert found.status == 0, found.stderr
    assert int(found.rows[1][5]) > 40
    other = tmp_path / "other.fa"
    other.write_text(f">NC_000001.10\n{letters[::-1]}\n")
    lacks = tmp_path / "lacks.fa"
    lacks.write_text(f">NC_000002.11\n{letters}\n")
    genome.unlink()  # which the header names
    for wrong in (other, lacks):
        result = run([*words, "--reference", wrong])
        assert result.status == 1
        assert "not made with this --reference" in result.stderr
        assert len(result.stderr.splitlines()) == 1
