"""By what a bundle has, what it can restore: people at a panel's sites, anchored genomes, or plain DNA."""

import torch
from torch import nn

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError
from genomai_cli.nets.denoiser import DenoiserNetwork
from genomai_cli.panels.panel import Panel
from genomai_cli.panels.phenotypes import Phenotypes
from genomai_cli.restoration.guessing import GuessedDna, GuessedGenomes
from genomai_cli.restoration.people import PeopleOfHaplotypes, PeopleOfPopulations

PEOPLE_MODEL = "ancestry-generator"  # who restores what, where nobody says
GENOMES_MODEL = "mito-denoiser"
COMPANIONS = ("denoiser", "diffusion", "masked")  # who may guess hidden words, the best first

Model = PeopleOfHaplotypes | PeopleOfPopulations | GuessedGenomes | GuessedDna


def model_of(bundle: Bundle) -> Model:
    """What the bundle restores with; BundleError for one that cannot."""
    device = next(iter(bundle.classifier.state_dict().values())).device
    if bundle.panel is not None:
        return _people(bundle, bundle.panel, device)
    network = bundle.classifier.members[0]
    companion = _companion(bundle, network)
    if bundle.reference is not None:
        if bundle.sites is None:
            raise BundleError(f"the model {bundle.name!r} restores nothing: it has no sites")
        return GuessedGenomes(network, companion, (bundle.reference, bundle.sites), device)
    tokenizer = bundle.tokenizer
    if not (tokenizer.kind == "characters" and hasattr(network, "hidden")):
        raise BundleError(
            f"the model {bundle.name!r} restores nothing: its words, {tokenizer.kind!r}, are not single letters"
        )
    longest = int(bundle.config["network"]["positions"])
    return GuessedDna(network, companion, tokenizer.mask_id, longest, device)


def _people(
    bundle: Bundle, panel: Panel, device: torch.device
) -> PeopleOfHaplotypes | PeopleOfPopulations:
    network = bundle.classifier.members[0]
    if isinstance(network, DenoiserNetwork):
        return PeopleOfPopulations(network, panel, Phenotypes.from_config(bundle.config))
    able = [network, *(bundle.companions[name] for name in sorted(bundle.companions))]
    for module in able:
        if hasattr(module, "allele_probabilities"):
            return PeopleOfHaplotypes(module, panel, device)
    raise BundleError(
        f"the model {bundle.name!r} restores nothing: it tells people apart, not alleles"
    )


def _companion(bundle: Bundle, network: nn.Module) -> nn.Module:
    found = next((name for name in COMPANIONS if name in bundle.companions), None)
    if found is None or not hasattr(network, "guess"):
        raise BundleError(
            f"the model {bundle.name!r} restores nothing: it was not trained to guess hidden letters "
            "(genomai pretrain --objective masked)"
        )
    return bundle.companions[found]
