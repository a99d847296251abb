"""Models in Python: what `import genomai_cli as genomai` gives, opened when the first of it is asked for."""

from genomai_cli.errors import (
    BundleError,
    GenomaiError,
    GenomaiWarning,
    InputError,
    TrainingError,
    UsageError,
)
from genomai_cli.inference.classify import Call
from genomai_cli.inference.explain import Explanation
from genomai_cli.library.estimators import SequenceClassifier, SequenceRegressor, train
from genomai_cli.library.generation import Sampling
from genomai_cli.library.inputs import VcfReading
from genomai_cli.library.model import (
    Model,
    classify,
    embed,
    explain,
    generate,
    load,
    score,
    score_variants,
)
from genomai_cli.library.results import Calls, Embeddings, SequenceScores, VariantEffects
from genomai_cli.records import SequenceRecord

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
