"""A few labels of many: which people keep theirs, and which heads so few can teach."""

import numpy as np

from benchmarks.crossvalidation.trials import Rows, subset
from genomai_cli.inputs.samples import Samples

MIN_COUNT = 2  # people of every class: one to learn from if the other is held out


def labelled(samples: Samples, percent: float, rng: np.random.Generator) -> Samples:
    """People with this share of the labels, spread evenly over the groups of equal labels.

    Every class of a head that is kept (`heads_for`) has two people at least, if need be beyond the share.
    """
    count = max(1, round(len(samples) * percent / 100))
    heads = heads_for(samples, count)
    rows = spread(samples.groups(), count, rng)
    for head in heads:
        rows = topped_up(rows, samples.labels[head], rng)
    few = subset(samples, np.sort(rows))
    labels = {head: few.labels[head] for head in heads}
    classes = {head: few.classes[head] for head in heads}
    return Samples(few.names, few.sequences, labels, classes, few.individuals)


def heads_for(samples: Samples, count: int) -> list[str]:
    """The heads whose classes can all be among so many people."""
    return [head for head, names in samples.classes.items() if count >= MIN_COUNT * len(names)]


def spread(groups: Rows, count: int, rng: np.random.Generator) -> Rows:
    """So many rows by systematic sampling: every group has its share, rounded down or up.

    Groups stand in the order of their numbers, so neighbours in it (the populations of a superpopulation) share too.
    """
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    step = len(groups) / count
    places = ((rng.random() + np.arange(count)) * step).astype(np.int64)
    return np.asarray(order[places])


def topped_up(rows: Rows, labels: Rows, rng: np.random.Generator) -> Rows:
    """The rows and, of every class with fewer than two, as many others as are wanting."""
    for number in np.unique(labels):
        there = int((labels[rows] == number).sum())
        others = np.setdiff1d(np.flatnonzero(labels == number), rows)
        wanting = min(max(0, MIN_COUNT - there), len(others))
        rows = np.concatenate([rows, rng.choice(others, wanting, replace=False)])
    return rows
