"""Outputs of released checkpoints that others computed with the original code, for `genomai models verify`.

`golden.json` holds the figures: vectors, each the mean of the last hidden states over a short sequence without special
tokens, by the SHA-256 of the weights that gave it (GENEB, github.com/darlednik/GENEB, on a CPU in float32); and the
mean losses of Evo 2's releases over the four prompts of its own test (github.com/ArcInstitute/evo2), which are known
by their SHA-256.
"""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genomai_cli.backbones.base import Backbone
from genomai_cli.backbones.heads import next_token_logs
from genomai_cli.bundles import catalog
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import InputError

FILE = Path(__file__).with_name("golden.json")
PROMPTS = "evo2_test_prompts.csv"


@dataclass(frozen=True)
class Agreement:
    """The largest deviation of an output from the published one, and the one that is tolerated; `source` names the
    output."""

    source: str
    deviation: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether it is within the tolerance."""
        return self.deviation <= self.tolerance


def vector_agreement(bundle: Bundle) -> Agreement | None:
    """The agreement of the model's vector with the published one of these weights; None where none is known."""
    network, vectors = bundle.classifier.networks[0], _figures()["vectors"]
    stored = next((v for v in vectors if v["weights_sha256"] == bundle.weights_sha256), None)
    if stored is None or not isinstance(network, Backbone):
        return None
    device = next(network.parameters()).device
    ids_BT = torch.from_numpy(bundle.tokenizer.encode(stored["letters"])).long().unsqueeze(0)
    with torch.inference_mode():
        mean_D = network(ids_BT.to(device))[0].double().mean(0).cpu()
    deviation = (mean_D - torch.tensor(stored["values"], dtype=torch.float64)).abs().max().item()
    return Agreement(
        f"{stored['source']} at {stored['revision'][:12]}", deviation, stored["tolerance"]
    )


def loss_agreement(bundle: Bundle, folder: Path) -> Agreement | None:
    """The agreement of the model's loss with the published one of a release of Evo 2, if the folder has the prompts.

    InputError for other prompts.
    """
    stored, file = _figures()["losses"], folder / PROMPTS
    network, head = bundle.classifier.networks[0], bundle.auxiliary.get("causal")
    expected = stored["values"].get(bundle.name)
    if expected is None or head is None or not file.is_file() or not isinstance(network, Backbone):
        return None
    with file.open(encoding="utf-8", newline="") as stream:
        prompts = [row.get("Sequence") or "" for row in csv.DictReader(stream)]
    if [hashlib.sha256(text.encode()).hexdigest() for text in prompts] != stored["prompts_sha256"]:
        raise InputError("not the prompts of Evo 2's own test", path=file)
    device, losses = next(network.parameters()).device, []
    with torch.inference_mode():
        for text in prompts:
            ids_BT = torch.from_numpy(bundle.tokenizer.encode(text)).long().unsqueeze(0)
            losses.append(-next_token_logs(network, head, ids_BT.to(device)).mean().item())
    deviation = abs(sum(losses) / len(losses) - expected)
    return Agreement(f"mean loss of {bundle.name}", deviation, stored["tolerance"])


def _figures() -> Mapping[str, Any]:
    figures: Mapping[str, Any] = catalog.read_json(FILE)
    return figures
