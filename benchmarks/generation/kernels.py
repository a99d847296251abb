"""The kernels of diffusion: the bound on held-out people, at many times of each, given their population or nothing.

    for kernel in absorbing uniform; do
        genomai pretrain --objective diffusion --labels ../shared/data/1kgp/train.labels.tsv \\
            ../shared/data/1kgp/train.grch37.vcf.gz --set split.holdout=0.2 --set diffusion.kernel=$kernel -o $kernel
    done
    python -m benchmarks.generation.kernels absorbing uniform

Independent sites are those of the model's frequencies of the population. Intervals are of the mean over the people,
those of the difference paired. The people are those that `pretrain` has held out, by the hashes of their names.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.command_line import DATA, parser_of
from genomai_cli.bundles import bundle as bundles
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.tables import read_labels
from genomai_cli.inference.generate_diffusion import Settings
from genomai_cli.population.evaluation.genotypes import genotypes_of_variants
from genomai_cli.population.generation.sampler import HaplotypeGenerator
from genomai_cli.training.corpus import splitmix64

HOLDOUT, TIMES, SEED = 0.2, 32, 0
Z_95 = 1.96


def held_out(names: Sequence[str]) -> list[int]:
    """The indices of the people whom `pretrain --seed 0 --set split.holdout=0.2` does not train on."""
    hashes = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    drawn = splitmix64(np.array([int.from_bytes(h, "little") for h in hashes], np.uint64), SEED)
    last = np.sort(drawn)[round(HOLDOUT * len(names)) - 1]
    return np.flatnonzero(drawn <= last).tolist()


@torch.inference_mode()
def bounds(generator: HaplotypeGenerator, truth_BL: Tensor, number_B: Tensor) -> Tensor:
    """The bound (B,) for each person, in nats a site."""
    kernel, schedule = generator.kernel, generator.schedule
    denoiser = generator.denoiser(number_B)
    rng, total_B = np.random.default_rng(SEED), torch.zeros(len(truth_BL)).double()
    for part in range(TIMES):
        even_B = (part + rng.random(len(truth_BL))) / TIMES
        times_B = kernel.times(np.clip(even_B, 1e-3, 1 - 1e-6))
        alpha_B = schedule.alpha(times_B)
        shown_BL = torch.from_numpy(kernel.noised(truth_BL.numpy(), alpha_B, 2, rng))
        scored_BL = kernel.scored(shown_BL, truth_BL)
        alpha_BL, slope_BL = (
            torch.from_numpy(values)[:, None].expand(truth_BL.shape)
            for values in (alpha_B, schedule.derivative(times_B) * kernel.time_derivative(times_B))
        )
        logits_NA = denoiser(shown_BL, scored_BL, alpha_BL)
        parts = truth_BL[scored_BL], shown_BL[scored_BL], alpha_BL[scored_BL], slope_BL[scored_BL]
        nats_N = kernel.nats(logits_NA.double(), *parts)
        total_B.index_add_(0, scored_BL.nonzero()[:, 0], nats_N)
    return total_B / (TIMES * truth_BL.shape[1])


def rows(folder: Path, data: Path) -> Iterator[str]:
    """Two lines for a bundle."""
    bundle = bundles.load(folder, torch.device("cpu"), torch.float64)
    generator = HaplotypeGenerator(bundle, Settings())
    people = genotypes_of_variants([open_input(data / "train.grch37.vcf.gz")], bundle.coordinates)
    chosen = held_out(people.names)
    population = read_labels(data / "train.labels.tsv").column("population")
    numbers = [generator.phenotypes.number(population[people.names[n]]) for n in chosen]
    truth_BL = torch.from_numpy(people.alleles[chosen].reshape(len(chosen), -1).astype(np.int64))
    for told in ("population", "nothing"):
        number_B = torch.tensor(numbers) * (told == "population")
        bound_B = bounds(generator, truth_BL, number_B)
        frequency_BL = generator.network.frequency[number_B].repeat(1, 2)
        independent_B = -torch.where(truth_BL == 1, frequency_BL, 1 - frequency_BL).log().mean(1)
        cells = [
            *interval(bound_B),
            float(independent_B.mean()),
            *interval(bound_B - independent_B),
        ]
        yield "\t".join(
            [generator.kernel.name, told, str(len(chosen)), *(f"{c:.4f}" for c in cells)]
        )


def interval(values_B: Tensor) -> tuple[float, float, float]:
    """The mean and its 95 % interval."""
    mean, half = float(values_B.mean()), Z_95 * float(values_B.std()) / len(values_B) ** 0.5
    return mean, mean - half, mean + half


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = parser_of(__doc__, data=DATA)
    parser.add_argument("bundles", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    print("kernel\ttold\tpeople\tbound\tlow\thigh\tindependent\tdifference\tlow\thigh")
    for folder in options.bundles:
        for row in rows(folder, options.data):
            print(row, flush=True)


if __name__ == "__main__":
    main()
