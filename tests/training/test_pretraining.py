"""Unlabelled corpora, their batches, and runs of pretraining: the same however they are interrupted or shared out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli import tokenizers
from genomai_cli.backbones.base import build_network
from genomai_cli.bundles.bundle import load, save
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import InputError, Stopped, TrainingError
from genomai_cli.inputs.samples import COUNTED, observed_letters
from genomai_cli.inputs.sequences import SequenceInput, vocabulary_sizes
from genomai_cli.mapping.reference import Reference
from genomai_cli.objectives.base import NO_TARGET, Alphabet, SingleProcess
from genomai_cli.phylogeny.genome_input import GenomeInput
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.panel import Panel
from genomai_cli.training import corpus_writer
from genomai_cli.training.baselines import Baselines
from genomai_cli.training.corpus import Corpus, is_finished, require_unchanged, shuffled_epochs
from genomai_cli.training.corpus_writer import PieceCutter
from genomai_cli.training.pretraining import (
    CHECKPOINT,
    Pretraining,
    RunContext,
    piece_cutter,
    pretrain,
)
from genomai_cli.training.recipe import from_tables
from genomai_cli.training.run_folder import MetricsLog
from genomai_cli.training.sampler import BLOCK

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TABLES = {
    "name": "tiny",
    "objectives": {"contrastive": 1.0, "masked": 0.5},
    "tokenizer": {"kind": "kmers", "k": 3},
    "network": {
        "kind": "transformer", "width": 16, "heads": 2, "layers": 1, "feed_forward": 16,
        "positions": 32, "dropout": 0.1,
    },
    "corpus": {"log_every": 3},
    "optimization": {"steps": 12, "batch_size": 20, "evaluate_every": 4, "learning_rate": 5e-3},
}  # fmt: skip


def recipe(**changed):
    """The tiny recipe with changed tables."""
    return from_tables(TABLES | changed)


def letters(sequence):
    return np.frombuffer(sequence.encode(), np.uint8)


def random_dna(count, size, seed=1):
    rng = np.random.default_rng(seed)
    return [(f"s{i}", letters("ACGT")[rng.integers(0, 4, size)]) for i in range(count)]


def write_corpus(folder, records, cutter=None, *, holdout=0.2, seed=0):
    return corpus_writer.write(
        folder, records, cutter or PieceCutter(20, 4, 8), holdout=holdout, seed=seed
    )


def piece_text(corpus, number):
    begin, end = corpus.bounds[number]
    return corpus.letters[begin:end].tobytes().decode()


class TestShuffling:
    @given(st.integers(1, 3000), st.integers(0, 2**31))
    def test_every_epoch_takes_everything_once(self, count, seed):
        order = shuffled_epochs(np.arange(2 * count), count, seed)
        assert sorted(order[:count]) == sorted(order[count:]) == list(range(count))

    def test_epochs_and_seeds_differ(self):
        epochs = [shuffled_epochs(np.arange(100) + e * 100, 100, seed).tolist() for e, seed in
                  ((0, 1), (1, 1), (0, 2))]  # fmt: skip
        assert len({tuple(epoch) for epoch in epochs}) == 3

    def test_a_position_alone_is_what_it_is_among_others(self):
        positions = np.arange(57, 143)
        together = shuffled_epochs(positions, 60, 9)
        assert [
            int(shuffled_epochs(np.array([p]), 60, 9)[0]) for p in positions
        ] == together.tolist()

    def test_neighbours_are_torn_apart(self):
        order = shuffled_epochs(np.arange(10_000), 10_000, 3)
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05


class TestPieceCutter:
    @given(st.lists(st.sampled_from(["ACGT", "N", "NNNNNNNNNN", "A", "GATTACA" * 3]), max_size=20))
    def test_pieces_hold_what_lies_between_gaps(self, parts):
        sequence = "".join(parts)
        cutter = PieceCutter(max_length=10, min_length=3, gap=6)
        pieces = list(cutter.pieces(letters(sequence)))
        covered = [position for begin, end in pieces for position in range(begin, end)]
        assert covered == sorted(set(covered))
        for begin, end in pieces:
            assert 0 < end - begin <= 10
            assert "N" * 6 not in sequence[begin:end]
        for stretch in sequence.split("NNNNNN"):
            trimmed = stretch.strip("N")
            if len(trimmed) >= 3 and "N" not in trimmed:
                assert trimmed in "".join(sequence[b:e] for b, e in pieces)

    def test_a_long_sequence_is_cut_evenly(self):
        sizes = [e - b for b, e in PieceCutter(10, 3, 6).pieces(letters("ACGTA" * 9))]
        assert sizes == [9, 9, 9, 9, 9]

    @given(st.integers(5, 20), st.integers(0, 20), st.integers(1, 200))
    def test_no_piece_is_shorter_than_the_shortest(self, min_length, more, length):
        cutter = PieceCutter(min_length + more, min_length, 6)
        sizes = [end - begin for begin, end in cutter.pieces(letters("A" * length))]
        assert sum(sizes) == (length if length >= min_length else 0)
        assert all(min_length <= size < 2 * (min_length + more) for size in sizes)

    def test_rows_without_a_known_letter_are_skipped(self):
        cutter = PieceCutter(sites=4)
        assert list(cutter.pieces(letters("NNNN"))) == []
        assert list(cutter.pieces(letters("NNAN"))) == [(0, 4)]


class TestCorpus:
    @pytest.mark.parametrize("file", ["letters.u8", "pieces.i64", "learn.i64", "judge.i64"])
    @pytest.mark.parametrize("damage", ["cut", "longer", "large", "missing"])
    def test_a_damaged_file_is_named(self, tmp_path, file, damage):
        write_corpus(tmp_path / "c", random_dna(5, 100))
        damaged = next(path for path in tmp_path.rglob(file))
        data = damaged.read_bytes()
        damaged.unlink()
        if damage != "missing":
            large = data[:-8] + b"\xff" * 7 + b"\x7f"
            damaged.write_bytes(
                {"cut": data[:-16], "longer": data + data[:16], "large": large}[damage]
            )
        if file == "letters.u8" and damage == "large":  # letters are checked by their number only
            Corpus.open(damaged.parent)
            return
        with pytest.raises(InputError, match=file):
            Corpus.open(damaged.parent)

    @pytest.mark.parametrize("file", ["letters.u8", "pieces.i64", "learn.i64", "sha256.json"])
    def test_a_changed_bit_is_named(self, tmp_path, file):
        write_corpus(tmp_path / "c", random_dna(5, 100))
        require_unchanged(tmp_path / "c")
        content = bytearray((tmp_path / "c" / file).read_bytes())
        content[-1] ^= 1
        (tmp_path / "c" / file).write_bytes(content)
        with pytest.raises(InputError, match=rf"{file}: damaged: not as it was written"):
            require_unchanged(tmp_path / "c")

    def test_other_fields_of_what_is_known_are_named(self, tmp_path):
        write_corpus(tmp_path / "c", random_dna(5, 100))
        info_file = next(path for path in tmp_path.rglob("corpus.json"))
        info_file.write_text(info_file.read_text().replace("pieces", "piecms"))
        with pytest.raises(InputError, match=r"corpus\.json: damaged"):
            Corpus.open(info_file.parent)

    def test_a_corpus_is_found_again(self, tmp_path):
        corpus = write_corpus(tmp_path / "c", random_dna(5, 100))
        reopened = Corpus.open(tmp_path / "c")
        assert reopened.info == corpus.info
        assert (reopened.letters == corpus.letters).all()
        assert (reopened.bounds == corpus.bounds).all()
        assert (tmp_path / "c" / "names.txt").read_text().split() == [f"s{i}" for i in range(5)]

    def test_an_unfinished_corpus_is_refused(self, tmp_path):
        def interrupted_records():
            yield from random_dna(3, 50)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_corpus(tmp_path / "c", interrupted_records())
        assert not is_finished(tmp_path / "c")
        with pytest.raises(InputError, match="not a finished corpus"):
            Corpus.open(tmp_path / "c")

    @pytest.mark.parametrize("seed", range(3))
    def test_few_long_sequences_are_held_out_in_pieces(self, tmp_path, seed):
        corpus = write_corpus(tmp_path / "c", random_dna(2, 400), seed=seed)
        assert not corpus.info.by_record
        assert len(corpus.validation) == 8  # a fifth of 40
        assert sorted([*corpus.train, *corpus.validation]) == list(range(40))
        held_out = [set(range(*corpus.bounds[i])) for i in corpus.validation]
        train = set().union(*(range(*corpus.bounds[i]) for i in corpus.train))
        assert not any(positions & train for positions in held_out)

    def test_many_records_are_held_out_whole(self, tmp_path):
        corpus = write_corpus(tmp_path / "c", random_dna(150, 50))
        assert corpus.info.by_record
        records = corpus.bounds[:, 0] // 50
        assert not set(records[corpus.train]) & set(records[corpus.validation])
        assert len(set(records[corpus.validation])) == 30

    def test_haplotypes_of_one_individual_stay_together(self, tmp_path):
        rows = [(f"p{i // 2}_{'AB'[i % 2]}|region{i % 3}", row) for i, (_, row) in
                enumerate(random_dna(40, 50))]  # fmt: skip
        corpus = write_corpus(tmp_path / "c", rows)
        individual = corpus.bounds[:, 0] // 100
        assert corpus.info.by_record
        assert not set(individual[corpus.train]) & set(individual[corpus.validation])

    def test_other_seeds_hold_out_others(self, tmp_path):
        held_out = [tuple(write_corpus(tmp_path / f"{seed}", random_dna(2, 400), seed=seed).validation)
                  for seed in (1, 1, 2)]  # fmt: skip
        assert held_out[0] == held_out[1] != held_out[2]

    def test_nothing_usable_is_told(self, tmp_path):
        with pytest.raises(TrainingError, match="nothing to train on in 2 records"):
            write_corpus(tmp_path / "c", [("a", letters("NNNNNN")), ("b", letters("AC"))])
        with pytest.raises(TrainingError, match="too little to hold some out"):
            write_corpus(tmp_path / "d", [("a", letters("ACGTACGT"))])

    def test_rows_know_the_letters_of_their_sites(self, tmp_path):
        rows = [
            (f"p{i}", letters(row)) for i, row in enumerate(["AC", "GC", "NC", "AC", "AN", "GC"])
        ]
        corpus = write_corpus(tmp_path / "c", rows, PieceCutter(sites=2), holdout=0.2)
        assert corpus.counts.sum() == 2 * len(corpus.train)
        observed = observed_letters(corpus.counts)
        assert set(observed[0]) - {0} <= {ord("A"), ord("G")}
        assert set(observed[1]) - {0} == {ord("C")}
        subset = corpus.select_columns(np.array([1]))
        assert subset.counts[0, COUNTED.index(b"C")] == corpus.counts[1, COUNTED.index(b"C")]
        assert subset.windows(np.array([0]), np.zeros(1), 2).tolist() == [[ord("C")]]

    @given(st.integers(1, 30), st.floats(0, 0.999))
    @settings(max_examples=30)
    def test_windows_lie_in_their_pieces(self, tmp_path_factory, max_length, start):
        corpus = write_corpus(tmp_path_factory.mktemp("c"), random_dna(3, 90))
        numbers = np.arange(len(corpus.bounds))
        for number, row in zip(
            numbers, corpus.windows(numbers, np.full(len(numbers), start), max_length), strict=True
        ):
            window = row[row > 0].tobytes().decode()
            full_piece = piece_text(corpus, number)
            assert window in full_piece
            assert len(window) == min(max_length, len(full_piece))


@pytest.fixture(scope="module")
def dna(tmp_path_factory):
    """A corpus of random DNA for the tiny recipe."""
    folder = tmp_path_factory.mktemp("dna")
    return write_corpus(
        folder / "c", random_dna(6, 900), piece_cutter(recipe(), SequenceInput()), holdout=0.1
    )


class Slice(SingleProcess):
    """One of several processes, as far as a sampler can tell."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size
        self.shard = False

    def parallel(self, network, device):
        return network

    def any_process(self, *flags):
        return flags

    def mean(self, number):
        return number

    def full_tensor(self, tensor):
        return tensor


