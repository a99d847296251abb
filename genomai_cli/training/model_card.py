"""The model cards that `pretrain` and `train` write."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.training.finetuning import Finetuned
from genomai_cli.training.pretraining import Pretrained
from genomai_cli.training.pretraining_report import PretrainedReport

CLASS_MEASURES = {"accuracy": "accuracy", "mcc": "MCC"}


def untrained_card(made: Bundle, command: str) -> str:
    """The card as Markdown of a model that has learnt nothing."""
    config = made.config
    return f"""# {config["name"]} {config["version"]}

{config["description"] or "A network that has learnt nothing."}

Network `{config["network"]["kind"]}`, whose {made.classifier.trainable_parameters:,} parameters have the values before
training; tokenizer `{config["tokenizer"]["kind"]}`. All settings are in `recipe.toml`.

## Reproduce

```
{command}
```
"""


def pretrained_report(made: Pretrained) -> PretrainedReport:
    """What is told of a network that was trained by steps."""
    facts, corpus, config = made.facts, made.facts["corpus"], made.bundle.config
    own = parameters(made.network)
    heads = sum(parameters(module) for module in made.bundle.auxiliary.values())
    heads -= own if made.attached else 0
    unit = "records" if corpus["by_record"] else "pieces of the sequences"
    read = f"""\
The network read {facts["tokens"]:,} tokens in {facts["steps"]:,} steps, {facts["epochs"]:g} times the corpus."""
    method = f"""\
, {own:,} trainable parameters, and {heads:,} in heads that only the
objectives use; tokenizer `{config["tokenizer"]["kind"]}`. Objectives: {_objectives(facts)}."""
    held_out = f"""\
 on {corpus["held_out"]:,} of {corpus["pieces"]:,} pieces held out by {unit}, which also
chose the best step and so are slightly optimistic"""
    return PretrainedReport(
        config,
        facts,
        made.input.card(config, tuple(facts["objectives"]), made.network),
        made.network_kind,
        made.bundle.classifier.trainable_parameters,
        read,
        method,
        held_out,
    )


def parameters(module: nn.Module) -> int:
    """How many numbers gradient descent has set."""
    return sum(parameter.numel() for parameter in module.parameters())


def _objectives(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} (weight {weight:g})" for name, weight in facts["objectives"].items())


def classifier_card(fitted: Finetuned, command: str) -> str:
    """The card as Markdown: data, method, held-out results, limits, the command that made it."""
    config = fitted.bundle.config
    made = config["provenance"]
    split = f"{config['members']} networks, each held out" if config["members"] > 1 else "held out"
    return f"""# {config["name"]} {config["version"]}

{config["description"] or "A classifier."}

## Data

{data_in_words(made)}

## Method

Network `{config["network"]["kind"]}`, {fitted.bundle.classifier.trainable_parameters:,} trainable parameters; tokenizer
`{config["tokenizer"]["kind"]}`. {start_in_words(made)}{selection_in_words(made)}All settings are in `recipe.toml`.

## Results

On {held_out_in_words(made)} ({split} from those trained on; used for early stopping and calibration, so slightly
optimistic):

{_results(fitted.validation)}
{_intervals(config)}
## Limits

Labels that are not in the training data are never answered. {novelty_in_words(config)}

## Reproduce

```
{command}
```

{made["seconds"]} s on {made["device"]} with {made["program"]}, torch {made["torch"]}, seed {made["seed"]}.
"""


def _intervals(config: Mapping[str, Any]) -> str:
    """What the intervals of predicted numbers are; nothing for heads of labels."""
    return "".join(
        f"\nThe interval of {head} is the predicted number +- {of['half_width']:.4g}: so far off are "
        f"{of['coverage']:.0%} of the held-out samples at most.\n"
        for head, of in config.get("numbers", {}).items()
    )


def novelty_in_words(config: Mapping[str, Any]) -> str:
    """What becomes of samples unlike the training data."""
    if config.get("novelty") is None:
        return "A sample unlike the training data gets a label all the\nsame: mind the flags."
    return """A sequence unlike the training sequences in its
