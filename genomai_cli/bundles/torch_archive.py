"""A file of `torch.save`, whole or in parts, read without running anything that it names and without a copy of it.

Such a file is a zip archive that compresses nothing: a pickle of the tensors' names and shapes, and a record for each
storage. The pickle is read by an unpickler that knows tensors and plain containers; what PyTorch Lightning adds to its
checkpoints besides tensors, omegaconf's settings, becomes objects that hold nothing and do nothing, and any other name
is refused. A tensor is a view of the mapped part that its record lies in, or a copy where it lies in two, on the CPU
wherever it was saved.
"""

import io
import mmap
import pickle
import struct
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

STATE = "state_dict"  # under which Lightning keeps the tensors
LOCAL_HEADER = 30  # bytes before the name in a zip's record, which end with the lengths of name and extra field
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}


class StoredTensor(NamedTuple):
    """Where a tensor lies: the number of its storage, the type, and the layout in elements."""

    storage: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class TorchArchive:
    """The tensors by name of a file in one part or several, of a Lightning checkpoint those of its `state_dict`.

    ValueError for what is not one of tensors by name, UnpicklingError for one that names what it has no use for.
    """

    def __init__(self, parts: Sequence[Path]) -> None:
        self._bytes = _ConcatenatedFiles(parts)
        with zipfile.ZipFile(self._bytes) as archive:
            self._records = {info.filename: info for info in archive.infolist()}
            index = next((n for n in self._records if n.endswith("/data.pkl")), None)
            if index is None:
                raise ValueError("no file of torch.save")
            self._folder = index.removesuffix("data.pkl")
            order = self._records.get(f"{self._folder}byteorder")
            if order is not None and archive.read(order) != b"little":
                raise ValueError("another order of bytes")
            content = _Unpickler(io.BytesIO(archive.read(index))).load()
        if not isinstance(content, dict):
            raise ValueError("holds no tensors by name")
        state = content.get(STATE, content)
        if not isinstance(state, dict):
            raise ValueError(f"{STATE} holds no tensors by name")
        self._stored = {n: t for n, t in state.items() if isinstance(t, StoredTensor)}
        entries = {**content, **state}
        self.non_tensors = [str(n) for n in entries if n != STATE and n not in self._stored]

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._stored)

    def tensor(self, name: str) -> Tensor:
        """A tensor by name."""
        stored = self._stored[name]
        extents = [(n - 1) * step for n, step in zip(stored.shape, stored.stride, strict=True)]
        if 0 in stored.shape:
            return torch.empty(stored.shape, dtype=stored.dtype)
        size, values = stored.dtype.itemsize, 1 + sum(extents)
        info = self._records[f"{self._folder}data/{stored.storage}"]
        if min(stored.offset, *extents, 0) < 0 or (stored.offset + values) * size > info.file_size:
            raise ValueError(f"{name} passes the end of its record")
        start = self._start(info) + stored.offset * size
        flat = self._bytes.view(start, values * size, stored.dtype)
        return flat.as_strided(stored.shape, stored.stride)

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape."""
        return self._stored[name].shape

    def dtype(self, name: str) -> str:
        """Its type."""
        return str(self._stored[name].dtype).removeprefix("torch.")

    def _start(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of a record begin."""
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("compressed")
        header = self._bytes.read_bytes(info.header_offset, LOCAL_HEADER)
        name, extra = struct.unpack("<HH", header[-4:])
        return int(info.header_offset + LOCAL_HEADER + name + extra)


class _ConcatenatedFiles(io.RawIOBase):
    """The bytes of several files, one after the other; mapped, not read."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._maps = []
        for part in parts:
            with part.open("rb") as stream:
                # A private mapping: torch wants memory that it might write to, the file stays as it is.
                self._maps.append(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))
        self._starts = [0, *accumulate(map(len, self._maps))]
        self._position = 0

    def view(self, start: int, count: int, dtype: torch.dtype) -> Tensor:
        """So many bytes from `start` on as a tensor (values,) of the type."""
        index = next(n for n, end in enumerate(self._starts[1:]) if start < end)
        offset = start - self._starts[index]
        if start + count <= self._starts[index + 1] and offset % dtype.itemsize == 0:
            values = count // dtype.itemsize
            return torch.frombuffer(self._maps[index], dtype=dtype, count=values, offset=offset)
        return torch.frombuffer(bytearray(self.read_bytes(start, count)), dtype=dtype)

    def read_bytes(self, start: int, count: int) -> bytes:
        """So many bytes from `start` on; fewer at the end of the last file."""
        data = b""
        for first, mapped in zip(self._starts, self._maps, strict=False):
            if first <= start + len(data) < first + len(mapped) and len(data) < count:
                offset = start + len(data) - first
                data += mapped[offset : offset + count - len(data)]
        return data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {0: 0, 1: self._position, 2: self._starts[-1]}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        data = self.read_bytes(
            self._position, self._starts[-1] - self._position if size < 0 else size
        )
        self._position += len(data)
        return data


class _Inert:
    """Stands for an object that is not needed."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """Tensors as `StoredTensor`, plain containers, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names that such a file may use."""
        if module in ("torch", "torch.storage") and name in DTYPES:
            return DTYPES[name]
        if module.partition(".")[0] == "omegaconf":
            return _Inert
        if (module, name) not in ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which weights have no use for")
        return ALLOWED_GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, torch.dtype]:
        """A storage: its number and type."""
        _, dtype, number, _, _ = pid
        return str(number), dtype


def _tensor(
    storage: tuple[str, torch.dtype],
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *_: object,
) -> StoredTensor:
    return StoredTensor(*storage, offset, tuple(shape), tuple(stride))


def _parameter(tensor: StoredTensor, *_: object) -> StoredTensor:
    return tensor


ALLOWED_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "defaultdict"): defaultdict,
    ("typing", "Any"): _Inert,
    **{(module, "list"): list for module in ("builtins", "__builtin__")},
    **{(module, "dict"): dict for module in ("builtins", "__builtin__")},
    **{(module, "set"): set for module in ("builtins", "__builtin__")},
    **{(module, name): int for module, name in (("builtins", "int"), ("__builtin__", "long"))},
    ("_io", "BytesIO"): _Inert,  # Transformer Engine's metadata
    ("_codecs", "encode"): _Inert,  # the bytes in it
}
