"""Contact maps read from `.cool`: the values of cooler, what is missing, and what is refused."""

import re

import h5py
import numpy as np
import pytest
from cool_files import random_counts, write_cool

from genomai_cli.errors import InputError
from genomai_cli.formats.cool_maps import CoolMap
from genomai_cli.formats.track_table import read_track_table
from genomai_cli.formats.tracks import AlignedTracks

SIZE, LENGTHS = 2048, {"a": 40_000, "b": 9_000}
BINS = {name: -(-length // SIZE) for name, length in LENGTHS.items()}
RNG = np.random.default_rng(0)
COUNTS = {name: random_counts(RNG, bins) for name, bins in BINS.items()}
COUNTS["a"][7] = COUNTS["a"][:, 7] = 0
CONTIGS = {name: (LENGTHS[name], COUNTS[name]) for name in LENGTHS}
WEIGHTS = {name: RNG.uniform(0.5, 2, bins) for name, bins in BINS.items()}
WEIGHTS["a"][[3, 7]] = np.nan


@pytest.fixture
def balanced(tmp_path):
    return write_cool(tmp_path / "m.cool", CONTIGS, SIZE, weights=WEIGHTS)


@pytest.fixture
def raw(tmp_path):
    return write_cool(tmp_path / "r.cool", CONTIGS, SIZE)


class TestValues:
    def test_balanced_counts_are_weighed_and_bins_without_a_weight_missing(self, balanced):
        found = CoolMap(balanced)
        assert found.counts == "balanced"
        expected = COUNTS["a"] * WEIGHTS["a"] * WEIGHTS["a"][:, None]
        assert np.allclose(found.values("a", 0, BINS["a"]), expected, equal_nan=True)
        assert np.allclose(found.values("a", 5, 12), expected[5:12, 5:12], equal_nan=True)
        assert np.isnan(found.values("a", 0, 8)[3]).all()

    def test_raw_counts_are_as_they_are_and_bins_without_any_missing(self, raw, balanced):
        for found in (CoolMap(raw), CoolMap(balanced, "raw")):
            assert found.counts == "raw"
            values = found.values("a", 0, BINS["a"])
            assert np.isnan(values[7]).all()
            assert np.isnan(values[:, 7]).all()
            known = np.arange(BINS["a"]) != 7
            assert np.array_equal(values[known][:, known], COUNTS["a"][known][:, known])

    def test_bins_beyond_a_contig_are_missing(self, balanced):
        found = CoolMap(balanced).values("b", -1, BINS["b"] + 2)
        assert np.isnan(found[[0, -1, -2]]).all()
        inner = CoolMap(balanced).values("b", 0, BINS["b"])
        assert np.array_equal(found[1:-2, 1:-2], inner, equal_nan=True)
        assert np.isnan(CoolMap(balanced).values("b", 20, 22)).all()

    def test_a_resolution_of_several(self, tmp_path, balanced):
        mcool = tmp_path / "m.mcool"
        with h5py.File(mcool, "w") as handle:
            handle.attrs["format"] = "HDF5::MCOOL"
        for size in (4096, SIZE):
            random_contigs = {
                name: (LENGTHS[name], random_counts(RNG, -(-LENGTHS[name] // size)))
                for name in LENGTHS
            }
            contigs = CONTIGS if size == SIZE else random_contigs
            weights = WEIGHTS if size == SIZE else None
            write_cool(mcool, contigs, size, weights=weights, group=f"/resolutions/{size}")
        found = CoolMap(tmp_path / "m.mcool::/resolutions/2048")
        single = CoolMap(balanced)
        assert np.array_equal(found.values("a", 0, 9), single.values("a", 0, 9), equal_nan=True)
        with pytest.raises(
            InputError, match=r"several resolutions \(2048, 4096\): name one, m.mcool::/reso"
        ):
            CoolMap(mcool)
        with pytest.raises(InputError, match="no map /resolutions/5 in it"):
            CoolMap(tmp_path / "m.mcool::/resolutions/5")

    def test_divisive_weights(self, balanced):
        with h5py.File(balanced, "a") as file:
            file["bins/weight"][...] = 1 / file["bins/weight"][...]
            file["bins/weight"].attrs["divisive_weights"] = True
        expected = COUNTS["a"] * WEIGHTS["a"] * WEIGHTS["a"][:, None]
        assert np.allclose(CoolMap(balanced).values("a", 0, 20), expected, equal_nan=True)

    def test_the_values_are_those_that_cooler_gives(self, balanced):
        cooler = pytest.importorskip("cooler")
        cooler_file = cooler.Cooler(str(balanced))
        for name, bins in BINS.items():
            for counts in (True, False):
                reference = cooler_file.matrix(balance=counts).fetch(name)
                found = CoolMap(balanced, "balanced" if counts else "raw").values(name, 0, bins)
                finite = ~np.isnan(found)
                assert np.allclose(found[finite], reference[finite])
                assert np.isnan(reference[~finite]).all() or not counts


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda root: root.attrs.update({"format": "HDF5::Other"}), "no contact map"),
            (lambda root: root.attrs.update({"bin-type": "variable"}), "bins of different sizes"),
            (lambda root: root.attrs.update({"storage-mode": "square"}), "not symmetric"),
            (lambda root: root["bins"].pop("weight"), "no weights of bins"),
            (lambda root: root["pixels"].pop("count"), "damaged"),
            (
                lambda root: root["pixels/count"].__setitem__(4, -1),
                "contacts of a that are below 0",
            ),
            (lambda root: root.attrs.update({"bin-size": 0}), "damaged"),
            (lambda root: root["indexes/bin1_offset"].__setitem__(4, 10**6), "damaged"),
            (lambda root: root["indexes/chrom_offset"].__setitem__(1, 3), "damaged"),
        ],
    )
    def test_what_is_no_map_is_one_line(self, balanced, change, message):
        with h5py.File(balanced, "a") as file:
            change(file)
        with pytest.raises(InputError, match=message):
            CoolMap(balanced, "balanced").values("a", 0, 5)

    def test_an_infinite_count_is_refused(self, balanced):
        with h5py.File(balanced, "a") as file:
            counts = file["pixels/count"][:].astype(float)
            counts[4] = np.inf
            del file["pixels/count"]
            file["pixels/count"] = counts
        with pytest.raises(InputError, match="no numbers"):
            CoolMap(balanced, "balanced").values("a", 0, 5)

    def test_a_file_cut_anywhere_is_one_line(self, balanced, tmp_path):
        data = balanced.read_bytes()
        full = CoolMap(balanced).values("a", 0, 20)
        for size in range(16, len(data), len(data) // 40):
            (tmp_path / "cut.cool").write_bytes(data[:size])
            try:
                found = CoolMap(tmp_path / "cut.cool").values("a", 0, 20)
            except InputError:
                continue
            assert np.array_equal(found, full, equal_nan=True)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("m\tm.cool\tdnase\t.\t.", "m.cool is of the assay contact_maps"),
            ("m\tx.bedgraph\tcontact_maps\t.\t.", "track m: a contact map is a .cool"),
            ("m\tm.cool\tcontact_maps\tzero\t.", "track m with `absent`"),
            ("m\tm.cool\tcontact_maps\t.\thalf", "t.tsv:2: track m: counts are balanced or raw"),
            ("m\tnone.cool::/x\tcontact_maps\t.\t.", "t.tsv:2: track m: there is no file"),
            ("m\tm.cool\tcontact_maps\t.\t.\nn\tm.cool\tcontact_maps\t.\t.", "one of 2 tracks in a file"),
        ],
    )  # fmt: skip
    def test_a_table_that_does_not_fit_is_one_line(self, tmp_path, balanced, row, message):
        (tmp_path / "x.bedgraph").write_text("a\t0\t10\t1\n")
        (tmp_path / "t.tsv").write_text(f"name\tfile\tassay\tabsent\tcounts\n{row}\n")
        with pytest.raises(InputError) as caught:
            AlignedTracks.open(read_track_table(tmp_path / "t.tsv"), LENGTHS, "ref.fa")
        assert message in str(caught.value) or message in f"{caught.value.path}:{caught.value}"

    def test_other_lengths_of_contigs_are_refused(self, tmp_path, balanced):
        (tmp_path / "t.tsv").write_text("name\tfile\tassay\nm\tm.cool\tcontact_maps\n")
        table = read_track_table(tmp_path / "t.tsv")
        with pytest.raises(
            InputError, match=re.escape("contig b has 9,000 bases, and b of ref.fa 9,001")
        ):
            AlignedTracks.open(table, LENGTHS | {"b": 9001}, "ref.fa")
