"""Kinds of files: which sites each has; machines on fewer coordinates; differences of the same people."""

import numpy as np

from benchmarks.ancestry import kinds
from benchmarks.crossvalidation.trials import HEADS, Pooled
from genomai_cli.inputs.samples import Samples
from genomai_cli.population.panel import GRCH37, GRCH38, Panel

SITES, PEOPLE = 400, 6


def panel():
    position = np.arange(SITES) + 1
    tags = ["kidd55", "seldin128", "snp805", *["wide"] * (SITES - 3)]
    chrom = ["1"] * (SITES // 2) + ["21"] * (SITES // 2)
    return Panel(
        "p", tuple(chrom), {GRCH37: position, GRCH38: position}, (".",) * SITES,
        ("A",) * SITES, ("C",) * SITES, tuple(tags),
    )  # fmt: skip


def letters():
    return np.random.default_rng(1).choice(np.frombuffer(b"ACM", np.uint8), (PEOPLE, SITES))


def test_each_kind_has_its_sites():
    known = kinds.kinds_of_files(letters(), panel(), seed=0)
    assert list(known) == list(kinds.TITLES)
    previous_sites = np.arange(SITES) < 3
    assert (known["967"] == previous_sites).all()
    assert (known["wide"] == ~previous_sites).all()
    assert (known["chr21"].all(0) == (np.arange(SITES) >= SITES // 2)).all()
    assert not (known["variants"] & (letters() == ord("A"))).any()
    assert (known["variants"] | known["variants 967"] | (letters() == ord("A"))).all()
    for kind in ("tenth", "array"):  # one file has the same sites for everybody
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


def test_differences_are_those_of_the_same_people():
    truth = np.array([0, 1, 1, 0, 1, 0])
    samples = Samples(
        [str(n) for n in range(PEOPLE)],
        [row.tobytes().decode() for row in letters()],
        dict.fromkeys(HEADS, truth),
        {head: ["a", "b"] for head in HEADS},
        np.arange(PEOPLE),
    )
    table = kinds.Table(kinds.WideCohort(samples, panel()), seed=0)
    ours, theirs = np.eye(2)[truth], np.eye(2)[1 - truth]
    ours[0] = np.nan
    for name, answer in (("ancestry", ours), ("ancestry-967", theirs)):
        tables = {(kind, head): answer for kind in kinds.TITLES for head in HEADS}
        table.pooled[name] = Pooled(tables, 0.0, 0, np.arange(PEOPLE))
    rows = {(row.kind, row.head, row.method): row for row in table.rows()}
    own, other = (rows["wide", "pop", name] for name in table.pooled)
    assert (own.accuracy, own.unknown, own.behind, own.sites) == (5 / 6, 1 / 6, 0.0, SITES - 3)
    assert (other.accuracy, other.behind, other.sure_wrong) == (0.0, 5 / 6, PEOPLE)
    assert other.behind_low <= other.behind <= other.behind_high
    text = kinds.markdown(list(rows.values()), table)
    assert "+0.833" in text
    assert "| a | 3 | 0.67 |" in text
