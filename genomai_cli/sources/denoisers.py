"""Denoisers by the name of a model; torch is loaded only where that is a network."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from genomai_cli import registry, threads
from genomai_cli.bundles import catalog, hub
from genomai_cli.bundles.stored import StoredBundle
from genomai_cli.denoising.base import Denoiser, Settings, denoiser_of
from genomai_cli.population.barcode_faults import BarcodeFaults
from genomai_cli.population.panel import Panel
from genomai_cli.sources.faults import FindsFaults
from genomai_cli.sources.observer import Observer

if TYPE_CHECKING:
    from genomai_cli.sources.model_choice import Compute

PROCESSOR = "cpu"


class OpenDenoiser(NamedTuple):
    """The denoiser, its model's name with the version, and what finds faults in records that it reads."""

    denoiser: Denoiser
    origin: str
    input: FindsFaults


def open_denoiser(
    observer: Observer,
    name: str,
    compute: "Compute",
    settings: Settings,
    other_panels: Iterable[Panel] = (),
) -> OpenDenoiser:
    """The denoiser of the model of that name, which reads barcodes of other panels too, where they share its sites;
    BundleError if it is missing or damaged, or restores nothing."""
    dotted_path = _array_denoiser(name)
    if dotted_path is None:
        from genomai_cli.sources.model_choice import load_model  # noqa: PLC0415 - it loads torch

        bundle = load_model(observer, name, compute)
        denoiser = denoiser_of(bundle, settings, other_panels)
        return OpenDenoiser(denoiser, f"{bundle.name}@{bundle.version}", bundle.input)
    use_processor(observer, compute)
    stored = StoredBundle.open(catalog.find(name))
    observer.used_model(stored.name, stored.version, stored.sha256(catalog.WEIGHTS))
    of_arrays = registry.resolve(dotted_path)(stored, settings, other_panels)
    faults = BarcodeFaults(of_arrays.panel)
    return OpenDenoiser(of_arrays, f"{stored.name}@{stored.version}", faults)


def _array_denoiser(name: str) -> str | None:
    """The dotted path of the denoiser that works on a bundle's arrays; None where a network has to be made of them."""
    if name.startswith(hub.PREFIX):  # to be fetched, and looked at, once
        return None
    path = catalog.find(name)
    if not catalog.is_bundle(path) or not (path / catalog.WEIGHTS).is_file():
        return None
    kind = str((catalog.read_config(path).get("network") or {}).get("kind"))
    return registry.DENOISERS_OF_ARRAYS.get(kind)


def use_processor(observer: Observer, compute: "Compute") -> None:
    """Compute on the processor, whichever device is asked for; UsageError for one that is not there."""
    if compute.threads is not None:
        threads.use(compute.threads)
    if compute.device not in ("auto", PROCESSOR):
        from genomai_cli import device as devices  # noqa: PLC0415 - it loads torch

        device = devices.choose(compute.device)
        observer.console.say(f"the model computes on the processor, not on {device}")
    observer.used_device(PROCESSOR)
