"""Arrays of few different small integers in memory: a bit a value and plane, and as few planes as their range needs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        numbers = values.view(np.uint8) if values.dtype == np.bool_ else values
        smallest = int(numbers.min()) if numbers.size else 0
        above = numbers - numbers.dtype.type(smallest)
        most = int(above.max()) if above.size else 0
        if most < 256:
            above = above.astype(np.uint8, copy=False)
        planes = tuple(_packed(above & above.dtype.type(1 << n)) for n in range(most.bit_length()))
        return cls(values.shape, values.dtype, smallest, planes)

    def array(self) -> NDArray[Any]:
        """The array, anew."""
        kind = np.dtype(np.uint8) if self.dtype == np.bool_ else self.dtype
        values = np.full(self.shape, self.smallest, kind)
        for number, plane in enumerate(self.planes):
            if plane:
                bits = np.unpackbits(np.frombuffer(plane, np.uint8), count=values.size)
                bits = bits.reshape(self.shape).astype(kind, copy=False)
                values += bits << number if number else bits
        return values.view(self.dtype)


def _packed(bits: NDArray[Any]) -> bytes:
    """The bits of a plane, nothing where none is set."""
    return np.packbits(bits).tobytes() if bits.any() else b""
