"""Denoising DNA and tracks: what is masked, what is missing, shifts and strands."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.alphabet import as_letters
from genomai_cli.backbones.omicsfusion import OmicsFusionConfig, OmicsFusionNetwork
from genomai_cli.formats.track_table import Track
from genomai_cli.formats.tracks import AlignedTracks
from genomai_cli.inputs.track_windows import TrackWindows
from genomai_cli.objectives.base import NO_TARGET, Alphabet, Model, SingleProcess
from genomai_cli.objectives.omics import Omics, OmicsSettings, isolated_positions
from genomai_cli.tokenizers.kmers import Kmers

TOKENIZER = Kmers(6, 1)
TRACKS = (Track("c+", strand="+"), Track("c-", strand="-"), Track("x"))
WIDTH = 60


class Dense(AlignedTracks):
    """Tracks over one contig in memory."""

    def __init__(self, values_LC):
        super().__init__(TRACKS, {"chr1": len(values_LC)})
        object.__setattr__(self, "held", values_LC)

    def values(self, contig, start, end):
        return self.held[start:end]


def windows(values_LC):
    """Values over a contig that is a row of its own."""
    return TrackWindows.of(Dense(values_LC), [f"chr1:0-{len(values_LC)}"])


@pytest.fixture
def values():
    rng = np.random.default_rng(3)
    values_LC = rng.random((300, 3)).astype(np.float32) * (rng.random((300, 3)) < 0.3)
    values_LC[rng.random((300, 3)) < 0.2] = np.nan
    return values_LC


@pytest.fixture
def letters():
    return np.random.default_rng(4).choice(as_letters("ACGT"), 300)


def objective(values, **changes):
    return Omics(OmicsSettings(**changes), Alphabet(TOKENIZER, tracks=windows(values)))


def views_at(omics, letters, begins, seed=0):
    rows = np.stack([letters[b : b + WIDTH] for b in begins])
    views = omics.views(rows, np.random.default_rng(seed)) | {"begins": np.array(begins)[:, None]}
    return {name: torch.from_numpy(view) for name, view in views.items()}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = OmicsFusionConfig(
        tracks=3, width=16, layers=1, feed_forward=32, positions=64, factorised=True
    )
    network = OmicsFusionNetwork(config)
    return Model(network, network.lm_head(0), lambda ids: ids)


class TestMasks:
    @given(st.floats(0.01, 0.5), st.integers(0, 10))
    @settings(max_examples=30, deadline=None)
    def test_masked_tokens_stand_alone_and_are_as_many_as_asked(self, share, seed):
        masked = isolated_positions((40, 500), share, np.random.default_rng(seed))
        assert not (masked[:, 1:] & masked[:, :-1]).any()
        assert abs(masked.mean() - share) < 0.02

    def test_only_masked_tokens_are_hidden_and_only_known_ones_targets(self, values, letters):
        letters = letters.copy()
        letters[20:23] = ord("N")
        views = views_at(
            objective(values, tokens=0.3, visible=0.5, reverse_complement=0), letters, [0, 10]
        )
        masked = views["ids"] == TOKENIZER.mask_id
        assert torch.equal(masked, views["targets"] != NO_TARGET)
        assert (views["ids"] == TOKENIZER.unk_id).sum() == 8 * 2
        visible = views["targets_visible"] != NO_TARGET
        assert torch.equal(views["ids"][visible], views["targets_visible"][visible])


class TestMissing:
    def test_missing_values_never_enter_a_loss(self, values, letters, model):
        """Whatever stands where a value is missing, the loss and its gradients are the same."""
        losses = []
        for fill in (0.0, 0.7, 1e9):
            omics = objective(values)
            views = views_at(omics, letters, [5, 100])
            tracks = omics.masked_tracks(views)
            known = torch.from_numpy(~np.isnan(values))
            assert torch.equal(tracks.values[~tracks.known], torch.zeros((~tracks.known).sum()))
            assert int(tracks.known.sum()) < tracks.known.numel()
            assert int(known.sum()) < known.numel()
            filled_tracks = type(tracks)(
                torch.where(tracks.known, tracks.values, fill), *tracks[1:]
            )
            filled_objective = type(
                "Filled", (Omics,), {"masked_tracks": lambda self, views, c=filled_tracks: c}
            )
            loss = filled_objective(omics.settings, omics.alphabet).loss(
                model, views, SingleProcess()
            )
            losses.append(float(loss.detach()))
        assert losses[0] == losses[1] == losses[2]

    def test_where_all_is_missing_tracks_cost_nothing(self, values, letters, model):
        empty = objective(np.full_like(values, np.nan))
        views = views_at(empty, letters, [5])
        only_tokens = objective(values, track_weight=0, visible_track_weight=0)
        tracks_missing = type(
            "Hidden", (Omics,), {"masked_tracks": lambda self, v: empty.masked_tracks(v)}
        )
        expected = tracks_missing(only_tokens.settings, only_tokens.alphabet).loss(
            model, views, SingleProcess()
        )
        assert float(empty.loss(model, views, SingleProcess()).detach()) == pytest.approx(
            float(expected.detach())
        )

    def test_masked_values_are_not_read(self, values, letters):
        omics = objective(values, tracks=0.5, positions=0.3, span=8)
        tracks = omics.masked_tracks(views_at(omics, letters, [0, 50, 90]))
        features = tracks.features
        assert tracks.masked.any()
        assert not features["track_known"][tracks.masked].any()
        assert not features["track_values"][tracks.masked].any()


class TestPositions:
    def test_shifting_dna_and_tracks_together_changes_nothing(self, values, letters, model):
        losses = []
        for shift in (0, 7, 31):
            shifted = np.concatenate([np.full((shift, 3), np.nan, np.float32), values])
            text = np.concatenate([np.full(shift, ord("A"), np.uint8), letters])
            omics = objective(shifted)
            views = views_at(omics, text, [20 + shift, 90 + shift])
            losses.append(float(omics.loss(model, views, SingleProcess()).detach()))
        assert losses[0] == losses[1] == losses[2]

    def test_shifting_tracks_alone_does(self, values, letters, model):
        one, other = objective(values), objective(np.roll(values, 5, axis=0))
        views = views_at(one, letters, [20, 90])
        original, shifted = (o.loss(model, views, SingleProcess()).detach() for o in (one, other))
        assert float(original) != float(shifted)

    def test_the_other_strand_flips_tracks_with_their_dna(self, values, letters):
        """Reading the reverse complement of a contig forward is reading the contig along its other strand."""
        from genomai_cli.alphabet import reverse_complement

        forward, end = objective(values, reverse_complement=1.0), len(values)
        flipped = objective(values[::-1][:, [1, 0, 2]], reverse_complement=0.0)
        one = views_at(forward, letters, [40])
        other = views_at(flipped, reverse_complement(letters), [end - 40 - WIDTH])
        assert torch.equal(one["ids"], other["ids"])
        expected, actual = forward.masked_tracks(one), flipped.masked_tracks(other)
        assert torch.equal(expected.known, actual.known)
        assert torch.equal(expected.values, actual.values)

    def test_rows_lie_where_their_names_say(self, values):
        aligned = windows(values).aligned
        track_windows = TrackWindows.of(aligned, ["chr1:100-150", "chr1:20-60"])
        row_values = track_windows.values(np.array([10, 60]), np.array([5, 5]), np.array([0, 0]), 8)
        expected = np.stack([values[110:115], values[30:35]])
        assert np.array_equal(row_values[:, :5], expected, equal_nan=True)
        assert np.isnan(row_values[:, 5:]).all()


class TestBaseline:
    def test_the_baseline_is_that_of_constant_predictions(self, letters):
        ones = np.ones((300, 3), np.float32)
        omics = objective(ones, tracks=0.3)
        views = views_at(omics, letters, [0, 50])
        n = WIDTH - 5
        assert omics.baseline_loss(None, views) == pytest.approx(
            np.log(4) + 60 * np.log(1 + 0.5 / (n + 0.5)), abs=0.8
        )