def sampler(dna, processes=None, **changed):
    context = RunContext(processes=processes) if processes else RunContext()
    return Pretraining(dna, recipe(**changed), SequenceInput(), 0, None, context).sampler


def unpadded(batch, view):
    ids = batch["masked"][view]
    return [row[row != 64].tolist() for row in ids]


class TestSampler:
    def test_a_batch_is_a_function_of_the_step(self, dna):
        one, other = sampler(dna), sampler(dna)
        first = [one.training_batch(step) for step in (0, 1, 2)]
        assert torch.equal(first[2]["masked"]["ids"], other.training_batch(2)["masked"]["ids"])
        assert not torch.equal(first[0]["masked"]["ids"], first[1]["masked"]["ids"])

    @pytest.mark.parametrize("size", [2, 4, 5])
    def test_slices_of_several_processes_make_up_the_batch(self, dna, size):
        full_batch = sampler(dna).training_batch(3)
        parts = [sampler(dna, Slice(rank, size)).training_batch(3) for rank in range(size)]
        assert 20 % BLOCK  # so that slices begin inside blocks
        for view in ("ids", "targets"):
            joined = [row for part in parts for row in unpadded(part, view)]
            assert joined == unpadded(full_batch, view)

    def test_another_objective_beside_it_does_not_change_what_one_sees(self, dna):
        both = sampler(dna).training_batch(1)
        alone = sampler(dna, objectives={"masked": 1.0}).training_batch(1)
        assert alone.keys() == {"masked"}
        assert torch.equal(alone["masked"]["ids"], both["masked"]["ids"])

    def test_validation_is_the_same_for_any_number_of_processes(self, dna):
        changed = {
            "corpus": {"judged": 9},
            "optimization": TABLES["optimization"] | {"batch_size": 2},
        }
        full_batches = sampler(dna, **changed).validation_batches()
        parts = [sampler(dna, Slice(rank, 2), **changed).validation_batches() for rank in range(2)]
        assert [weight for _, weight in full_batches] == [0.5] * 2  # of four pieces held out
        shared = [entry for pair in zip(*parts, strict=True) for entry in pair]
        for (one, _), (other, _) in zip(full_batches, shared, strict=True):
            assert torch.equal(one["masked"]["ids"], other["masked"]["ids"])

    def test_processes_without_a_validation_batch_have_one_of_no_weight(self, dna):
        changed = {
            "corpus": {"judged": 3},
            "optimization": TABLES["optimization"] | {"batch_size": 5},
        }
        batches = sampler(dna, Slice(1, 5), **changed).validation_batches()
        assert [weight for _, weight in batches] == [0.0]

    def test_validation_pieces_are_held_out_ones(self, dna):
        batch, _ = sampler(dna).validation_batches()[0]
        tokenizer = tokenizers.from_config(TABLES["tokenizer"])
        held_out = [piece_text(dna, number) for number in dna.validation]
        rows = torch.where(batch["masked"]["targets"] != NO_TARGET, batch["masked"]["targets"],
                           batch["masked"]["ids"])  # fmt: skip
        for row in rows.numpy():
            assert any(tokenizer.decode(row) in letters for letters in held_out)


