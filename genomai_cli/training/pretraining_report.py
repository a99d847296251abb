"""The report on a pretrained model, and its card: losses and baselines, limits.

Nothing here needs torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genomai_cli.inputs.card_text import CardText


@dataclass(frozen=True, eq=False)
class PretrainedReport:
    """A model's `config`, the `facts` of its training, and the `text` of its kind of input.

    `data_text`, `method_text` and `held_out_text` are sentences of the card: on the data that were read, on the method,
    and on the data of the losses.
    """

    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    text: CardText
    network_kind: str
    trainable_parameters: int
    data_text: str
    method_text: str
    held_out_text: str

    def card(self, command: str) -> str:
        """The card as Markdown: data, method, held-out losses beside their baselines, limits, the command that made
        it."""
        config, facts, text = self.config, self.facts, self.text
        run, corpus = config["provenance"], facts["corpus"]
        return f"""# {config["name"]} {config["version"]}

{config["description"] or "A pretrained network."}

{text.purpose}

## Data

{corpus["records"]:,} records, {corpus["letters"]:,} letters (SHA-256 of names and letters {corpus["sha256"]}).
{self.data_text}

## Method

Network `{self.network_kind}`{self.method_text}
All settings are in `recipe.toml`.

## Results

Loss in nats{self.held_out_text}:

{_results(facts, text)}

## Limits

{text.limits}

## Reproduce

```
{command}
```

{facts["seconds"]} s on {facts["device"]} ({facts["processes"]} processes) with {run["program"]}, {library_of(run)}, \
seed {facts["seed"]}.
"""


def _results(facts: Mapping[str, Any], text: CardText) -> str:
    lines = ["| objective | held out | without a network | which is |", "| --- | --- | --- | --- |"]
    for name, loss in facts["held_out"].items():
        baseline_name = text.baselines.get(name, "")
        lines.append(f"| {name} | {loss:.4f} | {facts['baseline'][name]:.4f} | {baseline_name} |")
    for name, (bits, baseline) in facts.get("bits_per_base", {}).items():
        lines += ["", f"In bits a base, {name}: {bits:.4f}, {baseline:.4f} without a network."]
    return "\n".join(lines)


def library_of(provenance: Mapping[str, Any]) -> str:
    """The library that computed a model, with its version."""
    name = "torch" if "torch" in provenance else "numpy"
    return f"{name} {provenance[name]}"
