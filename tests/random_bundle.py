"""A model of plain DNA with random weights, for what does not depend on training."""

import torch

from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.inputs.sequences import SequenceInput
from genomai_cli.tokenizers import from_config


def random_bundle(
    *, kind="kmers", k=3, stride=1, members=1, seed=1, positions=16, width=8, **sizes
) -> Bundle:
    """The model, a transformer; `sizes` are further ones, by default of two layers and heads."""
    tokenizer = from_config({"kind": kind, "k": k, "stride": stride})
    config = {
        "name": "random",
        "version": "1",
        "description": "random weights",
        "input": {"kind": "sequence", "haplotypes": False},
        "tokenizer": tokenizer.to_config(),
        "network": {
            "kind": "transformer",
            "vocabulary": len(tokenizer.vocabulary),
            "pad_id": tokenizer.pad_id,
            "positions": positions,
            "width": width,
            **({"heads": 2, "layers": 2, "feed_forward": 8, "dropout": 0.0} | sizes),
        },
        "members": members,
        "heads": {},
    }
    torch.manual_seed(seed)
    return Bundle(config, bundles.build(config, SequenceInput()), SequenceInput())