def run(corpus, changed=None, **settings):
    rows = []
    pretrained = pretrain(
        corpus,
        changed or recipe(),
        SequenceInput(),
        context=RunContext(report=rows.append, **settings),
    )
    return pretrained, rows


def state(pretrained):
    return {n: t.numpy().tobytes() for n, t in pretrained.bundle.classifier.state_dict().items()}


def without_speed(metrics):
    """The metrics of a step without its speed, which differs between runs."""
    return replace(metrics, tokens_per_second=0.0)


class TestPretraining:
    def test_a_run_from_its_losses_to_its_bundle(self, dna, tmp_path):
        pretrained, rows = run(dna)
        assert [metrics.step for metrics in rows] == [3, 4, 6, 8, 9, 12]
        assert [m.step for m in rows if m.held_out is not None] == [4, 8, 12]
        last = rows[-1]
        assert last.held_out_terms.keys() == {"contrastive", "masked"}
        assert last.loss == pytest.approx(last.terms["contrastive"] + 0.5 * last.terms["masked"])
        assert pretrained.facts["steps"] == 12
        assert pretrained.facts["tokens"] == last.tokens
        save(pretrained.bundle, tmp_path / "b", Extras("# x\n", ""))
        loaded = load(tmp_path / "b", CPU)
        assert loaded.heads == {}
        assert loaded.auxiliary.keys() == {"contrastive", "masked"}
        ids = torch.arange(20).reshape(2, 10)
        one, other = (b.classifier.networks[0].eval() for b in (pretrained.bundle, loaded))
        assert torch.allclose(one.pooled(ids), other.pooled(ids), atol=1e-6)
        for name in loaded.auxiliary:
            for a, b in zip(
                pretrained.bundle.auxiliary[name].parameters(),
                loaded.auxiliary[name].parameters(),
                strict=True,
            ):
                assert torch.equal(a, b)

    def test_auxiliary_heads_are_counted_apart(self, dna):
        pretrained, _ = run(dna)
        parameters = sum(p.numel() for p in pretrained.bundle.classifier.networks[0].parameters())
        assert pretrained.bundle.classifier.trainable_parameters == parameters

    def test_losses_fall(self, dna):
        settings_ = TABLES["optimization"] | {"steps": 60, "evaluate_every": 60}
        _, rows = run(dna, recipe(optimization=settings_))
        for name in ("contrastive", "masked"):
            assert rows[-1].terms[name] < rows[0].terms[name]

    @pytest.mark.parametrize("step", [1, 4, 7])
    def test_a_stopped_run_goes_on_to_the_same_bytes(self, dna, tmp_path, step):
        uninterrupted, rows = run(dna)
        steps = iter(range(1, 100))
        with pytest.raises(Stopped, match=f"stopped after step {step} of 12"):
            run(dna, work=tmp_path, stop=lambda: next(steps) == step)
        resumed, later = run(dna, work=tmp_path)
        assert state(resumed) == state(uninterrupted)
        expected = [without_speed(metrics) for metrics in rows if metrics.step > step]
        assert [without_speed(metrics) for metrics in later] == expected

    def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_checkpoint(self, dna, tmp_path):
        changed = recipe(optimization=TABLES["optimization"] | {"checkpoint_every": 0.0})
        broken = Pretraining(dna, changed, SequenceInput(), 0, None, RunContext(work=tmp_path))
        loss = broken._loss
        steps = iter(range(100))
        broken._loss = lambda *arguments: loss(*arguments) * (math.nan if next(steps) == 6 else 1)
        with pytest.raises(
            TrainingError, match=r"nan at step 6: .*; the checkpoint of step 6 stays"
        ):
            broken.run()
        assert (tmp_path / CHECKPOINT).exists()
        resumed, _ = run(dna, changed, work=tmp_path)
        assert state(resumed) == state(run(dna, changed)[0])

    def test_a_run_begins_with_another_model(self, dna):
        first, _ = run(dna)
        changed = recipe(optimization=TABLES["optimization"] | {"steps": 1, "learning_rate": 0.0})
        second = pretrain(dna, changed, SequenceInput(), start=first.bundle, seed=5)
        assert state(second) == state(first)
        heads = [m.bundle.auxiliary["masked"].state_dict() for m in (first, second)]
        assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])

    def test_a_model_of_other_tokens_is_not_begun_from(self, dna, tmp_path):
        other = recipe(tokenizer={"kind": "kmers", "k": 2})
        start = run(
            write_corpus(tmp_path / "c", random_dna(6, 900), piece_cutter(other, SequenceInput())),
            other,
        )[0].bundle
        with pytest.raises(TrainingError, match="has another tokenizer"):
            pretrain(dna, recipe(), SequenceInput(), start=start)

    def test_no_objective_is_refused(self, dna):
        with pytest.raises(TrainingError, match="no objectives"):
            pretrain(dna, recipe(objectives={}), SequenceInput())

    def test_windows_too_short_for_tokens_are_refused(self):
        with pytest.raises(
            TrainingError, match="windows of 6 letters are too short for tokens of 3"
        ):
            piece_cutter(recipe(corpus={"window": 6}), SequenceInput())

    def test_a_batch_that_cannot_be_shared_is_refused(self, dna):
        with pytest.raises(TrainingError, match="batch_size = 20 cannot be shared by 3"):
            sampler(dna, Slice(0, 3))

    def test_barcodes_know_what_their_letters_mean(self, cohort, tmp_path):
        panel = Panel.read(cohort.panel)
        rng = np.random.default_rng(5)
        alleles = np.array([[ord(r), ord(a)] for r, a in zip(panel.ref, panel.alt, strict=True)])
        common = rng.random((60, len(panel))) < 0.8
        rows = [(f"p{i}", np.where(row, alleles[:, 0], alleles[:, 1]).astype(np.uint8))
                for i, row in enumerate(common)]  # fmt: skip
        barcode_recipe = recipe(
            input={"kind": "barcode"},
            tokenizer={"kind": "iupac"},
            network={"kind": "sites", "width": 8},
        )
        kind = BarcodeInput(panel)
        corpus = write_corpus(tmp_path / "c", rows, piece_cutter(barcode_recipe, kind))
        pretrained = pretrain(corpus, barcode_recipe, kind)
        network = pretrained.bundle.classifier.networks[0]
        assert float(network.frequency.mean()) == pytest.approx(0.2, abs=0.03)
        # Frequencies of the sites make a better prediction than none, ln 2 for two alleles as likely.
        assert pretrained.facts["baseline"]["masked"] == pytest.approx(0.5, abs=0.06)
        with pytest.raises(TrainingError, match="recipe tiny reads barcode, not sequence"):
            pretrain(corpus, barcode_recipe, SequenceInput())

    def test_genomes_are_read_where_they_vary(self, tmp_path):
        rng = np.random.default_rng(6)
        reference = Reference("r", "ACGT" * 20, circular=True)
        rows = []
        for number in range(60):
            genome = reference.letters.copy()
            genome[::8] = letters("AG")[(rng.random(10) < 0.4).astype(int)]
            rows.append((f"g{number}", genome))
        genome_recipe = recipe(
            input={"kind": "anchored"},
            tokenizer={"kind": "characters"},
            network={"kind": "profile", "width": 8},
        )
        kind = GenomeInput(reference)
        pretrained = pretrain(
            write_corpus(tmp_path / "c", rows, piece_cutter(genome_recipe, kind)),
            genome_recipe,
            kind,
        )
        assert pretrained.bundle.input.sites.positions.tolist() == list(range(0, 80, 8))
        save(pretrained.bundle, tmp_path / "b", Extras("# x\n", ""))
        assert len(load(tmp_path / "b", CPU).input.sites) == 10


