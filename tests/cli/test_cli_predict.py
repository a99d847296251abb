"""From tracks to a model and back: `pretrain --objective omics`, `predict`, `denoise --tracks`, `evaluate`."""

import json

import h5py
import numpy as np
import pytest
from conftest import run
from track_genomes import LETTERS, write_genome

from genomai_cli.formats.track_table import read_track_table
from genomai_cli.formats.tracks import AlignedTracks

SMALL = [
    *("--set", "network.width=16", "--set", "network.layers=1", "--set", "network.feed_forward=16"),
    *("--set", "network.positions=256", "--set", "corpus.window=256"),
    *("--set", "optimization.steps=3", "--set", "optimization.evaluate_every=3"),
]
LENGTHS = {"chr1": LETTERS, "chr2": LETTERS}


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome"))


def pretrained(genome, target, *options):
    arguments = ["--tracks", genome / "tracks.bed", "--reference", genome / "ref.fa", "-o", target]
    return run(["pretrain", "--objective", "omics", *arguments, *SMALL, *options])


@pytest.fixture(scope="module")
def model(genome):
    result = pretrained(genome, genome / "model")
    assert result.status == 0, result.stderr
    return genome / "model"


def predicted(model, genome, *options, command="predict"):
    return run([command, "--model", model, "--reference", genome / "ref.fa", *options])


def bed(folder, text):
    (folder / "r.bed").write_text(text)
    return folder / "r.bed"


def values_in(file):
    with h5py.File(file) as stored:
        return stored["values"][:]


class TestPretraining:
    def test_the_bundle_names_its_tracks_and_a_baseline(self, model):
        assert (model / "tracks.tsv").read_text().split()[6::6] == ["gc", "half"]
        card = (model / "README.md").read_text()
        assert "one base of four for a masked token" in card
        config = json.loads((model / "config.json").read_text())
        assert config["network"]["tracks"] == 2
        assert set(config["files"]) >= {"tracks.tsv", "track_baselines.safetensors"}
        assert config["provenance"]["corpus"]["by_record"] is True

    def test_the_same_seed_gives_the_same_model(self, model, genome, tmp_path):
        assert pretrained(genome, tmp_path / "again").status == 0
        again = (tmp_path / "again" / "model.safetensors").read_bytes()
        assert again == (model / "model.safetensors").read_bytes()

    def test_it_goes_on_from_a_model_of_the_same_tracks(self, model, genome, tmp_path):
        assert pretrained(genome, tmp_path / "on", "--model", model).status == 0

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--tracks", "{t}"], "needs --tracks and a --reference"),
            (
                ["--tracks", "{t}", "--reference", "{r}", "{r}"],
                "with --tracks the DNA is that of --reference",
            ),
            (
                ["--tracks", "{t}", "--reference", "{r}", "--recipe", "hyenadna-tiny"],
                "reads sequence, not tracks",
            ),
        ],
    )
    def test_what_does_not_fit_is_refused(self, genome, tmp_path, options, message):
        arguments = [
            option.format(t=genome / "tracks.bed", r=genome / "ref.fa") for option in options
        ]
        result = run(["pretrain", "--objective", "omics", "-o", tmp_path / "m", *arguments])
        assert result.status != 0
        assert message in result.stderr
        assert not any(tmp_path.iterdir())

    def test_tracks_are_of_the_objective_omics(self, genome, tmp_path):
        options = [
            "--objective",
            "causal",
            "--tracks",
            genome / "tracks.bed",
            "--reference",
            genome / "ref.fa",
        ]
        result = run(["pretrain", "-o", tmp_path / "m", *options])
        assert result.status == 2
        assert "--tracks are for --objective omics or tracks" in result.stderr

    def test_a_folder_without_its_tracks_is_refused(self, model, genome, tmp_path):
        import shutil

        shutil.copytree(model, tmp_path / "m")
        (tmp_path / "m" / "tracks.tsv").unlink()
        result = predicted(tmp_path / "m", genome)
        assert result.status == 1
        assert "tracks.tsv" in result.stderr


