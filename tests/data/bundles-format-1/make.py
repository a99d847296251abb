"""Tiny bundles of format 1 and what `genomai` gave for them: `python make.py GENOMAI` with the program 0.1.0.

They were made once, with the program as it was before format 2, and are not to be made again: that the present program
reads them, and gives the same, is what `tests/bundles/test_old_bundles.py` tests. Everybody in them is made up.
"""

import random
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RNG = random.Random(31)
POPULATIONS = {"NOA": "NORTH", "NOB": "NORTH", "SOC": "SOUTH"}
SITES, MEMBERS, SIZE = 24, 14, 1500
PAIRS = ("AG", "CT", "GC", "TA", "AC", "TG")
TINY = "split.folds=2 likelihood.axes=2"
STEPS = "optimization.steps=20 optimization.batch_size=16 optimization.evaluate_every=10"
SHORT = "network.width=8 network.heads=2 network.layers=1 network.feed_forward=16"
# name: command, input, options, changes of the recipe
BUNDLES = {
    "sites": ("train", "cohort.vcf --labels labels.tsv --panel panel.tsv", f"network.width=8 {TINY}"),
    "transformer-barcode": (
        "train", "cohort.vcf --labels labels.tsv --panel panel.tsv --recipe genomai-v2",
        f"{SHORT} network.positions=32 network.head_width=8 input.best_sites=12",
    ),
    "transformer-kmers": (
        "train", "task.fa --labels task.tsv --recipe sequences", f"{SHORT} network.positions=32 tokenizer.k=3"
    ),
    "profile": (
        "train", "genomes.fa --labels labels.tsv --recipe mito --reference reference.fa"
        " --head superpop=superpopulation --head pop=population",
        "network.width=8 input.fewest=2 split.folds=2",
    ),
    "lineages": (
        "pretrain", "genomes.fa --recipe mito-denoiser --reference reference.fa",
        "input.fewest=2 split.holdout=0.2",
    ),
    "profile-pretrained": (
        "pretrain", "genomes.fa --recipe mito-pretrained --reference reference.fa",
        "network.width=8 input.fewest=2 split.holdout=0.2",
    ),
    "masked": (
        "pretrain", "dna.fa --recipe dna",
        f"{SHORT} network.positions=32 tokenizer.k=2 masked.span=1 contrastive.projection=8 split.holdout=0.2",
    ),
    "diffusion-dna": (
        "pretrain", "dna.fa --recipe dna-diffusion --objective diffusion",
        "network={kind='transformer',width=8,heads=2,layers=1,feed_forward=16,positions=24,dropout=0.0} "
        "corpus.judged=64 split.holdout=0.2",
    ),
    "denoiser": (
        "pretrain", "cohort.vcf --labels labels.tsv --panel panel.tsv --recipe ancestry-generator",
        "network.width=8 network.rank=2 split.holdout=0.2",
    ),
    "region": (
        "pretrain", "cohort.vcf --labels labels.tsv --panel cohort.vcf --recipe region",
        "network.width=8 network.layers=1 network.block=8 network.vectors=2 network.heads=2 split.holdout=0.2",
    ),
    "crossmodal": (
        "pretrain", "cohort.vcf --panel panel.tsv --objective crossmodal --phenotypes phenotypes.tsv",
        "network.width=8 network.size=4 network.layers=1 network.heads=2 split.holdout=0.2"
        " crossmodal.groups=population",
    ),
    "attached": (
        "pretrain", "cohort.vcf --model ./sites --panel panel.tsv --objective crossmodal --phenotypes phenotypes.tsv",
        "network.width=8 network.size=4 network.layers=1 network.heads=2 split.holdout=0.2",
    ),
}  # fmt: skip
# what is asked of them: the file of the answer, the bundle, the command
ANSWERS = {
    "sites.classify.tsv": "classify --probs --model ./sites newcomers.vcf",
    "sites.embed.tsv": "embed --model ./sites newcomers.vcf",
    "transformer-barcode.classify.tsv": "classify --probs --model ./transformer-barcode newcomers.vcf",
    "transformer-barcode.tokens.tsv": "tokenize --model ./transformer-barcode newcomers.vcf",
    "transformer-kmers.classify.tsv": "classify --probs --model ./transformer-kmers dna_new.fa",
    "transformer-kmers.embed.tsv": "embed --strand both --model ./transformer-kmers dna_new.fa",
    "profile.classify.tsv": "classify --probs --model ./profile genomes_new.fa",
    "profile.embed.tsv": "embed --model ./profile genomes_new.fa",
    "lineages.denoise.fa": "denoise --model ./lineages genomes_new.fa",
    "profile-pretrained.embed.tsv": "embed --model ./profile-pretrained genomes_new.fa",
    "profile-pretrained.denoise.fa": "denoise --model ./profile-pretrained genomes_new.fa",
    "masked.embed.tsv": "embed --model ./masked dna_new.fa",
    "diffusion-dna.generate.fa": "generate --model ./diffusion-dna -n 3 --length 40 --steps 8 --seed 5",
    "diffusion-dna.denoise.fa": "denoise --model ./diffusion-dna dna_new.fa",
    "diffusion-dna.augment.fa": "augment --diffuse 0.4 --seed 4 --model ./diffusion-dna dna_new.fa",
    "denoiser.generate.vcf": "generate --model ./denoiser -n 4 --steps 8 --seed 5 --phenotype NOA --to vcf",
    "denoiser.denoise.vcf": "denoise --model ./denoiser newcomers.vcf",
    "region.denoise.vcf": "denoise --model ./region newcomers.vcf",
    "region.generate.vcf": "generate --model ./region -n 3 --steps 4 --seed 5 --phenotype SOC --to vcf",
    "crossmodal.align.tsv": "align --top 2 --model ./crossmodal newcomers.vcf",
    "attached.align.tsv": "align --top 2 --model ./attached newcomers.vcf",
    "attached.classify.tsv": "classify --model ./attached newcomers.vcf",
}
WITH_DEVICE = ("classify", "embed", "denoise", "generate", "align", "augment")


