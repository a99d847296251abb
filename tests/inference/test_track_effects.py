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
def place(tmp_path_factory, bundle):
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
        found = means.of_stretches([Stretch(TEXT, 50, 60)])
        assert np.allclose(found[0], expected.detach(), atol=1e-5)

    def test_others_beside_a_stretch_change_nothing(self, bundle):
        means = TrackMeans(bundle, both_strands=False)
        stretches = [Stretch(TEXT, 5, 60), Stretch(TEXT[:100]), Stretch(TEXT[30:], 0, 9)]
        alone = np.concatenate([means.of_stretches([one]) for one in stretches])
        assert np.array_equal(means.of_stretches(stretches), alone)

    def test_both_strands_of_the_other_strand_exchange_stranded_tracks(self, bundle):
        means = TrackMeans(bundle, both_strands=True)
        turned = complement(TEXT)[::-1]
        one = means.of_stretches([Stretch(TEXT, 50, 60)])[0]
        other = means.of_stretches([Stretch(turned, 140, 150)])[0]
        assert np.allclose(one, other[[1, 0, 2]], atol=1e-6)

    def test_a_track_without_a_partner_has_one_strand(self):
        with pytest.raises(UsageError, match="no partner on the other strand"):
            TrackMeans(bundle_of((*TRACKS[:1], *TRACKS[2:], Track("y"))), both_strands=True)

    def test_where_nothing_is_read_there_is_no_value(self, bundle):
        means = TrackMeans(bundle, both_strands=False)
        assert np.isnan(means.of_stretches([Stretch("N" * 40)])).all()