letters, composition or length is flagged NOVEL, as about 1 % of held-out training sequences are; one that is very
unlike them gets no label. Sequences of another kind that are made alike go unnoticed."""


def data_in_words(made: Mapping[str, Any]) -> str:
    """How many samples there are, and of how many that a split keeps together."""
    if "near_duplicates" not in made:
        return f"{made['samples']} labelled samples of {made['individuals']} individuals."
    text = f"""\
{made["samples"]} labelled sequences, of which {made["near_duplicates"]} have near-duplicates among the others (a
quarter of the 13-mers in common, on either strand): {made["individuals"]} if those count as one, as in the split."""
    for file, (found, count) in made.get("leaks", {}).items():
        text += f"\nOf the {count} sequences of `{file}`, {found} have near-duplicates among them."
    return text


def held_out_in_words(made: Mapping[str, Any]) -> str:
    """The samples that the network was stopped and calibrated by."""
    if "validation_samples" in made:
        return f"the {made['validation_samples']} samples of the validation set that was given"
    by = "individual" if "near_duplicates" not in made else "similarity"
    return f"samples held out by {by}"


def selection_in_words(made: Mapping[str, Any]) -> str:
    """What was chosen on held-out samples; nothing for a model of one network."""
    if "strand" not in made:
        return ""
    return (
        f"Chosen on held-out samples: parts that read {made['strand']}; convolutions of {made['folds']} folds answer "
        "together, weighed against regressions by the held-out samples of each. "
    )


def start_in_words(made: Mapping[str, Any]) -> str:
    """With which model training began, and how much of it was trained; nothing for a model from scratch."""
    adapt = made.get("adapt")
    if adapt is None:
        return ""
    how = {
        "full": "all of them were trained",
        "probe": "they were kept as they were, and the heads alone trained",
        "lora": "they were kept, and changes of rank {rank} (alpha {alpha:g}) of the linear layers trained and added "
        "(LoRA, Hu et al. 2022), and the heads",
    }[adapt["kind"]]
    begun = (
        f"The networks began with the values of `{adapt['model']}` (SHA-256 {adapt['sha256']}); "
    )
    return f"{begun}{how.format(**adapt)}: {adapt['trained_values']:,} values a network. "


def _results(validation: dict[str, Any]) -> str:
    return "\n".join([*_labels(validation), *_numbers(validation), *_candidates(validation)])


def _labels(validation: dict[str, Any]) -> Iterator[str]:
    """A row a head of labels."""
    found = {name: of for name, of in validation.items() if "accuracy" in of}
    if found:
        yield "| head | samples | accuracy | most frequent label |\n| --- | --- | --- | --- |"
    for name, of in found.items():
        yield f"| {name} | {of['n']} | {of['accuracy']:.4f} | {of['majority']:.4f} |"


def _numbers(validation: dict[str, Any]) -> Iterator[str]:
    """A row a head of numbers."""
    found = {name: of for name, of in validation.items() if "r2" in of}
    if found:
        yield (
            "| numbers | samples | Pearson's r | R^2 | root mean squared error | of the mean |\n"
            "| --- | --- | --- | --- | --- | --- |"
        )
    for name, of in found.items():
        figures = f"{of['pearson']:.4f} | {of['r2']:.4f} | {of['rmse']:.4g} | {of['deviation']:.4g}"
        yield f"| {name} | {of['n']} | {figures} |"


def _candidates(validation: dict[str, Any]) -> Iterator[str]:
    """What the parts of a model that is chosen did by themselves; nothing for other models."""
    for name, found in validation.items():
        if "candidates" in found:
            measures = {"pearson": "Pearson's r", "r2": "R^2"} if "r2" in found else CLASS_MEASURES
            words = " | ".join(measures.values())
            yield f"\n| {name}, by the same samples | {words} |\n| --- | --- | --- |"
            for part, scores in found["candidates"].items():
                figures = " | ".join(f"{scores[measure]:.4f}" for measure in measures)
                yield f"| {part} | {figures} |"
