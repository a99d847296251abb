"""The installed model bundles: names, folders and configs, found without loading any of them.

A bundle is a folder with a `config.json`. Bundles are looked for in the folders that
`GENOMAI_MODELS` lists (separated as in PATH), then among those shipped with the program.

Summaries of a bundle from its files alone, without torch, for `genomai models`.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genomai_cli.bundles import hub, schema
from genomai_cli.errors import BundleError

FORMAT_VERSION = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
PANEL = "panel.tsv"
REFERENCE = "reference.fa"
SITES = "sites.tsv"
TRACKS = "tracks.tsv"
RECIPE = "recipe.toml"
STRUCTURE = "structure.safetensors"
TRAINING_KMERS = (
    "training_kmers.safetensors"  # of sequences, to tell leaks; without a checksum, may be deleted
)
CHECKSUMMED = (
    WEIGHTS,
    PANEL,
    REFERENCE,
    SITES,
    TRACKS,
    STRUCTURE,
    RECIPE,
)  # with a checksum in the config
FOLDERS_VARIABLE = "GENOMAI_MODELS"
MAX_TEXT_BYTES = 1 << 25  # bytes of panels, references and tables
COMPRESSED = (b"\x1f\x8b", b"PK\3\4")
MAX_HEADER_BYTES = 1 << 23  # bytes of a safetensors header: some 80,000 tensors
WEIGHT_SUFFIXES = (
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
)  # how names of files of weights end
PART_SUFFIX = re.compile(r"\.part\d+$")  # ends the names of those that were cut to be sent
_PACKAGE = Path(__file__).resolve().parent.parent


def folders() -> list[Path]:
    """The folders that hold bundles, in the order in which a name is looked for."""
    variable = os.environ.get(FOLDERS_VARIABLE, "")
    return [*(Path(folder) for folder in variable.split(os.pathsep) if folder), *_shipped()]


def names() -> list[str]:
    """The names of the installed bundles, in alphabetical order."""
    return sorted({path.name for folder in folders() for path in _bundles_in(folder)})


def find(name: str | Path) -> Path:
    """The folder of the bundle that `name` names: a folder, or the name of an installed bundle.

    Where it names a file of weights, or a part of one, the file; where it is on Hugging Face, what was fetched.
    """
    if str(name).startswith(hub.PREFIX):
        return hub.fetch(str(name), sha256)
    file = file_of_part(Path(name))
    if file.suffix in WEIGHT_SUFFIXES and parts_of(file):
        return file
    if _looks_like_folder(str(name)):
        return _as_bundle(Path(name))
    for folder in folders():
        if (folder / name / CONFIG).is_file():
            return folder / name
    if str(name) and Path(name).is_dir():
        return _as_bundle(Path(name))
    raise BundleError(f"no model named {str(name)!r}: installed are {', '.join(names()) or 'none'}")


def read_config(path: Path) -> dict[str, Any]:
    """The bundle's `config.json`; BundleError if this program is too old for it, or it says what cannot be."""
    file = file_in(path, CONFIG) or path / CONFIG
    config = read_json(file)
    _check_format(config, file)
    schema.check(config, file)
    return dict(config)


