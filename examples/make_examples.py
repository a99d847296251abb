"""Makes examples/samples.fa and examples/samples.vcf.gz: people who never lived.

    python examples/make_examples.py

Every allele is drawn by itself from the allele frequencies of a 1000 Genomes population, as the shipped model
`ancestry-967` holds them (`likelihood.theta`), so no real person's data are in the files. Both files hold the same
people: two from each superpopulation, one whose two parents come from different continents, and one with nine
tenths of the sites missing. The same seed and model give the same bytes.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from genomai_cli.formats.fasta import write_fasta
from genomai_cli.formats.outputs import atomic_output, atomic_text
from genomai_cli.population.barcode import genotypes_to_letters
from genomai_cli.population.panel import GRCH37, Panel
from genomai_cli.records import SequenceRecord

EXAMPLES = Path(__file__).resolve().parent
MODEL = EXAMPLES.parent / "models" / "ancestry-967"
SEED = 2015
NOBODY = "synthetic, drawn site by site from allele frequencies: no real person"

# Lengths of the chromosomes 1 to 22 in GRCh37.
LENGTHS = (
    249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022,
    141213431, 135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753,
    81195210, 78077248, 59128983, 63025520, 48129895, 51304566,
)  # fmt: skip

Alleles = NDArray[np.int8]


@dataclass(frozen=True)
class Person:
    """Who is to be made: the populations of the two parents, and the share of sites missing."""

    name: str
    parents: tuple[str, str]
    missing: float = 0.0

    @property
    def description(self) -> str:
        """What the FASTA title says beside the name."""
        populations = "+".join(dict.fromkeys(self.parents))
        missing = f" missing={self.missing:.0%}" if self.missing else ""
        return f"population={populations}{missing} {NOBODY}"


def alike(population: str) -> Person:
    """A person whose parents both come from one population."""
    return Person(f"synthetic_{population}_1", (population, population))


PEOPLE = (
    *map(alike, ("YRI", "LWK", "PEL", "MXL", "JPT", "KHV", "FIN", "TSI", "GIH", "BEB")),
    Person("synthetic_YRI_CEU_1", ("YRI", "CEU")),
    Person("synthetic_GBR_sparse_1", ("GBR", "GBR"), missing=0.9),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL, metavar="DIR")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N")
    parser.add_argument("-o", "--output", type=Path, default=EXAMPLES, metavar="DIR")
    options = parser.parse_args(arguments)
    panel = Panel.read(options.model / "panel.tsv")
    alleles = draw(frequencies(options.model), options.seed)
    with atomic_output(options.output / "samples.fa") as handle:
        write_fasta(handle, barcodes(alleles, panel))
    with atomic_text(options.output / "samples.vcf.gz") as text:
        text.writelines(vcf(alleles, panel))


def frequencies(model: Path) -> dict[str, NDArray[np.float64]]:
    """The alternate allele's frequency at every site of the panel, by population."""
    theta = load_file(model / "model.safetensors")["likelihood.theta"].astype(np.float64)
    populations = json.loads((model / "config.json").read_text())["heads"]["pop"]
    return dict(zip(populations, 1 / (1 + np.exp(-theta)), strict=True))


def draw(frequency: dict[str, NDArray[np.float64]], seed: int) -> Alleles:
    """The alleles (people, 2, sites) of everybody: 0 ref, 1 alt, -1 missing."""
    return np.stack([_draw_one(p, frequency, [seed, n]) for n, p in enumerate(PEOPLE)])


def _draw_one(
    person: Person, frequency: dict[str, NDArray[np.float64]], seed: list[int]
) -> Alleles:
    rng = np.random.default_rng(seed)
    expected = np.stack([frequency[population] for population in person.parents])
    alleles = (rng.random(expected.shape) < expected).astype(np.int8)
    hidden = rng.permutation(expected.shape[1])[: round(person.missing * expected.shape[1])]
    alleles[:, hidden] = -1
    return alleles


def barcodes(alleles: Alleles, panel: Panel) -> Iterator[SequenceRecord]:
    """One IUPAC letter a site for everybody."""
    copies = np.where((alleles < 0).any(axis=1), -1, alleles.sum(axis=1)).astype(np.int8)
    for person, letters in zip(PEOPLE, genotypes_to_letters(copies, panel), strict=True):
        yield SequenceRecord(person.name, letters.tobytes().decode("ascii"), person.description)


def vcf(alleles: Alleles, panel: Panel) -> Iterator[str]:
    """The lines of a phased VCF in GRCh37, sorted by position."""
    yield from _header()
    genotypes = np.array(["0", "1", "."])[alleles]  # -1 takes the last
    for site in _in_order(panel):
        calls = ["|".join(pair) for pair in genotypes[:, :, site]]
        position = str(panel.positions[GRCH37][site])
        place = (panel.chrom[site], position, panel.rsid[site], panel.ref[site], panel.alt[site])
        yield "\t".join([*place, ".", "PASS", ".", "GT", *calls]) + "\n"


def _header() -> Iterator[str]:
    yield "##fileformat=VCFv4.2\n"
    yield "##source=genomai examples/make_examples.py\n"
    yield f"##genomai_samples={NOBODY}\n"
    yield '##FILTER=<ID=PASS,Description="All filters passed">\n'
    for number, length in enumerate(LENGTHS, start=1):
        yield f"##contig=<ID={number},length={length},assembly=GRCh37>\n"
    yield '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    yield "\t".join([*columns, *(person.name for person in PEOPLE)]) + "\n"


def _in_order(panel: Panel) -> list[int]:
    positions = panel.positions[GRCH37].tolist()
    sites = [site for site in range(len(panel)) if positions[site]]
    return sorted(sites, key=lambda site: (int(panel.chrom[site]), positions[site]))


if __name__ == "__main__":
    main()
