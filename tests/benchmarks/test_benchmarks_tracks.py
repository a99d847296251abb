"""What the benchmark of coverage measures with: correlations, windows as files, and the baseline network."""

import numpy as np
import pytest
import torch

from benchmarks.tracks import basenji, coverage
from benchmarks.tracks import coverage_windows as windows
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.track_table import read_track_table
from genomai_cli.formats.tracks import AlignedTracks


def test_the_table_is_of_assays():
    row = {"organism": "human", "assay": "cage", "tracks": "2", "measure": "pearson"}
    estimates = {f"{m}{part}": "0.5" for m in coverage.METHODS for part in ("", "_low", "_high")}
    rows = [row | estimates | {"track": track} for track in ("a", "b", ".")]
    rows[-1]["track_mean"] = "."
    *_, last = coverage.markdown(rows)
    cell = "0.500 (0.500 to 0.500)"
    assert last == f"| human | cage | 2 | r | {cell} | {cell} | {cell} |  |"


def test_windows_as_files_hold_what_the_arrays_do(tmp_path, monkeypatch):
    pytest.importorskip("pyBigWig")
    monkeypatch.setattr(windows, "WINDOW", 512)
    rng = np.random.default_rng(0)
    targets = {"hg38": 2, "mm10": 1}
    for species, count in targets.items():
        values = rng.random((2, 8, count)).astype(np.float16)
        letters = rng.integers(0, 5, (2, 512), dtype=np.uint8)
        np.savez(tmp_path / f"{species}_valid.npz", seq=letters, target=values)
        rows = [f"{n}\t{species}_{n}{'+-'[n]}\tCAGE:liver" for n in range(count)]
        text = "\n".join(["\tidentifier\tdescription", *rows]) + "\n"
        (tmp_path / f"{species}_targets.txt").write_text(text)
    windows.write_part(tmp_path, "valid", tmp_path / "valid")
    table = read_track_table(tmp_path / "valid" / "tracks.tsv")
    assert [(track.assay, track.strand, track.organism) for track in table.tracks] == [
        ("cage", "+", "human"), ("cage", "-", "human"), ("cage", "+", "mouse"),
    ]  # fmt: skip
    with open_reference(tmp_path / "valid" / "ref.fa") as reference:
        aligned = AlignedTracks.open(table, reference.lengths, "ref.fa")
        assert (
            reference.fetch("hg38_valid_1", 0, 512) == windows.letters(tmp_path, "hg38", "valid")[1]
        )
        found = aligned.values("hg38_valid_1", 0, 512)
    assert np.isnan(found[:128]).all()
    assert np.isnan(found[:, 2]).all()
    expected = np.repeat(windows.coverage(tmp_path, "hg38", "valid")[1], 32, axis=0)
    assert np.array_equal(found[128:384, :2], expected)


def test_the_network_has_a_value_a_bin_of_what_lies_within_its_context():
    torch.manual_seed(0)
    network = basenji.Basenji({"human": 3}, width=4, growth=1)
    length = 2 * basenji.CONTEXT + 4 * 128
    letters = np.random.default_rng(0).integers(0, 5, (1, length), dtype=np.uint8)
    inputs = basenji.Windows(letters, np.ones((1, 4, 3), np.float32), (1, 0, 2))
    assert basenji.predict(network.eval(), inputs, "human").shape == (1, 4, 3)
