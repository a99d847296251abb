"""Contact maps read from `.cool` and `.mcool` (cooler's layout of HDF5, Abdennur & Mirny 2020,
doi:10.1093/bioinformatics/btz540): the contacts of pairs of bins of one contig.

Values are counts as they are, or balanced: times the weights of both bins. A pair without an entry has no contact,
which is 0, unless one of its bins is missing: one without a weight, or of counts as they are without any contact at
all. Pairs of a missing bin are missing (NaN). Entries are read from disk by bin; 8 bytes a bin stay in memory.

Shape suffixes: N bins of the file, C contigs, P bins of a stretch, I entries.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError, shown_names
from genomai_cli.formats.bigwig import Values

BALANCED, RAW = "balanced", "raw"  # what counts are
FORMAT, MULTI_FORMAT, GROUP_SEPARATOR = "HDF5::Cooler", "HDF5::MCOOL", "::"
MAGIC = b"\x89HDF\r\n\x1a\n"
ENTRIES_AT_ONCE = 1 << 22


class CoolMap:
    """One resolution of a file, named `FILE` or `FILE::/GROUP`; of `counts` balanced or raw, by default balanced where
    it has weights.

    Raises InputError for a file that is none, for one of several resolutions of which none is named, for bins of
    different sizes, and for balanced counts without weights.
    """

    has_lengths = True

    def __init__(self, path: Path, counts: str = "") -> None:
        self.path = path
        file, _, group = str(path).partition(GROUP_SEPARATOR)
        self._file, self._group = Path(file), group or "/"
        with self._opened() as root:
            self._check(root)
            self.bin_size = int(root.attrs["bin-size"])
            if self.bin_size < 1:
                raise ValueError("bins without bases")
            names = [_text(name) for name in root["chroms/name"][:]]
            lengths = root["chroms/length"][:].tolist()
            self.contigs = dict(zip(names, lengths, strict=True))
            offsets = root["indexes/chrom_offset"][:].tolist()
            self._begins = dict(zip(names, offsets, strict=False))
            self._entries_N: NDArray[np.int64] = root["indexes/bin1_offset"][:].astype(np.int64)
            total = len(root["pixels/bin1_id"])
            consistent = len(self._entries_N) == offsets[-1] + 1 == len(root["bins/start"]) + 1
            consistent &= (
                bool((np.diff(self._entries_N) >= 0).all()) and self._entries_N[-1] == total
            )
            bins = [-(-length // self.bin_size) for length in lengths]
            if not consistent or np.diff(offsets).tolist() != bins:
                raise ValueError("indexes do not fit")
            self.counts = counts or (BALANCED if "weight" in root["bins"] else RAW)
            if self.counts == BALANCED and "weight" not in root["bins"]:
                message = "no weights of bins, which balanced counts need: `cooler balance` adds them, or take raw ones"
                raise InputError(message, path=path)
            self._weights_N = self._weights(root)

    def values(self, contig: str, first: int, last: int) -> Values:
        """The contacts (P, P) of the contig's bins from `first` to before `last`; NaN where missing, and for bins that
        are none of the contig's."""
        size = last - first
        found_PP: Values = np.full((size, size), np.nan, np.float32)
        bins = -(-self.contigs[contig] // self.bin_size)
        begin, end = max(first, 0), min(last, bins)
        if begin >= end:
            return found_PP
        contig_begin = self._begins[contig]
        weights_P = self._weights_N[contig_begin + begin : contig_begin + end]
        counts_PP = np.zeros((end - begin, end - begin))
        with self._opened() as root:
            entries = slice(*self._entries_N[[contig_begin + begin, contig_begin + end]].tolist())
            first_I, second_I, count_I = (
                root[f"pixels/{name}"][entries] for name in ("bin1_id", "bin2_id", "count")
            )
        if not ((count_I >= 0) & np.isfinite(count_I)).all():
            message = f"contacts of {contig} that are below 0 or no numbers: counts are wanted, not their logarithms"
            raise InputError(message, path=self.path)
        first_I, second_I = (
            ids_I.astype(np.int64) - contig_begin - begin for ids_I in (first_I, second_I)
        )
        inside_I = (first_I >= 0) & (second_I >= first_I) & (second_I < end - begin)
        counts_PP[first_I[inside_I], second_I[inside_I]] = count_I[inside_I]
        counts_PP[second_I[inside_I], first_I[inside_I]] = count_I[inside_I]
        inside = slice(begin - first, end - first)
        found_PP[inside, inside] = counts_PP * weights_P * weights_P[:, None]
        return found_PP

    def _weights(self, root: Any) -> NDArray[np.float64]:
        """The weight (N,) of every bin, NaN of one that is missing."""
        if self.counts == BALANCED:
            weights_N: NDArray[np.float64] = root["bins/weight"][:].astype(np.float64)
            # Of some programs, as juicer's converter: counts are divided by them.
            if bool(root["bins/weight"].attrs.get("divisive_weights", False)):
                weights_N = 1 / weights_N
            return np.where(np.isfinite(weights_N), weights_N, np.nan)
        observed_N = np.zeros(len(root["bins/start"]), np.bool_)
        for name in ("bin1_id", "bin2_id"):
            ids = root[f"pixels/{name}"]
            for start in range(0, len(ids), ENTRIES_AT_ONCE):
                observed_N[ids[start : start + ENTRIES_AT_ONCE]] = True
        return np.where(observed_N, 1.0, np.nan)

    def _check(self, root: Any) -> None:
        found_format = _text(root.attrs.get("format", ""))
        if found_format == MULTI_FORMAT or (found_format != FORMAT and "resolutions" in root):
            names = sorted(root["resolutions"], key=lambda name: (len(name), name))
            message = f"maps of several resolutions ({shown_names(names)}): name one, {self._file.name}::/resolutions/N"
            raise InputError(message, path=self.path)
        if found_format != FORMAT:
            raise InputError("HDF5, but no contact map of cooler's layout", path=self.path)
        if _text(root.attrs.get("bin-type", "fixed")) != "fixed":
            raise InputError("bins of different sizes: maps are of one resolution", path=self.path)
        if _text(root.attrs.get("storage-mode", "symmetric-upper")) != "symmetric-upper":
            raise InputError("a map that is not symmetric", path=self.path)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The group of the map. It is opened for each use, so that processes that read it share nothing."""
        import h5py  # noqa: PLC0415 - every command that loads a model would wait for it

        try:
            with h5py.File(self._file, "r") as file:
                if self._group not in file:
                    raise InputError(f"no map {self._group} in it", path=self._file)
                yield file[self._group]
        except (OSError, KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
            raise InputError("a contact map that is damaged or cut off", path=self.path) from error


def is_cool(path: Path) -> bool:
    """Whether a file, or the file of `FILE::/GROUP`, is HDF5, as contact maps are."""
    with Path(str(path).partition(GROUP_SEPARATOR)[0]).open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
