"""The model cards that `pretrain` and `train` write."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.training.finetuning import Finetuned
from genomai_cli.training.pretraining import Pretrained
from genomai_cli.training.pretraining_report import PretrainedReport
from genomai_cli.training.validation_limits import limits_in_words

CLASS_MEASURES = {"accuracy": "accuracy", "mcc": "MCC"}


def untrained_card(model: Bundle, command: str) -> str:
    """The card as Markdown of an untrained model."""
    config = model.config
    return f"""# {config["name"]} {config["version"]}

{config["description"] or "A network that has learnt nothing."}

Network `{config["network"]["kind"]}`, whose {model.classifier.trainable_parameters:,} parameters have the values before
training; tokenizer `{config["tokenizer"]["kind"]}`. All settings are in `recipe.toml`.

## Reproduce

```
{command}
```
"""


def pretrained_report(pretrained: Pretrained) -> PretrainedReport:
    """The report on a network that was trained by gradient descent."""
    facts, corpus, config = pretrained.facts, pretrained.facts["corpus"], pretrained.bundle.config
    network_parameters = parameters(pretrained.network)
    head_parameters = sum(parameters(module) for module in pretrained.bundle.auxiliary.values())
    head_parameters -= network_parameters if pretrained.attached else 0
    by_record = corpus["by_record"]
    unit = "records" if by_record else "pieces of the sequences"
    drawn = "record was drawn" if by_record else "piece of the sequences was drawn, a window of it,"
    data_text = f"""\
The network read {facts["tokens"]:,} tokens in {facts["steps"]:,} steps: every {drawn} {facts["epochs"]:g} times."""
    method_text = f"""\
, {network_parameters:,} trainable parameters, and {head_parameters:,} in heads that only the
objectives use; tokenizer `{config["tokenizer"]["kind"]}`. Objectives: {_objectives(facts)}."""
    held_out_text = f"""\
 on {corpus["held_out"]:,} of {corpus["pieces"]:,} pieces held out by {unit}, which also
chose the best step and so are slightly optimistic"""
    return PretrainedReport(
        config,
        facts,
        pretrained.input.card(config, tuple(facts["objectives"]), pretrained.network),
        pretrained.network_kind,
        pretrained.bundle.classifier.trainable_parameters,
        data_text,
        method_text,
        held_out_text,
    )


def parameters(module: nn.Module) -> int:
    """How many numbers gradient descent has set."""
    return sum(parameter.numel() for parameter in module.parameters())


def _objectives(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} (weight {weight:g})" for name, weight in facts["objectives"].items())


def classifier_card(fitted: Finetuned, command: str) -> str:
    """The card as Markdown: data, method, held-out results, limits, the command that made it."""
    config = fitted.bundle.config
    facts = config["provenance"]
    split = f"{config['members']} networks, each held out" if config["members"] > 1 else "held out"
    return f"""# {config["name"]} {config["version"]}

{config["description"] or "A classifier."}

## Data

{data_in_words(facts)}

## Method

Network `{config["network"]["kind"]}`, {fitted.bundle.classifier.trainable_parameters:,} trainable parameters; tokenizer
`{config["tokenizer"]["kind"]}`. {start_in_words(facts)}{selection_in_words(facts)}All settings are in `recipe.toml`.

## Results

On {held_out_in_words(facts)} ({split} from those trained on; used for early stopping and calibration, so slightly
optimistic):

{_results(fitted.validation)}
{_intervals(config)}
## Limits

Labels that are not in the training data are never answered. {novelty_in_words(config)}
{_limits(fitted)}
## Reproduce

```
{command}
```

{facts["seconds"]} s on {facts["device"]} with {facts["program"]}, torch {facts["torch"]}, seed {facts["seed"]}.
"""


def _limits(fitted: Finetuned) -> str:
    """What the held-out samples do not show, a paragraph each."""
    limits = limits_in_words(fitted.validation, fitted.bundle.heads)
    return "".join(f"\n{limit}.\n" for limit in limits)


def _intervals(config: Mapping[str, Any]) -> str:
    """What the intervals of predicted numbers are; nothing for heads of labels."""
    return "".join(
        f"\nThe interval of {head} is the predicted number +- {number['half_width']:.4g}: so far off are "
        f"{number['coverage']:.0%} of the held-out samples at most.\n"
        for head, number in config.get("numbers", {}).items()
    )


def novelty_in_words(config: Mapping[str, Any]) -> str:
    """How the model treats samples unlike the training data."""
    if config.get("novelty") is None:
        return "A sample unlike the training data gets a label all the\nsame: mind the flags."
    return """A sequence unlike the training sequences in its
