"""A page of every command that writes one, of made-up data with hostile names, without a model."""

from types import SimpleNamespace

import numpy as np

from genomai_cli.formats.consensus import Region
from genomai_cli.formats.track_outputs import TrackSegment
from genomai_cli.formats.track_table import Track
from genomai_cli.formats.variant_alleles import AlleleRecord, Change
from genomai_cli.inference.effect_outputs import Counts
from genomai_cli.inference.score import Score
from genomai_cli.inference.score_report import EffectReport, LikelihoodReport
from genomai_cli.inference.track_evaluation import Row
from genomai_cli.inference.track_report import TrackReport, evaluation_page
from genomai_cli.inference.variant_effects import AlleleReading, Comparison, Effect
from genomai_cli.inputs.card_text import CardText
from genomai_cli.metrics.classification import Estimate, Predictions
from genomai_cli.metrics.evaluation import LabelCases, NumberCases
from genomai_cli.metrics.numbers import NumberPredictions
from genomai_cli.population.alignment.manhattan import Track as SiteTrack
from genomai_cli.population.alignment.manhattan import manhattan, picture
from genomai_cli.population.alignment.page import page as align_page
from genomai_cli.population.evaluation.page import Frequencies, quality_page
from genomai_cli.population.panel import Panel
from genomai_cli.reports.evaluation import page as heads_page
from genomai_cli.training.pretraining_page import pretraining_page
from genomai_cli.training.pretraining_report import PretrainedReport
from genomai_cli.training.training_page import training_page

HOSTILE = "</script><img src=x onerror=alert(1)>$\\frac$'\"&"
FACTS = {"command": HOSTILE}


def heads():
    """Of `evaluate`: a head of two labels with probabilities, one of many, and one of numbers."""
    rng = np.random.default_rng(1)
    scores = rng.random(200)
    truth = np.where(rng.random(200) < scores, HOSTILE, "no").tolist()
    two = Predictions(
        np.where(scores > 0.5, HOSTILE, "no").tolist(),
        np.maximum(scores, 1 - scores),
        ["no", HOSTILE],
        np.stack([1 - scores, scores], axis=1),
    )
    many = [f"L{n:02}" for n in rng.integers(0, 40, 200)]
    predicted_many = [many[n - 1] if n % 5 == 0 else label for n, label in enumerate(many)]
    numbers = rng.normal(170, 10, 200)
    predicted = numbers + rng.normal(0, 3, 200)
    cases = {
        HOSTILE: LabelCases(truth, two),
        "many": LabelCases(many, Predictions(predicted_many, np.full(200, 0.8))),
        "height": NumberCases(numbers, NumberPredictions(predicted, predicted - 5, predicted + 5)),
    }
    scores_by_head = {
        head: head_cases.scores(np.random.default_rng(0)) for head, head_cases in cases.items()
    }
    return heads_page(scores_by_head, cases, facts=FACTS, remarks=[HOSTILE], seed=0)


def omics():
    """Of `evaluate --task omics`."""
    measures = ("accuracy", "f1", "auroc")
    baselines = {"nothing": 0.5, "rate": 0.6}
    rows = [Row("tracks", "masked", name, 1000, 0.8, (0.7, 0.9), baselines) for name in measures]
    return evaluation_page([*rows, Row(HOSTILE, "visible", "accuracy", 5, 1.0)], 0.4, FACTS)


def bundle(**provenance):
    """The attributes of a bundle that a page reads."""
    defaults = {"program": "genomai 1", "torch": "2", "python": "3", "seed": 7, "device": "cpu"}
    config = {
        "name": HOSTILE,
        "version": "1",
        "description": HOSTILE,
        "network": {"kind": "transformer"},
        "tokenizer": {"kind": "characters"},
        "provenance": defaults | {"seconds": 12} | provenance,
    }
    classifier = SimpleNamespace(trainable_parameters=1234)
    return SimpleNamespace(config=config, classifier=classifier)


def trained():
    """Of `train` by the recipe auto."""
    candidates = {
        "k-mers": {"accuracy": 0.8, "mcc": 0.6},
        "together": {"accuracy": 0.9, "mcc": 0.8},
    }
    numbers = {"pearson": 0.5, "spearman": 0.5, "r2": 0.25, "rmse": 0.4}
    validation = {
        HOSTILE: {"n": 80, "majority": 0.5, **candidates["together"], "candidates": candidates},
        "score": {"n": 80, "deviation": 0.7, **numbers, "candidates": {"together": numbers}},
    }
    trained_bundle = bundle(
        samples=400,
        individuals=390,
        near_duplicates=20,
        leaks={HOSTILE: [3, 50]},
        strand="both strands",
        race={"both strands": 0.5, "the strand given": 0.6},
        folds=2,
    )
    log = [
        {
            "part": f"convolution $, fold {fold}",
            "step": str(step),
            "loss": f"{1 / step}",
            "best_held_out_loss": f"{2 / step}",
        }
        for fold in (1, 2)
        for step in (10, 20, 30)
    ]
    trained_bundle.heads = {HOSTILE: ["no", "yes"], "unmeasured" + HOSTILE: ["no", "yes"]}
    fitted = SimpleNamespace(bundle=trained_bundle, validation=validation)
    return training_page(fitted, log, FACTS)


