"""Coverage predicted from DNA: the loss, what never enters it, organisms and strands, and training end to end."""

import json

import numpy as np
import pytest
import torch
from conftest import run
from cool_files import random_counts, write_cool

from genomai_cli.alphabet import as_letters, complement
from genomai_cli.backbones.alphagenome import AlphaGenomeNetwork
from genomai_cli.backbones.alphagenome_heads import experiment_scale, network_scale
from genomai_cli.backbones.alphagenome_layers import AlphaGenomeConfig
from genomai_cli.errors import InputError
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.track_table import Track, read_track_table
from genomai_cli.formats.tracks import AlignedTracks
from genomai_cli.inputs.track_windows import TrackWindows
from genomai_cli.inputs.tracks import _trackless_contig_warnings
from genomai_cli.objectives.base import Alphabet, Model, SingleProcess
from genomai_cli.objectives.tracks import Tracks, TracksSettings, multinomial
from genomai_cli.tokenizers.characters import Characters

WINDOW, LENGTH = 2048, 60_000
SHARES = [0.1, 0.2, 0.3, 0.4]
SIZES = {
    "width": 4, "growth": 2, "blocks": 1, "heads": 2, "key_size": 4, "value_size": 4, "pair_width": 3,
    "pair_heads": 2, "pair_key_size": 4, "distances": 1, "max_tokens": 16,
}  # fmt: skip
SMALL = [
    argument for name, value in SIZES.items() for argument in ("--set", f"network.{name}={value}")
]
SMALL += ["--set", f"corpus.window={WINDOW}", "--set", "corpus.judged=4"]
SMALL += ["--set", "optimization.steps=4", "--set", "optimization.evaluate_every=2"]
HEADER = "name\tfile\tassay\tstrand\torganism\n"
TRACKS = {
    "h+": ("cage", "+", "human", "a"), "h-": ("cage", "-", "human", "a"), "open": ("dnase", ".", "human", "a"),
    "mark": ("chip_histone", ".", "mouse", "b"),
}  # fmt: skip


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Two contigs, each with an organism's tracks over most of it."""
    folder = tmp_path_factory.mktemp("coverage")
    rng = np.random.default_rng(0)
    with (folder / "ref.fa").open("w") as fasta:
        for contig in "ab":
            fasta.write(f">{contig}\n{''.join(rng.choice(list('ACGT'), LENGTH))}\n")
    with (folder / "t.tsv").open("w") as table:
        table.write(HEADER)
        for name, (assay, strand, organism, contig) in TRACKS.items():
            table.write(f"{name}\t{name}.bedgraph\t{assay}\t{strand}\t{organism}\n")
            with (folder / f"{name}.bedgraph").open("w") as file:
                for start in range(1000, LENGTH - 100, 100):
                    if rng.random() < 0.9:
                        file.write(f"{contig}\t{start}\t{start + 100}\t{rng.poisson(2)}\n")
    return folder


@pytest.fixture(scope="module")
def windows(genome):
    table = read_track_table(genome / "t.tsv")
    aligned = AlignedTracks.open(table, {"a": LENGTH, "b": LENGTH}, "ref.fa")
    return TrackWindows.of(aligned, [f"a:0-{LENGTH}", f"b:0-{LENGTH}"], SHARES)


def objective_of(windows):
    return Tracks(
        TracksSettings(segments=4, reverse_complement=0.0), Alphabet(Characters(), tracks=windows)
    )


def views_of(begins, flipped):
    rng = np.random.default_rng(1)
    return {
        "ids": torch.from_numpy(rng.integers(0, 4, (len(begins), WINDOW))),
        "begins": torch.tensor(begins)[:, None],
        "sizes": torch.full((len(begins), 1), WINDOW),
        "flipped": torch.tensor(flipped)[:, None],
        "with_bases": torch.ones(len(begins), 1, dtype=torch.long),
    }


def network_of(windows, **sizes):
    torch.manual_seed(0)
    tracks = windows.aligned.tracks
    sizes = SIZES | sizes | AlphaGenomeNetwork.track_sizes(tracks, {})
    network = AlphaGenomeNetwork(AlphaGenomeConfig(**sizes)).eval()
    network.set_track_means(tracks, [1.0, 2.0, 3.0, 4.0], SHARES)
    return network


