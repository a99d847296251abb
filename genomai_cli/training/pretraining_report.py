"""What is told of a pretrained model, and its card: losses beside baselines, limits.

Nothing here needs torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genomai_cli.inputs.card_text import CardText


@dataclass(frozen=True, eq=False)
class PretrainedReport:
    """A model by its `config`, the `facts` of how it came about, and what its kind of input says (`text`).

    `read`, `method` and `held_out` are sentences of the card: what was read, how the network was made, and of what the
    losses are.
    """

    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    text: CardText
    network_kind: str
    trainable_parameters: int
    read: str
    method: str
    held_out: str

    def card(self, command: str) -> str:
        """The card as Markdown: data, method, held-out losses beside their baselines, limits, the command that made
        it."""
        config, facts, text = self.config, self.facts, self.text
        made, corpus = config["provenance"], facts["corpus"]
        return f"""# {config["name"]} {config["version"]}

{config["description"] or "A pretrained network."}

{text.purpose}

## Data

{corpus["records"]:,} records, {corpus["letters"]:,} letters (SHA-256 of names and letters {corpus["sha256"]}).
{self.read}

## Method

Network `{self.network_kind}`{self.method}
All settings are in `recipe.toml`.

## Results

Loss in nats{self.held_out}:

{_results(facts, text)}

## Limits

{text.limits}

## Reproduce

```
{command}
```

{facts["seconds"]} s on {facts["device"]} ({facts["processes"]} processes) with {made["program"]}, {library_of(made)}, \
seed {facts["seed"]}.
"""


def _results(facts: Mapping[str, Any], text: CardText) -> str:
    lines = ["| objective | held out | without a network | which is |", "| --- | --- | --- | --- |"]
    for name, loss in facts["held_out"].items():
        which = text.baselines.get(name, "")
        lines.append(f"| {name} | {loss:.4f} | {facts['baseline'][name]:.4f} | {which} |")
    for name, (bits, baseline) in facts.get("bits_per_base", {}).items():
        lines += ["", f"In bits a base, {name}: {bits:.4f}, {baseline:.4f} without a network."]
    return "\n".join(lines)


def library_of(made: Mapping[str, Any]) -> str:
    """The library that computed a model, with its version."""
    name = "torch" if "torch" in made else "numpy"
    return f"{name} {made[name]}"
