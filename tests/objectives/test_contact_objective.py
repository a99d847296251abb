"""Contact maps predicted from DNA: their targets, what never enters the loss, and training end to end."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from conftest import run
from cool_files import random_counts, write_cool

from genomai_cli.backbones.alphagenome import AlphaGenomeNetwork
from genomai_cli.backbones.alphagenome_layers import AlphaGenomeConfig
from genomai_cli.formats.track_table import TrackTable, read_track_table
from genomai_cli.formats.tracks import AlignedTracks
from genomai_cli.inputs.samples import SampleRows, Samples
from genomai_cli.inputs.track_baselines import expected_contacts
from genomai_cli.inputs.track_windows import TrackWindows
from genomai_cli.objectives.base import Alphabet, Model, SingleProcess
from genomai_cli.objectives.tracks import Tracks, TracksSettings
from genomai_cli.tokenizers.characters import Characters

SIZE, BINS, WINDOW = 2048, 64, 6 * 2048
LENGTH = BINS * SIZE
SIZES = {
    "width": 4, "growth": 2, "blocks": 1, "heads": 2, "key_size": 4, "value_size": 4, "pair_width": 8,
    "pair_heads": 2, "pair_key_size": 4, "distances": 4, "max_tokens": WINDOW // 128,
}  # fmt: skip
SMALL = [
    argument for name, value in SIZES.items() for argument in ("--set", f"network.{name}={value}")
]
SMALL += [
    "--set",
    f"corpus.window={WINDOW}",
    "--set",
    "corpus.judged=2",
    "--set",
    "tracks.segments=6",
]
SMALL += ["--set", "optimization.steps=4", "--set", "optimization.evaluate_every=2"]
RNG = np.random.default_rng(0)
COUNTS = {name: random_counts(RNG, BINS) for name in "ab"}
WEIGHTS = {name: RNG.uniform(0.5, 2, BINS) for name in "ab"}
WEIGHTS["a"][[3, 9]] = np.nan
HEADER = "name\tfile\tassay\torganism\n"


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contacts")
    with (folder / "ref.fa").open("w") as fasta:
        for contig in "ab":
            fasta.write(f">{contig}\n{''.join(RNG.choice(list('ACGT'), LENGTH))}\n")
    for name, contig in (("hic", "a"), ("micro", "b")):
        write_cool(folder / f"{name}.cool", {contig: (LENGTH, COUNTS[contig])}, SIZE,
                   weights={contig: WEIGHTS[contig]})  # fmt: skip
    lines = [
        f"a\t{start}\t{start + 100}\t{RNG.poisson(2)}\n" for start in range(0, LENGTH - 100, 100)
    ]
    (folder / "open.bedgraph").write_text("".join(lines))
    table = "open\topen.bedgraph\tdnase\thuman\n"
    table += "hic\thic.cool\tcontact_maps\thuman\nmicro\tmicro.cool\tcontact_maps\tmouse\n"
    (folder / "t.tsv").write_text(HEADER + table)
    return folder


@pytest.fixture(scope="module")
def windows(genome):
    lengths = {"a": LENGTH, "b": LENGTH}
    aligned = AlignedTracks.open(read_track_table(genome / "t.tsv"), lengths, "ref.fa")
    without_expected = TrackWindows.of(aligned, [f"a:0-{LENGTH}", f"b:0-{LENGTH}"])
    expected = expected_contacts(rows_of(genome), without_expected, 6)
    return TrackWindows.of(aligned, [f"a:0-{LENGTH}", f"b:0-{LENGTH}"], [0.9, 0, 0], expected)


def rows_of(genome):
    texts = (genome / "ref.fa").read_text().split("\n")[1::2]
    return SampleRows(Samples(["a", "b"], texts, {}, {}, np.arange(2)))


def balanced(contig):
    return COUNTS[contig] * WEIGHTS[contig] * WEIGHTS[contig][:, None]


def objective_of(windows, segments=6):
    settings = TracksSettings(segments=segments, reverse_complement=0.0)
    return Tracks(settings, Alphabet(Characters(), tracks=windows))


def views_of(begins, flipped, seed=1):
    rng = np.random.default_rng(seed)
    return {
        "ids": torch.from_numpy(rng.integers(0, 4, (len(begins), WINDOW))),
        "begins": torch.tensor(begins)[:, None],
        "sizes": torch.full((len(begins), 1), WINDOW),
        "flipped": torch.tensor(flipped)[:, None],
        "with_bases": torch.zeros(len(begins), 1, dtype=torch.long),
    }


def network_of(windows, **sizes):
    torch.manual_seed(0)
    tracks = windows.aligned.tracks
    sizes = SIZES | sizes | AlphaGenomeNetwork.track_sizes(tracks, {})
    network = AlphaGenomeNetwork(AlphaGenomeConfig(**sizes)).train()
    network.set_track_means(tracks, [1.0, 0, 0], [0.9, 0, 0])
    return network


class TestTargets:
    def test_what_is_expected_is_the_mean_by_distance_of_known_pairs(self, windows):
        for number, contig in enumerate("ab"):
            expected = [np.nanmean(np.diagonal(balanced(contig), d)) for d in range(6)]
            assert np.allclose(windows.expected[number], expected, rtol=1e-5)

    @pytest.mark.parametrize(("begin", "first"), [(0, 0), (2048 * 5, 5), (1000, 0), (1100, 1)])
    def test_the_ln_of_contacts_over_what_is_expected(self, windows, begin, first):
        """A window that begins within a bin has the contacts of the bins in which its own have their middles."""
        targets = objective_of(windows).contact_targets(views_of([begin], [0]))[0, ..., 0].numpy()
        distances = np.abs(np.arange(6)[:, None] - np.arange(6))
        contacts = balanced("a")[first : first + 6, first : first + 6]
        with np.errstate(divide="ignore"):
            expected = np.log(contacts / windows.expected[0][distances]).clip(-2, 2)
        assert np.allclose(targets, expected, atol=1e-5, equal_nan=True)
        assert np.isnan(targets).any() == (first <= 3 < first + 6 or first <= 9 < first + 6)
        assert (targets[~np.isnan(targets)] == -2).any(), (
            "pairs without a contact, which is not missing"
        )

    def test_the_other_strand_reverses_both_bins_of_a_pair(self, windows):
        objective = objective_of(windows)
        forward = objective.contact_targets(views_of([4096], [0]))
        flipped = objective.contact_targets(views_of([4096], [1]))
        assert torch.equal(flipped.nan_to_num(9), forward.flip(1, 2).nan_to_num(9))

    def test_maps_of_another_organism_are_missing(self, windows):
        network, objective = network_of(windows), objective_of(windows)
        views = views_of([4096 * 3, LENGTH + 4096 * 3], [0, 0])
        target = objective.contact_targets(views)
        assert target.shape == (2, 6, 6, 1)
        assert not target.isnan().all()
        objective.loss(model_of(network), views_of([4096 * 3], [0]), SingleProcess()).backward()
        grad = network.tracks.contact_maps.weight.grad
        assert (grad[1] == 0).all()
        assert (grad[0] != 0).any()


def model_of(network):
    return Model(network, torch.nn.Identity(), lambda ids: ids)


class TestLoss:
    def test_it_is_the_mean_squared_error_of_known_pairs(self, windows):
        network, objective = network_of(windows), objective_of(windows)
        views = views_of([4096], [0])
        bin_targets = [part for part in objective.head_targets(network, views) if part.bases == 128]
        embeddings = network.embeddings(
            views["ids"], torch.tensor([0]), bases=torch.tensor([False])
        )
        bin_loss = sum(
            objective._head_loss(
                part.assay.scaled(embeddings, part.organism, 128), part, SingleProcess()
            )
            for part in bin_targets
        )
        predicted = network.tracks.contact_maps(embeddings.pairs, torch.tensor([0]))
        target = objective.contact_targets(views)
        known = ~target.isnan()
        error = (predicted - target)[known].square().mean()
        loss = objective.loss(model_of(network), views, SingleProcess())
        assert loss.item() == pytest.approx((bin_loss + error).item(), rel=1e-4)

    def test_missing_bins_never_enter_it(self, windows, monkeypatch):
        network, objective = network_of(windows), objective_of(windows)
        pairs = []
        head = network.tracks.contact_maps

        def recording_head(*arguments):
            pairs.append(head(*arguments))
            pairs[-1].retain_grad()
            return pairs[-1]

        views = views_of([0], [0])  # of which the fourth bin is missing
        assert objective.contact_targets(views)[0, 3].isnan().all()
        monkeypatch.setattr(network.tracks, "contact_maps", None)
        network.tracks.__dict__["contact_maps"] = recording_head
        del network.tracks._modules["contact_maps"]
        objective.loss(model_of(network), views, SingleProcess()).backward()
        grad = pairs[0].grad[0, ..., 0]
        assert (grad[3] == 0).all()
        assert (grad[:, 3] == 0).all()
        known = torch.arange(6) != 3
        assert (grad[known][:, known] != 0).all()

    @pytest.mark.parametrize(
        "assays", [{"dnase"}, {"chip_tf"}, {"contact_maps"}, {"chip_tf", "contact_maps"}]
    )
    @pytest.mark.parametrize("with_bases", [0, 1])
    def test_every_weight_has_a_gradient_whichever_targets_there_are(
        self, genome, assays, with_bases
    ):
        """Otherwise processes that train together would wait for gradients that never come."""
        table = read_track_table(genome / "t.tsv")
        bound = replace(table.tracks[0], name="bound", assay="chip_tf")
        tracks = [track for track in (*table.tracks[:2], bound) if track.assay in assays]
        aligned = AlignedTracks.open(TrackTable("t.tsv", tuple(tracks)), {"a": LENGTH}, "ref.fa")
        shares = [0.5] * len(tracks)
        track_windows = TrackWindows.of(
            aligned, [f"a:0-{LENGTH}"], shares, np.ones((1, 6), np.float32)
        )
        torch.manual_seed(0)
        sizes = SIZES | AlphaGenomeNetwork.track_sizes(tracks, {})
        network = AlphaGenomeNetwork(AlphaGenomeConfig(**sizes)).train()
        network.set_track_means(tracks, [1.0] * len(tracks), shares)
        views = views_of([4096], [0]) | {"with_bases": torch.tensor([[with_bases]])}
        objective_of(track_windows).loss(model_of(network), views, SingleProcess()).backward()
        assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
        assert all(buffer.isfinite().all() for buffer in network.buffers())

    def test_a_window_of_missing_bins_alone_has_no_loss_of_contacts(self, windows):
        objective = objective_of(windows)
        views = views_of([LENGTH + 4096], [0])
        empty = views | {"sizes": torch.tensor([[SIZE - 1]])}
        assert objective.contact_targets(empty).isnan().all()
        assert objective.baseline_loss(network_of(windows), empty) == 0

    def test_it_learns_a_small_map_by_heart(self, windows):
        network = network_of(windows, width=8, pair_width=16)
        objective = objective_of(windows, segments=4)
        views = views_of([LENGTH + 2048], [0])
        views |= {"ids": views["ids"][:, : 4 * SIZE], "sizes": torch.tensor([[4 * SIZE]])}
        optimizer = torch.optim.Adam(network.parameters(), 0.005)
        baseline = objective.baseline_loss(network, views)
        for _ in range(40):
            optimizer.zero_grad()
            loss = objective.loss(model_of(network), views, SingleProcess())
            loss.backward()
            optimizer.step()
        assert baseline > 0.5
        assert loss.item() < 0.2 * baseline


def pretrain(genome, target, *more, table="t.tsv"):
    arguments = ["--tracks", genome / table, "--reference", genome / "ref.fa", "-o", target]
    return run(["pretrain", "--objective", "tracks", *arguments, *SMALL, *more])


class TestPretraining:
    def test_a_bundle_that_predicts_maps(self, genome, tmp_path):
        result = pretrain(genome, tmp_path / "m")
        assert result.status == 0, result.stderr
        config = json.loads((tmp_path / "m" / "config.json").read_text())
        assert config["network"]["tracks"] == {"dnase": 1, "contact_maps": 1}
        assert (
            "ln(observed / expected), balanced counts"
            in (tmp_path / "m" / "tracks.tsv").read_text()
        )
        (tmp_path / "r.bed").write_text("a\t4096\t12288\n")
        arguments = [
            "--model",
            tmp_path / "m",
            "--reference",
            genome / "ref.fa",
            "--organism",
            "human",
        ]
        arguments += ["--regions", tmp_path / "r.bed", "--contacts", tmp_path / "c.h5"]
        result = run(["predict", *arguments])
        assert result.status == 0, result.stderr
        with h5py.File(tmp_path / "c.h5") as file:
            assert len(file["values"]) == 10
            assert np.isfinite(file["values"][:]).all()

    def test_maps_alone_of_counts_noted_as_raw(self, genome, tmp_path):
        write_cool(genome / "raw.cool", {"a": (LENGTH, COUNTS["a"])}, SIZE)
        (genome / "raw.tsv").write_text(f"{HEADER}m\traw.cool\tcontact_maps\thuman\n")
        result = pretrain(genome, tmp_path / "m", table="raw.tsv")
        assert result.status == 0, result.stderr
        assert "no weights of bins: its counts are read as they are" in result.stderr
        assert "raw counts" in (tmp_path / "m" / "tracks.tsv").read_text()
        (tmp_path / "r.bed").write_text("a\t4096\t12288\n")
        arguments = ["--model", tmp_path / "m", "--reference", genome / "ref.fa"]
        maps = ["--regions", tmp_path / "r.bed", "--contacts", tmp_path / "c.h5"]
        result = run(["predict", *arguments, *maps, "--report", tmp_path / "page.html"])
        assert result.status == 0, result.stderr
        assert "0 tracks along 1 region" in (tmp_path / "page.html").read_text()
        result = run(["evaluate", "--task", "tracks", *arguments, "--tracks", genome / "raw.tsv"])
        assert result.status == 1
        assert "contact maps and junctions do not" in result.stderr

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (
                "m\tcoarse.cool\tcontact_maps\tx\n",
                "bins of 4,096 bases, and the network has bins of 2,048",
            ),
            ("m\tempty.cool\tcontact_maps\tx\n", "track m has no value above 0"),
            ("m\topen.bedgraph\tsplice_sites\tx\n", "heads of splice_sites are not trained"),
        ],
    )
    def test_what_cannot_be_learnt_is_one_line(self, genome, tmp_path, row, message):
        for name, size, counts in (
            ("coarse", 4096, COUNTS["a"][:32, :32]),
            ("empty", SIZE, 0 * COUNTS["a"]),
        ):
            if not (genome / f"{name}.cool").exists():
                write_cool(genome / f"{name}.cool", {"a": (LENGTH, counts)}, size)
        (genome / "bad.tsv").write_text(HEADER + row)
        result = pretrain(genome, tmp_path / "m", table="bad.tsv")
        assert result.status == 1
        assert message in result.stderr
        assert "Traceback" not in result.stderr

    def test_maps_are_of_the_objective_tracks(self, genome, tmp_path):
        arguments = [
            "--tracks",
            genome / "t.tsv",
            "--reference",
            genome / "ref.fa",
            "-o",
            tmp_path / "m",
        ]
        result = run(["pretrain", "--objective", "omics", *arguments])
        assert result.status == 1
        assert "hic.cool: a contact map: --objective tracks learns such" in result.stderr