class TestPredict:
    def test_means_of_regions_in_the_references_order(self, model, genome, tmp_path):
        regions = bed(tmp_path, "chr2\t10\t300\tb\nchr1\t1000\t2000\n")
        result = predicted(model, genome, "--regions", regions)
        rows = [line.split("\t") for line in result.stdout.splitlines()]
        assert rows[0] == ["region", "contig", "start", "end", "gc", "half"]
        assert [row[:4] for row in rows[1:]] == [
            ["chr1:1001-2000", "chr1", "1000", "2000"],
            ["b", "chr2", "10", "300"],
        ]
        assert all(0 < float(value) < 1 for row in rows[1:] for value in row[4:])
        assert "windows of 256 bases that begin 64 before what is taken" in result.stderr

    @pytest.mark.parametrize("form", ["bigwig", "bedgraph"])
    def test_a_folder_of_files_has_the_values_of_hdf5(self, model, genome, tmp_path, form):
        if form == "bigwig":
            pytest.importorskip("pyBigWig")
        regions = bed(tmp_path, "chr1\t100\t1000\n")
        options = ["--regions", regions, "--resolution", "32"]
        assert predicted(model, genome, *options, "--to", form, "-o", tmp_path / "out").status == 0
        assert (
            predicted(model, genome, *options, "--to", "hdf5", "-o", tmp_path / "x.h5").status == 0
        )
        tracks = AlignedTracks.open(
            read_track_table(tmp_path / "out" / "tracks.tsv"), LENGTHS, "ref.fa"
        )
        found = tracks.values("chr1", 100, 1000)
        assert np.array_equal(found[::32], values_in(tmp_path / "x.h5"))
        assert np.isnan(tracks.values("chr1", 0, 100)).all()
        assert np.isnan(tracks.values("chr1", 1000, 1100)).all()

    def test_regions_cut_in_two_give_the_same_where_windows_have_the_same_context(
        self, model, genome, tmp_path
    ):
        """A base's value depends only on the bases read before it and on its own token."""
        full = bed(tmp_path, "chr1\t1000\t1100\n")
        predicted(model, genome, "--regions", full, "--to", "hdf5", "-o", tmp_path / "a.h5")
        part = bed(tmp_path, "chr1\t1000\t1040\n")
        predicted(model, genome, "--regions", part, "--to", "hdf5", "-o", tmp_path / "b.h5")
        assert np.allclose(
            values_in(tmp_path / "a.h5")[:40], values_in(tmp_path / "b.h5"), atol=1e-6
        )

    def test_shifting_the_genome_changes_nothing(self, model, genome, tmp_path):
        shifted = write_genome(tmp_path, shift=37)
        for folder, name, start in ((genome, "a.h5", 2000), (shifted, "b.h5", 2037)):
            regions = bed(tmp_path, f"chr1\t{start}\t{start + 500}\n")
            options = ["--regions", regions, "--to", "hdf5", "-o", tmp_path / name]
            assert predicted(model, folder, *options).status == 0
        assert np.array_equal(values_in(tmp_path / "a.h5"), values_in(tmp_path / "b.h5"))

    def test_both_strands_of_the_other_strand_are_the_same_reversed(self, model, genome, tmp_path):
        from genomai_cli.alphabet import complement
        from genomai_cli.formats.indexed_fasta import open_reference

        with open_reference(genome / "ref.fa") as reference:
            text = reference.fetch("chr1", 0, LETTERS)
        (tmp_path / "ref.fa").write_text(f">chr1\n{complement(text)[::-1]}\n")
        runs = ((genome, "a.h5", 3000), (tmp_path, "b.h5", LETTERS - 3400))
        for folder, name, start in runs:
            regions = bed(tmp_path, f"chr1\t{start}\t{start + 400}\n")
            options = [
                "--regions",
                regions,
                "--strand",
                "both",
                "--to",
                "hdf5",
                "-o",
                tmp_path / name,
            ]
            assert predicted(model, folder, *options).status == 0
        assert np.allclose(
            values_in(tmp_path / "a.h5"), values_in(tmp_path / "b.h5")[::-1], atol=1e-6
        )

    def test_what_cannot_be_read_has_no_value(self, model, genome, tmp_path):
        """Tokens with N, and those that a contig's end cuts; with both strands the end has one."""
        text = "ACGT" * 100
        (tmp_path / "ref.fa").write_text(f">c\n{text[:100]}NN{text[102:]}\n")
        for strand, missing in (
            ("forward", [*range(95, 102), *range(395, 400)]),
            ("both", [100, 101]),
        ):
            options = ["--strand", strand, "--to", "hdf5", "-o", tmp_path / f"{strand}.h5"]
            assert predicted(model, tmp_path, *options).status == 0
            found = values_in(tmp_path / f"{strand}.h5")[:, 0]
            assert np.flatnonzero(np.isnan(found)).tolist() == missing

    def test_some_tracks_by_name(self, model, genome, tmp_path):
        regions = bed(tmp_path, "chr1\t0\t300\n")
        result = predicted(model, genome, "--regions", regions, "--only", "half")
        assert result.stdout.splitlines()[0].split("\t")[4:] == ["half"]
        result = predicted(model, genome, "--only", "none")
        assert (result.status, result.stdout) == (2, "")
        assert "--only none: no track has this name, assay or tissue" in result.stderr

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("chr9\t0\t10\n", "r.bed:1: contig chr9 is not in"),
            (
                "chr1\t0\t10\nchr1\t39990\t40001\n",
                "r.bed:2: chr1:39990-40001 runs over the contig's end",
            ),
            ("chr1\t0\t10\nchr1\t5\t20\n", "r.bed:2: chr1:5-20 overlaps the region of line 1"),
        ],
    )
    def test_bad_regions_are_one_line(self, model, genome, tmp_path, text, message):
        result = predicted(model, genome, "--regions", bed(tmp_path, text))
        assert result.status == 1
        assert result.stdout == ""
        assert message in result.stderr

    def test_a_model_without_tracks_is_refused(self, genome):
        result = predicted("genomai-v2", genome)
        assert result.status == 1
        assert "has no tracks" in result.stderr

    def test_a_folder_needs_a_name_and_others_stay(self, model, genome, tmp_path):
        assert "writes a folder" in predicted(model, genome, "--to", "bedgraph").stderr
        (tmp_path / "mine").mkdir()
        result = predicted(model, genome, "--to", "bedgraph", "-o", tmp_path / "mine")
        assert result.status == 2
        assert "would not be replaced" in result.stderr


