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
    what: str
    change: Change


def attacks() -> Iterator[Attack]:
    """All of them, in a fixed order."""
    for bundle in KINDS:
        config = json.loads((BUNDLES / bundle / catalog.CONFIG).read_text())
        for path in paths(config):
            where = ".".join(map(str, path))
            for number, value in enumerate(VALUES):
                told = repr(value)[:30]
                yield Attack(bundle, f"{where} = {told}", lambda f, p=path, v=value: put(f, p, v))
                del number
            yield Attack(bundle, f"without {where}", lambda f, p=path: remove(f, p))
        for name, change in FILES.items():
            yield Attack(bundle, name, change)


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a config; of a list only the first."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "provenance":
                yield from paths(inner, (*at, key))
    elif isinstance(value, list) and value:
        yield from paths(value[0], (*at, 0))


def edited(folder: Path, edit: Callable[[Any], None]) -> None:
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

    edited(folder, edit)


def remove(folder: Path, path: tuple[Any, ...]) -> None:
    """Take a value out."""

    def edit(config: Any) -> None:
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    edited(folder, edit)


def recorded(folder: Path) -> None:
    """Make the checksums fit the files, so that nothing but the content is wrong."""

    def edit(config: Any) -> None:
        for name in config["files"]:
            if (folder / name).is_file():
                config["files"][name] = catalog.sha256(folder / name)

    edited(folder, edit)


