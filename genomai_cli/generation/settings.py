"""How to draw, whatever is drawn, and the process by which a bundle was trained."""

from dataclasses import dataclass

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion import Kernel
from genomai_cli.diffusion.kernel import Way
from genomai_cli.diffusion.schedule import Schedule
from genomai_cli.errors import BundleError
from genomai_cli.objectives.diffusion import DiffusionSettings


@dataclass(frozen=True)
class Settings:
    """How to draw: in so many `steps`, with what `guidance` and `temperature`; 1 and 1 are the model's own. What is not
    drawn from nothing is blurred up to the time `since` first."""

    steps: int = 64
    guidance: float = 1.0
    temperature: float = 1.0
    seed: int = 0
    since: float = 1.0

    @property
    def way(self) -> Way:
        """The same for the sampler: a part of the time takes its part of the steps."""
        steps = max(1, round(self.steps * self.since))
        return Way(steps, self.temperature, self.since)


def process_of(bundle: Bundle) -> tuple[Kernel, Schedule]:
    """The diffusion process that a bundle was trained by; BundleError for one that was not."""
    try:
        settings = bundle.config["provenance"]["settings"]["diffusion"]
        return DiffusionSettings(**settings).process
    except (KeyError, TypeError, ValueError) as error:
        message = f"the model {bundle.name!r} generates nothing: it was not trained by diffusion"
        raise BundleError(message) from error


def steps_of(bundle: Bundle) -> int:
    """In how many steps the bundle's samples are drawn by default; what draws none is for its generator to refuse."""
    settings = bundle.config["provenance"].get("settings", {}).get("diffusion", {})
    return DiffusionSettings(**settings).steps