class TestPlot:
    @pytest.mark.parametrize("ending", ["png", "svg"])
    def test_a_region_is_drawn_with_what_was_observed(self, model, genome, tmp_path, ending):
        regions = bed(tmp_path, "chr1\t0\t3000\n")
        options = ["--regions", regions, "--resolution", "10", "--observed", genome / "tracks.bed"]
        pictures = []
        for name in ("a", "b"):
            result = predicted(model, genome, *options, "--plot", tmp_path / f"{name}.{ending}")
            assert result.status == 0, result.stderr
            assert len(result.stdout.splitlines()) == 2
            pictures.append((tmp_path / f"{name}.{ending}").read_bytes())
        assert pictures[0] == pictures[1]
        assert pictures[0].startswith({"png": b"\x89PNG", "svg": b"<?xml"}[ending])
        predicted(model, genome, *options[:4], "--plot", tmp_path / f"c.{ending}")
        assert (tmp_path / f"c.{ending}").read_bytes() != pictures[0], "without what was observed"

    @pytest.mark.parametrize(
        ("text", "options", "message"),
        [
            ("chr1\t0\t300\n", ["--observed", "{t}"], "--observed is for --plot"),
            ("chr1\t0\t300\n", ["--plot", "x.pdf"], "name it .png or .svg"),
            ("chr1\t0\t300\nchr2\t0\t9\n", ["--plot", "{o}"], "--plot draws one region, not 2"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused(self, model, genome, tmp_path, text, options, message):
        arguments = [
            str(option).format(t=genome / "tracks.bed", o=tmp_path / "x.png") for option in options
        ]
        result = predicted(model, genome, "--regions", bed(tmp_path, text), *arguments)
        assert (result.status, result.stdout) == (2, "")
        assert message in result.stderr
        assert not (tmp_path / "x.png").exists()


class TestReport:
    def test_a_page_beside_the_same_means(self, model, genome, tmp_path):
        regions = bed(tmp_path, "chr1\t0\t3000\tfirst\nchr2\t100\t700\t<second>\n")
        options, page = ["--regions", regions], tmp_path / "page.html"
        observed = ["--observed", genome / "tracks.bed"]
        result = predicted(model, genome, *options, "--report", page, *observed)
        assert result.output == predicted(model, genome, *options).output
        text = page.read_text()
        assert "2 tracks along 2 regions" in text
        assert "Grey is what was observed" in text
        assert "&lt;second&gt;" in text
        for row in result.rows[1:]:
            for mean in row[-2:]:
                assert f'<td class="n">{mean}</td>' in text

    def test_nothing_is_left_of_a_run_that_fails(self, model, genome, tmp_path):
        regions = bed(tmp_path, "chr9\t0\t3000\n")
        page = tmp_path / "page.html"
        assert predicted(model, genome, "--regions", regions, "--report", page).status == 1
        assert [file.name for file in tmp_path.iterdir()] == ["r.bed"]


class TestDenoise:
    def test_known_values_stay_and_missing_ones_are_predicted(self, model, genome, tmp_path):
        (tmp_path / "known.bedGraph").write_text("chr1\t0\t1000\t0.25\nchr1\t1200\t1300\t0\n")
        (tmp_path / "t.tsv").write_text("name\tfile\ngc\tknown.bedGraph\n")
        regions = bed(tmp_path, "chr1\t500\t1500\n")
        options = ["--tracks", tmp_path / "t.tsv", "--regions", regions, "--to", "bedgraph"]
        result = predicted(model, genome, *options, "-o", tmp_path / "out", command="denoise")
        assert result.status == 0, result.stderr
        assert "1 of the model's 2 tracks are not in" in result.stderr
        tracks = AlignedTracks.open(
            read_track_table(tmp_path / "out" / "tracks.tsv"), LENGTHS, "ref.fa"
        )
        found = tracks.values("chr1", 500, 1500)
        assert (found[:500, 0] == 0.25).all()
        assert (found[700:800, 0] == 0).all()
        assert ((found[500:700, 0] > 0) & (found[500:700, 0] != 0.25)).all()
        assert ((found[:, 1] > 0) & (found[:, 1] < 1)).all()

    def test_options_of_other_inputs_are_refused(self, model, genome, tmp_path):
        options = ["--tracks", genome / "tracks.bed", "--error-rate", "0.1"]
        result = predicted(model, genome, *options, "-o", tmp_path / "out", command="denoise")
        assert result.status == 2
        assert "--error-rate is not of --tracks" in result.stderr


class TestEvaluate:
    def evaluated(self, model, genome, *options):
        arguments = ["--tracks", genome / "tracks.bed", "--reference", genome / "ref.fa"]
        return run(["evaluate", "--task", "omics", "--model", model, *arguments, *options])

    def test_the_table_has_both_maskings_and_the_baselines(self, model, genome, tmp_path):
        result = self.evaluated(model, genome, "--regions", bed(tmp_path, "chr2\t0\t20000\n"))
        assert result.status == 0, result.stderr
        header, *lines = result.stdout.splitlines()
        names = header.split("\t")
        rows = {
            tuple(line.split("\t")[:3]): dict(zip(names, line.split("\t"), strict=True))
            for line in lines
        }
        measures = ("accuracy", "f1", "auc", "auprc")
        groups = ("visible", "masked", "masked_tracks", "masked_positions")
        expected = {("tokens", g, "accuracy") for g in groups[:2]}
        assert set(rows) == expected | {("tracks", g, m) for g in groups for m in measures}
        assert float(rows["tracks", "masked_positions", "auc"]["other_tracks"]) == 0.5
        assert float(rows["tracks", "visible", "auprc"]["last_seen"]) == 1
        assert float(rows["tracks", "masked_tracks", "auc"]["last_seen"]) == 0.5
        assert float(rows["tokens", "visible", "accuracy"]["next_base"]) == 1
        baseline = float(rows["tracks", "masked", "accuracy"]["nothing"])
        assert baseline == pytest.approx(
            1 - float(rows["tracks", "masked", "auprc"]["nothing"]), abs=1e-6
        )
        halves = [int(rows["tracks", g, "auc"]["n"]) for g in groups[1:]]
        assert halves[0] == halves[1] + halves[2]
        assert "fitted to these masked values" in result.stderr

    def test_a_threshold_from_elsewhere_and_json(self, model, genome, tmp_path):
        regions = bed(tmp_path, "chr2\t0\t3000\n")
        options = ["--regions", regions, "--threshold", "0.3", "--format", "json"]
        found = json.loads(self.evaluated(model, genome, *options).stdout)
        assert found["threshold"] == pytest.approx(0.3, abs=0.01)
        assert found["rows"][0]["part"] == "tokens"

    def test_what_is_missing_is_in_no_row(self, model, genome, tmp_path):
        """A contig that the file does not name counts for tokens alone."""
        lines = (genome / "tracks.bed").read_text().splitlines(keepends=True)
        chr1_lines = "".join(line for line in lines if line.startswith("chr1"))
        (tmp_path / "one.bed").write_text(chr1_lines)
        options = ["--tracks", tmp_path / "one.bed", "--reference", genome / "ref.fa", "--regions"]
        regions = bed(tmp_path, "chr2\t0\t3000\n")
        result = run(["evaluate", "--task", "omics", "--model", model, *options, regions])
        rows = [line.split("\t") for line in result.stdout.splitlines()[1:]]
        assert all((int(row[3]) == 0) == (row[0] == "tracks") for row in rows)


class TestEvaluateTracks:
    """Predictions from DNA compared with measurements."""

    def evaluated(self, model, genome, *options, tracks=None):
        arguments = ["--tracks", tracks or genome / "tracks.bed", "--reference", genome / "ref.fa"]
        return run(["evaluate", "--task", "tracks", "--model", model, *arguments, *options])

    def rows(self, result):
        assert result.status == 0, result.stderr
        header, *lines = (line.split("\t") for line in result.stdout.splitlines())
        rows = [dict(zip(header, line, strict=True)) for line in lines]
        return {(row["track"], row["measure"]): row for row in rows}

    def test_the_model_is_compared_with_both_baselines(self, model, genome, tmp_path):
        options = ["--regions", bed(tmp_path, "chr2\t0\t20000\n"), "--report", tmp_path / "r.html"]
        rows = self.rows(self.evaluated(model, genome, *options))
        measures = ("pearson", "log_pearson", "deviance")
        assert set(rows) == {(t, m) for t in ("gc", "half", ".") for m in measures}
        assert -1 <= float(rows["gc", "pearson"]["model"]) <= 1
        assert float(rows["gc", "pearson"]["other_tracks"]) > 0.5
        assert rows["gc", "pearson"]["track_mean"] == "."
        assert float(rows["gc", "deviance"]["track_mean"]) > 0
        correlations = [float(rows[t, "pearson"]["model"]) for t in ("gc", "half")]
        assert float(rows[".", "pearson"]["model"]) == pytest.approx(
            np.mean(correlations), abs=1e-5
        )
        assert "Predicted tracks" in (tmp_path / "r.html").read_text()

    def test_missing_bins_are_in_no_row(self, model, genome, tmp_path):
        """Bins that were not measured are not 0: regions without measurements change nothing."""
        lines = (genome / "tracks.bed").read_text().splitlines(keepends=True)
        (tmp_path / "one.bed").write_text("".join(x for x in lines if x.startswith("chr1")))
        tracks = tmp_path / "one.bed"
        expected = self.evaluated(model, genome, tracks=tracks).stdout
        options = ["--regions", bed(tmp_path, f"chr1\t0\t{LETTERS}\n")]
        assert self.evaluated(model, genome, *options, tracks=tracks).stdout == expected
        options = ["--regions", bed(tmp_path, "chr2\t0\t3000\n")]
        result = self.evaluated(model, genome, *options, tracks=tracks)
        assert result.status == 1
        assert "nothing of the model's tracks was measured" in result.stderr

    def test_tracks_are_chosen(self, model, genome, tmp_path):
        options = ["--regions", bed(tmp_path, "chr2\t0\t3000\n"), "--only", "half"]
        rows = self.rows(self.evaluated(model, genome, *options))
        assert {track for track, _ in rows} == {"half", "."}
        assert rows["half", "pearson"]["other_tracks"] == "."
        result = self.evaluated(model, genome, "--only", "liver")
        assert result.status == 2
        assert "--only liver: no track" in result.stderr

    def test_options_of_the_other_task_are_refused(self, model, genome):
        result = self.evaluated(model, genome, "--threshold", "0.5")
        assert result.status == 2
        assert "--threshold is not for --task tracks" in result.stderr