def weights(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """Change the tensors."""

    def made(folder: Path) -> None:
        file = folder / catalog.WEIGHTS
        safetensors.numpy.save_file(change(safetensors.numpy.load_file(file)), file)
        recorded(folder)

    return made


def one(change: Callable[[Any], Any]) -> Change:
    """Change the largest tensor of floating-point numbers."""

    def changed(tensors: dict[str, Any]) -> dict[str, Any]:
        name = max(
            (n for n, t in tensors.items() if t.dtype.kind == "f"), key=lambda n: tensors[n].size
        )
        return tensors | {name: change(tensors[name])}

    return weights(changed)


def with_one(value: float) -> Callable[[Any], Any]:
    """A tensor with one value replaced."""

    def changed(tensor: Any) -> Any:
        tensor = tensor.copy()
        tensor.flat[tensor.size // 2] = value
        return tensor

    return changed


def header(content: bytes, length: int | None = None) -> Change:
    """A file of weights with another header."""

    def made(folder: Path) -> None:
        size = struct.pack("<Q", len(content) if length is None else length)
        (folder / catalog.WEIGHTS).write_bytes(size + content)
        recorded(folder)

    return made


def sparse(folder: Path) -> None:
    """Weights of two gigabytes that are all header."""
    with (folder / catalog.WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", (2 << 30) - 8))
        file.truncate(2 << 30)


def many_tensors(folder: Path) -> None:
    """A header of a million tensors."""
    one = {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}
    header(json.dumps({f"t{n}": one for n in range(1_000_000)}).encode() + b"    ")(folder)


def text(name: str, content: bytes) -> Change:
    """A file of text with other content."""

    def made(folder: Path) -> None:
        (folder / name).write_bytes(content)
        recorded(folder)

    return made


def linked(name: str, target: str) -> Change:
    """A file that is a link."""

    def made(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return made


def listed(name: str) -> Change:
    """A config that lists a file which is none of the bundle's."""
    return lambda folder: put(folder, ("files", name), "0" * 64)


def bomb(name: str) -> Change:
    """A compressed file that is a thousand times as large."""

    def made(folder: Path) -> None:
        (folder / name).write_bytes(
            gzip.compress(b">x\n" * bool(name.endswith("fa")) + b"A" * (1 << 28), 1)
        )
        recorded(folder)

    return made


def shorter(name: str) -> Change:
    """A table without its last row."""

    def made(folder: Path) -> None:
        if (folder / name).is_file():
            lines = (folder / name).read_bytes().splitlines(keepends=True)
            (folder / name).write_bytes(b"".join(lines[:-1]))
            recorded(folder)

    return made


def config_text(change: Callable[[str], str]) -> Change:
    """A config whose text is changed."""

    def made(folder: Path) -> None:
        file = folder / catalog.CONFIG
        file.write_text(change(file.read_text()))

    return made


FILES: dict[str, Change] = {
    "NaN in the weights": one(with_one(math.nan)),
    "infinity in the weights": one(with_one(math.inf)),
    "integers in the weights": one(lambda t: t.astype(np.int64)),
    "half precision": one(lambda t: t.astype(np.float16)),
    "another shape": one(lambda t: t.reshape(-1)),
    "no values": one(lambda t: t[:0]),
    "a tensor missing": weights(lambda tensors: dict(list(tensors.items())[1:])),
    "a tensor too many": weights(lambda tensors: tensors | {"more": np.zeros(3, np.float32)}),
    "header beyond the end": header(b"{}", 1 << 40),
    "header that is no JSON": header(b"x" * 64),
    "header of lists": header(b"[" * 100_000),
    "header with negative offsets": header(
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[-4,0]}}'
    ),
    "header with a huge shape": header(
        b'{"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}'
    ),
    "empty weights": lambda folder: (folder / catalog.WEIGHTS).write_bytes(b""),
    "weights of 2 GB, sparse": sparse,
    "a million tensors": many_tensors,
    "weights are a link out": linked(catalog.WEIGHTS, "/proc/kmsg"),
    "weights are a device": linked(catalog.WEIGHTS, "/dev/zero"),
    "panel is a link out": linked(catalog.PANEL, "/etc/passwd"),
    "panel is /proc/kmsg": linked(catalog.PANEL, "/proc/kmsg"),
    "reference is /proc/pagemap": linked(catalog.REFERENCE, "/proc/self/pagemap"),
    "lists ../config.json": listed("../config.json"),
    "lists /etc/passwd": listed("/etc/passwd"),
    "lists /proc/kmsg": listed("/proc/kmsg"),
    "lists a name with a line end": listed("a\nb"),
    "panel is a bomb": bomb(catalog.PANEL),
    "reference is a bomb": bomb(catalog.REFERENCE),
    "sites are a bomb": bomb(catalog.SITES),
    "panel without its last site": shorter(catalog.PANEL),
    "sites without the last": shorter(catalog.SITES),
    "panel of nonsense": text(catalog.PANEL, b"\x00\x01\x02"),
    "structure of nonsense": text(catalog.STRUCTURE, b"\x00" * 100),
    "config of nothing": config_text(lambda _: ""),
    "config with BOM": config_text(lambda t: "\ufeff" + t),
    "config with a key twice": config_text(lambda t: t.replace("{", '{"name": "other",', 1)),
    "labels twice": config_text(
        lambda t: t.replace('"heads": {', '"heads": {"superpop": ["a", "b"],', 1)
    ),
    "config of 100 MB": config_text(lambda t: t + " " * (100 << 20)),
    "config of 100 MB of lists": config_text(
        lambda t: t.replace("{", '{"x": [' + "[]," * (33 << 20) + "1],", 1)
    ),
    "deep config": config_text(
        lambda t: t.replace("{", '{"x": ' + "[" * 100_000 + "]" * 100_000 + ",", 1)
    ),
    "deep config of objects": config_text(
        lambda t: t.replace("{", '{"x": ' + '{"x":' * 100_000 + "1" + "}" * 100_000 + ",", 1)
    ),
    "config is a link out": linked(catalog.CONFIG, "/etc/passwd"),
    "config is /proc/kmsg": linked(catalog.CONFIG, "/proc/kmsg"),
    "number of 10,000 digits": config_text(
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
    chosen = [one for one in attacks() if one.what in FILES or not options.files]
    total = len(chosen)
    if options.count:
        chosen = random.Random(options.seed).sample(chosen, min(options.count, total))
    ends, faults, slowest, largest = Counter[str](), 0, 0.0, 0.0
    for attack in chosen:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "bundle"
            shutil.copytree(BUNDLES / attack.bundle, folder)
            attack.change(folder)
            command = "embed" if attack.bundle in ("denoiser", "lineages", "region") else "classify"
            for words in (
                [command, "--model", folder],
                ["models", "verify", folder],
                ["models", "show", folder],
            ):
                ended = run(words, sequence_of(attack.bundle))
                ends["refused" if ended.refused else "taken"] += 1
                slowest, largest = max(slowest, ended.seconds), max(largest, ended.megabytes)
                if found := ended.fault():
                    faults += 1
                    last = ended.stderr.strip().splitlines()[-1:] or [""]
                    print(
                        f"{attack.bundle}\t{attack.what}\t{words[0]} {words[1]}\t{found}\t{last[0][:160]}",
                        flush=True,
                    )
    print(
        f"{len(chosen)} of {total} hostile bundles, {sum(ends.values())} runs: {ends['refused']} refused, "
        f"{ends['taken']} harmless, {faults} faults; slowest {slowest:.2f} s, most memory {largest:.0f} MB"
    )


if __name__ == "__main__":
    main()
