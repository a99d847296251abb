"""What variants change in tracks: with either allele, on either strand, of chosen tracks."""

import numpy as np
import pytest
import torch
from conftest import run
from track_genomes import write_genome

from genomai_cli.alphabet import complement
from genomai_cli.backbones.base import complete_config
from genomai_cli.backbones.classifier import Classifier, Fusion
from genomai_cli.backbones.omicsfusion import OmicsFusionConfig, OmicsFusionNetwork
from genomai_cli.bundles.bundle import Bundle, save
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import UsageError
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.track_table import Track
from genomai_cli.inference.explain import Explainer, explained_values
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.track_effects import TrackMeans
from genomai_cli.inputs.tracks import TrackInput
from genomai_cli.records import SequenceRecord

TRACKS = (Track("c+", strand="+", tissue="liver"), Track("c-", strand="-"), Track("x"))
SIZES = {"tracks": 3, "width": 16, "layers": 1, "feed_forward": 16, "positions": 256}


def bundle_of(tracks):
    torch.manual_seed(0)
    network = OmicsFusionNetwork(OmicsFusionConfig(**SIZES)).eval()
    torch.nn.init.normal_(network.track_head.weight)
    torch.nn.init.zeros_(network.track_head.bias)
    config = {
        "name": "tiny", "version": "1", "input": {"kind": "tracks"}, "members": 1, "heads": {},
        "tokenizer": {"kind": "kmers", "k": 6, "stride": 1},
        "network": complete_config({"kind": "omicsfusion"} | SIZES),
    }  # fmt: skip
    return Bundle(config, Classifier([network], Fusion({}, {}), None, None), TrackInput(tracks))


@pytest.fixture(scope="module")
def bundle():
    return bundle_of(TRACKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, bundle):
    folder = write_genome(tmp_path_factory.mktemp("genome"))
    save(bundle, folder / "model", Extras("", ""))
    return folder


TEXT = "".join(np.random.default_rng(0).choice(list("ACGT"), 200))


class TestMeans:
    def test_only_the_bases_that_count_are_in_the_mean(self, bundle):
        means = TrackMeans(bundle, both_strands=False)
        network = bundle.classifier.networks[0]
        ids = torch.from_numpy(bundle.tokenizer.encode(TEXT)).long()[None]
        expected = network.track_logits(network(ids)).sigmoid()[0, 50:60].mean(0).log()
        actual = means.of_stretches([Stretch(TEXT, 50, 60)])
        assert np.allclose(actual[0], expected.detach(), atol=1e-5)

    def test_other_stretches_of_the_batch_change_nothing(self, bundle):
        means = TrackMeans(bundle, both_strands=False)
        stretches = [Stretch(TEXT, 5, 60), Stretch(TEXT[:100]), Stretch(TEXT[30:], 0, 9)]
        alone = np.concatenate([means.of_stretches([one]) for one in stretches])
        assert np.array_equal(means.of_stretches(stretches), alone)

    def test_both_strands_of_the_other_strand_exchange_stranded_tracks(self, bundle):
        means = TrackMeans(bundle, both_strands=True)
        reverse = complement(TEXT)[::-1]
        one = means.of_stretches([Stretch(TEXT, 50, 60)])[0]
        other = means.of_stretches([Stretch(reverse, 140, 150)])[0]
        assert np.allclose(one, other[[1, 0, 2]], atol=1e-6)

    def test_a_track_without_a_partner_has_one_strand(self):
        with pytest.raises(UsageError, match="no partner on the other strand"):
            TrackMeans(bundle_of((*TRACKS[:1], *TRACKS[2:], Track("y"))), both_strands=True)

    def test_where_nothing_is_read_there_is_no_value(self, bundle):
        means = TrackMeans(bundle, both_strands=False)
        assert np.isnan(means.of_stretches([Stretch("N" * 40)])).all()


