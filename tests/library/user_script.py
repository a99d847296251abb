"""A user's script with the library: checked by mypy --strict (see pyproject.toml), and run by test_library."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import genomai_cli as genomai


def classified(model_folder: Path, vcf: Path) -> dict[str, float]:
    """The label of every sample with its probability."""
    model: genomai.Model = genomai.load(model_folder, device="cpu")
    calls: genomai.Calls = model.classify(vcf, vcf=genomai.VcfReading(min_gq=20))
    labels: NDArray[np.str_] = calls.labels("pop")
    best: NDArray[np.float64] = calls.probabilities("pop").max(axis=1)
    return {
        f"{name} {label}": float(p)
        for name, label, p in zip(calls.names, labels, best, strict=True)
    }


def embedded(model_folder: str) -> tuple[list[str], NDArray[np.float32]]:
    """Names and vectors of sequences in memory."""
    names, vectors = genomai.embed(["ACGTACGTAC", "GGGTTTACGT"], model_folder, device="cpu")
    return names, vectors


def likelihoods(model_folder: str, reference: Path, vcf: Path) -> tuple[float, float]:
    """The mean per base of two sequences, and the largest change by a variant that was scored."""
    records = [genomai.SequenceRecord("a", "ACGTACG"), genomai.SequenceRecord("b", "GGG")]
    scores = genomai.score(records, model_folder, device="cpu")
    effects = genomai.score_variants(vcf, reference, model_folder, device="cpu")
    return float(scores.per_base.mean()), float(np.nanmax(np.abs(effects.deltas)))


def cross_checked(sequences: list[str], labels: list[int]) -> float:
    """The share of held-out sequences that a classifier calls right."""
    messages: list[str] = []
    classifier = genomai.SequenceClassifier(
        time="1s", seed=1, device="cpu", progress=messages.append
    )
    half = len(sequences) // 2
    try:
        classifier.fit(sequences[:half], labels[:half])
    except genomai.TrainingError as error:
        raise SystemExit(str(error)) from error
    probabilities: NDArray[np.float64] = classifier.predict_proba(sequences[half:])
    assert messages
    assert probabilities.shape == (len(sequences) - half, len(classifier.classes_))
    return classifier.score(sequences[half:], labels[half:])