class TestExplain:
    @pytest.mark.parametrize("both", [False, True])
    def test_mutagenesis_is_the_difference_of_readings(self, bundle, both):
        means = explained_values(bundle, both_strands=both)
        ((_, found),) = Explainer(means, ["tracks/c-"], "ism").explain([SequenceRecord("r", TEXT)])
        other = TEXT[:90] + ("A" if TEXT[90] != "A" else "C") + TEXT[91:]
        before, after = means.of([TEXT, other])[:, 1]
        assert found.changes[90]["ACGT".index(other[90])] == pytest.approx(after - before)
        assert np.isnan(found.changes[90]["ACGT".index(TEXT[90])])
        assert found.odds == pytest.approx(before)

    @pytest.mark.parametrize("both", [False, True])
    def test_the_gradient_is_that_of_mutagenesis_for_small_changes(self, both):
        """Vectors that hardly differ make the network linear in them."""
        nearly = bundle_of(TRACKS)
        with torch.no_grad():
            for weight in (nearly.classifier.networks[0].embed.table.weight,
                           nearly.classifier.networks[0].embed.bases.weight):  # fmt: skip
                weight.mul_(1e-3).add_(0.05 * torch.arange(weight.shape[1]).sin())
        nearly.classifier.double()
        means = explained_values(nearly, both_strands=both)
        text = TEXT[:60] + "N" + TEXT[61:90]
        exact, near = (
            next(Explainer(means, ["tracks/c+"], method).explain([SequenceRecord("r", text)]))[1]
            for method in ("ism", "gradient")
        )
        assert np.array_equal(np.isnan(exact.changes), np.isnan(near.changes))
        known = ~np.isnan(exact.changes)
        scale = np.abs(exact.changes[known]).max()
        assert np.corrcoef(exact.changes[known], near.changes[known])[0, 1] > 0.999
        assert np.abs(exact.changes[known] - near.changes[known]).max() < 0.05 * scale

    @pytest.mark.parametrize("method", ["ism", "gradient"])
    def test_the_other_strand_gives_its_partner_the_same(self, bundle, method):
        means = explained_values(bundle, both_strands=True)
        turned = complement(TEXT[:80])[::-1]
        one, other = (
            next(Explainer(means, [f"tracks/{track}"], method).explain([SequenceRecord("r", t)]))[1]
            for track, t in (("c+", TEXT[:80]), ("c-", turned))
        )
        assert np.allclose(one.attributions, other.attributions[::-1], atol=1e-5, equal_nan=True)

    def test_a_row_a_letter_a_bedgraph_and_a_picture(self, place, tmp_path):
        words = ["explain", "--model", place / "model", "--class", "x", "--method", "gradient"]
        fasta = f">a\n{TEXT[:60]}\n>short\nACG\n"
        ended = run([*words, "--plot", tmp_path / "a.svg"], fasta)
        assert ended.status == 0, ended.stderr
        assert [row[:4] for row in ended.rows[1:3]] == [
            ["a", str(n), TEXT[n - 1], "tracks/x"] for n in (1, 2)
        ]
        assert len(ended.rows) == 61
        assert "ln of the mean of the track x over the record" in ended.stderr
        assert "1 records have no letter that the model can read" in ended.stderr
        assert (tmp_path / "a.svg").stat().st_size
        assert run([*words, "-o", tmp_path / "a.bedgraph"], fasta).status == 0
        lines = [line.split("\t") for line in (tmp_path / "a.bedgraph").read_text().splitlines()]
        assert [line[:3] for line in lines[:2]] == [["a", "0", "1"], ["a", "1", "2"]]
        shown = [float(row[4]) for row in ended.rows[1:]]
        assert [float(line[3]) for line in lines] == pytest.approx(shown, abs=1e-5)

    def test_regions_of_a_reference_are_explained_on_the_genome(self, place, tmp_path):
        (tmp_path / "r.bed").write_text("chr1\t1000\t1060\nchr2\t50\t110\n")
        words = ["explain", "--model", place / "model", "--class", "x", "--method", "gradient"]
        along = ["--reference", place / "ref.fa", "--regions", tmp_path / "r.bed"]
        ended = run([*words, *along])
        assert ended.status == 0, ended.stderr
        assert {row[0] for row in ended.rows[1:]} == {"chr1:1001-1060", "chr2:51-110"}
        with open_reference(place / "ref.fa") as reference:
            text = reference.fetch("chr1", 1000, 1060)
        assert "".join(row[2] for row in ended.rows[1:61]) == text
        alone = run(words, f">a\n{text}\n")
        assert [row[4] for row in alone.rows[1:]] == [row[4] for row in ended.rows[1:61]]
        assert run([*words, *along, "-o", tmp_path / "a.bedgraph"]).status == 0
        lines = [line.split("\t") for line in (tmp_path / "a.bedgraph").read_text().splitlines()]
        assert lines[0][:3] == ["chr1", "1000", "1001"]
        assert ["chr2", "50", "51"] in [line[:3] for line in lines]

    def test_a_shift_of_the_genome_shifts_what_is_explained(self, place, tmp_path):
        (tmp_path / "ref.fa").write_text(f">s\n{'ACG' * 5}{TEXT[:60]}\n>t\n{TEXT[:60]}\n")
        (tmp_path / "r.bed").write_text("s\t15\t75\nt\t0\t60\n")
        words = ["explain", "--model", place / "model", "--class", "x", "--method", "gradient"]
        words += ["--reference", tmp_path / "ref.fa", "--regions", tmp_path / "r.bed"]
        assert run([*words, "-o", tmp_path / "a.bedgraph"]).status == 0
        lines = [line.split("\t") for line in (tmp_path / "a.bedgraph").read_text().splitlines()]
        one, other = ([x[1:] for x in lines if x[0] == contig] for contig in "st")
        assert [[int(x[0]) - 15, x[2]] for x in one] == [[int(x[0]), x[2]] for x in other]

    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            (["--regions", "{r}"], 2, "--regions need a --reference"),
            (["--reference", "{f}", "{f}"], 2, "leave the other sequences out"),
            (["--reference", "{f}", "--regions", "{r}"], 1, "r.bed:1: chr1:1-300 has 300 letters"),
        ],
    )
    def test_references_that_do_not_fit_are_refused(self, place, tmp_path, words, status, said):
        (tmp_path / "r.bed").write_text("chr1\t0\t300\n")
        arguments = [word.format(r=tmp_path / "r.bed", f=place / "ref.fa") for word in words]
        ended = run(["explain", "--model", place / "model", "--class", "x", *arguments])
        assert (ended.status, ended.stdout) == (status, "")
        assert said in ended.stderr

    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            ([], 2, "--class which track (3: c+, c-, x)"),
            (["--class", "y"], 2, "--class y: no track of the model (3: c+, c-, x)"),
            (["--class", "x", "--head", "h"], 2, "--head h: the model has tracks; --class names"),
            (["--class", "x"], 1, "<stdin>:1: long has 300 letters: the model reads at most 256"),
        ],
    )
    def test_what_cannot_be_explained_is_refused(self, place, words, status, said):
        ended = run(["explain", "--model", place / "model", *words], f">long\n{'ACG' * 100}\n")
        assert (ended.status, ended.stdout) == (status, "")
        assert said in ended.stderr


