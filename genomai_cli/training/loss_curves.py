"""The losses of a run as curves, from the rows of its metrics.tsv."""

from collections.abc import Mapping, Sequence

from genomai_cli.reports.drawings import Curve

ABSENT = "."
PARTS = ("part", "member")  # the columns of logs of `train` that name what is trained
Rows = Sequence[Mapping[str, str]]


def by_part(rows: Rows) -> list[Curve]:
    """Curves of `train`: every part's training loss (thin) and best held-out loss so far; folds share a colour."""
    column = next(name for name in PARTS if name in rows[0])
    colours: dict[str, int] = {}
    found = []
    for part in dict.fromkeys(row[column] for row in rows):
        part_rows = [row for row in rows if row[column] == part]
        name = part.partition(", fold ")[0] if column == PARTS[0] else "networks"
        first = name not in colours
        colour = colours.setdefault(name, len(colours))
        steps = [int(row["step"]) for row in part_rows]
        losses, best = (
            [float(row[key]) for row in part_rows] for key in ("loss", "best_held_out_loss")
        )
        found.append(Curve("", steps, losses, thin=True, colour=colour))
        label = f"{name}, held out" if first else ""
        found.append(Curve(label, steps, best, dots=True, colour=colour))
    return found


def by_objective(rows: Rows) -> dict[str, list[Curve]]:
    """Curves of `pretrain`: training and held-out loss, of all together and of every objective if there are several."""
    columns = [name for name in rows[0] if name == "loss" or name.startswith("loss_")]
    loss_columns = columns[:1] if len(columns) == 2 else columns  # one objective is the whole loss
    found = {}
    for column in loss_columns:
        held_out = column.replace("loss", "held_out", 1)
        named = ((column, "training"), (held_out, "held out"))
        curves = []
        for colour, (name, label) in zip((3, 4), named, strict=True):
            points = [(int(row["step"]), float(row[name])) for row in rows if row[name] != ABSENT]
            steps, losses = [step for step, _ in points], [loss for _, loss in points]
            curves.append(Curve(label, steps, losses, dots=name == held_out, colour=colour))
        found[column.removeprefix("loss_") if column != "loss" else "loss"] = curves
    return found