def fasta(records):
    return "".join(f">{name}\n{sequence}\n" for name, sequence in records)


def vcf(people, missing=0.0):
    """Phased genotypes of made-up people at the panel's sites."""
    rows = ["##fileformat=VCFv4.2", "##contig=<ID=1>"]
    rows.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    rows.append(
        "\t".join(
            [
                "#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT".replace(" ", "\t"),
                *(n for n, _ in people),
            ]
        )
    )
    for site in range(SITES):
        calls = []
        for _, population in people:
            pair = [str(int(RNG.random() < FREQUENCY[population][site])) for _ in range(2)]
            calls.append(".|." if RNG.random() < missing else "|".join(pair))
        rows.append(
            "\t".join(
                ["1", str(1000 * (site + 1)), ".", *PAIRS[site % 6], ".", ".", ".", "GT", *calls]
            )
        )
    return "\n".join(rows) + "\n"


def genome(population, gap=0):
    letters = list(REFERENCE)
    for site, place in enumerate(PLACES):
        if RNG.random() < FREQUENCY[population][site]:
            letters[place] = {"A": "G", "G": "A", "C": "T", "T": "C"}[letters[place]]
    start = RNG.randrange(SIZE - gap)
    letters[start : start + gap] = "N" * gap
    return "".join(letters)


def sequence(kind, size):
    return "".join(RNG.choices("ACGT", [4, 1, 1, 4] if kind == "at" else [1, 4, 4, 1], k=size))


FREQUENCY = {p: [RNG.choice([0.1, 0.5, 0.9]) for _ in range(SITES)] for p in POPULATIONS}
REFERENCE = "".join(RNG.choices("ACGT", k=SIZE))
PLACES = sorted(RNG.sample(range(20, SIZE - 20), SITES))


def inputs():
    """Name and text of every input; those of the answers are kept."""
    people = [(f"{p}_{i}", p) for p in POPULATIONS for i in range(MEMBERS)]
    newcomers = [(f"{p}_new", p) for p in POPULATIONS]
    task = [(f"s{i}", "at" if i % 2 else "gc") for i in range(30)]
    panel = ["chrom\tpos_grch37\tpos_grch38\trsid\tref\talt"]
    panel += [
        f"1\t{1000 * (s + 1)}\t{1000 * (s + 2)}\trs{s}\t{PAIRS[s % 6][0]}\t{PAIRS[s % 6][1]}"
        for s in range(SITES)
    ]
    labels = [f"{n}\t{p}\t{POPULATIONS[p]}" for n, p in people]
    dna = [(f"d{i}", sequence("at" if i % 2 else "gc", 60)) for i in range(20)]
    gappy = [
        (f"n{i}", sequence("at" if i % 2 else "gc", 28) + "NNN" + sequence("gc", 12))
        for i in range(3)
    ]
    return {
        "panel.tsv": "\n".join(panel) + "\n",
        "cohort.vcf": vcf(people),
        "labels.tsv": "\n".join(["sample\tpopulation\tsuperpopulation", *labels]) + "\n",
        "phenotypes.tsv": "\n".join(["sample\tpopulation\tsuperpopulation", *labels]) + "\n",
        "newcomers.vcf": vcf(newcomers, missing=0.2),
        "reference.fa": f">made-up circular=true\n{REFERENCE}\n",
        "genomes.fa": fasta((n, genome(p)) for n, p in people),
        "genomes_new.fa": fasta((n, genome(p, gap=300)) for n, p in newcomers),
        "task.fa": fasta((n, sequence(kind, 24)) for n, kind in task),
        "task.tsv": "name\tcontent\n" + "".join(f"{n}\t{kind}\n" for n, kind in task),
        "dna.fa": fasta(dna),
        "dna_new.fa": fasta(gappy),
    }


def main(genomai):
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for file, text in inputs().items():
            (work / file).write_text(text)
            if "new" in file:
                (HERE / file).write_text(text)

        def run(words):
            ended = subprocess.run([genomai, *words], cwd=work, capture_output=True, text=True)
            if ended.returncode:
                sys.exit(f"{' '.join(words)}\n{ended.stderr}")
            return ended.stdout

        for bundle, (command, given, changes) in BUNDLES.items():
            sets = [word for change in f"{changes} {STEPS}".split() for word in ("--set", change)]
            run([command, *given.split(), "-o", bundle, *sets, "--device", "cpu", "--threads", "1"])
            target = HERE / bundle
            target.mkdir(exist_ok=True)
            for file in (work / bundle).iterdir():
                if file.suffix not in (".png", ".md") and "metrics" not in file.name:
                    (target / file.name).write_bytes(file.read_bytes())
        (HERE / "answers").mkdir(exist_ok=True)
        for file, command in ANSWERS.items():
            words = command.split()
            device = ["--device", "cpu", "--threads", "1"] if words[0] in WITH_DEVICE else []
            (HERE / "answers" / file).write_text(run([*words, "-q", *device]))


if __name__ == "__main__":
    main(sys.argv[1])