class TestScore:
    def scored(self, place, tmp_path, rows, *more):
        with open_reference(place / "ref.fa") as reference:
            letters = reference.fetch("chr1", 0, 2000)
        lines = [f"chr1\t{at}\t.\t{letters[at - 1 : at - 1 + n]}\t{alt}" for at, n, alt in rows]
        header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        (tmp_path / "v.vcf").write_text(header + "".join(f"{line}\t.\t.\t.\n" for line in lines))
        words = ["--model", place / "model", "--reference", place / "ref.fa", tmp_path / "v.vcf"]
        return run(["score", *words, *more])

    def test_a_row_has_either_allele_and_the_log_fold_change(self, place, tmp_path):
        ended = self.scored(place, tmp_path, [(1000, 1, "GATTACA"), (1500, 3, "T")])
        assert ended.status == 0, ended.stderr
        header, *rows = (line.split("\t") for line in ended.stdout.splitlines())
        for row in rows:
            found = dict(zip(header, row, strict=True))
            for name in ("tracks/c+", "tracks/c-", "tracks/x"):
                change = float(found[f"{name}:alt"]) - float(found[f"{name}:ref"])
                assert float(found[name]) == pytest.approx(change, abs=2e-6)
                assert change != 0
            assert found["delta"] == "."
        assert "ln of the mean of the track over its bases and 128 on each side" in ended.stderr

    def test_the_rows_of_a_part_are_those_of_the_whole(self, place, tmp_path):
        rows = [(700, 1, "GA"), (1000, 1, "GATTACA"), (1500, 3, "T")]
        whole = self.scored(place, tmp_path, rows).stdout
        parts = [self.scored(place, tmp_path, rows, "--shard", f"{n}/2").stdout for n in (1, 2)]
        assert "".join(parts) == whole

    def test_tracks_are_chosen_by_tissue_and_kept_in_a_vcf(self, place, tmp_path):
        ended = self.scored(place, tmp_path, [(1000, 1, "GG")], "--only", "liver", "--to", "vcf")
        assert "GENOMAI_DELTA_tracks_c_" in ended.stdout
        assert "ln of the mean of the track c+ around the variant" in ended.stdout
        assert "tracks_x" not in ended.stdout

    def test_both_strands_tracks_have_fields_of_their_own(self, place, tmp_path):
        ended = self.scored(place, tmp_path, [(1000, 1, "GG")], "--to", "vcf")
        assert ended.status == 0, ended.stderr
        info = ended.stdout.splitlines()[-1].split("\t")[7]
        for name in ("c_plus", "c_minus", "x"):
            assert info.count(f"GENOMAI_DELTA_tracks_{name}=") == 1

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--only", "brain"], "--only brain: no track has this name, assay or tissue"),
            (["--window", "300"], "--window 300: the model reads 256 letters"),
            (["--mask-every", "2"], "has no likelihood"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, place, tmp_path, words, said):
        ended = self.scored(place, tmp_path, [(1000, 1, "GG")], *words)
        assert (ended.status, ended.stdout) == (2, "")
        assert said in ended.stderr