class TestBaselines:
    def baseline(self, corpus, config):
        network = build_network(
            TABLES["network"] | vocabulary_sizes(tokenizers.from_config(config))
        )
        alphabet = Alphabet(tokenizers.from_config(config))
        return Baselines(corpus, alphabet, 32, SequenceInput(), network)

    def test_views_are_matched_among_those_of_the_batch(self, dna):
        batch = {"contrastive": {"ids_first": torch.zeros(8, 3)}}
        assert self.baseline(dna, {"kind": "characters"}).loss("contrastive", batch) == math.log(8)

    def masked(self, tokenizer, sequence, positions):
        """The batch of one sequence with the letters at some positions masked."""
        visible = np.array(
            [[ord("N") if i in positions else ord(c) for i, c in enumerate(sequence)]], np.uint8
        )
        original = tokenizer.encode(sequence)[None].astype(np.int64)
        ids = tokenizer.encode(visible.tobytes().decode())[None].astype(np.int64)
        is_masked = ids == tokenizer.unk_id
        return {"masked": {
            "ids": torch.from_numpy(np.where(is_masked, tokenizer.mask_id, ids)),
            "targets": torch.from_numpy(np.where(is_masked, original, NO_TARGET)),
        }}  # fmt: skip

    def test_a_letter_masked_in_random_dna_is_one_of_four_in_all_tokens_over_it(self, dna):
        config = {"kind": "kmers", "k": 3}
        batch = self.masked(tokenizers.from_config(config), "ACGTACGTAC", {5})
        assert self.baseline(dna, config).loss("masked", batch) == pytest.approx(
            math.log(4), rel=0.1
        )

    def test_a_token_masked_in_full_is_one_of_all(self, dna):
        config = {"kind": "kmers", "k": 3, "stride": 3}
        batch = self.masked(
            tokenizers.from_config(config), "ACGTAGCCATGATTACAGGCT" * 9, set(range(1, 189, 3))
        )
        assert self.baseline(dna, config).loss("masked", batch) == pytest.approx(
            math.log(64), rel=0.1
        )

    def test_what_has_no_baseline_has_none(self, dna):
        assert math.isnan(self.baseline(dna, {"kind": "characters"}).loss("other", {"other": {}}))


