"""Sequences into ids of words, and back: one protocol, `base.Tokenizer`, and its registry, `KINDS`."""

from collections.abc import Callable, Mapping
from typing import Any

from genomai_cli.errors import BundleError
from genomai_cli.tokenizers.base import Tokenizer
from genomai_cli.tokenizers.characters import Characters, iupac
from genomai_cli.tokenizers.kmers import Kmers, SymmetricKmers

KINDS: dict[str, Callable[..., Tokenizer]] = {
    "characters": Characters,
    "kmers": Kmers,
    "symmetric": SymmetricKmers,
    "iupac": iupac,
}
KINDS_OF_WINDOWS = frozenset({"kmers", "symmetric"})
__all__ = ["KINDS", "KINDS_OF_WINDOWS", "Tokenizer", "from_config"]


def from_config(config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a bundle's config describes, as its `to_config` wrote it."""
    kind = config.get("kind")
    if kind not in KINDS:
        raise BundleError(f"no tokenizer of kind {kind!r}: there are {', '.join(KINDS)}")
    known = ("k", "stride") if kind in KINDS_OF_WINDOWS else ()
    try:
        return KINDS[kind](**{name: config[name] for name in known if name in config})
    except (ValueError, TypeError) as error:
        raise BundleError(f"tokenizer {kind}: {error}") from error
