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
from genomai_cli.bundles.bundle import Bundle, Extras, save
from genomai_cli.errors import UsageError
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.track_table import Track
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.track_effects import TrackMeans
from genomai_cli.inputs.tracks import TrackInput

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
        ids = torch.from_numpy(means.tokenizer.encode(TEXT)).long()[None]
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
        assert "ln of the mean over its bases and 128 on each side" in ended.stderr

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
