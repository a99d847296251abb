"""Bundles that lie: every value of their configs replaced, files that are none, weights that are not what they say.

    python -m benchmarks.reliability.hostile_bundles --count 400

Each must be refused with one line within 2 s and 1 GB, or be harmless and give the answer of the bundle as it was.
"""

import argparse
import gzip
import json
import math
import random
import shutil
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from benchmarks.reliability.isolated import load_everything, run
from genomai_cli.bundles import catalog

BUNDLES = Path(__file__).parents[2] / "tests" / "data" / "bundles-format-1"
KINDS = (
    "sites",
    "transformer-kmers",
    "transformer-barcode",
    "profile",
    "attached",
    "denoiser",
    "lineages",
    "region",
)
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 7, 10**6, 10**9, 10**18, 10**40, -(10**18), 0.5, math.nan, math.inf, "", "x", "1",
    "\x1b[31m", "a\u2028b", "../../../etc/passwd", "/dev/zero", "x" * 100_000, [], {}, [[]], ["a"], ["a", "a"],
    {"kind": "x"}, {"a": {"a": {"a": 1}}},
]  # fmt: skip
Change = Callable[[Path], None]


@dataclass(frozen=True)
class Attack:
    """One bundle of a kind, changed."""

    bundle: str
    description: str
    change: Change


def attacks() -> Iterator[Attack]:
    """All of them, in a fixed order."""
    for bundle in KINDS:
        config = json.loads((BUNDLES / bundle / catalog.CONFIG).read_text())
        for path in paths(config):
            key_path = ".".join(map(str, path))
            for value in VALUES:
                value_text = repr(value)[:30]
                yield Attack(
                    bundle, f"{key_path} = {value_text}", lambda f, p=path, v=value: put(f, p, v)
                )
            yield Attack(bundle, f"without {key_path}", lambda f, p=path: remove(f, p))
        for name, change in FILES.items():
            yield Attack(bundle, name, change)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a config; of a list only the first."""
    if prefix:
        yield prefix
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "provenance":
                yield from paths(inner, (*prefix, key))
    elif isinstance(value, list) and value:
        yield from paths(value[0], (*prefix, 0))


def edit_config(folder: Path, edit: Callable[[Any], None]) -> None:
    """Change a bundle's config."""
    file = folder / catalog.CONFIG
    config = json.loads(file.read_text())
    edit(config)
    file.write_text(json.dumps(config))


def put(folder: Path, path: tuple[Any, ...], value: Any) -> None:
    """Replace a value."""

    def edit(config: Any) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    edit_config(folder, edit)


def remove(folder: Path, path: tuple[Any, ...]) -> None:
    """Take a value out."""

    def edit(config: Any) -> None:
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    edit_config(folder, edit)


def update_checksums(folder: Path) -> None:
    """Make the checksums fit the files, so that nothing but the content is wrong."""

    def edit(config: Any) -> None:
        for name in config["files"]:
            if (folder / name).is_file():
                config["files"][name] = catalog.sha256(folder / name)

    edit_config(folder, edit)


