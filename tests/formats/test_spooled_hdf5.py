"""HDF5, straight and by way of a temporary file: a full disk is one line, and never the end of the interpreter."""

import io
import subprocess
import sys

import h5py
import numpy as np
import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats import spooled_hdf5 as spooled


class FullDisk(io.BytesIO):
    """A disk with room for so many bytes."""

    room = 0

    def __init__(self, **options):
        super().__init__()

    def write(self, data):
        if self.tell() + len(data) > self.room:
            raise OSError(28, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("room", [0, 100, 3000, 50_000, 200_000])
def test_a_full_disk_is_told_in_one_line(monkeypatch, room):
    monkeypatch.setattr(FullDisk, "room", room)
    monkeypatch.setattr(spooled.tempfile, "TemporaryFile", FullDisk)
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


SMALL_FILES = """
import resource, sys
from pathlib import Path
from genomai_cli.errors import InputError
from genomai_cli.formats.spooled_hdf5 import new_hdf5
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
try:
    with new_hdf5(Path(sys.argv[1])) as file:
        for number in range(20):
            file.create_dataset(str(number), data=[number] * 9000, chunks=(1000,))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [0, 1000, 16384, 70_001, 1_000_000])
def test_a_full_disk_does_not_end_the_interpreter(tmp_path, room):
    program = SMALL_FILES.format(room=room)
    completed = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "x.h5"], capture_output=True, text=True
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout == f"{tmp_path / 'x.h5'}: cannot be written (File too large)\n"


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