def pretrained():
    """Of `pretrain` by two objectives, one of which did worse than nothing."""
    corpus = {"records": 60, "letters": 6000, "sha256": "ab", "held_out": 3, "pieces": 60}
    facts = {
        "corpus": corpus,
        "objectives": {"masked": 1.0, "contrastive": 0.5},
        "steps": 30,
        "tokens": 9000,
        "held_out": {"masked": 1.2, "contrastive": 3.0},
        "baseline": {"masked": 1.3, "contrastive": 2.0},
        "bits_per_base": {"causal": (1.9, 1.95)},
        "seconds": 9,
    }
    log = [
        {
            "step": str(step),
            **{f"loss{name}": f"{2 / step}" for name in ("", "_masked", "_contrastive")},
            **{f"held_out{name}": "." for name in ("", "_masked", "_contrastive")},
        }
        for step in (10, 20)
    ]
    text = CardText("", HOSTILE, {"masked": HOSTILE})
    report = PretrainedReport(bundle().config, facts, text, HOSTILE, 10, "", "", "")
    return pretraining_page(report, log, FACTS)


def effect(number, delta, odds, ref="A"):
    """An allele with this change."""
    record = AlleleRecord("chr1" if number else HOSTILE, 100 + number, ref, ("G",), "x.vcf", number)
    before = AlleleReading(Score(-50.0, 100.0), np.zeros(len(odds)))
    after = AlleleReading(Score(-50.0 + delta, 100.0), np.array(odds, float))
    change = Change("chr1", 99 + number, ref, "G")
    return Effect(number, record, "G", Comparison(change, (0, 100), before, after))


def effects():
    """Of `score` of variants, with one that has no score."""
    rng = np.random.default_rng(2)
    found = [effect(n, float(d), [d / 2]) for n, d in enumerate(rng.normal(0, 2, 150))]
    found.append(effect(150, 1.0, [0.5], ref="A" * 500))
    skipped = Effect(151, found[0].record, "<DEL>", skipped="symbolic")
    counts, report = Counts(), EffectReport([HOSTILE], has_likelihood=True)
    for _ in report.watch(counts.of([*found, skipped])):
        pass
    return report.page(HOSTILE, counts, FACTS)


def likelihoods():
    """Of `score` of sequences."""
    report = LikelihoodReport()
    for number in range(120):
        report.add(f"s{number}", 100 + number, Score(-100.0 - number % 7, 100.0))
    report.add(HOSTILE, 0, Score(0.0, 0.0))
    return report.page(HOSTILE, FACTS)


def predicted():
    """Of `predict` along two regions."""
    tracks = [Track("gc"), Track(HOSTILE, unit="reads")]
    report = TrackReport(tracks, 10)
    for start in (0, 40_000):
        region = Region("chr1", start, start + 30_000, HOSTILE, 1)
        wave_R = np.abs(np.sin(np.arange(3000) / 100))
        values_RT = np.stack([wave_R, wave_R**2], axis=1).astype(np.float32)
        values_RT[:50] = np.nan
        segment = TrackSegment("chr1", start, start + 30_000, 10, values_RT, HOSTILE)
        assert list(report.watch_region(region, [segment])) == [segment]
    return report.page(HOSTILE, None, FACTS)


def quality():
    """Of `generate --report` and `evaluate --task generation`."""
    rng = np.random.default_rng(3)
    real = rng.random(500)
    linkage = {"r2_r": Estimate(0.95, np.nan, np.nan, 0.97)}
    for name, value in (("<1kb", 0.4), ("1-10kb", 0.2), ("apart", 0.01)):
        linkage[f"mean_r2_real:{name}"] = Estimate(value, np.nan, np.nan)
        linkage[f"mean_r2:{name}"] = Estimate(0.9 * value, np.nan, np.nan)
    report = {
        "data": {"real": Estimate(100, np.nan, np.nan), "synthetic": Estimate(50, np.nan, np.nan)},
        "allele_frequency": {"r": Estimate(0.99, np.nan, np.nan)},
        "linkage": linkage,
        "copies": {"exact_people": Estimate(1, np.nan, np.nan, 0)},
        "privacy": {"membership_auc": Estimate(0.52, 0.48, 0.56, 0.5)},
    }
    names = [f"1:{n}" for n in range(499)] + [HOSTILE]
    frequencies = Frequencies(names, real, np.clip(real + rng.normal(0, 0.03, 500), 0, 1))
    return quality_page(HOSTILE, report, {"linkage": HOSTILE}, frequencies, FACTS)


def aligned():
    """Of `align --plot x.html`."""
    rng = np.random.default_rng(4)
    sites = 60
    positions = {build: 1000 * np.arange(1, sites + 1) for build in ("GRCh37", "GRCh38")}
    names = (*(f"rs{n}" for n in range(1, sites)), HOSTILE)
    chroms = tuple(str(1 + n // 20) for n in range(sites))
    bases = ("A",) * sites, ("G",) * sites
    panel = Panel("made up", chroms, positions, names, *bases, ("",) * sites)
    tracks = [SiteTrack(f"{name}  (2 samples)", rng.normal(0, 1, sites)) for name in "AB"]
    svg = picture(manhattan(panel, tracks, unit="attribution"), "svg")
    return align_page(svg, panel, tracks, title=HOSTILE, facts=FACTS)


MADE_UP = {
    "evaluate": heads,
    "evaluate-omics": omics,
    "train": trained,
    "pretrain": pretrained,
    "score": effects,
    "score-sequences": likelihoods,
    "predict": predicted,
    "generate": quality,
    "align": aligned,
}
