"""What a model draws, whatever it draws: people of a panel, or DNA."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genomai_cli import registry
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion.phenotypes import REFERENCE
from genomai_cli.errors import UsageError
from genomai_cli.inference.generate_causal import CausalGenerator, CausalSampling
from genomai_cli.inference.generate_diffusion import SequenceRequest, settings_of
from genomai_cli.inference.generate_diffusion import Settings as DiffusionSettings
from genomai_cli.inference.likelihood import predicts_next_token
from genomai_cli.population.generation.output import barcode_records
from genomai_cli.population.generation.requests import requests_of
from genomai_cli.population.generation.sampler import HaplotypeGenerator
from genomai_cli.records import SequenceRecord
from genomai_cli.sources.generation import generated_records


@dataclass(frozen=True)
class Sampling:
    """How letters are drawn: in so many steps and by a temperature (None: the model's); above 1 `guidance` makes people
    or DNA more typical of the phenotype; next-token models draw among the `top_k` likeliest tokens (0: all), and those
    that together have the probability `top_p`, and end at the special token `stop`."""

    steps: int | None = None
    guidance: float = 1.0
    temperature: float | None = None
    top_k: int = 0
    top_p: float = 1.0
    stop: str = ""


AS_TRAINED: Sampling = Sampling()


@dataclass(frozen=True)
class Draws:
    """What a model draws, by one seed."""

    bundle: Bundle
    seed: int
    how: Sampling

    @property
    def of_people(self) -> bool:
        """Whether it draws individuals of a panel."""
        kind = self.bundle.config["input"]["kind"]
        return bool(registry.find(registry.GENERATORS, kind).of_individuals)

    def people(
        self, phenotypes: Sequence[str], number: int, *, haplotypes: bool
    ) -> Iterator[SequenceRecord]:
        """Barcodes."""
        bundle, generator = self.bundle, HaplotypeGenerator(self.bundle, self._diffusion())
        made = generator.individuals(
            requests_of(phenotypes or [REFERENCE], number, generator.phenotypes)
        )
        origin = f"model={bundle.name} seed={self.seed}"
        return barcode_records(made, bundle.coordinates, origin, haplotypes=haplotypes)

    def dna(
        self, phenotypes: Sequence[str], number: int, length: int | None, prompt: str
    ) -> Iterator[SequenceRecord]:
        """Sequences, of a model with labels those of the phenotypes."""
        how, bundle = self.how, self.bundle
        kind = registry.find(registry.GENERATORS, bundle.config["input"]["kind"])
        guided = how.guidance != 1
        if "phenotypes" not in bundle.config and not kind.of_lineages:
            because = "makes DNA without phenotypes"
            require_unset(bundle.name, because, phenotype=phenotypes, guidance=guided)
        if predicts_next_token(bundle):
            require_unset(bundle.name, "draws token by token", steps=how.steps)
            sampling = CausalSampling.of(
                how.temperature, how.top_k, how.top_p, how.stop, seed=self.seed
            )
            return CausalGenerator(bundle, sampling).records(number, prompt, length)
        if kind.of_lineages:
            given = {"length": length, "prompt": prompt, "steps": how.steps}
            cooled = how.temperature is not None
            because = "makes genomes of its reference, by lineage"
            require_unset(bundle.name, because, **given, guidance=guided, temperature=cooled)
        generator = kind(bundle, self._diffusion())
        return generated_records(
            generator, SequenceRequest(number, length, prompt), phenotypes
        ).records

    def _diffusion(self) -> DiffusionSettings:
        how, name = self.how, self.bundle.name
        others = {"top_k": how.top_k, "top_p": how.top_p != 1, "stop": how.stop}
        require_unset(name, "does not predict next tokens", **others)
        return settings_of(
            self.bundle,
            steps=how.steps,
            temperature=how.temperature,
            guidance=how.guidance,
            seed=self.seed,
        )


def require_unset(model: str, because: str, **given: object) -> None:
    """UsageError if something is asked for that the model has no use for."""
    for name, value in given.items():
        if value:
            raise UsageError(f"{name} does not fit the model {model}: it {because}")
