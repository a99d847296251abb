"""HDF5 by way of a temporary file: a full disk is one line, and never the end of the interpreter."""

import io

import h5py
import numpy as np
import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats import spooled_hdf5 as spooled


class Full(io.BytesIO):
    """A disk that takes so many bytes."""

    room = 0

    def write(self, data):
        if self.tell() + len(data) > self.room:
            raise OSError(28, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("room", [0, 100, 3000, 50_000, 200_000])
def test_a_full_disk_is_told_in_one_line(monkeypatch, room):
    monkeypatch.setattr(Full, "room", room)
    monkeypatch.setattr(spooled.tempfile, "TemporaryFile", Full)
    out = io.BytesIO()
    with (
        pytest.raises(InputError, match="set TMPDIR to a larger disk"),
        spooled.spooled_hdf5(out) as file,
    ):
        for number in range(20):
            file.create_dataset(
                str(number), data=np.arange(9000), chunks=(1000,), compression="gzip"
            )
            file.attrs[f"a{number}"] = "x" * 500
    assert out.getvalue() == b""


def test_a_file_is_whole_or_not_there():
    out = io.BytesIO()
    with pytest.raises(KeyError), spooled.spooled_hdf5(out) as file:
        file.attrs["a"] = 1
        raise KeyError
    assert out.getvalue() == b""
    with spooled.spooled_hdf5(out) as file:
        file.attrs["a"] = 1
    with h5py.File(out) as file:
        assert file.attrs["a"] == 1
