"""The model card that `train` writes: what is known of a model when it is made."""

from typing import Any

from genomai_cli.training.labelled.make import Fitted


def card(fitted: Fitted, command: str) -> str:
    """The card as Markdown: data, method, held-out results, limits, the command that made it."""
    config = fitted.bundle.config
    made = config["provenance"]
    split = f"{config['members']} networks, each held out" if config["members"] > 1 else "held out"
    return f"""# {config["name"]} {config["version"]}

{config["description"] or "A classifier."}

## Data

{made["samples"]} labelled samples of {made["individuals"]} individuals.

## Method

Network `{config["network"]["kind"]}`, {fitted.bundle.classifier.trainable_parameters:,} trainable parameters; tokenizer
`{config["tokenizer"]["kind"]}`. All settings are in `recipe.toml`.

## Results

On samples held out by individual ({split} from what it learnt; used for early stopping and calibration, so slightly
optimistic):

{_results(fitted.validation)}

## Limits

Labels that are not in the training data are never answered. A sample unlike the training data gets a label all the
same: mind the flags.

## Reproduce

```
{command}
```

{made["seconds"]} s on {made["device"]} with {made["program"]}, torch {made["torch"]}, seed {made["seed"]}.
"""


def _results(validation: dict[str, Any]) -> str:
    head = "| head | samples | accuracy | most frequent label |\n| --- | --- | --- | --- |\n"
    rows = [
        f"| {name} | {found['n']} | {found['accuracy']:.4f} | {found['majority']:.4f} |"
        for name, found in validation.items()
    ]
    return head + "\n".join(rows)