class TestExplain:
    @pytest.mark.parametrize("both_strands", [False, True])
    def test_mutagenesis_is_the_difference_of_predictions(self, bundle, both_strands):
        means = explained_values(bundle, both_strands=both_strands)
        ((_, explanation),) = Explainer(means, ["tracks/c-"], "ism").explain(
            [SequenceRecord("r", TEXT)]
        )
        other = TEXT[:90] + ("A" if TEXT[90] != "A" else "C") + TEXT[91:]
        before, after = means.of([TEXT, other])[:, 1]
        assert explanation.changes[90]["ACGT".index(other[90])] == pytest.approx(after - before)
        assert np.isnan(explanation.changes[90]["ACGT".index(TEXT[90])])
        assert explanation.odds == pytest.approx(before)

    @pytest.mark.parametrize("both_strands", [False, True])
    def test_the_gradient_is_that_of_mutagenesis_for_small_changes(self, both_strands):
        """Vectors that hardly differ make the network linear in them."""
        near_linear = bundle_of(TRACKS)
        with torch.no_grad():
            for weight in (near_linear.classifier.networks[0].embed.table.weight,
                           near_linear.classifier.networks[0].embed.bases.weight):  # fmt: skip
                weight.mul_(1e-3).add_(0.05 * torch.arange(weight.shape[1]).sin())
        near_linear.classifier.double()
        means = explained_values(near_linear, both_strands=both_strands)
        text = TEXT[:60] + "N" + TEXT[61:90]
        exact, approximate = (
            next(Explainer(means, ["tracks/c+"], method).explain([SequenceRecord("r", text)]))[1]
            for method in ("ism", "gradient")
        )
        assert np.array_equal(np.isnan(exact.changes), np.isnan(approximate.changes))
        known = ~np.isnan(exact.changes)
        scale = np.abs(exact.changes[known]).max()
        assert np.corrcoef(exact.changes[known], approximate.changes[known])[0, 1] > 0.999
        assert np.abs(exact.changes[known] - approximate.changes[known]).max() < 0.05 * scale

    @pytest.mark.parametrize("method", ["ism", "gradient"])
    def test_the_other_strand_gives_its_partner_the_same(self, bundle, method):
        means = explained_values(bundle, both_strands=True)
        reverse = complement(TEXT[:80])[::-1]
        one, other = (
            next(Explainer(means, [f"tracks/{track}"], method).explain([SequenceRecord("r", t)]))[1]
            for track, t in (("c+", TEXT[:80]), ("c-", reverse))
        )
        assert np.allclose(one.attributions, other.attributions[::-1], atol=1e-5, equal_nan=True)

    def test_a_row_a_letter_a_bedgraph_and_a_picture(self, folder, tmp_path):
        arguments = ["explain", "--model", folder / "model", "--class", "x", "--method", "gradient"]
        fasta = f">a\n{TEXT[:60]}\n>short\nACG\n"
        result = run([*arguments, "--plot", tmp_path / "a.svg"], fasta)
        assert result.status == 0, result.stderr
        assert [row[:4] for row in result.rows[1:3]] == [
            ["a", str(n), TEXT[n - 1], "tracks/x"] for n in (1, 2)
        ]
        assert len(result.rows) == 61
        assert "ln of the mean of the track x over the record" in result.stderr
        assert "1 records have no letter that the model can read" in result.stderr
        assert (tmp_path / "a.svg").stat().st_size
        assert run([*arguments, "-o", tmp_path / "a.bedgraph"], fasta).status == 0
        lines = [line.split("\t") for line in (tmp_path / "a.bedgraph").read_text().splitlines()]
        assert [line[:3] for line in lines[:2]] == [["a", "0", "1"], ["a", "1", "2"]]
        attributions = [float(row[4]) for row in result.rows[1:]]
        assert [float(line[3]) for line in lines] == pytest.approx(attributions, abs=1e-5)

    def test_regions_of_a_reference_are_explained_on_the_genome(self, folder, tmp_path):
        (tmp_path / "r.bed").write_text("chr1\t1000\t1060\nchr2\t50\t110\n")
        arguments = ["explain", "--model", folder / "model", "--class", "x", "--method", "gradient"]
        region_options = ["--reference", folder / "ref.fa", "--regions", tmp_path / "r.bed"]
        result = run([*arguments, *region_options])
        assert result.status == 0, result.stderr
        assert {row[0] for row in result.rows[1:]} == {"chr1:1001-1060", "chr2:51-110"}
        with open_reference(folder / "ref.fa") as reference:
            text = reference.fetch("chr1", 1000, 1060)
        assert "".join(row[2] for row in result.rows[1:61]) == text
        alone = run(arguments, f">a\n{text}\n")
        assert [row[4] for row in alone.rows[1:]] == [row[4] for row in result.rows[1:61]]
        assert run([*arguments, *region_options, "-o", tmp_path / "a.bedgraph"]).status == 0
        lines = [line.split("\t") for line in (tmp_path / "a.bedgraph").read_text().splitlines()]
        assert lines[0][:3] == ["chr1", "1000", "1001"]
        assert ["chr2", "50", "51"] in [line[:3] for line in lines]

    def test_a_shift_of_the_genome_shifts_what_is_explained(self, folder, tmp_path):
        (tmp_path / "ref.fa").write_text(f">s\n{'ACG' * 5}{TEXT[:60]}\n>t\n{TEXT[:60]}\n")
        (tmp_path / "r.bed").write_text("s\t15\t75\nt\t0\t60\n")
        arguments = ["explain", "--model", folder / "model", "--class", "x", "--method", "gradient"]
        arguments += ["--reference", tmp_path / "ref.fa", "--regions", tmp_path / "r.bed"]
        assert run([*arguments, "-o", tmp_path / "a.bedgraph"]).status == 0
        lines = [line.split("\t") for line in (tmp_path / "a.bedgraph").read_text().splitlines()]
        one, other = ([x[1:] for x in lines if x[0] == contig] for contig in "st")
        assert [[int(x[0]) - 15, x[2]] for x in one] == [[int(x[0]), x[2]] for x in other]

    @pytest.mark.parametrize(
        ("arguments", "status", "message"),
        [
            (["--regions", "{r}"], 2, "--regions need a --reference"),
            (["--reference", "{f}", "{f}"], 2, "leave the other sequences out"),
            (["--reference", "{f}", "--regions", "{r}"], 1, "r.bed:1: chr1:1-300 has 300 letters"),
        ],
    )
    def test_references_that_do_not_fit_are_refused(
        self, folder, tmp_path, arguments, status, message
    ):
        (tmp_path / "r.bed").write_text("chr1\t0\t300\n")
        options = [
            argument.format(r=tmp_path / "r.bed", f=folder / "ref.fa") for argument in arguments
        ]
        result = run(["explain", "--model", folder / "model", "--class", "x", *options])
        assert (result.status, result.stdout) == (status, "")
        assert message in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "status", "message"),
        [
            ([], 2, "--class which track (3: c+, c-, x)"),
            (["--class", "y"], 2, "--class y: no track of the model (3: c+, c-, x)"),
            (["--class", "x", "--head", "h"], 2, "--head h: the model has tracks; --class names"),
            (["--class", "x"], 1, "<stdin>:1: long has 300 letters: the model reads at most 256"),
        ],
    )
    def test_what_cannot_be_explained_is_refused(self, folder, arguments, status, message):
        result = run(
            ["explain", "--model", folder / "model", *arguments], f">long\n{'ACG' * 100}\n"
        )
        assert (result.status, result.stdout) == (status, "")
        assert message in result.stderr


