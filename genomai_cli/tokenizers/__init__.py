"""Sequences into ids of tokens, and back: one protocol, `base.Tokenizer`; its kinds are in `registry.TOKENIZERS`."""

from collections.abc import Mapping
from typing import Any

from genomai_cli.errors import BundleError
from genomai_cli.registry import TOKENIZERS, resolve
from genomai_cli.tokenizers.base import Tokenizer

__all__ = ["Tokenizer", "from_config"]


def from_config(config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a bundle's config describes, as its `to_config` wrote it; BundleError if there is none."""
    kind = config.get("kind")
    if kind not in TOKENIZERS:
        raise BundleError(f"no tokenizer of kind {kind!r}: there are {', '.join(TOKENIZERS)}")
    options = {name: value for name, value in config.items() if name != "kind"}
    try:
        tokenizer: Tokenizer = resolve(TOKENIZERS[kind])(**options)
    except (ValueError, TypeError) as error:
        raise BundleError(f"tokenizer {kind}: {error}") from error
    return tokenizer
