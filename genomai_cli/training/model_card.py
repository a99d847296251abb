"""The model card that `pretrain` writes: what the model has read, by which objectives, and how well it guesses.

The model card that `train` writes: what is known of a model when it is made.

The picture of a run's losses: opened only when there is one to draw, since matplotlib is slow to load.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn

from genomai_cli.inputs.base import PEOPLE, SEQUENCE
from genomai_cli.population.labels import Phenotypes
from genomai_cli.training.baselines import ORDER
from genomai_cli.training.finetuning import Fitted
from genomai_cli.training.pretraining import Pretrained

BASELINES = {
    "contrastive": "any sample of the batch: log(batch)",
    "masked": "the words' frequencies, given the letters still visible",
    "crossmodal": "any order of those that differ: log(1 + number of negatives)",
}
BLURRED = {
    PEOPLE: "independent sites, at the allele frequencies of the person's phenotype",
    SEQUENCE: f"a Markov model of the letters, interpolated up to order {ORDER}",
}
INDEPENDENT = "independent sites, at the frequencies of their words"
OF_DNA = """\
It makes new DNA: `genomai generate --model DIR --length 1000 --prompt ACGT`. The loss bounds the negative
log-likelihood of a letter in its window; what is made looks like the corpus over tens of letters, and is neither a gene
nor anybody's genome. Pretrained without labels: `genomai train --model DIR` gives it heads."""
PRETRAINED = """\
Pretrained without labels: it has no heads and classifies nothing. `genomai train --model DIR` gives it some."""
DESCRIBED = """\
It ranks phenotype records by how similar they are to DNA: `genomai align --model DIR`. It knows the columns """
OF_DESCRIBED = """\
A similarity is no cause: it says what records people with such DNA had among those learnt from. What DNA cannot tell
(sex, from autosomes) is ranked by chance. How well records of held-out people are found has to be measured."""
OF_VECTORS = """\
What the network knows is what the corpus shows. A low loss says that hidden letters or views are guessed well, not
that the vectors help a task: measure that."""
OF_PEOPLE = """\
New people are as varied as those learnt from, no more. The loss bounds the negative log-likelihood of a site given all
others of the person; whether people are realistic, and none a copy, `genomai evaluate --task generation` tells."""
OF_LIBRARY = """

**It holds the genotypes of {people} people it was trained on** (the tensor `library.copies`), by which
`genomai denoise` restores those of others: share it as you would share their data. `--set network.people=0` makes a
model without them, which restores less well."""


def pretraining_card(made: Pretrained, command: str) -> str:
    """The card as Markdown: data, method, held-out losses beside their baselines, limits, the command that made it."""
    config, facts = made.bundle.config, made.facts
    corpus = facts["corpus"]
    own = parameters(_trained(made))
    unit = "records" if corpus["by_record"] else "pieces of the sequences"
    others = [m for m in made.bundle.companions.values() if m is not _trained(made)]
    beside = sum(parameters(module) for module in others)
    return f"""# {config["name"]} {config["version"]}

{config["description"] or "A pretrained network."}

{_purpose(made)}

## Data

{corpus["records"]:,} records, {corpus["letters"]:,} letters (SHA-256 of names and letters {corpus["sha256"]}).
The network read {facts["tokens"]:,} tokens in {facts["steps"]:,} steps, {facts["epochs"]:g} times the corpus.

## Method

Network `{_kind(made)}`, {own:,} trainable parameters, and {beside:,} beside it that only the
objectives use; tokenizer `{config["tokenizer"]["kind"]}`. Objectives: {_objectives(facts)}.
All settings are in `recipe.toml`.

## Results

Loss in nats on {corpus["held_out"]:,} of {corpus["pieces"]:,} pieces held out by {unit}, which also
chose the best step and so are slightly optimistic:

{_pretraining_results(facts, config["input"]["kind"])}

## Limits

{_limits(made)}

## Reproduce

```
{command}
```

{facts["seconds"]} s on {facts["device"]} ({facts["processes"]} processes) with {config["provenance"]["program"]}, \
torch {config["provenance"]["torch"]}, seed {facts["seed"]}.
"""


def parameters(module: nn.Module) -> int:
    """How many numbers gradient descent has set."""
    return sum(parameter.numel() for parameter in module.parameters())


def _trained(made: Pretrained) -> nn.Module:
    """The network that was trained: the model's own, or one beside it."""
    return made.bundle.crossmodal if _described(made) else made.bundle.classifier


def _described(made: Pretrained) -> bool:
    return "crossmodal" in made.facts["objectives"]


def _kind(made: Pretrained) -> str:
    return "crossmodal" if _described(made) else str(made.bundle.config["network"]["kind"])


def _purpose(made: Pretrained) -> str:
    config = made.bundle.config
    if _described(made):
        return f"{DESCRIBED}{', '.join(made.bundle.crossmodal.columns.fields)}."
    if config["input"]["kind"] != PEOPLE:
        of_dna = "diffusion" in config["companions"] and config["input"]["kind"] == SEQUENCE
        return OF_DNA if of_dna else PRETRAINED
    names = ", ".join(Phenotypes.from_config(config).names)
    told = (
        f"It makes new people: `genomai generate --model DIR --phenotype NAME`. It knows {names}."
    )
    people = config["network"].get("people", 0)
    return told + (OF_LIBRARY.format(people=people) if people else "")


def _limits(made: Pretrained) -> str:
    if _described(made):
        return OF_DESCRIBED
    return OF_PEOPLE if made.bundle.config["input"]["kind"] == PEOPLE else OF_VECTORS


def _objectives(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} (weight {weight:g})" for name, weight in facts["objectives"].items())


def _pretraining_results(facts: dict[str, Any], kind: str) -> str:
    lines = ["| objective | held out | without a network | which is |", "| --- | --- | --- | --- |"]
    for name, loss in facts["held_out"].items():
        told = BASELINES.get(name) or BLURRED.get(kind, INDEPENDENT)
        lines.append(f"| {name} | {loss:.4f} | {facts['baseline'][name]:.4f} | {told} |")
    return "\n".join(lines)


def classifier_card(fitted: Fitted, command: str) -> str:
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


ABSENT = "."


def loss_picture(rows: Sequence[Mapping[str, str]], title: str) -> bytes:
    """A PNG of training and held-out loss by step, from the rows of metrics.tsv; a panel a loss."""
    columns = [name for name in rows[0] if name == "loss" or name.startswith("loss_")]
    shown = columns[:1] if len(columns) == 2 else columns  # one objective is the whole loss
    figure = Figure(figsize=(4.5 * len(shown), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    for number, column in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), number)
        held_out = column.replace("loss", "held_out", 1)
        for name, label in ((column, "training"), (held_out, "held out")):
            points = [(int(r["step"]), float(r[name])) for r in rows if r[name] != ABSENT]
            marker = "." if name == held_out else ""
            axes.plot(*zip(*points, strict=True), label=label, marker=marker) if points else None
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats)")
        axes.set_title(column.removeprefix("loss_") if column != "loss" else title)
        axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