class TestLoss:
    def test_it_is_the_formulas(self):
        rng = np.random.default_rng(0)
        scaled, target = rng.gamma(2, 1, (2, 8, 3)), rng.gamma(2, 1, (2, 8, 3))
        terms = [
            float(s) / int(n)
            for s, n in multinomial(
                *map(torch.from_numpy, (scaled, target)), 2, torch.tensor([[2.0, 1, 1]] * 2)
            )
        ]
        poisson, multinomial_nats = [], []
        for row in range(2):
            for segment in (slice(0, 4), slice(4, 8)):
                for track in range(3):
                    x, y = scaled[row, segment, track], target[row, segment, track]
                    weight = 2 if track == 0 else 1
                    poisson.append(
                        weight
                        * (
                            x.sum()
                            - y.sum() * np.log(x.sum())
                            - y.sum()
                            + y.sum() * np.log(y.sum())
                        )
                        / 4
                    )
                    multinomial_nats.append(
                        weight * y * (np.log(y / y.sum()) - np.log(x / x.sum()))
                    )
        assert terms == pytest.approx([np.mean(poisson), np.mean(multinomial_nats)], abs=1e-5)

    def test_missing_bins_never_enter_it(self):
        rng = np.random.default_rng(0)
        target = torch.from_numpy(rng.gamma(2, 1, (2, 8, 3)))
        target[0, :4, 0] = torch.nan  # a segment
        target[1, 5:, :] = torch.nan
        scaled = torch.from_numpy(rng.gamma(2, 1, (2, 8, 3))).requires_grad_()
        terms = list(multinomial(scaled, target, 2, torch.ones(2, 3)))
        sum(part for part, _ in terms).backward()
        assert (scaled.grad[target.isnan()] == 0).all()
        assert (scaled.grad[~target.isnan()] != 0).all()
        assert [int(count) for _, count in terms] == [11, int((~target.isnan()).sum())]
        other = torch.where(target.isnan(), 1e3, scaled.detach())
        again = list(multinomial(other, target, 2, torch.ones(2, 3)))
        assert [p.item() for p, _ in again] == pytest.approx([p.item() for p, _ in terms])

    @pytest.mark.parametrize("squash_power", [None, 0.75])
    def test_the_networks_scale_and_back(self, squash_power):
        values = torch.tensor([[[0.0, 0.3, 9.0, 11.0, 500.0]]], dtype=torch.float64)
        scaled = network_scale(values / 2, squash_power)
        means = torch.full((1, 5), 2.0, dtype=torch.float64)
        assert torch.allclose(experiment_scale(scaled, means, 1, squash_power), values)

    def test_other_organisms_and_what_was_not_measured_change_nothing(self, windows):
        network, objective = network_of(windows), objective_of(windows)
        views = views_of([20_000, LENGTH + 30_000], [0, 0])
        values = objective.track_values(views)
        assert next(objective.head_targets(network, views)).organism.tolist() == [0, 1]
        assert values[0, :, 3].isnan().all()
        assert values[1, :, :3].isnan().all()
        model = Model(network, torch.nn.Identity(), lambda ids: ids)
        loss = objective.loss(model, views, SingleProcess())
        loss.backward()
        cage = network.tracks.assays["cage"].convs["1"].weight.grad
        assert (cage[1] == 0).all()
        assert (cage[0] != 0).any()
        mark = network.tracks.assays["chip_histone"].convs["128"].weight.grad
        assert (mark[0] == 0).all()
        assert (mark[1] != 0).any()
        empty_loss = objective.loss(
            model, views_of([0], [0]) | {"sizes": torch.tensor([[0]])}, SingleProcess()
        )
        assert empty_loss.item() == 0

    def test_the_other_strand_has_the_partners_values_reversed(self, windows):
        objective = objective_of(windows)
        forward = objective.track_values(views_of([20_000], [0]))
        flipped = objective.track_values(views_of([20_000], [1]))
        assert torch.equal(
            flipped[0, :, [0, 2]].nan_to_num(-1), forward[0].flip(0)[:, [1, 2]].nan_to_num(-1)
        )

    def test_heads_begin_with_the_mean_of_all_bases(self, windows):
        network = network_of(windows)
        for assay in network.tracks.assays.values():
            for layer in assay.convs.values():
                torch.nn.init.zeros_(layer.weight)
        predictions = network.predict(torch.zeros(1, WINDOW, dtype=torch.long))
        cage = predictions["cage"]["predictions_1bp"][0, 0].tolist()
        assert cage == pytest.approx([0.1, 0.4], rel=1e-4)
        assert predictions["dnase"]["predictions_128bp"][0, 0].tolist() == pytest.approx(
            [128 * 0.9], rel=1e-4
        )

    def test_a_fresh_network_is_about_as_good_as_each_tracks_mean(self, windows):
        network, objective = network_of(windows), objective_of(windows)
        views = views_of([20_000, LENGTH + 30_000], [0, 0])
        baseline = objective.baseline_loss(network, views)
        model = Model(network.train(), torch.nn.Identity(), lambda ids: ids)
        assert objective.loss(model, views, SingleProcess()).item() == pytest.approx(
            baseline, rel=0.1
        )
        assert baseline > 0

    def test_single_bases_count_only_in_windows_with_bases(self, windows):
        network, objective = network_of(windows), objective_of(windows)
        model = Model(network.train(), torch.nn.Identity(), lambda ids: ids)
        views = views_of([20_000, 40_000], [0, 0])

        def loss(*with_bases):
            return objective.loss(
                model, views | {"with_bases": torch.tensor(with_bases)[:, None]}, SingleProcess()
            )

        without_bases = loss(0, 0)
        without_bases.backward()
        assert all(p.grad is not None and (p.grad == 0).all() for p in network.decoder.parameters())
        assert all(b.isfinite().all() for b in network.buffers())
        assert 2 * (loss(1, 0) - without_bases).item() == pytest.approx(
            network_loss_of_bases(objective, network, views).item(), rel=1e-3
        )


