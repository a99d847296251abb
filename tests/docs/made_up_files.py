"""The files that the documentation names as a reader's own, made up: small, of no real sample, under these names."""

import gzip
import shutil
from pathlib import Path

import numpy as np
from page_examples import REPOSITORY
from pysam import bcftools

from genomai_cli.formats.bgzf import BgzfWriter

SAMPLES, MITOCHONDRIA, CONTIG = 48, 60, 24_000
# Two samples of a group are the parents of its samples, whose alleles are sampled site by site.
PARENTS = {
    "YRI": ("AFR", "synthetic_YRI_1", "synthetic_LWK_1"),
    "LWK": ("AFR", "synthetic_LWK_1", "synthetic_YRI_1"),
    "FIN": ("EUR", "synthetic_FIN_1", "synthetic_TSI_1"),
    "TSI": ("EUR", "synthetic_TSI_1", "synthetic_FIN_1"),
}
COLUMNS = "#CHROM POS ID REF ALT QUAL FILTER INFO".replace(" ", "\t")


def make(folder: Path) -> None:
    """Write all of them."""
    for name in ("examples", "models", "workflows", "benchmarks"):
        (folder / name).symlink_to(REPOSITORY / name)
    for name in ("samples.vcf.gz", "samples.fa"):
        shutil.copy(REPOSITORY / "examples" / name, folder / name)
    rng = np.random.default_rng(5)
    _cohort(folder, rng)
    _sequences(folder, rng)
    _genome(folder, rng)
    _mitochondria(folder, rng)
    (folder / "places.tsv").write_text(
        "name\tlatitude\tlongitude\nhere\t60.2\t24.9\nthere\t9.1\t7.4\n"
    )


def _cohort(folder: Path, rng: np.random.Generator) -> None:
    header, rows = _example_samples()
    names = header[-1].split("\t")[9:]
    samples = ["NA12878", *(f"person{number}" for number in range(2, SAMPLES + 1))]
    populations = [list(PARENTS)[number % len(PARENTS)] for number in range(SAMPLES)]
    genotypes = np.array([[call.split("|") for call in row[9:]] for row in rows])
    parents = [[names.index(name) for name in PARENTS[p][1:]] for p in populations]
    calls = np.stack([_child(rng, genotypes[:, pair]) for pair in parents], axis=1)
    cohort_header = [*header[:-1], "\t".join([*header[-1].split("\t")[:9], *samples])]
    cohort = [[*row[:9], *sample_calls] for row, sample_calls in zip(rows, calls, strict=True)]
    for name in ("cohort.vcf.gz", "reference.vcf.gz", "new.vcf.gz", "variants.vcf"):
        _write_vcf(folder / name, cohort_header, cohort)
    subset = [row[:12] for number, row in enumerate(cohort) if number % 3]
    for row in subset[::7]:
        row[9] = ".|."
    subset_header = [*cohort_header[:-1], "\t".join(cohort_header[-1].split("\t")[:12])]
    _write_vcf(folder / "array.vcf.gz", subset_header, subset)
    for contig in ("21", "22"):
        _write_vcf(
            folder / f"chr{contig}.vcf.gz",
            subset_header,
            [row for row in subset if row[0] == contig],
        )
    _as_bcf(folder / "cohort.vcf.gz", folder / "cohort.bcf")
    lines = ["sample\tsuperpopulation\tpopulation\tsuperpop\tpop\tbirthplace"]
    for name, population in zip(samples, populations, strict=True):
        group = PARENTS[population][0]
        birthplace = "north" if group == "EUR" else "south"
        lines.append("\t".join([name, group, population, group, population, birthplace]))
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n")


def _example_samples() -> tuple[list[str], list[list[str]]]:
    with gzip.open(REPOSITORY / "examples" / "samples.vcf.gz", "rt") as file:
        lines = file.read().splitlines()
    header = [line for line in lines if line.startswith("#")]
    return header, [line.split("\t") for line in lines[len(header) :]]


def _child(rng: np.random.Generator, pair: np.ndarray) -> np.ndarray:
    """A call at each site, of alleles sampled from two parents (sites, 2, 2); mostly from the first."""
    sites = np.arange(len(pair))
    haplotypes = [
        pair[sites, (rng.random(len(pair)) < 0.2) * 1, rng.integers(0, 2, len(pair))] for _ in "ab"
    ]
    return np.array(["|".join(call) for call in zip(*haplotypes, strict=True)])


def _write_vcf(path: Path, header: list[str], rows: list[list[str]]) -> None:
    text = "\n".join([*header, *("\t".join(row) for row in rows)]) + "\n"
    if path.suffix == ".gz":
        with path.open("wb") as raw, BgzfWriter(raw) as file:
            file.write(text.encode())
    else:
        path.write_text(text)


def _as_bcf(vcf: Path, bcf: Path) -> None:
    """The same records as BCF, with an index."""
    bcftools.view("-Ob", "-o", str(bcf), str(vcf), catch_stdout=False)
    bcftools.index(str(bcf))


