"""The tensors of a model by name, in one file or several, read from disk where and when they are asked for.

Files are mapped into memory, never copied: a tensor's pages are read when it is used, so that a model needs no more
memory than its own size to open. Nothing in a file can run: safetensors, or torch files with `weights_only`. A torch
file may lie in parts (`evo2_40b.pt.part0`...), which are read as if they were one.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from genomai_cli.bundles.catalog import file_of_part, parts_of, read_json, shapes_in
from genomai_cli.bundles.stored import bundle_errors, require_same_names, require_shape
from genomai_cli.bundles.torch_archive import TorchArchive
from genomai_cli.errors import BundleError

SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"
LIGHTNING = "weights.ckpt"  # read by an unpickler of ours: torch's refuses what else it holds
FILES = (SAFETENSORS, f"{SAFETENSORS}.index.json", TORCH, f"{TORCH}.index.json", LIGHTNING)


class Weights(Mapping[str, Tensor]):
    """Tensors by name, on the CPU; BundleError where a file is damaged."""

    def __init__(self, file_of: Mapping[str, Path]) -> None:
        self._file_of = dict(file_of)
        self._opened: dict[Path, Any] = {}

    @classmethod
    def open(cls, path: Path) -> "Weights":
        """The tensors of a file, or of a folder: one file, or shards with an index; BundleError if there are none."""
        file = weights_file(path)
        if file.name.endswith(".index.json"):
            return cls(_files_by_index(file))
        weights = cls({})
        weights._file_of = dict.fromkeys(weights._open(file).keys(), file)
        return weights

    @property
    def files(self) -> list[Path]:
        """The files that hold the tensors."""
        return sorted({part for file in self._file_of.values() for part in parts_of(file)})

    @property
    def non_tensors(self) -> list[str]:
        """The names under which files hold something else than a tensor."""
        return sorted(
            n for file in set(self._file_of.values()) for n in self._open(file).non_tensors
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)

    def __getitem__(self, name: str) -> Tensor:
        file = self._file_of[name]
        with bundle_errors(file):
            tensor: Tensor = self._open(file).tensor(name)
            return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return self._open(self._file_of[name]).shape(name)  # type: ignore[no-any-return]

    def dtype(self, name: str) -> str:
        """A tensor's type as torch calls it, without reading it."""
        return str(self._open(self._file_of[name]).dtype(name))

    def _open(self, file: Path) -> Any:
        if file not in self._opened:
            self._opened[file] = _reader(file)
        return self._opened[file]


class TensorSubset(Mapping[str, Tensor]):
    """Some of the tensors, under other names; `names` gives the name among the tensors of each."""

    def __init__(self, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        self._tensors, self._names = tensors, names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._names[name]]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        shape: tuple[int, ...] = self._tensors.shape(self._names[name])  # type: ignore[attr-defined]
        return shape


def weights_file(path: Path) -> Path:
    """The file of weights in a folder, or the index of its shards; a file itself. BundleError if there is none.

    A torch file of another name is found where it is the only one.
    """
    if not path.is_dir():
        return file_of_part(path)
    for name in FILES:
        if (path / name).is_file():
            return path / name
    files = sorted(
        {file_of_part(file) for file in path.glob("*.pt*") if file_of_part(file).suffix == ".pt"}
    )
    if len(files) > 1:
        raise BundleError(f"{path}: {len(files)} files of weights: name one, as {files[0]}")
    if not files:
        raise BundleError(f"{path}: no weights: there is none of {', '.join(FILES)}, *.pt")
    return files[0]


def digest_of(digests: Mapping[Path, str]) -> str:
    """The SHA-256 of one file of weights; of shards, that of the list that `sha256sum` makes of them by name."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    listed = "".join(f"{digest}  {file.name}\n" for file, digest in sorted(digests.items()))
    return hashlib.sha256(listed.encode()).hexdigest()


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Give a module, made on the meta device or not, these tensors instead of its own; nothing is copied.

    Raises BundleError unless names and shapes are exactly those of the module's state. Shapes are compared before a
    tensor is read.
    """
    expected = module.state_dict()
    require_same_names(expected.keys(), tensors.keys(), source)
    shape_of = getattr(tensors, "shape", lambda name: tuple(tensors[name].shape))
    for name, tensor in expected.items():
        require_shape(name, shape_of(name), tuple(tensor.shape), source)
    values = {name: tensors[name] for name in expected}
    for name, tensor in values.items():
        _check_values(name, tensor, expected[name], source)
    module.load_state_dict(values, assign=True)
    unfilled = [
        name for name, t in [*module.named_buffers(), *module.named_parameters()] if t.is_meta
    ]
    if unfilled:
        raise BundleError(f"{source}: nothing gives {unfilled[0]} a value")


def _check_values(name: str, tensor: Tensor, expected: Tensor, source: Path) -> None:
    """BundleError for integers where numbers are to be, or the other way, and for NaN and infinity."""
    if tensor.is_floating_point() != expected.is_floating_point():
        types = f"{tensor.dtype} where {expected.dtype} is needed".replace("torch.", "")
        raise BundleError(f"{source}: tensor {name} is {types}")
    if not is_finite(tensor):
        raise BundleError(f"{source}: tensor {name} has values that are NaN or infinite")


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite; a mapped tensor is read once, and not copied."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = (tensor if tensor.element_size() > 1 else tensor.float()).aminmax()
    return bool(torch.isfinite(low) and torch.isfinite(high))


def _reader(file: Path) -> "_Safetensors | _TorchFile | TorchArchive":
    if file.suffix == ".safetensors":
        return _Safetensors(file)
    parts = parts_of(file)
    if parts == [file] and file.suffix != ".ckpt":
        return _TorchFile(file)
    with bundle_errors(file):
        return TorchArchive(parts)


def _files_by_index(index: Path) -> dict[str, Path]:
    """The file of every tensor, which has to lie in the folder of the index."""
    try:
        weight_map = read_json(index)["weight_map"]
        files = {name: index.parent / file for name, file in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{index}: damaged index: {error!r}") from error
    for file in set(files.values()):
        if file.parent != index.parent or not file.is_file():
            raise BundleError(f"{index}: names {file.name}, which is no file beside it")
    return files


class _Safetensors:
    non_tensors: tuple[str, ...] = ()

    def __init__(self, file: Path) -> None:
        self._file = file

    @cached_property
    def _handle(self) -> Any:
        shapes_in(self._file)
        try:
            return safe_open(self._file, framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise BundleError(f"{self._file}: {error}") from error

    def keys(self) -> list[str]:
        return list(self._handle.keys())

    def tensor(self, name: str) -> Tensor:
        return self._handle.get_tensor(name)  # type: ignore[no-any-return]

    def shape(self, name: str) -> tuple[int, ...]:
        with bundle_errors(self._file):
            return tuple(self._handle.get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        with bundle_errors(self._file):
            return str(self._handle.get_slice(name).get_dtype())


class _TorchFile:
    def __init__(self, file: Path) -> None:
        with bundle_errors(file):
            torch.serialization.add_safe_globals([io.BytesIO])  # Transformer Engine's metadata
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            if not isinstance(content, dict):
                raise BundleError(f"{file}: holds no tensors by name")
            self._tensors = {n: t for n, t in content.items() if isinstance(t, Tensor)}
            self.non_tensors = [name for name in content if name not in self._tensors]

    def keys(self) -> list[str]:
        return list(self._tensors)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def dtype(self, name: str) -> str:
        return str(self._tensors[name].dtype).removeprefix("torch.")