LETTERS = "".join(np.random.default_rng(7).choice(list("ACGT"), 3 * WINDOW))
COUNTS = np.random.default_rng(8).poisson(2, (3, 3 * WINDOW // 8)).repeat(8, axis=1)
PAIRS = random_counts(np.random.default_rng(9), 3)


class Genome:
    """A genome with two stranded tracks, one of both strands and a contact map: as it is, or with `before` letters
    ahead of it, or along its other strand."""

    def __init__(self, folder, *, before=0, flipped=False):
        folder.mkdir()
        values, pairs = COUNTS, PAIRS
        self.letters = "ACGGT" * (before // 5) + "A" * (before % 5) + LETTERS
        if flipped:
            self.letters = complement(LETTERS)[::-1]
            values, pairs = COUNTS[[1, 0, 2], ::-1], PAIRS[::-1, ::-1]
        length, missing = len(self.letters), before // WINDOW
        table = "".join(f"{n}\t{n}.bedgraph\t{a}\t{s}\n" for n, a, s in
                        (("h+", "cage", "+"), ("h-", "cage", "-"), ("open", "dnase", ".")))  # fmt: skip
        (folder / "t.tsv").write_text(
            f"name\tfile\tassay\tstrand\n{table}hic\tm.cool\tcontact_maps\t.\n"
        )
        for name, row in zip(("h+", "h-", "open"), values, strict=True):
            lines = [
                f"g\t{before + start}\t{before + start + 8}\t{row[start]}\n"
                for start in range(0, len(row), 8)
            ]
            (folder / f"{name}.bedgraph").write_text("".join(lines))
        bins = -(-length // WINDOW)
        matrix = np.zeros((bins, bins), int)
        matrix[missing : missing + 3, missing : missing + 3] = pairs
        write_cool(folder / "m.cool", {"g": (length, matrix)}, WINDOW)
        aligned = AlignedTracks.open(read_track_table(folder / "t.tsv"), {"g": length}, "ref.fa")
        expected = np.array([[5.0, 3.0, 1.0]], np.float32)
        self.windows = TrackWindows.of(aligned, [f"g:0-{length}"], [0.5, 0.5, 0.5, 0], expected)

    def loss(self, begin, *, flipped=False):
        """The loss of two bins from there on, and the norms of its gradients."""
        settings = TracksSettings(segments=4, reverse_complement=float(flipped))
        objective = Tracks(settings, Alphabet(Characters(), tracks=self.windows))
        letters = as_letters(self.letters[begin : begin + 2 * WINDOW])[None]
        views = objective.views(letters, np.random.default_rng(0)) | {"begins": np.array([[begin]])}
        views = {name: torch.from_numpy(view) for name, view in views.items()}
        network = network_of(self.windows, max_tokens=32).train()
        loss = objective.loss(
            Model(network, torch.nn.Identity(), lambda ids: ids.long()), views, SingleProcess()
        )
        loss.backward()
        return [loss.item(), *(p.grad.norm().item() for p in network.tracks.parameters())]


class TestProperties:
    @pytest.mark.parametrize("before", [WINDOW, 3 * WINDOW])
    @pytest.mark.parametrize("flipped", [False, True])
    def test_shifting_dna_and_tracks_together_changes_nothing(self, tmp_path, before, flipped):
        """By whole bins of the contact map, whose bins do not shift by less."""
        one, other = Genome(tmp_path / "a"), Genome(tmp_path / "b", before=before)
        for begin in (0, 700, WINDOW):
            shifted = other.loss(before + begin, flipped=flipped)
            assert shifted == one.loss(begin, flipped=flipped)

    def test_bases_shift_by_any_number_of_letters(self, tmp_path):
        one, other = Genome(tmp_path / "a"), Genome(tmp_path / "b", before=333)
        begins, sizes, flipped = np.array([[700], [2 * WINDOW], [0]])
        values = one.windows.values(begins, sizes, flipped, 2 * WINDOW)
        shifted = other.windows.values(begins + 333, sizes, flipped, 2 * WINDOW)
        assert np.array_equal(values, shifted, equal_nan=True)
        assert np.isfinite(values[..., :3]).all()

    @pytest.mark.parametrize("begin", [0, WINDOW])
    def test_a_window_along_the_other_strand_is_that_of_the_reverse_complement(
        self, tmp_path, begin
    ):
        one, other = Genome(tmp_path / "a"), Genome(tmp_path / "b", flipped=True)
        mirrored_begin = len(LETTERS) - begin - 2 * WINDOW
        assert one.loss(begin, flipped=True) == pytest.approx(other.loss(mirrored_begin), rel=1e-5)
        assert one.loss(begin)[0] != pytest.approx(other.loss(mirrored_begin)[0], rel=1e-3)


def network_loss_of_bases(objective, network, views):
    """The loss of single bases of the first window alone."""
    first = {name: view[:1] for name, view in views.items()}
    embeddings = network.embeddings(views["ids"], torch.tensor([0, 0]))
    base_targets = [part for part in objective.head_targets(network, first) if part.bases == 1]
    return sum(
        objective._head_loss(
            part.assay.scaled(embeddings, torch.tensor([0, 0]), 1)[:1], part, SingleProcess()
        )
        for part in base_targets
    )


def pretrain(genome, target, *more, table="t.tsv"):
    arguments = ["--tracks", genome / table, "--reference", genome / "ref.fa", "-o", target]
    return run(["pretrain", "--objective", "tracks", *arguments, *SMALL, *more])


@pytest.fixture(scope="module")
def model(genome):
    result = pretrain(genome, genome / "model")
    assert result.status == 0, result.stderr
    return genome / "model"


def evaluation(model, genome):
    """The command that measures a model on the tracks of a genome."""
    files = ["--reference", genome / "ref.fa", "--tracks", genome / "t.tsv"]
    return ["evaluate", "--task", "tracks", "--model", model, *files]


class TestPretraining:
    def test_a_bundle_whose_tracks_are_predicted(self, model, genome, tmp_path):
        config = json.loads((model / "config.json").read_text())
        assert config["network"]["tracks"] == {"dnase": 1, "cage": 2, "chip_histone": 1}
        assert "each track's mean in the training data" in (model / "README.md").read_text()
        (tmp_path / "r.bed").write_text("b\t10000\t11000\n")
        arguments = ["--model", model, "--reference", genome / "ref.fa", "--organism", "mouse"]
        result = run(["predict", *arguments, "--regions", tmp_path / "r.bed"])
        assert result.status == 0, result.stderr
        header, row = (line.split("\t") for line in result.stdout.splitlines())
        assert header[4:] == ["mark"]
        assert float(row[4]) > 0

    def test_it_is_measured_by_organism(self, model, genome):
        result = run(evaluation(model, genome))
        assert result.status == 0, result.stderr
        rows = [line.split("\t") for line in result.stdout.splitlines()[1:]]
        tracks = {(row[0], row[1], row[2]) for row in rows if row[2] != "."}
        expected = {(o, assay, name) for name, (assay, _, o, _) in TRACKS.items()}
        assert tracks == expected
        assert "flatters" not in result.stderr

    @pytest.mark.parametrize("organism", ["human", "mouse"])
    def test_one_organism_has_the_rows_that_it_has_among_all(self, model, genome, organism):
        arguments = [*evaluation(model, genome), "--resolution", "1024"]
        all_rows = run(arguments).stdout.splitlines()[1:]
        result = run([*arguments, "--organism", organism])
        assert result.status == 0, result.stderr
        rows = result.stdout.splitlines()[1:]
        assert rows == [row for row in all_rows if row.startswith(f"{organism}\t")] != []

    @pytest.mark.parametrize(
        ("organism_options", "status", "message"),
        [
            (["--organism", "rat"], 2, "--organism rat: the model knows human, mouse"),
            (
                ["--organism", "mouse", "--only", "cage"],
                1,
                "none of the tracks chosen that lie along",
            ),
        ],
    )
    def test_an_organism_without_tracks_is_refused(
        self, model, genome, organism_options, status, message
    ):
        options = ["--model", model, "--reference", genome / "ref.fa", "--tracks", genome / "t.tsv"]
        result = run(["evaluate", "--task", "tracks", *options, *organism_options])
        assert (result.status, result.stdout) == (status, "")
        assert message in result.stderr

    def test_the_same_seed_gives_the_same_model(self, model, genome, tmp_path):
        assert pretrain(genome, tmp_path / "again").status == 0
        again = (tmp_path / "again" / "model.safetensors").read_bytes()
        assert again == (model / "model.safetensors").read_bytes()

    def test_an_interrupted_run_goes_on_to_the_same_model(
        self, model, genome, tmp_path, monkeypatch
    ):
        loss, calls = Tracks.loss, []

        def interrupted(*inputs):
            calls.append(inputs)
            if len(calls) == 3:
                raise InputError("stopped", path="here")
            return loss(*inputs)

        options = ["--set", "optimization.checkpoint_every=0"]
        with monkeypatch.context() as patch:
            patch.setattr(Tracks, "loss", interrupted)
            assert pretrain(genome, tmp_path / "m", *options).status == 1
        result = pretrain(genome, tmp_path / "m", *options, "--resume")
        assert result.status == 0, result.stderr
        again = (tmp_path / "m" / "model.safetensors").read_bytes()
        assert again == (model / "model.safetensors").read_bytes()

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("a\tzero.bedgraph\tcage\t.\tx\n", "track a has no value above 0"),
            ("a\topen.bedgraph\twgbs\t.\tx\n", "assay is one of atac"),
            ("a\topen.bedgraph\tcage\t.\tx\nb\th+.bedgraph\tcage\t.\ty\n", "has tracks of x and y"),
        ],
    )
    def test_what_cannot_be_learnt_is_one_line(self, genome, tmp_path, table, message):
        (genome / "zero.bedgraph").write_text(f"a\t0\t{LENGTH}\t-1\n")
        (genome / "bad.tsv").write_text(HEADER + table)
        result = pretrain(genome, tmp_path / "m", table="bad.tsv")
        assert result.status == 1
        assert message in result.stderr
        assert sum("warning: " not in line for line in result.stderr.splitlines()) <= 2

    def test_contigs_that_no_track_is_on_are_named(self, genome):
        table = read_track_table(genome / "t.tsv").selected([Track("mark")])
        aligned = AlignedTracks.open(table, {"a": LENGTH, "b": LENGTH}, "ref.fa")
        regions = [
            Region(contig, start, end, "", 1)
            for contig, start, end in [("a", 0, 100), ("a", 200, 300), ("b", 0, 50)]
        ]
        (warning,) = _trackless_contig_warnings(aligned, regions)
        assert warning.startswith("no track has a value on a: 200 of 250 letters teach nothing")
        assert _trackless_contig_warnings(aligned, regions[2:]) == []

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("corpus.window=1000", "windows are multiples of 2,048 letters"),
            ("tracks.segments=5", "tracks.segments = 5"),
        ],
    )
    def test_windows_are_whole(self, genome, tmp_path, change, message):
        result = pretrain(genome, tmp_path / "m", "--set", change)
        assert result.status != 0
        assert message in result.stderr