letters, composition or length is flagged NOVEL, as about 1 % of held-out training sequences are; one that is very
unlike them gets no label. Sequences of another kind that are made alike go unnoticed."""


def data_in_words(facts: Mapping[str, Any]) -> str:
    """How many samples there are, and of how many that a split keeps together."""
    if "near_duplicates" not in facts:
        return f"{facts['samples']} labelled samples of {facts['individuals']} individuals."
    text = f"""\
{facts["samples"]} labelled sequences, of which {facts["near_duplicates"]} have near-duplicates among the others (a
quarter of the 13-mers in common, on either strand): {facts["individuals"]} if those count as one, as in the split."""
    for file, (found, count) in facts.get("leaks", {}).items():
        text += f"\nOf the {count} sequences of `{file}`, {found} have near-duplicates among them."
    return text


def held_out_in_words(facts: Mapping[str, Any]) -> str:
    """The samples that the network was stopped and calibrated by."""
    if "validation_samples" in facts:
        return f"the {facts['validation_samples']} samples of the validation set that was given"
    by = "individual" if "near_duplicates" not in facts else "similarity"
    return f"samples held out by {by}"


def selection_in_words(facts: Mapping[str, Any]) -> str:
    """What was chosen on held-out samples; nothing for a model of one network."""
    if "strand" not in facts:
        return ""
    return (
        f"Chosen on held-out samples: parts that read {facts['strand']}; convolutions of {facts['folds']} folds answer "
        "together, weighed against regressions by the held-out samples of each. "
    )


def start_in_words(facts: Mapping[str, Any]) -> str:
    """With which model training began, and how much of it was trained; nothing for a model from scratch."""
    adapt = facts.get("adapt")
    if adapt is None:
        return ""
    method = {
        "full": "all of them were trained",
        "probe": "they were kept as they were, and the heads alone trained",
        "lora": "they were kept, and changes of rank {rank} (alpha {alpha:g}) of the linear layers trained and added "
        "(LoRA, Hu et al. 2022), and the heads",
    }[adapt["kind"]]
    origin = (
        f"The networks began with the values of `{adapt['model']}` (SHA-256 {adapt['sha256']}); "
    )
    return f"{origin}{method.format(**adapt)}: {adapt['trained_values']:,} values a network. "


def _results(validation: dict[str, Any]) -> str:
    return "\n".join([*_labels(validation), *_numbers(validation), *_candidates(validation)])


def _labels(validation: dict[str, Any]) -> Iterator[str]:
    """A row a head of labels."""
    heads = {name: scores for name, scores in validation.items() if "accuracy" in scores}
    if heads:
        yield "| head | samples | accuracy | most frequent label |\n| --- | --- | --- | --- |"
    for name, scores in heads.items():
        yield f"| {name} | {scores['n']} | {scores['accuracy']:.4f} | {scores['majority']:.4f} |"


def _numbers(validation: dict[str, Any]) -> Iterator[str]:
    """A row a head of numbers."""
    heads = {name: scores for name, scores in validation.items() if "r2" in scores}
    if heads:
        yield (
            "| numbers | samples | Pearson's r | R^2 | root mean squared error | of the mean |\n"
            "| --- | --- | --- | --- | --- | --- |"
        )
    for name, scores in heads.items():
        figures = f"{scores['pearson']:.4f} | {scores['r2']:.4f} | {scores['rmse']:.4g} | {scores['deviation']:.4g}"
        yield f"| {name} | {scores['n']} | {figures} |"


def _candidates(validation: dict[str, Any]) -> Iterator[str]:
    """The measures of each part of a model whose parts were chosen; nothing for other models."""
    for name, measured in validation.items():
        if "candidates" in measured:
            measures = (
                {"pearson": "Pearson's r", "r2": "R^2"} if "r2" in measured else CLASS_MEASURES
            )
            words = " | ".join(measures.values())
            yield f"\n| {name}, by the same samples | {words} |\n| --- | --- | --- |"
            for part, scores in measured["candidates"].items():
                figures = " | ".join(f"{scores[measure]:.4f}" for measure in measures)
                yield f"| {part} | {figures} |"
