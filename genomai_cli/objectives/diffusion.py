"""Noise tokens by a diffusion process and predict them: a bound on the negative log-likelihood, in nats a base.

At a random time the tokens are noised as the kernel does it, `diffusion.absorbing` (MDLM: Sahoo et al. 2024,
arXiv:2406.07524) or `diffusion.uniform` (UDLM: Schiff et al. 2024, arXiv:2412.10193). What the tokens are, and how the
network denoises them, the alphabet's `noising` says; some samples are shown with a coarser condition or none, so that
one network knows them all (classifier-free guidance: Ho and Salimans 2022, arXiv:2207.12598).

Shape suffixes: B samples, L letters, T tokens, N scored tokens, V tokens of the vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from genomai_cli import registry
from genomai_cli.alphabet import Letters
from genomai_cli.backbones.base import network_class
from genomai_cli.diffusion import KERNELS
from genomai_cli.diffusion.denoisers import Noising, TokenNoising
from genomai_cli.diffusion.kernel import MASKED, SCHEDULES, Kernel, Schedule, spread_times
from genomai_cli.errors import TrainingError
from genomai_cli.objectives.base import Alphabet, Model, ProcessGroup, Views

TICKS = 1 << 40  # a time in whole numbers, as views are
LIMITS = {
    "null": (0, 1),
    "coarse": (0, 1),
    "steps": (1, math.inf),
    "temperature": (0.01, math.inf),
    "context_guidance": (0, math.inf),
}


@dataclass(frozen=True)
class DiffusionSettings:
    """The `kernel`, absorbing or uniform, and its `schedule`, linear or cosine; the share of samples shown without a
    phenotype (`null`), and of those shown with one of their coarser ones (`coarse`) instead of the finest. Samples are
    drawn in so many `steps` unless another number is asked for: the closer the linkage, the more it takes; and by the
    `temperature`, unless another is. Of people, what the visible alleles say of one counts `context_guidance` times,
    beside its frequency."""

    kernel: str = "absorbing"
    schedule: str = "linear"
    null: float = 0.12
    coarse: float = 0.12
    steps: int = 64
    temperature: float = 1.0
    context_guidance: float = 1.0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kernel", self.kernel, KERNELS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise ValueError(f"diffusion.{name} is one of {', '.join(known)}, not {value!r}")

    @property
    def process(self) -> tuple[Kernel, Schedule]:
        """The kernel and the schedule themselves."""
        return KERNELS[self.kernel], SCHEDULES[self.schedule]


@dataclass(frozen=True)
class Diffusion:
    """What a kernel makes of the predictions of noised tokens; ValueError where tokens overlap."""

    settings_class: ClassVar[type] = DiffusionSettings
    limits: ClassVar[Mapping[str, tuple[float, float]]] = LIMITS
    input_kind: ClassVar[str | None] = None

    settings: DiffusionSettings
    alphabet: Alphabet
    name: str = "diffusion"

    @cached_property
    def _noising(self) -> Noising:
        return self.alphabet.noising or TokenNoising(self.alphabet.tokenizer)

    @classmethod
    def check(cls, settings: Any, alphabet: Alphabet, recipe: Any) -> None:
        """TrainingError for tokens that overlap, for a network that cannot take a soft mask where the kernel needs one,
        and for guidance by a context of what has no frequencies."""
        try:
            noising = alphabet.noising or TokenNoising(alphabet.tokenizer)
        except ValueError as error:
            raise TrainingError(f"recipe {recipe.name}: {error}") from error
        kernel, _ = settings.process
        if kernel.substitutions and not network_class(recipe.network["kind"]).supports_soft_mask:
            kinds = [name for name in registry.NETWORKS if network_class(name).supports_soft_mask]
            raise TrainingError(
                f"recipe {recipe.name}: diffusion.kernel = {kernel.name!r} needs a network of kind {' or '.join(kinds)}"
            )
        if settings.context_guidance != 1 and isinstance(noising, TokenNoising):
            raise TrainingError(
                f"recipe {recipe.name}: diffusion.context_guidance needs frequencies: input.kind = 'people'"
            )

    def auxiliary(self) -> dict[str, Any]:
        """The head that predicts tokens, if the network does not."""
        return self._noising.head()

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids`, some of them noised, all tokens as `targets`, the `time`, and what the noising adds."""
        kernel, schedule = self.settings.process
        times_B = kernel.times(spread_times(len(letters_BL), rng))
        alpha_B = schedule.alpha(times_B)
        views = self._noising.views(
            letters_BL,
            lambda tokens_BT, size: kernel.noised(tokens_BT, alpha_B, size, rng),
            self.settings,
            rng,
        )
        return views | {"time": (times_B * TICKS).astype(np.int64)[:, None]}

    def loss(self, model: Model, views: Mapping[str, Tensor], group: ProcessGroup) -> Tensor:
        """The mean over this process's samples, in nats a base."""
        del group
        kernel, schedule = self.settings.process
        noising, truth_BT, ids_BT = self._noising, views["targets"], views["ids"]
        denoiser = noising.denoiser(
            model.network,
            model.head,
            views,
            soft_masked=kernel.substitutions,
            inputs=model.inputs if self.alphabet.aligned else None,
        )
        noised_BT = torch.where(truth_BT != MASKED, noising.tokens_of(ids_BT), MASKED)
        scored_BT = kernel.scored(noised_BT, truth_BT)
        times_B = views["time"][:, 0].cpu().numpy() / TICKS
        derivative_B = schedule.derivative(times_B) * kernel.time_derivative(times_B)
        alpha_BT, derivative_BT = (
            torch.from_numpy(values).to(ids_BT.device, torch.float32)[:, None].expand(ids_BT.shape)
            for values in (schedule.alpha(times_B), derivative_B)
        )
        logits_NV = denoiser(noised_BT, scored_BT, alpha_BT).float()
        parts = [part[scored_BT] for part in (truth_BT, noised_BT, alpha_BT, derivative_BT)]
        total_B = torch.zeros_like(alpha_BT[:, 0])
        total_B = total_B.index_add(0, scored_BT.nonzero()[:, 0], kernel.nats(logits_NV, *parts))
        known_B = (truth_BT != MASKED).sum(1).clamp(min=1)
        return (total_B / (noising.bases * known_B)).mean()

    def bits_per_base(self, nats: float) -> float:
        """The loss, which is in nats a base, in bits: a bound."""
        return nats / math.log(2)
