"""Bundles of tiny networks that have a likelihood of DNA, their weights set by a formula: the same answers anywhere."""

import tiny_causal
import torch

from genomai_cli import tokenizers
from genomai_cli.backbones.base import complete_config
from genomai_cli.backbones.heads import build_auxiliary
from genomai_cli.bundles.bundle import Bundle, build, save
from genomai_cli.bundles.writing import Extras
from genomai_cli.inputs.sequences import SequenceInput, vocabulary_sizes

CHARACTERS, SIX = {"kind": "characters"}, {"kind": "bert_kmers", "k": 3}
DNABERT = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "positions": 64}


def bundle(network, tokenizer, objective, labels=None, numbers=None, **sizes):
    """A bundle whose head for tokens is the objective's; the kind of a `tiny_causal` must be registered."""
    dna_tokenizer = tokenizers.from_config(tokenizer)
    config = {
        "name": "likely",
        "version": "1.0.0",
        "description": "",
        "input": {"kind": "sequence"},
        "tokenizer": dna_tokenizer.to_config(),
        "network": complete_config({"kind": network, **vocabulary_sizes(dna_tokenizer), **sizes}),
        "members": 1,
        "heads": labels or {},
        "numbers": numbers or {},
        "companions": {objective: {"kind": "words", "vocabulary": len(dna_tokenizer.vocabulary)}} if objective else {},
        "provenance": {},
    }  # fmt: skip
    classifier = build(config, SequenceInput())
    auxiliary = build_auxiliary(config["companions"], classifier.networks[0])
    with torch.no_grad():
        for number, values in enumerate(
            [*classifier.networks[0].parameters(), *auxiliary.parameters()]
        ):
            sines = torch.sin(0.7 * torch.arange(values.numel()) + number)
            values.copy_(0.8 * sines.view(values.shape))
    return Bundle(
        config, classifier.double().eval(), SequenceInput(), "", dict(auxiliary.double().items())
    )


def causal(**sizes):
    return bundle(tiny_causal.KIND, CHARACTERS, "causal", **sizes)


def masked(**sizes):
    return bundle("dnabert", SIX, "masked", **DNABERT | sizes)


def saved(made, folder):
    """The bundle in a folder."""
    save(made, folder, Extras("# likely\n", ""))
    return folder