def with_weights(change_tensors: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """Change the tensors."""

    def change_file(folder: Path) -> None:
        file = folder / catalog.WEIGHTS
        safetensors.numpy.save_file(change_tensors(safetensors.numpy.load_file(file)), file)
        update_checksums(folder)

    return change_file


def largest_tensor(change_tensor: Callable[[Any], Any]) -> Change:
    """Change the largest tensor of floating-point numbers."""

    def change_largest(tensors: dict[str, Any]) -> dict[str, Any]:
        name = max(
            (n for n, t in tensors.items() if t.dtype.kind == "f"), key=lambda n: tensors[n].size
        )
        return tensors | {name: change_tensor(tensors[name])}

    return with_weights(change_largest)


def with_value(value: float) -> Callable[[Any], Any]:
    """A tensor with one value replaced."""

    def replace_value(tensor: Any) -> Any:
        tensor = tensor.copy()
        tensor.flat[tensor.size // 2] = value
        return tensor

    return replace_value


def with_header(content: bytes, length: int | None = None) -> Change:
    """A file of weights with another header."""

    def change_file(folder: Path) -> None:
        size = struct.pack("<Q", len(content) if length is None else length)
        (folder / catalog.WEIGHTS).write_bytes(size + content)
        update_checksums(folder)

    return change_file


def sparse_weights(folder: Path) -> None:
    """Weights of two gigabytes that are all header."""
    with (folder / catalog.WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", (2 << 30) - 8))
        file.truncate(2 << 30)


def many_tensors(folder: Path) -> None:
    """A header of a million tensors."""
    entry = {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}
    with_header(json.dumps({f"t{n}": entry for n in range(1_000_000)}).encode() + b"    ")(folder)


def with_content(name: str, content: bytes) -> Change:
    """A file of text with other content."""

    def change_file(folder: Path) -> None:
        (folder / name).write_bytes(content)
        update_checksums(folder)

    return change_file


def with_link(name: str, target: str) -> Change:
    """A file that is a link."""

    def change_file(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change_file


def with_listed_file(name: str) -> Change:
    """A config that lists a file which is none of the bundle's."""
    return lambda folder: put(folder, ("files", name), "0" * 64)


def bomb(name: str) -> Change:
    """A compressed file that is a thousand times as large."""

    def change_file(folder: Path) -> None:
        (folder / name).write_bytes(
            gzip.compress(b">x\n" * bool(name.endswith("fa")) + b"A" * (1 << 28), 1)
        )
        update_checksums(folder)

    return change_file


def without_last_row(name: str) -> Change:
    """A table without its last row."""

    def change_file(folder: Path) -> None:
        if (folder / name).is_file():
            lines = (folder / name).read_bytes().splitlines(keepends=True)
            (folder / name).write_bytes(b"".join(lines[:-1]))
            update_checksums(folder)

    return change_file


def with_config_text(change_text: Callable[[str], str]) -> Change:
    """A config whose text is changed."""

    def change_file(folder: Path) -> None:
        file = folder / catalog.CONFIG
        file.write_text(change_text(file.read_text()))

    return change_file


FILES: dict[str, Change] = {
    "NaN in the weights": largest_tensor(with_value(math.nan)),
    "infinity in the weights": largest_tensor(with_value(math.inf)),
    "integers in the weights": largest_tensor(lambda t: t.astype(np.int64)),
    "half precision": largest_tensor(lambda t: t.astype(np.float16)),
    "another shape": largest_tensor(lambda t: t.reshape(-1)),
    "no values": largest_tensor(lambda t: t[:0]),
    "a tensor missing": with_weights(lambda tensors: dict(list(tensors.items())[1:])),
    "a tensor too many": with_weights(lambda tensors: tensors | {"more": np.zeros(3, np.float32)}),
    "header beyond the end": with_header(b"{}", 1 << 40),
    "header that is no JSON": with_header(b"x" * 64),
    "header of lists": with_header(b"[" * 100_000),
    "header with negative offsets": with_header(
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[-4,0]}}'
    ),
    "header with a huge shape": with_header(
        b'{"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}'
    ),
    "empty weights": lambda folder: (folder / catalog.WEIGHTS).write_bytes(b""),
    "weights of 2 GB, sparse": sparse_weights,
    "a million tensors": many_tensors,
    "weights are a link out": with_link(catalog.WEIGHTS, "/proc/kmsg"),
    "weights are a device": with_link(catalog.WEIGHTS, "/dev/zero"),
    "panel is a link out": with_link(catalog.PANEL, "/etc/passwd"),
    "panel is /proc/kmsg": with_link(catalog.PANEL, "/proc/kmsg"),
    "reference is /proc/pagemap": with_link(catalog.REFERENCE, "/proc/self/pagemap"),
    "lists ../config.json": with_listed_file("../config.json"),
    "lists /etc/passwd": with_listed_file("/etc/passwd"),
    "lists /proc/kmsg": with_listed_file("/proc/kmsg"),
    "lists a name with a line end": with_listed_file("a\nb"),
    "panel is a bomb": bomb(catalog.PANEL),
    "reference is a bomb": bomb(catalog.REFERENCE),
    "sites are a bomb": bomb(catalog.SITES),
    "panel without its last site": without_last_row(catalog.PANEL),
    "sites without the last": without_last_row(catalog.SITES),
    "panel of nonsense": with_content(catalog.PANEL, b"\x00\x01\x02"),
    "structure of nonsense": with_content(catalog.STRUCTURE, b"\x00" * 100),
    "config of nothing": with_config_text(lambda _: ""),
    "config with BOM": with_config_text(lambda t: "\ufeff" + t),
    "config with a key twice": with_config_text(lambda t: t.replace("{", '{"name": "other",', 1)),
    "labels twice": with_config_text(
        lambda t: t.replace('"heads": {', '"heads": {"superpop": ["a", "b"],', 1)
    ),
    "config of 100 MB": with_config_text(lambda t: t + " " * (100 << 20)),
    "config of 100 MB of lists": with_config_text(
        lambda t: t.replace("{", '{"x": [' + "[]," * (33 << 20) + "1],", 1)
    ),
    "deep config": with_config_text(
        lambda t: t.replace("{", '{"x": ' + "[" * 100_000 + "]" * 100_000 + ",", 1)
    ),
    "deep config of objects": with_config_text(
        lambda t: t.replace("{", '{"x": ' + '{"x":' * 100_000 + "1" + "}" * 100_000 + ",", 1)
    ),
    "config is a link out": with_link(catalog.CONFIG, "/etc/passwd"),
    "config is /proc/kmsg": with_link(catalog.CONFIG, "/proc/kmsg"),
    "number of 10,000 digits": with_config_text(
        lambda t: t.replace("{", '{"x": ' + "9" * 10_000 + ",", 1)
    ),
}


def sequence_of(bundle: str) -> bytes:
    """An input that the bundle as it was can read."""
    panel = BUNDLES / bundle / catalog.PANEL
    length = len(panel.read_text().splitlines()) - 1 if panel.is_file() else 60
    reference = BUNDLES / bundle / catalog.REFERENCE
    if reference.is_file():
        return reference.read_bytes()
    return b">a\n" + b"ACGT"[:1] * length + b"\n"


def main() -> None:
    """Print a line a fault, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--count", type=int, default=200, help="how many attacks, drawn from all; 0 is all"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", action="store_true", help="only files that are none")
    options = parser.parse_args()
    load_everything()
    selected = [one for one in attacks() if one.description in FILES or not options.files]
    total = len(selected)
    if options.count:
        selected = random.Random(options.seed).sample(selected, min(options.count, total))
    endings, faults, slowest, largest = Counter[str](), 0, 0.0, 0.0
    for attack in selected:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "bundle"
            shutil.copytree(BUNDLES / attack.bundle, folder)
            attack.change(folder)
            command = "embed" if attack.bundle in ("denoiser", "lineages", "region") else "classify"
            for argv in (
                [command, "--model", folder],
                ["models", "verify", folder],
                ["models", "show", folder],
            ):
                outcome = run(argv, sequence_of(attack.bundle))
                endings["refused" if outcome.refused else "taken"] += 1
                slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.megabytes)
                if fault := outcome.fault():
                    faults += 1
                    last = outcome.stderr.strip().splitlines()[-1:] or [""]
                    print(
                        f"{attack.bundle}\t{attack.description}\t{argv[0]} {argv[1]}\t{fault}\t{last[0][:160]}",
                        flush=True,
                    )
    print(
        f"{len(selected)} of {total} hostile bundles, {sum(endings.values())} runs: {endings['refused']} refused, "
        f"{endings['taken']} harmless, {faults} faults; slowest {slowest:.2f} s, most memory {largest:.0f} MB"
    )


if __name__ == "__main__":
    main()