class TestScore:
    def score(self, folder, tmp_path, rows, *more):
        with open_reference(folder / "ref.fa") as reference:
            letters = reference.fetch("chr1", 0, 2000)
        lines = [f"chr1\t{pos}\t.\t{letters[pos - 1 : pos - 1 + n]}\t{alt}" for pos, n, alt in rows]
        header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        (tmp_path / "v.vcf").write_text(header + "".join(f"{line}\t.\t.\t.\n" for line in lines))
        arguments = [
            "--model",
            folder / "model",
            "--reference",
            folder / "ref.fa",
            tmp_path / "v.vcf",
        ]
        return run(["score", *arguments, *more])

    def test_a_row_has_either_allele_and_the_log_fold_change(self, folder, tmp_path):
        result = self.score(folder, tmp_path, [(1000, 1, "GATTACA"), (1500, 3, "T")])
        assert result.status == 0, result.stderr
        header, *rows = (line.split("\t") for line in result.stdout.splitlines())
        for row in rows:
            fields = dict(zip(header, row, strict=True))
            for name in ("tracks/c+", "tracks/c-", "tracks/x"):
                change = float(fields[f"{name}:alt"]) - float(fields[f"{name}:ref"])
                assert float(fields[name]) == pytest.approx(change, abs=2e-6)
                assert change != 0
            assert fields["delta"] == "."
        assert "ln of the mean of the track over its bases and 128 on each side" in result.stderr

    def test_the_rows_of_a_part_are_those_of_the_whole(self, folder, tmp_path):
        rows = [(700, 1, "GA"), (1000, 1, "GATTACA"), (1500, 3, "T")]
        full = self.score(folder, tmp_path, rows).stdout
        parts = [self.score(folder, tmp_path, rows, "--shard", f"{n}/2").stdout for n in (1, 2)]
        assert "".join(parts) == full

    def test_tracks_are_chosen_by_tissue_and_kept_in_a_vcf(self, folder, tmp_path):
        result = self.score(folder, tmp_path, [(1000, 1, "GG")], "--only", "liver", "--to", "vcf")
        assert "GENOMAI_DELTA_tracks_c_" in result.stdout
        assert "ln of the mean of the track c+ around the variant" in result.stdout
        assert "tracks_x" not in result.stdout

    def test_both_strands_tracks_have_fields_of_their_own(self, folder, tmp_path):
        result = self.score(folder, tmp_path, [(1000, 1, "GG")], "--to", "vcf")
        assert result.status == 0, result.stderr
        info = result.stdout.splitlines()[-1].split("\t")[7]
        for name in ("c_plus", "c_minus", "x"):
            assert info.count(f"GENOMAI_DELTA_tracks_{name}=") == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--only", "brain"], "--only brain: no track has this name, assay or tissue"),
            (["--window", "300"], "--window 300: the model reads 256 letters"),
            (["--mask-every", "2"], "has no likelihood"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, folder, tmp_path, arguments, message):
        result = self.score(folder, tmp_path, [(1000, 1, "GG")], *arguments)
        assert (result.status, result.stdout) == (2, "")
        assert message in result.stderr
