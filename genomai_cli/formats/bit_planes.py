"""Arrays of few different small integers in memory, and records of a VCF with such genotypes: a bit a value and plane,
and as few planes as their range needs."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.vcf import Variant


@dataclass(frozen=True, slots=True, eq=False)
class BitPlanes:
    """The values of an integer or boolean array: the smallest, and the bits of what each is above it, the lowest first.

    Genotypes of two alleles that are all known take a bit each; what is all the same takes none.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    smallest: int
    planes: tuple[bytes, ...]

    @classmethod
    def of(cls, values: NDArray[Any]) -> "BitPlanes":
        """Those of an array."""
        if values.dtype == np.bool_:  # `all` and `any` are faster than `min` and `max`
            numbers, smallest, largest = values.view(np.uint8), int(values.all()), int(values.any())
        else:
            numbers = values
            smallest, largest = (int(values.min()), int(values.max())) if values.size else (0, 0)
        differences = numbers - numbers.dtype.type(smallest) if smallest else numbers
        if largest - smallest < 256:
            differences = differences.astype(np.uint8, copy=False)
        count = max(0, largest - smallest).bit_length()
        parts = (differences & differences.dtype.type(1 << n) for n in range(count))
        planes = map(_packed, parts if count > 1 else [differences] * count)
        return cls(values.shape, values.dtype, smallest, tuple(planes))

    def array(self) -> NDArray[Any]:
        """The array, anew."""
        kind = np.dtype(np.uint8) if self.dtype == np.bool_ else self.dtype
        values: NDArray[Any] | None = None
        for number, plane in enumerate(self.planes):
            if plane:
                bits = np.unpackbits(np.frombuffer(plane, np.uint8), count=prod(self.shape))
                part = bits.astype(kind, copy=False) << number if number else bits.astype(kind)
                values = part if values is None else values + part
        if values is None:
            return np.full(self.shape, self.smallest, kind).view(self.dtype)
        if self.smallest:
            values += kind.type(self.smallest)
        return values.reshape(self.shape).view(self.dtype)


def _packed(bits: NDArray[Any]) -> bytes:
    """The bits of a plane, nothing where none is set."""
    packed = np.packbits(bits)
    return packed.tobytes() if packed.any() else b""


_NO_GENOTYPES = np.empty((0, 2), np.int16)
_NO_PHASES = np.empty(0, np.bool_)


@dataclass(frozen=True, slots=True)
class PackedVariant:
    """A record whose genotypes are held in bits."""

    record: Variant
    genotypes: BitPlanes
    phased: BitPlanes

    @classmethod
    def of(cls, variant: Variant) -> "PackedVariant":
        """The record without the samples' other fields."""
        record = replace(variant, genotypes=_NO_GENOTYPES, phased=_NO_PHASES, fields=None)
        return cls(record, BitPlanes.of(variant.genotypes), BitPlanes.of(variant.phased))

    def variant(self) -> Variant:
        """The record again."""
        genotypes, phased = self.genotypes.array(), self.phased.array()
        return replace(self.record, genotypes=genotypes, phased=phased)