class TestMetricsLog:
    def test_what_is_damaged_is_left_out(self, tmp_path):
        file = tmp_path / "metrics.tsv"
        file.write_bytes(b"step\tloss\n10\t0.5\nx\t0.4\n\xff\xfe\t0.4\n20\t0.4\n")
        MetricsLog(file).add({"step": "30", "loss": "0.3"})
        assert file.read_text() == "step\tloss\n10\t0.5\n20\t0.4\n30\t0.3\n"
        for garbage in (b"\x00\xff" * 50, b"", b"other\tcolumns\n1\t2\n", b"step\n5\n"):
            file.write_bytes(garbage)
            MetricsLog(file).add({"step": "30", "loss": "0.3"})
            assert file.read_text() == "step\tloss\n30\t0.3\n"

    def test_rows_that_come_again_replace_those_of_the_interrupted_run(self, tmp_path):
        log = MetricsLog(tmp_path / "metrics.tsv")
        for step in (10, 20, 30):
            log.add({"step": str(step), "loss": "1"})
        resumed = MetricsLog(tmp_path / "metrics.tsv")
        resumed.add({"step": "20", "loss": "2"})
        resumed.add({"step": "30", "loss": "2"})
        assert resumed.text() == "step\tloss\n10\t1\n20\t2\n30\t2\n"

    def test_a_line_that_was_cut_short_is_dropped(self, tmp_path):
        file = tmp_path / "metrics.tsv"
        file.write_text("step\tloss\n10\t1\n20\t0.3")
        MetricsLog(file).add({"step": "20", "loss": "0.35"})
        assert file.read_text() == "step\tloss\n10\t1\n20\t0.35\n"

    def test_parts_are_apart(self, tmp_path):
        file = tmp_path / "metrics.tsv"
        MetricsLog(file).add({"part": "0", "step": "50"}, "part")
        MetricsLog(file).add({"part": "1", "step": "10"}, "part")
        assert file.read_text() == "part\tstep\n0\t50\n1\t10\n"
