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
    """The indices of the individuals whom `pretrain --seed 0 --set split.holdout=0.2` does not train on."""
    hashes = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    keys = splitmix64(np.array([int.from_bytes(h, "little") for h in hashes], np.uint64), SEED)
    threshold = np.sort(keys)[round(HOLDOUT * len(names)) - 1]
    return np.flatnonzero(keys <= threshold).tolist()


@torch.inference_mode()
def bounds(generator: HaplotypeGenerator, truth_BL: Tensor, population_B: Tensor) -> Tensor:
    """The bound (B,) for each individual, in nats a site."""
    kernel, schedule = generator.kernel, generator.schedule
    denoiser = generator.denoiser(population_B)
    rng, total_B = np.random.default_rng(SEED), torch.zeros(len(truth_BL)).double()
    for stratum in range(TIMES):
        uniform_B = (stratum + rng.random(len(truth_BL))) / TIMES
        times_B = kernel.times(np.clip(uniform_B, 1e-3, 1 - 1e-6))
        alpha_B = schedule.alpha(times_B)
        noised_BL = torch.from_numpy(kernel.noised(truth_BL.numpy(), alpha_B, 2, rng))
        scored_BL = kernel.scored(noised_BL, truth_BL)
        alpha_BL, alpha_derivative_BL = (
            torch.from_numpy(values)[:, None].expand(truth_BL.shape)
            for values in (alpha_B, schedule.derivative(times_B) * kernel.time_derivative(times_B))
        )
        logits_NA = denoiser(noised_BL, scored_BL, alpha_BL)
        arguments = (
            truth_BL[scored_BL],
            noised_BL[scored_BL],
            alpha_BL[scored_BL],
            alpha_derivative_BL[scored_BL],
        )
        nats_N = kernel.nats(logits_NA.double(), *arguments)
        total_B.index_add_(0, scored_BL.nonzero()[:, 0], nats_N)
    return total_B / (TIMES * truth_BL.shape[1])


def rows(folder: Path, data: Path) -> Iterator[str]:
    """Two lines for a bundle."""
    bundle = bundles.load(folder, torch.device("cpu"), torch.float64)
    generator = HaplotypeGenerator(bundle, Settings())
    samples = genotypes_of_variants([open_input(data / "train.grch37.vcf.gz")], bundle.coordinates)
    held_out_rows = held_out(samples.names)
    population = read_labels(data / "train.labels.tsv").column("population")
    population_numbers = [
        generator.phenotypes.number(population[samples.names[n]]) for n in held_out_rows
    ]
    truth_BL = torch.from_numpy(
        samples.alleles[held_out_rows].reshape(len(held_out_rows), -1).astype(np.int64)
    )
    for condition in ("population", "nothing"):
        population_B = torch.tensor(population_numbers) * (condition == "population")
        bound_B = bounds(generator, truth_BL, population_B)
        frequency_BL = generator.network.frequency[population_B].repeat(1, 2)
        independent_B = -torch.where(truth_BL == 1, frequency_BL, 1 - frequency_BL).log().mean(1)
        cells = [
            *interval(bound_B),
            float(independent_B.mean()),
            *interval(bound_B - independent_B),
        ]
        yield "\t".join(
            [
                generator.kernel.name,
                condition,
                str(len(held_out_rows)),
                *(f"{c:.4f}" for c in cells),
            ]
        )


def interval(values_B: Tensor) -> tuple[float, float, float]:
    """The mean and its 95 % interval."""
    mean, half_width = float(values_B.mean()), Z_95 * float(values_B.std()) / len(values_B) ** 0.5
    return mean, mean - half_width, mean + half_width


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
