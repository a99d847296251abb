"""How a network of tracks that looks both ways reads a region."""

import numpy as np
import pytest
import torch

from genomai_cli.backbones.base import complete_config
from genomai_cli.backbones.classifier import Classifier, Fusion
from genomai_cli.backbones.omicsfusion import OmicsFusionConfig, OmicsFusionNetwork
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.track_table import Track
from genomai_cli.inference.track_predictions import PredictionOptions, TrackPredictor
from genomai_cli.inputs.tracks import TrackInput

SIZES = {
    "tracks": 2, "width": 16, "layers": 1, "feed_forward": 16, "positions": 64, "bidirectional": True,
}  # fmt: skip
TEXT = "".join(np.random.default_rng(0).choice(list("ACGT"), 200))


@pytest.fixture(scope="module")
def bundle():
    torch.manual_seed(0)
    network = OmicsFusionNetwork(OmicsFusionConfig(**SIZES)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    config = {
        "name": "tiny", "version": "1", "input": {"kind": "tracks"}, "members": 1, "heads": {},
        "tokenizer": {"kind": "kmers", "k": 6, "stride": 1},
        "network": complete_config({"kind": "omicsfusion"} | SIZES),
    }  # fmt: skip
    tracks = TrackInput((Track("a"), Track("b")))
    return Bundle(config, Classifier([network], Fusion({}, {}), None, None), tracks)


@pytest.fixture
def values(bundle, tmp_path):
    def values_of(text, **options):
        (tmp_path / "ref.fa").write_text(f">chr1\n{text}\n")
        with open_reference(tmp_path / "ref.fa") as reference:
            predictor = TrackPredictor(bundle, reference, PredictionOptions(**options))
            return predictor.values("chr1", 0, len(text))

    return values_of


@pytest.mark.parametrize("overlap", [None, 0, 20])
def test_only_the_last_bases_of_a_contig_have_no_value(values, overlap):
    missing = np.isnan(values(TEXT, overlap=overlap)).any(axis=1)
    assert list(np.flatnonzero(missing)) == list(range(len(TEXT) - 5, len(TEXT)))


def test_what_comes_behind_a_base_counts_wherever_windows_end(values):
    before = values(TEXT, overlap=20)
    for base in range(0, 180, 7):
        changed = TEXT[: base + 15] + "ACGT"["TGCA".index(TEXT[base + 15])] + TEXT[base + 16 :]
        assert not np.array_equal(values(changed, overlap=20)[base], before[base])
