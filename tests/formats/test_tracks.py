"""Track tables and files: what is missing is not zero, strands, and the alignment with a reference."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.bigwig import BigWig
from genomai_cli.formats.track_outputs import (
    TABLE,
    TrackSegment,
    file_names,
    intervals,
    track_output,
)
from genomai_cli.formats.track_table import Track, read_track_table, strand_partners
from genomai_cli.formats.tracks import AlignedTracks, binned, other_strand

LENGTHS = {"chr1": 40, "chr2": 12}
BED = "chr1\t2\t6\tpeak\t500\nchr1\t4\t9\tpeak\t2000\n"
TABLE_OF_ONE = "name\tfile\tassay\tstrand\nH3K4me3\t{}\tChIP\t.\n"


def opened(tmp_path, name, text, table=TABLE_OF_ONE, lengths=LENGTHS, **options):
    """The track of a file with this text, over the contigs."""
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    (tmp_path / "t.tsv").write_text(table.format(name))
    track_table = read_track_table(tmp_path / "t.tsv")
    return AlignedTracks.open(track_table, lengths, "ref.fa", **options)


def values(tracks, contig="chr1"):
    return tracks.values(contig, 0, tracks.lengths[contig])[:, 0]


class TestFiles:
    def test_peaks_are_scores_and_the_rest_of_a_named_contig_zero(self, tmp_path):
        tracks = opened(tmp_path, "a.bed", BED)
        assert values(tracks)[:11].tolist() == [0, 0, 0.5, 0.5, 1, 1, 1, 1, 1, 0, 0]

    def test_a_contig_without_a_line_is_missing_not_zero(self, tmp_path):
        assert np.isnan(values(opened(tmp_path, "a.bed", BED), "chr2")).all()

    def test_what_a_bedgraph_does_not_cover_is_missing(self, tmp_path):
        found = values(opened(tmp_path, "a.bedGraph", "chr1\t0\t2\t0\nchr1\t5\t6\t-1.5\n"))
        assert found[[0, 1, 5]].tolist() == [0, 0, -1.5]
        assert np.isnan(np.delete(found, [0, 1, 5])).all()

    @pytest.mark.parametrize(("absent", "expected"), [("zero", 0.0), ("missing", np.nan)])
    def test_a_table_says_otherwise(self, tmp_path, absent, expected):
        table = f"name\tfile\tabsent\na\t{{}}\t{absent}\n"
        for name, text in (("a.bed", BED), ("a.bg", "chr1\t0\t2\t0\n")):
            found = values(opened(tmp_path, name, text, table))
            assert np.array_equal(found[-1], expected, equal_nan=True)

    def test_gzip_and_plain_are_the_same(self, tmp_path):
        plain = opened(tmp_path, "a.narrowPeak", BED)
        compressed = opened(tmp_path, "b.narrowPeak.gz", gzip.compress(BED.encode()))
        assert np.array_equal(values(plain), values(compressed))

    def test_a_bed_of_several_tracks(self, tmp_path):
        (tmp_path / "m.bed").write_text(
            "chr1\t0\t3\tb\t100\nchr1\t1\t2\ta\t50\nchr2\t1\t2\ta\t50\n"
        )
        table = read_track_table(tmp_path / "m.bed")
        tracks = AlignedTracks.open(table, LENGTHS, "ref.fa")
        assert table.names == ["a", "b"]
        assert np.allclose(tracks.values("chr1", 0, 4), [[0, 0.1], [0.05, 0.1], [0, 0.1], [0, 0]])
        assert tracks.values("chr2", 0, 2).tolist() == pytest.approx(np.array([[0, 0], [0.05, 0]]))

    def test_tracks_of_a_model_are_chosen_by_name_and_those_without_data_are_missing(
        self, tmp_path
    ):
        (tmp_path / "m.bed").write_text("chr1\t0\t3\tb\t100\n")
        table = read_track_table(tmp_path / "m.bed").selected([Track("x"), Track("b")])
        found = AlignedTracks.open(table, LENGTHS, "ref.fa").values("chr1", 2, 4)
        assert np.isnan(found[:, 0]).all()
        assert found[:, 1].tolist() == pytest.approx([0.1, 0])

    @given(
        st.lists(st.tuples(st.integers(0, 38), st.integers(1, 20), st.integers(0, 9)), min_size=1),
        st.integers(0, 40),
        st.integers(0, 40),
    )
    @settings(max_examples=60, deadline=None)
    def test_any_region_of_overlapping_peaks_is_that_of_the_whole(
        self, tmp_path_factory, rows, a, b
    ):
        lines = [(s, min(40, s + n), v * 100) for s, n, v in rows]
        text = "".join(f"chr1\t{s}\t{e}\tp\t{v}\n" for s, e, v in lines)
        tracks = opened(tmp_path_factory.mktemp("t"), "a.bed", text)
        expected = np.zeros(40, np.float32)
        for start, end, value in lines:
            expected[start:end] = np.maximum(expected[start:end], np.float32(value / 1000))
        start, end = sorted((a, b))
        assert np.allclose(tracks.values("chr1", start, end)[:, 0], expected[start:end])


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("a.bed", "chr1\t5\t5\n", r"a\.bed:1: no interval: 5 to 5"),
            ("a.bed", "chr1\t1\t5\tx\tmany\n", r"a\.bed:1: no number in column 5"),
            ("a.bed", "chr1\tx\t5\n", r"a\.bed:1: a line needs a contig"),
            ("a.bg", "chr1\t0\t5\t1\nchr1\t3\t6\t2\n", r"a\.bg:2: overlaps line 1"),
            ("a.bg", "chr1\t0\t5\tnan\n", r"a\.bg:1: no number in column 4"),
            ("a.bed", "chr1\t30\t41\n", r"chr1 reaches 41 bases, and chr1 of ref\.fa 40"),
            ("a.bed", "chrZ\t1\t2\n", r"no contig of ref\.fa \(chr1, chr2\) is in it: it has chrZ"),
            ("a.wig", "chr1\t1\t2\n", r"no bigWig; text is bedGraph, BED or narrowPeak"),
        ],
    )
    def test_a_bad_file_is_one_line_with_its_line_number(self, tmp_path, name, text, message):
        with pytest.raises(InputError, match=message):
            opened(tmp_path, name, text)

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("name\tfile\na\ta.bed\na\ta.bed\n", r"t\.tsv:3: track a is there twice"),
            ("name\tfile\na\tnone.bed\n", r"t\.tsv:2: track a: there is no file .*none\.bed"),
            (
                "name\tfile\tstrand\na\ta.bed\tx\n",
                r"t\.tsv:2: a strand is \+, -, \. or \?, not 'x'",
            ),
            ("name\tfile\tabsent\na\ta.bed\tno\n", r"t\.tsv:2: track a: absent is zero or missing"),
            ("name\tpath\na\ta.bed\n", r"no column 'file'"),
        ],
    )
    def test_a_bad_table_is_one_line_with_its_line_number(self, tmp_path, table, message):
        (tmp_path / "a.bed").write_text(BED)
        (tmp_path / "t.tsv").write_text(table)
        with pytest.raises(InputError, match=message):
            read_track_table(tmp_path / "t.tsv")

    def test_other_spellings_of_contigs_are_known_and_others_are_reported(self, tmp_path):
        warnings = []
        text = "1\t2\t6\tp\t500\nchrUn\t1\t2\tp\t5\n"
        assert values(opened(tmp_path, "a.bed", text, warn=warnings.append))[2] == 0.5
        assert warnings == [
            f"{tmp_path / 'a.bed'}: 1 contigs that ref.fa lacks are not read: chrUn"
        ]


class TestBinsAndStrands:
    def test_bins_are_of_the_known_values(self):
        values_LT = np.array([[1.0], [np.nan], [np.nan], [np.nan], [3.0], [5.0], [7.0]], np.float32)
        nan = np.nan
        for reduction, expected in (
            ("mean", [1, nan, 4, 7]),
            ("sum", [1, nan, 8, 7]),
            ("max", [1, nan, 5, 7]),
        ):
            assert np.array_equal(
                binned(values_LT, 2, reduction)[:, 0], np.float32(expected), equal_nan=True
            )

    def test_the_other_strand_reverses_bases_exchanges_strands_and_comes_back(self):
        tracks = [
            Track("c+", strand="+"),
            Track("c-", strand="-"),
            Track("x"),
            Track("y+", strand="+"),
        ]
        partners = strand_partners(tracks)
        assert partners == [1, 0, 2, -1]
        values_LT = np.arange(12, dtype=np.float32).reshape(3, 4)
        swapped = other_strand(values_LT, partners)
        assert swapped[:, :3].tolist() == [[9, 8, 10], [5, 4, 6], [1, 0, 2]]
        assert np.isnan(swapped[:, 3]).all()
        assert np.array_equal(other_strand(swapped, partners)[:, :3], values_LT[:, :3])


class TestOutputs:
    def test_neighbours_of_one_value_are_one_interval_and_missing_bins_none(self):
        nan = np.nan
        found = intervals(TrackSegment("c", 10, 19, 2, np.float32([[1], [1], [nan], [2], [2]])), 0)
        assert [values.tolist() for values in found] == [[10, 16], [14, 19], [1, 2]]

    def test_names_of_files_are_safe_and_differ(self):
        tracks = [Track("TFs and others/A"), Track("TFs and others_A"), Track("../x")]
        assert file_names(tracks, ".bw") == ["TFs_and_others_A.bw", "TFs_and_others_A_2.bw", "x.bw"]

    @pytest.mark.parametrize("file_format", ["bigwig", "bedgraph"])
    def test_a_folder_read_again_gives_every_value(self, tmp_path, file_format):
        if file_format == "bigwig":
            pytest.importorskip("pyBigWig")
        rng = np.random.default_rng(0)
        values_by_contig = {
            c: rng.normal(size=(n, 2)).astype(np.float32) for c, n in LENGTHS.items()
        }
        for values_LT in values_by_contig.values():
            values_LT[rng.random(values_LT.shape) < 0.4] = np.nan
            values_LT[3:6] = 2.5
        tracks = [Track("a", assay="ATAC", unit="reads"), Track("b")]
        with track_output(tmp_path / "out", file_format, tracks, LENGTHS, {}) as out:
            for contig, values_LT in values_by_contig.items():
                for start in range(0, len(values_LT), 7):
                    end = min(start + 7, len(values_LT))
                    out.add(TrackSegment(contig, start, end, 1, values_LT[start:end]))
        table = read_track_table(tmp_path / "out" / TABLE)
        assert table.tracks == tuple(tracks)
        aligned = AlignedTracks.open(table, LENGTHS, "ref.fa")
        for contig, values_LT in values_by_contig.items():
            assert np.array_equal(
                aligned.values(contig, 0, LENGTHS[contig]), values_LT, equal_nan=True
            )

    def test_regions_out_of_order_leave_nothing(self, tmp_path):
        def write(segments):
            with track_output(tmp_path / "out", "bedgraph", [Track("a")], LENGTHS, {}) as out:
                for segment in segments:
                    out.add(segment)

        segment = TrackSegment("chr1", 4, 6, 1, np.ones((2, 1), np.float32))
        with pytest.raises(UsageError, match="overlaps a region or comes before one"):
            write([segment, segment])
        assert not (tmp_path / "out").exists()

    def test_means_of_regions_weigh_bases(self, tmp_path):
        with track_output(tmp_path / "m.tsv", "tsv", [Track("a"), Track("b")], LENGTHS, {}) as out:
            values = np.float32([[1, np.nan], [4, np.nan]])
            out.add(TrackSegment("chr1", 0, 3, 2, values, "r", last=False))
            out.add(TrackSegment("chr1", 3, 5, 2, np.float32([[0, np.nan]]), "r"))
        rows = [line.split("\t") for line in (tmp_path / "m.tsv").read_text().splitlines()]
        assert rows == [
            ["region", "contig", "start", "end", "a", "b"],
            ["r", "chr1", "0", "5", "1.2", "."],
        ]


class TestBigWig:
    @pytest.fixture
    def bigwig(self, tmp_path):
        library = pytest.importorskip("pyBigWig")
        file = library.open(str(tmp_path / "a.bw"), "w")
        file.addHeader([("chr1", 40), ("chr3", 7)])
        file.addEntries(["chr1", "chr1"], [2, 10], ends=[5, 12], values=[1.5, 0.0])
        file.close()
        return tmp_path / "a.bw"

    def test_uncovered_is_missing_and_zero_is_zero(self, tmp_path, bigwig):
        found = values(opened(tmp_path, "a.bw", bigwig.read_bytes()))
        assert found[[2, 4, 10]].tolist() == [1.5, 1.5, 0]
        assert np.isnan(found[[0, 5, 12, 39]]).all()

    def test_a_contig_of_another_length_is_refused_with_both(self, tmp_path, bigwig):
        message = r"a\.bw: contig chr1 has 40 bases, and chr1 of ref\.fa 41"
        with pytest.raises(InputError, match=message):
            opened(tmp_path, "a.bw", bigwig.read_bytes(), lengths={"chr1": 41})

    def test_a_file_cut_anywhere_is_one_line(self, tmp_path, bigwig):
        content, target = bigwig.read_bytes(), tmp_path / "b.bw"
        for size in range(4, len(content) - 100, 3):
            with pytest.raises(InputError, match="a bigWig that is damaged or cut off"):
                values(opened(tmp_path, target.name, content[:size]))

    def test_changed_bytes_end_in_one_line_or_change_nothing_that_a_checksum_covers(
        self, tmp_path, bigwig
    ):
        content, rng = bigwig.read_bytes(), np.random.default_rng(1)
        for _ in range(200):
            damaged = bytearray(content)
            damaged[rng.integers(4, len(content))] ^= 1 << int(rng.integers(8))
            try:
                found = values(opened(tmp_path, "b.bw", bytes(damaged)))
            except InputError:
                continue
            assert len(found) == 40

    def test_the_values_are_those_that_pybigwig_gives(self, tmp_path):
        library = pytest.importorskip("pyBigWig")
        rng = np.random.default_rng(2)
        sizes = {f"chr{n}": int(rng.integers(1, 30_000)) for n in range(300)}
        file = library.open(str(tmp_path / "a.bw"), "w")
        file.addHeader(list(sizes.items()), maxZooms=3)
        for contig, size in sizes.items():
            starts = np.unique(rng.integers(0, size, 1 + size // 5)).tolist()
            entry_type = rng.integers(3)
            values = rng.normal(size=len(starts)).tolist()
            if entry_type == 0:
                ends = [*starts[1:], size]
                file.addEntries([contig] * len(starts), starts, ends=ends, values=values)
            elif entry_type == 1:
                file.addEntries(contig, starts, values=values, span=1)
            else:
                file.addEntries(contig, 0, values=values[: size // 2], span=1, step=2)
        file.close()
        reference, bigwig = library.open(str(tmp_path / "a.bw")), BigWig(tmp_path / "a.bw")
        assert bigwig.contigs == reference.chroms()
        for contig, size in sizes.items():
            for _ in range(3):
                start, end = sorted(rng.integers(0, size + 1, 2).tolist())
                if end > start:
                    expected = reference.values(contig, start, end, numpy=True)
                    assert np.array_equal(
                        bigwig.values(contig, start, end), expected, equal_nan=True
                    )
