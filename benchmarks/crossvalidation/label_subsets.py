"""A few labels of many: which people keep theirs, and which heads so few can teach."""

import numpy as np

from benchmarks.crossvalidation.trials import Rows, subset
from genomai_cli.inputs.samples import Samples

MIN_COUNT = 2  # people of every class: one to train on if the other is held out


def draw_label_subset(samples: Samples, percent: float, rng: np.random.Generator) -> Samples:
    """People with this share of the labels, spread evenly over the groups of equal labels.

    Every class of a head that is kept (`heads_for`) has two people at least, if need be beyond the share.
    """
    count = max(1, round(len(samples) * percent / 100))
    heads = heads_for(samples, count)
    rows = systematic_sample(samples.groups(), count, rng)
    for head in heads:
        rows = top_up(rows, samples.labels[head], rng)
    selected = subset(samples, np.sort(rows))
    labels = {head: selected.labels[head] for head in heads}
    classes = {head: selected.classes[head] for head in heads}
    return Samples(selected.names, selected.sequences, labels, classes, selected.individuals)


def heads_for(samples: Samples, count: int) -> list[str]:
    """The heads whose classes can all be among so many people."""
    return [head for head, names in samples.classes.items() if count >= MIN_COUNT * len(names)]


def systematic_sample(groups: Rows, count: int, rng: np.random.Generator) -> Rows:
    """So many rows by systematic sampling: every group has its share, rounded down or up.

    Groups stand in the order of their numbers, so neighbours in it (the populations of a superpopulation) share too.
    """
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    step = len(groups) / count
    positions = ((rng.random() + np.arange(count)) * step).astype(np.int64)
    return np.asarray(order[positions])


def top_up(rows: Rows, labels: Rows, rng: np.random.Generator) -> Rows:
    """The rows and, of every class with fewer than two, as many others as are missing."""
    for number in np.unique(labels):
        present = int((labels[rows] == number).sum())
        others = np.setdiff1d(np.flatnonzero(labels == number), rows)
        missing = min(max(0, MIN_COUNT - present), len(others))
        rows = np.concatenate([rows, rng.choice(others, missing, replace=False)])
    return rows
