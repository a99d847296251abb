"""Kinds of files: which sites each has; classifiers on fewer coordinates; differences of the same samples."""

import numpy as np

from benchmarks.ancestry import kinds
from benchmarks.crossvalidation.trials import HEADS, Pooled
from genomai_cli.inputs.samples import Samples
from genomai_cli.population.panel import GRCH37, GRCH38, Panel

SITES, SAMPLES = 400, 6


def panel():
    position = np.arange(SITES) + 1
    tags = ["kidd55", "seldin128", "snp805", *["wide"] * (SITES - 3)]
    chrom = ["1"] * (SITES // 2) + ["21"] * (SITES // 2)
    return Panel(
        "p", tuple(chrom), {GRCH37: position, GRCH38: position}, (".",) * SITES,
        ("A",) * SITES, ("C",) * SITES, tuple(tags),
    )  # fmt: skip


def letters():
    return np.random.default_rng(1).choice(np.frombuffer(b"ACM", np.uint8), (SAMPLES, SITES))


def test_each_kind_has_its_sites():
    known = kinds.kinds_of_files(letters(), panel(), seed=0)
    assert list(known) == list(kinds.TITLES)
    curated_sites = np.arange(SITES) < 3
    assert (known["967"] == curated_sites).all()
    assert (known["wide"] == ~curated_sites).all()
    assert (known["chr21"].all(0) == (np.arange(SITES) >= SITES // 2)).all()
    assert not (known["variants"] & (letters() == ord("A"))).any()
    assert (known["variants"] | known["variants 967"] | (letters() == ord("A"))).all()
    for kind in ("tenth", "array"):  # one file has the same sites for every sample
        assert (known[kind] == known[kind][0]).all()
    assert not (known["967, 90 %"] & ~known["967, 50 %"]).any()


def test_fewer_coordinates_have_the_same_products():
    rng = np.random.default_rng(2)
    train, test = rng.integers(-1, 3, (5, 60)), rng.integers(-1, 3, (3, 60))
    train_features, test_features = kinds.features(train, test)
    scaler = kinds.Scaler.of(train)
    np.testing.assert_allclose(
        train_features @ train_features.T, scaler(train) @ scaler(train).T / 60, atol=1e-9
    )
    np.testing.assert_allclose(
        test_features @ train_features.T, scaler(test) @ scaler(train).T / 60, atol=1e-9
    )


def test_differences_are_those_of_the_same_samples():
    truth = np.array([0, 1, 1, 0, 1, 0])
    samples = Samples(
        [str(n) for n in range(SAMPLES)],
        [row.tobytes().decode() for row in letters()],
        dict.fromkeys(HEADS, truth),
        {head: ["a", "b"] for head in HEADS},
        np.arange(SAMPLES),
    )
    table = kinds.Table(kinds.WideCohort(samples, panel()), seed=0)
    correct, wrong = np.eye(2)[truth], np.eye(2)[1 - truth]
    correct[0] = np.nan
    for name, answer in (("ancestry", correct), ("ancestry-967", wrong)):
        tables = {(kind, head): answer for kind in kinds.TITLES for head in HEADS}
        table.pooled[name] = Pooled(tables, 0.0, 0, np.arange(SAMPLES))
    rows = {(row.kind, row.head, row.method): row for row in table.rows()}
    reference, other = (rows["wide", "pop", name] for name in table.pooled)
    assert (reference.accuracy, reference.unknown, reference.behind, reference.sites) == (
        5 / 6,
        1 / 6,
        0.0,
        SITES - 3,
    )
    assert (other.accuracy, other.behind, other.sure_wrong) == (0.0, 5 / 6, SAMPLES)
    assert other.behind_low <= other.behind <= other.behind_high
    text = kinds.markdown(list(rows.values()), table)
    assert "+0.833" in text
    assert "| a | 3 | 0.67 |" in text
