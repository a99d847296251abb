"""The installed model bundles: names, folders and configs, found without loading any of them.

A bundle is a folder with a `config.json`. Bundles are looked for in the folders that
`GENOMAI_MODELS` lists (separated as in PATH), then among those shipped with the program.

What can be told about a bundle from its files alone, without torch: for `genomai models`.
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

from genomai_cli.bundles import hub
from genomai_cli.errors import BundleError

FORMAT_VERSION = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
PANEL = "panel.tsv"
REFERENCE = "reference.fa"
SITES = "sites.tsv"
RECIPE = "recipe.toml"
STRUCTURE = "structure.safetensors"
TRAINING_KMERS = (
    "training_kmers.safetensors"  # of sequences, to tell leaks; without a checksum, may be deleted
)
CHECKED = (WEIGHTS, PANEL, REFERENCE, SITES, STRUCTURE, RECIPE)  # with a checksum in the config
FOLDERS_VARIABLE = "GENOMAI_MODELS"
OF_WEIGHTS = (".safetensors", ".bin", ".pt", ".ckpt")  # how names of files of weights end
PART = re.compile(r"\.part\d+$")  # ends the names of those that were cut to be sent
_PACKAGE = Path(__file__).resolve().parent.parent


def folders() -> list[Path]:
    """The folders that hold bundles, in the order in which a name is looked for."""
    given = os.environ.get(FOLDERS_VARIABLE, "")
    return [*(Path(folder) for folder in given.split(os.pathsep) if folder), *_shipped()]


def names() -> list[str]:
    """The names of the installed bundles, in alphabetical order."""
    return sorted({path.name for folder in folders() for path in _bundles_in(folder)})


def find(name: str | Path) -> Path:
    """The folder of the bundle that `name` names: a folder, or the name of an installed bundle.

    Where it names a file of weights, or a part of one, the file; where it is on Hugging Face, what was fetched.
    """
    if str(name).startswith(hub.PREFIX):
        return hub.fetched(str(name), sha256)
    file = whole(Path(name))
    if file.suffix in OF_WEIGHTS and parts_of(file):
        return file
    if _looks_like_folder(str(name)):
        return _as_bundle(Path(name))
    for folder in folders():
        if (folder / name / CONFIG).is_file():
            return folder / name
    if Path(name).is_dir():
        return _as_bundle(Path(name))
    raise BundleError(f"no model named {str(name)!r}: installed are {', '.join(names()) or 'none'}")


def read_config(path: Path) -> dict[str, Any]:
    """The bundle's `config.json`, refused if this program is too old to understand it."""
    config = read_json(path / CONFIG)
    _check_format(config, path / CONFIG)
    return dict(config)


def read_json(file: Path) -> Any:
    """What a JSON file holds; BundleError if it holds none."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{file}: not JSON: {error}") from error


def whole(file: Path) -> Path:
    """The file that this one is a part of, or the file itself."""
    return file.with_name(PART.sub("", file.name))


def parts_of(file: Path) -> list[Path]:
    """The files whose bytes, one after the other, are the file's: itself, or NAME.part0, NAME.part1...; none where
    there is neither. BundleError where a part is missing."""
    if file.is_file():
        return [file]
    found = [p for p in file.parent.glob(f"{file.name}.part*") if PART.search(p.name)]
    expected = [file.with_name(f"{file.name}.part{number}") for number in range(len(found))]
    missing = sorted(set(expected) - set(found))
    if missing:
        raise BundleError(f"{missing[0]}: missing, though other parts are here")
    return expected


def panel_of(name: str | Path) -> Path:
    """The panel file of a bundle; a shipped panel is found even without a model beside it."""
    shipped = (folder / name / PANEL for folder in folders())
    if not _looks_like_folder(str(name)) and (found := next(filter(Path.is_file, shipped), None)):
        return found
    file = find(name) / PANEL
    if not file.is_file():
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
    """What is wrong with a bundle's files, one message each; nothing if all are as recorded."""
    try:
        return [problem for _, _, problem in _compared(find(name), sha256) if problem]
    except BundleError as error:
        return [str(error)]


def checked(path: Path, sha256: Callable[[Path], str]) -> dict[str, str]:
    """The SHA-256 of every file that has one recorded, each read once; BundleError unless all are as recorded."""
    digests = {}
    for name, digest, problem in _compared(path, sha256):
        if problem:
            raise BundleError(problem)
        digests[name] = digest
    return digests


def _compared(path: Path, sha256: Callable[[Path], str]) -> Iterator[tuple[str, str, str]]:
    """The recorded files: name, SHA-256, and what is wrong if anything is."""
    recorded = read_config(path).get("files")
    if not isinstance(recorded, dict):
        recorded = {}
    if not any(name.startswith(WEIGHTS) for name in recorded):
        yield WEIGHTS, "", f"{path / CONFIG}: no checksum of {WEIGHTS}"
    for name, expected in recorded.items():
        file = path / name
        if not file.is_file():
            yield name, "", f"{file}: missing"
            continue
        digest = sha256(file)
        differs = f"{file}: SHA-256 differs from the one recorded in {CONFIG}"
        yield name, digest, "" if digest == expected else differs


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor of the bundle's weights, from the file's header alone."""
    file = path / WEIGHTS
    try:
        with file.open("rb") as stream:
            header = json.loads(stream.read(_header_length(stream.read(8), file)))
        return {
            name: tuple(tensor["shape"])
            for name, tensor in header.items()
            if name != "__metadata__"
        }
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{file}: damaged safetensors header") from error


def _header_length(prefix: bytes, file: Path) -> int:
    """The length that the first 8 bytes tell, which may not pass the end of the file."""
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > file.stat().st_size:
        raise ValueError("header passes the end of the file")
    return length


def _shipped() -> list[Path]:
    """The folder of models inside the installed package, or at the top of its checkout."""
    checkout = _PACKAGE.parent
    in_checkout = [checkout / "models"] if (checkout / "pyproject.toml").is_file() else []
    return [folder for folder in (_PACKAGE / "_models", *in_checkout) if folder.is_dir()]


def _bundles_in(folder: Path) -> Iterator[Path]:
    return (config.parent for config in folder.glob(f"*/{CONFIG}"))


def _looks_like_folder(name: str) -> bool:
    return os.sep in name or name in (".", "..")


def _as_bundle(path: Path) -> Path:
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
        heads={name: len(labels) for name, labels in (config.get("heads") or {}).items()},
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
