"""Contact maps in cooler's layout, made up for tests without that library."""

import h5py
import numpy as np


def write_cool(path, contigs, size, *, weights=None, group="/"):
    """A `.cool` of contigs, each its length and the counts (P, P) of its bins, which are symmetric."""
    lengths = [length for length, _ in contigs.values()]
    counts = [-(-length // size) for length in lengths]
    bin_offsets = np.cumsum([0, *counts])
    pixels = []
    for bin_offset, (_, matrix) in zip(bin_offsets, contigs.values(), strict=False):
        for row, column in zip(*np.nonzero(np.triu(matrix)), strict=True):
            pixels.append((bin_offset + row, bin_offset + column, matrix[row, column]))
    pixels = np.array(pixels, float).reshape(-1, 3)
    with h5py.File(path, "a") as file:
        root = file.require_group(group)
        root.attrs.update({"format": "HDF5::Cooler", "format-version": 3, "bin-type": "fixed"})
        root.attrs.update({"bin-size": size, "storage-mode": "symmetric-upper", "nnz": len(pixels)})
        root.attrs.update(
            {"nbins": int(bin_offsets[-1]), "nchroms": len(lengths), "sum": 0, "metadata": "{}"}
        )
        root["chroms/name"] = np.array([*contigs], "S")
        root["chroms/length"] = np.array(lengths, np.int32)
        starts = [np.arange(n) * size for n in counts]
        root["bins/chrom"] = np.repeat(np.arange(len(lengths)), counts).astype(np.int32)
        root["bins/start"] = np.concatenate(starts).astype(np.int32)
        ends = [np.minimum(s + size, n) for s, n in zip(starts, lengths, strict=True)]
        root["bins/end"] = np.concatenate(ends).astype(np.int32)
        if weights is not None:
            root["bins/weight"] = np.concatenate([weights[name] for name in contigs])
        root["pixels/bin1_id"] = pixels[:, 0].astype(np.int64)
        root["pixels/bin2_id"] = pixels[:, 1].astype(np.int64)
        root["pixels/count"] = pixels[:, 2].astype(np.int32)
        root["indexes/chrom_offset"] = bin_offsets.astype(np.int64)
        offsets = np.searchsorted(pixels[:, 0], np.arange(bin_offsets[-1] + 1))
        root["indexes/bin1_offset"] = offsets.astype(np.int64)
    return path


def random_counts(rng, bins):
    """Symmetric counts (P, P), of which many are 0, and fewer the farther bins are apart."""
    distance = np.abs(np.arange(bins)[:, None] - np.arange(bins))
    upper = np.triu(rng.poisson(6 / (1 + distance)))
    return upper + np.triu(upper, 1).T