def _sequences(folder: Path, rng: np.random.Generator) -> None:
    kinds = ["on" if number % 2 else "off" for number in range(120)]
    weights = {"off": [0.4, 0.1, 0.1, 0.4], "on": [0.1, 0.4, 0.4, 0.1]}
    sequences = ["".join(rng.choice(list("ACGT"), 60, p=weights[kind])) for kind in kinds]
    fasta = "".join(f">s{number}\n{sequence}\n" for number, sequence in enumerate(sequences))
    for name in ("promoters.fa", "more.fa", "peaks.fa"):
        (folder / name).write_text(fasta)
    (folder / "genes.fa").write_text("".join(fasta.splitlines(keepends=True)[:6]))
    (folder / "one.fa").write_text(f">one\n{sequences[0]}\n")
    with gzip.open(folder / "reads.fa.gz", "wt") as file:
        file.write(fasta)
    rows = "".join(f"s{number}\t{kind}\n" for number, kind in enumerate(kinds))
    for name in ("classes.tsv", "peaks.tsv"):
        (folder / name).write_text("name\tclass\n" + rows)
    pairs = [f"{sequence},{kind}" for sequence, kind in zip(sequences, kinds, strict=True)]
    for name, part in (("train", pairs[:60]), ("dev", pairs[60:90]), ("test", pairs[90:])):
        (folder / f"{name}.csv").write_text("\n".join(["sequence,label", *part]) + "\n")
    (folder / "genomes").mkdir()
    for name in ("one", "two"):
        with gzip.open(folder / "genomes" / f"{name}.fa.gz", "wt") as file:
            file.write(f">{name}\n{''.join(rng.choice(list('ACGT'), 30_000))}\n")


def _genome(folder: Path, rng: np.random.Generator) -> None:
    """A reference of two contigs, its tracks, regions and variants."""
    contigs, peaks = {}, []
    for contig in ("chr1", "chr20"):
        letters = rng.choice(list("ACGT"), CONTIG)
        for start in range(300, CONTIG - 500, 900):
            letters[start : start + 150] = rng.choice(list("CG"), 150)
            peaks += [
                f"{contig}\t{start}\t{start + 150}\t{name}\t500\n" for name in ("gc", "liver")
            ]
        contigs[contig] = "".join(letters)
    fasta = "".join(f">{name}\n{letters}\n" for name, letters in contigs.items())
    for name in ("hg38.fa", "ref.fa", "train.fa", "aside.fa", "reference.fa"):
        (folder / name).write_text(fasta)
    (folder / "peaks.bed").write_text("".join(peaks))
    for part in ("train", "valid"):
        (folder / f"{part}.fa.gz").write_bytes(gzip.compress(fasta.encode()))
        (folder / f"{part}.bed.gz").write_bytes(gzip.compress("".join(peaks).encode()))
    (folder / "valid.tsv").write_text("name\tfile\ngc\tvalid.bed.gz\nliver\tvalid.bed.gz\n")
    table = "name\tfile\ttissue\ngc\tpeaks.bed\tblood\nliver\tpeaks.bed\tliver\n"
    for name in ("tracks.tsv", "aside.tsv", "some.tsv"):
        (folder / name).write_text(table)
    (folder / "genes.bed").write_text("chr1\t1000\t3100\nchr20\t4000\t6100\n")
    (folder / "enhancer.bed").write_text("chr20\t5000\t5008\n")
    header = ["##fileformat=VCFv4.2", *(f"##contig=<ID={c},length={CONTIG}>" for c in contigs)]
    header.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    header.append(f"{COLUMNS}\tFORMAT\tann\tben")
    rows = []
    for contig, letters in contigs.items():
        for position in (1500, 2500, 5500):
            ref = letters[position - 1]
            fixed = [contig, str(position), ".", ref, "CGTA"["ACGT".index(ref)]]
            rows.append([*fixed, ".", "PASS", ".", "GT", "0|1", "1|0"])
    for name in ("variants.vcf.gz", "phased.vcf.gz", "small.vcf"):
        _write_vcf(folder / name, header, rows)
    _as_bcf(folder / "variants.vcf.gz", folder / "variants.bcf")


def _mitochondria(folder: Path, rng: np.random.Generator) -> None:
    """The reference's letters, and genomes of two made-up lineages that differ from it."""
    shutil.copy(REPOSITORY / "models" / "mito" / "reference.fa", folder / "rCRS.fa")
    _, *lines = (folder / "rCRS.fa").read_text().splitlines()
    letters = "".join(lines)
    sites = [n for n in range(300, 16_000, 400) if letters[n] in "ACGT"]
    is_alternate = rng.random((MITOCHONDRIA, len(sites))) < 0.1
    is_alternate[::2, ::2] = True
    genomes, rows = [], []
    for number in range(MITOCHONDRIA):
        own = list(letters)
        for site in np.array(sites)[is_alternate[number]]:
            own[site] = "GTAC"["ACGT".index(letters[site])]
        genomes.append(f">maternal{number}\n{''.join(own)}\n")
    (folder / "people.fa").write_text("".join(genomes))
    (folder / "mt.fa").write_text(genomes[0] + genomes[1])
    for index, site in enumerate(sites):
        ref = letters[site]
        calls = [str(int(allele)) for allele in is_alternate[:, index]]
        fixed = ["MT", str(site + 1), ".", ref, "GTAC"["ACGT".index(ref)]]
        rows.append([*fixed, ".", "PASS", ".", "GT", *calls])
    header = ["##fileformat=VCFv4.2", f"##contig=<ID=MT,length={len(letters)}>"]
    header.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    names = "\t".join(f"world{number}" for number in range(MITOCHONDRIA))
    header.append(f"{COLUMNS}\tFORMAT\t{names}")
    _write_vcf(folder / "world.vcf.gz", header, rows)
