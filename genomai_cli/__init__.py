"""DNA sequence models: the program `genomai`, and a library whose names are opened when one is asked for."""

from importlib import import_module

__version__ = "0.1.0"
__all__ = [
    "BundleError",
    "Call",
    "Calls",
    "Embeddings",
    "Explanation",
    "GenomaiError",
    "GenomaiWarning",
    "InputError",
    "Model",
    "Sampling",
    "SequenceClassifier",
    "SequenceRecord",
    "SequenceRegressor",
    "SequenceScores",
    "TrainingError",
    "UsageError",
    "VariantEffects",
    "VcfReading",
    "classify",
    "embed",
    "explain",
    "generate",
    "load",
    "score",
    "score_variants",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("genomai_cli.library"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
