"""New records from a model: individuals at the sites of a panel, or DNA."""

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
class Generation:
    """New records from one model, by one seed."""

    bundle: Bundle
    seed: int
    sampling: Sampling

    @property
    def draws_individuals(self) -> bool:
        """Whether the model generates individuals at the sites of a panel."""
        kind = self.bundle.config["input"]["kind"]
        return bool(registry.find(registry.GENERATORS, kind).of_individuals)

    def individuals(
        self, phenotypes: Sequence[str], number: int, *, haplotypes: bool
    ) -> Iterator[SequenceRecord]:
        """New individuals of each phenotype, as barcodes or haplotypes."""
        bundle, generator = self.bundle, HaplotypeGenerator(self.bundle, self._diffusion())
        individuals = generator.individuals(
            requests_of(phenotypes or [REFERENCE], number, generator.phenotypes)
        )
        origin = f"model={bundle.name} seed={self.seed}"
        return barcode_records(individuals, bundle.coordinates, origin, haplotypes=haplotypes)

    def dna(
        self, phenotypes: Sequence[str], number: int, length: int | None, prompt: str
    ) -> Iterator[SequenceRecord]:
        """New sequences; of each phenotype, if the model was trained with labels."""
        sampling, bundle = self.sampling, self.bundle
        kind = registry.find(registry.GENERATORS, bundle.config["input"]["kind"])
        guided = sampling.guidance != 1
        if "phenotypes" not in bundle.config and not kind.of_lineages:
            reason = "makes DNA without phenotypes"
            require_unset(bundle.name, reason, phenotype=phenotypes, guidance=guided)
        if predicts_next_token(bundle):
            require_unset(bundle.name, "draws token by token", steps=sampling.steps)
            causal_sampling = CausalSampling.of(
                sampling.temperature, sampling.top_k, sampling.top_p, sampling.stop, seed=self.seed
            )
            return CausalGenerator(bundle, causal_sampling).records(number, prompt, length)
        if kind.of_lineages:
            settings = {"length": length, "prompt": prompt, "steps": sampling.steps}
            has_temperature = sampling.temperature is not None
            reason = "makes genomes of its reference, by lineage"
            require_unset(
                bundle.name, reason, **settings, guidance=guided, temperature=has_temperature
            )
        generator = kind(bundle, self._diffusion())
        return generated_records(
            generator, SequenceRequest(number, length, prompt), phenotypes
        ).records

    def _diffusion(self) -> DiffusionSettings:
        sampling, name = self.sampling, self.bundle.name
        options = {"top_k": sampling.top_k, "top_p": sampling.top_p != 1, "stop": sampling.stop}
        require_unset(name, "does not predict next tokens", **options)
        return settings_of(
            self.bundle,
            steps=sampling.steps,
            temperature=sampling.temperature,
            guidance=sampling.guidance,
            seed=self.seed,
        )


def require_unset(model: str, reason: str, **options: object) -> None:
    """UsageError if an option is set that the model has no use for."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} does not fit the model {model}: it {reason}")