def read_json(file: Path) -> Any:
    """What a JSON file holds; BundleError if it holds none."""
    try:
        if not (
            file.is_file() and file.stat().st_size
        ):  # as those of /proc, which may give bytes for ever
            raise BundleError(f"{file}: not JSON: an empty file, or none")
        with file.open("rb") as stream:
            data = stream.read(schema.MAX_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    if len(data) > schema.MAX_BYTES:
        raise BundleError(f"{file}: more than {schema.MAX_BYTES >> 20} MiB")
    return schema.parsed(data, file)


def file_in(folder: Path, name: str) -> Path | None:
    """A file of a bundle, None if it is not there; BundleError unless it is a regular one that lies in the folder.

    No file of a bundle but its weights is large or compressed.
    """
    file = folder / name
    if not os.path.lexists(file):
        return None
    if file.resolve().parent != folder.resolve():
        raise BundleError(f"{file}: leads out of the model's folder")
    if not file.is_file():
        raise BundleError(f"{file}: not a regular file")
    if file.suffix in WEIGHT_SUFFIXES:
        return file
    with file.open("rb") as stream:
        if stream.read(4).startswith(COMPRESSED):
            raise BundleError(f"{file}: compressed, as no file of a model is")
    if file.stat().st_size > MAX_TEXT_BYTES:
        raise BundleError(f"{file}: more than {MAX_TEXT_BYTES >> 20} MiB")
    return file


def file_of_part(file: Path) -> Path:
    """The file that this one is a part of, or the file itself."""
    return file.with_name(PART_SUFFIX.sub("", file.name)) if file.name else file


def parts_of(file: Path) -> list[Path]:
    """The files whose bytes, one after the other, are the file's: itself, or NAME.part0, NAME.part1...; none where
    there is neither. BundleError where a part is missing."""
    if file.is_file():
        return [file]
    parts = [p for p in file.parent.glob(f"{file.name}.part*") if PART_SUFFIX.search(p.name)]
    expected = [file.with_name(f"{file.name}.part{number}") for number in range(len(parts))]
    missing = sorted(set(expected) - set(parts))
    if missing:
        raise BundleError(f"{missing[0]}: missing, though other parts are here")
    return expected


def panel_of(name: str | Path) -> Path:
    """The panel file of a bundle; a shipped panel is found even without a model beside it."""
    shipped = (folder / name / PANEL for folder in folders())
    if not _looks_like_folder(str(name)) and (found := next(filter(Path.is_file, shipped), None)):
        return file_in(found.parent, PANEL) or found
    file = file_in(find(name), PANEL)
    if file is None:
        raise BundleError(f"the model {str(name)!r} has no panel: it does not read VCF")
    return file


def sha256(file: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_bundle(path: Path) -> bool:
    """Whether what `find` found is a bundle, and not a checkpoint in a released layout."""
    if not path.is_dir():
        return False
    config = read_json(path / CONFIG)
    return not isinstance(config, dict) or "format_version" in config


def problems(name: str | Path) -> list[str]:
    """The problems of a bundle's files, one message each; none if all are as recorded."""
    try:
        return [problem for _, _, problem in _compare_checksums(find(name), sha256) if problem]
    except BundleError as error:
        return [str(error)]


def verified_digests(path: Path, sha256: Callable[[Path], str]) -> dict[str, str]:
    """The SHA-256 of every file that has one recorded, each read once; BundleError unless all are as recorded."""
    digests = {}
    for name, digest, problem in _compare_checksums(path, sha256):
        if problem:
            raise BundleError(problem)
        digests[name] = digest
    return digests


def _compare_checksums(path: Path, sha256: Callable[[Path], str]) -> Iterator[tuple[str, str, str]]:
    """The recorded files: name, SHA-256, and the problem, empty if there is none."""
    recorded = read_config(path).get("files", {})
    needed = [name for name in CHECKSUMMED[1:] if file_in(path, name)]
    if not any(name.startswith(WEIGHTS) for name in recorded):
        needed = [WEIGHTS, *needed]
    for name in needed:
        if name not in recorded:
            yield name, "", f"{path / CONFIG}: no checksum of {name}"
    for name, expected in recorded.items():
        file = file_in(path, name)
        if file is None:
            yield name, "", f"{path / name}: missing"
            continue
        if file.suffix == ".safetensors":
            shapes_in(file)  # what is no such file need not be read to its end
        digest = sha256(file)
        differs = f"{file}: SHA-256 differs from the one recorded in {CONFIG}"
        yield name, digest, "" if digest == expected else differs


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor of the bundle's weights, from the file's header alone."""
    return shapes_in(file_in(path, WEIGHTS) or path / WEIGHTS)


def shapes_in(file: Path) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor of a safetensors file, whose header must describe all its bytes; BundleError
    for any other."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > min(MAX_HEADER_BYTES, file.stat().st_size - 8):
                raise ValueError("of more bytes than the file has, or than headers are read")
            header = schema.parsed(stream.read(size), file)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        ends = [_end_of_tensor(entry) for entry in tensors.values()]
        if max(ends, default=0) + 8 + size != file.stat().st_size:
            raise ValueError("of another number of bytes than the file has")
        return {name: tuple(entry["shape"]) for name, entry in tensors.items()}
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, BundleError) as error:
        raise BundleError(f"{file}: damaged safetensors header: {error}") from error


def _end_of_tensor(entry: dict[str, Any]) -> int:
    """The offset at which a tensor ends; ValueError unless its shape fits the number of its bytes."""
    begin, end = entry["data_offsets"]
    values = math.prod(entry["shape"])
    if not all(type(n) is int and n >= 0 for n in (begin, end, *entry["shape"])):
        raise ValueError("sizes that are none")
    if not (end == begin if values == 0 else values <= (end - begin) * 8):
        raise ValueError("a tensor of another size than its bytes")
    return int(end)


def _shipped() -> list[Path]:
    """The folder of models inside the installed package, or at the top of its checkout."""
    checkout = _PACKAGE.parent
    in_checkout = [checkout / "models"] if (checkout / "pyproject.toml").is_file() else []
    return [folder for folder in (_PACKAGE / "_models", *in_checkout) if folder.is_dir()]


def _bundles_in(folder: Path) -> Iterator[Path]:
    return (config.parent for config in folder.glob(f"*/{CONFIG}"))


def _looks_like_folder(name: str) -> bool:
    return os.sep in name or name in (".", "..")


def is_orbax(path: Path) -> bool:
    """Whether a folder is a checkpoint that orbax wrote, of JAX."""
    return (path / "_METADATA").is_file() and not (path / CONFIG).is_file()


def _as_bundle(path: Path) -> Path:
    if is_orbax(path):
        raise BundleError(
            f"{path}: a checkpoint of JAX: `genomai models convert {path} -o DIR` makes a model of it"
        )
    if not (path / CONFIG).is_file():
        reason = f"no {CONFIG} in it" if path.is_dir() else "no such folder"
        raise BundleError(f"{path}: not a model bundle: {reason}")
    return path


def _check_format(config: object, file: Path) -> None:
    version = config.get("format_version") if isinstance(config, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise BundleError(f"{file}: not a model's config: no format_version")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{file}: format {version} is newer than this program knows ({FORMAT_VERSION}): "
            "update genomai"
        )


COLUMNS = ("name", "version", "heads", "parameters", "bytes", "description")


@dataclass(frozen=True, slots=True)
class Summary:
    """A bundle in a few words; `parameters` counts the trainable ones of the model proper."""

    name: str
    version: str
    heads: dict[str, int]
    parameters: int
    size: int
    description: str


def summarise(path: Path) -> Summary:
    """The summary of the bundle in the folder `path`."""
    config = read_config(path)
    return Summary(
        name=str(config.get("name", path.name)),
        version=str(config.get("version", "?")),
        heads={name: len(labels) for name, labels in (config.get("heads") or {}).items()}
        | dict.fromkeys(config.get("numbers") or {}, 1),
        parameters=parameter_count(path, config),
        size=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        description=str(config.get("description", "")),
    )


def parameter_count(path: Path, config: dict[str, Any]) -> int:
    """As recorded when the model was made; else the number of values in its weights file."""
    recorded = config.get("trainable_parameters")
    return recorded if isinstance(recorded, int) else values_stored(path)


def values_stored(path: Path) -> int:
    """How many numbers the weights file holds: parameters and whatever goes with them."""
    return sum(math.prod(shape) for shape in tensor_shapes(path).values())


def card_summary(path: Path) -> str:
    """The opening of the model card: all that stands before its first section, or nothing."""
    card = path / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return text.split("\n## ", 1)[0].strip()


def page(path: Path) -> str:
    """Everything `genomai models show` prints: facts, card summary, config."""
    facts = summarise(path)
    lines = [
        f"name\t{facts.name}",
        f"version\t{facts.version}",
        f"folder\t{path}",
        f"parameters\t{facts.parameters:,}",
        f"values stored\t{values_stored(path):,}",
        f"heads\t{heads_in_words(facts.heads)}",
        f"bytes\t{facts.size:,}",
    ]
    config = json.dumps(read_config(path), indent=2, ensure_ascii=False)
    return "\n\n".join(filter(None, ("\n".join(lines), card_summary(path), config)))


def heads_in_words(heads: dict[str, int]) -> str:
    """`superpop:5,pop:26`, or `.` for a model without heads."""
    return ",".join(f"{name}:{labels}" for name, labels in heads.items()) or "."


def row(facts: Summary) -> tuple[str, ...]:
    """The summary as `genomai models list` prints it, in the order of `COLUMNS`."""
    heads = heads_in_words(facts.heads)
    numbers = str(facts.parameters), str(facts.size)
    return (facts.name, facts.version, heads, *numbers, facts.description)
