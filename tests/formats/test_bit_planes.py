"""Arrays of small integers in bits."""

import numpy as np
import pytest

from genomai_cli.formats.bit_planes import BitPlanes

RNG = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("values", "planes"),
    [
        (RNG.choice([0, 1], (50, 2)).astype(np.int16), 1),
        (RNG.choice([-2, -1, 0, 1], (50, 2)).astype(np.int16), 2),
        (RNG.choice([1, 3], (50, 2)).astype(np.uint8), 1),
        (RNG.choice([0, 2, 4], (50, 2)).astype(np.uint8), 2),
        (RNG.integers(-2, 5000, (50, 2)).astype(np.int16), 13),
        (np.array([0, 255], np.uint8), 8),
        (np.full((50, 2), 3, np.int16), 0),
        (np.ones(50, np.bool_), 0),
        (RNG.random(53) < 0.5, 1),
        (np.zeros((0, 2), np.int16), 0),
    ],
    ids=lambda value: f"{value.dtype}-{value.size}" if isinstance(value, np.ndarray) else None,
)
def test_an_array_comes_back_from_as_few_planes_as_it_needs(values, planes):
    packed = BitPlanes.of(values)
    restored = packed.array()
    assert (restored.dtype, restored.shape) == (values.dtype, values.shape)
    np.testing.assert_array_equal(restored, values)
    assert [len(plane) for plane in packed.planes if plane] == [-(-values.size // 8)] * planes
    restored[...] = 1  # it is the caller's own
    np.testing.assert_array_equal(packed.array(), values)
