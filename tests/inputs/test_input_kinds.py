"""One suite for every kind of input of the registry: in a bundle, a corpus, training, calls and a resumed run.

A new kind joins by an entry in `CASES` and the records that `make_dataset` makes for it.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import POPULATIONS

from genomai_cli import registry, tokenizers
from genomai_cli.backbones.classifier import LIKELIHOOD
from genomai_cli.bundles.bundle import Bundle, build, load, save
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import BundleError, InputError, TrainingError, UsageError
from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import read_labels
from genomai_cli.inputs.base import InputKind, input_class
from genomai_cli.mapping.reference import Reference
from genomai_cli.population.barcode import read_barcodes, resolve
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord
from genomai_cli.training import corpus_writer, finetuning
from genomai_cli.training.labelled_data import gather
from genomai_cli.training.pretraining import Pretraining, RunContext, piece_cutter
from genomai_cli.training.recipe import Recipe, from_tables

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TRANSFORMER = {
    "kind": "transformer", "width": 16, "heads": 2, "layers": 1, "feed_forward": 16, "positions": 128,
}  # fmt: skip
COMMON = {
    "name": "tiny",
    "split": {"holdout": 0.2},
    "optimization": {"steps": 2, "batch_size": 12, "evaluate_every": 2},
}
GENOME_LENGTH, SITE_SPACING = 640, 8  # letters of the reference, and between its variable sites
SAMPLES = 60  # sequences and genomes


@dataclass(frozen=True)
class Case:
    """A kind by its name in the registry, with a recipe for it and what such a kind can do."""

    kind: str
    tables: dict
    files: tuple[str, ...] = ()
    initializes: bool = True  # whether buffers are computed from the data before training
    has_heads: bool = True  # whether `genomai train` takes the recipe
    is_read: bool = True  # whether records are read one by one


CASES = {
    "sequence": Case(
        "sequence",
        {
            "tokenizer": {"kind": "kmers", "k": 3},
            "network": TRANSFORMER,
            "objectives": {"masked": 1.0},
        },
        initializes=False,
    ),
    "barcode": Case(
        "barcode",
        {
            "input": {"kind": "barcode"},
            "tokenizer": {"kind": "iupac"},
            "network": {"kind": "sites", "width": 8},
            "likelihood": {"head": "pop", "axes": 1},
            "objectives": {"masked": 1.0},
        },
        ("panel",),
    ),
    "barcode-haplotypes": Case(
        "barcode",
        {
            "input": {"kind": "barcode", "haplotypes": True},
            "tokenizer": {"kind": "symmetric", "k": 3},
            "network": TRANSFORMER,
            "objectives": {"contrastive": 1.0},
        },
        ("panel",),
        initializes=False,
    ),
    "people": Case(
        "people",
        {
            "input": {"kind": "people", "phenotypes": ["superpopulation", "population"]},
            "tokenizer": {"kind": "iupac"},
            "network": {"kind": "denoiser", "width": 8},
            "objectives": {"diffusion": 1.0},
        },
        ("panel", "labels", "phenotypes"),
        has_heads=False,
        is_read=False,
    ),
    "described": Case(
        "described",
        {
            "input": {"kind": "barcode"},
            "tokenizer": {"kind": "iupac"},
            "network": {"kind": "crossmodal", "width": 16, "size": 8, "layers": 1},
            "crossmodal": {"groups": "population"},
            "objectives": {"crossmodal": 1.0},
        },
        ("panel", "phenotypes"),
        has_heads=False,
    ),
    "anchored": Case(
        "anchored",
        {
            "input": {"kind": "anchored"},
            "tokenizer": {"kind": "characters"},
            "network": {"kind": "profile", "width": 8},
            "regression": {"head": "pop"},
            "objectives": {"masked": 1.0},
        },
        ("reference",),
    ),
}


@dataclass(frozen=True)
class Dataset:
    """A case with its made-up data: `records` of a corpus or to train on, the label of each by name."""

    case: Case
    recipe: Recipe
    files: dict[str, Path]
    kind: InputKind
    records: list[SequenceRecord]
    labels: dict[str, str]

    def samples(self):
        """All records as labelled samples."""
        return gather(self.records, {"pop": self.labels}, check=self.kind.check_record)[0]


def records_with_lines(named):
    """Records of names and sequences, each with its line in a file."""
    return [
        SequenceRecord(name, text, path="x.fa", line=2 * i + 1)
        for i, (name, text) in enumerate(named)
    ]


def random_dna(rng, length):
    return "".join(rng.choice(list("ACGT"), length))


def dna(rng):
    """Sequences of different lengths, and a label of each."""
    named = [(f"s{i}", random_dna(rng, int(rng.integers(60, 100)))) for i in range(SAMPLES)]
    return records_with_lines(named), {name: "xyz"[i % 3] for i, (name, _) in enumerate(named)}


def genomes(rng, reference):
    """Genomes of three groups, each with variants of its own, and the group of each."""
    frequencies = np.where(
        np.arange(GENOME_LENGTH // SITE_SPACING) % 3 == np.arange(3)[:, None], 0.6, 0.1
    )
    named = []
    for number in range(SAMPLES):
        letters = list(reference)
        for site in np.flatnonzero(
            rng.random(GENOME_LENGTH // SITE_SPACING) < frequencies[number % 3]
        ):
            letters[site * SITE_SPACING] = {"A": "G", "G": "A", "C": "T", "T": "C"}[
                letters[site * SITE_SPACING]
            ]
        named.append((f"g{number}", "".join(letters)))
    return records_with_lines(named), {name: "xyz"[i % 3] for i, (name, _) in enumerate(named)}


def cohort_records(cohort, haplotypes):
    """The cohort's barcodes, or both haplotypes of each under names with _A and _B, and their populations."""
    panel = Panel.read(cohort.panel)
    barcodes = read_barcodes(open_inputs([cohort.vcf]), panel).records()
    named = [(record.name, record.sequence) for record in barcodes]
    labels = {name: name.partition("_")[0] for name, _ in named}
    if haplotypes:
        named = [
            (f"{name}_{suffix}", haplotype.tobytes().decode())
            for name, barcode in named
            for suffix, haplotype in zip(
                "AB", resolve(np.frombuffer(barcode.encode(), np.uint8)), strict=True
            )
        ]
    return records_with_lines(named), labels


def make_dataset(case, cohort, folder):
    """The made-up data of a case, and its kind of input as a run is given it."""
    rng = np.random.default_rng(17)
    reference = random_dna(rng, GENOME_LENGTH)
    (folder / "reference.fa").write_text(f">made-up\n{reference}\n")
    all_files = {
        "panel": cohort.panel,
        "labels": cohort.labels,
        "phenotypes": cohort.labels,
        "reference": folder / "reference.fa",
    }
    if case.kind == "sequence":
        records, labels = dna(rng)
    elif case.kind == "anchored":
        records, labels = genomes(rng, reference)
    else:
        records, labels = cohort_records(cohort, haplotypes=case.kind == "people")
    recipe = from_tables(COMMON | case.tables)
    files = {option: all_files[option] for option in case.files}
    kind = input_class(case.kind).from_files(recipe, files, None)
    return Dataset(case, recipe, files, kind, records, labels)


@pytest.fixture(scope="module")
def datasets(cohort, tmp_path_factory):
    """The data of every case by its name."""
    return {
        name: make_dataset(case, cohort, tmp_path_factory.mktemp("world"))
        for name, case in CASES.items()
    }


@pytest.fixture(scope="module", params=CASES)
def dataset(request, datasets):
    """The data of one case."""
    return datasets[request.param]


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A run of pretraining on the case's corpus, not yet begun."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = dataset.kind.corpus_rows(dataset.records, lambda message: None)
    cutter = piece_cutter(dataset.recipe, dataset.kind)
    corpus = corpus_writer.write(folder, rows, cutter, holdout=0.2, seed=0)
    return Pretraining(corpus, dataset.recipe, dataset.kind, 0, None, RunContext())


@pytest.fixture(scope="module")
def pretrained(run):
    """The pretrained model of the run."""
    return run.run()


@pytest.fixture(scope="module")
def folder(pretrained, tmp_path_factory):
    """The bundle of the run on disk."""
    target = tmp_path_factory.mktemp("bundles") / "tiny"
    save(
        pretrained.bundle, target, Extras("# tiny\n", "", pretrained.files, list(pretrained.files))
    )
    return target


@pytest.fixture(scope="module")
def loaded(folder) -> Bundle:
    """The bundle as it is read again."""
    return load(folder, CPU)


@pytest.fixture(scope="module")
def finetuned(dataset):
    """A model of the case's labels; cases without heads are left out."""
    if not dataset.case.has_heads:
        pytest.skip("no heads")
    return finetuning.fit(dataset.samples(), dataset.recipe, dataset.kind).bundle


@pytest.fixture(scope="module")
def labelled_views(dataset):
    """Labelled samples as the kind reads them, and their views; kinds without views are left out."""
    if not dataset.case.is_read:
        pytest.skip("no views")
    samples = dataset.samples()
    train = np.arange(len(samples))
    kind, samples = dataset.kind.select_sites(samples, train, dataset.recipe)
    tokenizer = tokenizers.from_config(dataset.recipe.tokenizer)
    return samples, kind.views(samples, train, dataset.recipe, tokenizer)


def reader_of(dataset, loaded):
    if not dataset.case.is_read:
        pytest.skip("records are not read")
    return loaded.input.reader(loaded, {})


def test_every_kind_is_in_the_suite():
    """But that of tracks, which are read along a reference and not from records: test_cli_predict.py."""
    assert {case.kind for case in CASES.values()} | {"tracks"} == set(registry.INPUT_KINDS)


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(BundleError, match=r"no 'protein' \(there are: sequence, barcode, "):
        input_class("protein")


class TestFiles:
    def test_it_takes_the_files_that_it_names(self, dataset):
        of_another_class = {"labels"} if dataset.case.kind == "sequence" else set()
        assert dataset.kind.files_used - of_another_class == set(dataset.files)

    @pytest.mark.parametrize(
        ("name", "message"),
        [("described", "needs --phenotypes"), ("anchored", "give a --reference")],
    )
    def test_a_file_without_a_default_is_asked_for(self, datasets, name, message):
        with pytest.raises(UsageError, match=message):
            input_class(CASES[name].kind).from_files(datasets[name].recipe, {}, None)


class TestBundle:
    def test_the_folder_gives_it_back(self, dataset, pretrained, folder, loaded, tmp_path):
        kind = loaded.input
        assert kind.name == dataset.kind.name == loaded.config["input"]["kind"]
        assert kind.config() == dataset.kind.config() == loaded.config["input"]
        assert kind.signature() == dataset.kind.signature()
        columns = [k.columns for k in (kind, pretrained.input)]
        assert (columns[0] is None) == (columns[1] is None)
        assert columns[0] is None or columns[0].tolist() == columns[1].tolist()
        kind.write(tmp_path)
        written = sorted(file.name for file in tmp_path.iterdir())
        assert bool(written) == bool(dataset.files)
        for name in written:
            assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()

    def test_coordinates_are_a_panel_or_a_reference(self, dataset, loaded):
        if not dataset.files:
            assert dataset.kind.coordinates is None
            with pytest.raises(BundleError, match="does not read VCF"):
                _ = loaded.coordinates
            return
        assert isinstance(loaded.coordinates, Panel | Reference)
        assert loaded.coordinates.sha256 == dataset.kind.coordinates.sha256
        assert loaded.coordinates.sha256 in dataset.kind.signature().values()

    def test_a_folder_without_its_files_is_refused(self, dataset, loaded, tmp_path):
        if not dataset.files:
            assert loaded.input.read(tmp_path, loaded.config).config() == dataset.kind.config()
            return
        with pytest.raises(BundleError, match=r"tiny: a model of \w+ needs a "):
            loaded.input.read(tmp_path, loaded.config)


class TestRows:
    def test_rows_have_names_and_the_kinds_length(self, dataset):
        rows = list(dataset.kind.corpus_rows(dataset.records, lambda message: None))
        assert len({name for name, _ in rows}) == len(rows) >= SAMPLES
        for _, letters in rows:
            assert letters.dtype == np.uint8
            assert dataset.kind.row_length in (None, len(letters))

    def test_a_record_of_another_length_is_refused_with_its_line(self, dataset):
        record = dataset.records[0]
        truncated = [replace(record, sequence=record.sequence[:-1], line=7), *dataset.records[1:]]
        if dataset.kind.row_length is None:
            assert len(list(dataset.kind.corpus_rows(truncated, lambda message: None))) == len(
                truncated
            )
            return
        with pytest.raises(InputError, match=rf"x\.fa:7: {record.name} has \d+ letters"):
            list(dataset.kind.corpus_rows(truncated, lambda message: None))

    def test_check_record_refuses_it_among_labelled_samples(self, dataset):
        if not dataset.case.is_read or dataset.kind.row_length is None:
            pytest.skip("samples of any length, or none")
        record = dataset.records[0]
        truncated = [replace(record, sequence=record.sequence[:-1], line=7), *dataset.records[1:]]
        with pytest.raises(InputError, match=rf"x\.fa:7: {record.name} has \d+ letters"):
            gather(truncated, {"pop": dataset.labels}, check=dataset.kind.check_record)


class TestNetwork:
    def test_sizes_are_those_of_the_networks_config(self, run):
        sizes = run.input.sizes(run.corpus, run.recipe, run.tokenizer)
        assert sizes
        config = run.bundle.config["network"]
        assert {name: config[name] for name in sizes} == sizes

    def test_initialization_depends_on_the_data(self, dataset, run):
        uninitialized = build(run.bundle.config, run.input)
        before = {name: tensor.clone() for name, tensor in uninitialized.named_buffers()}
        run.input.initialize(uninitialized, run.corpus, run.recipe, run.tokenizer)
        changed = [
            name for name, t in uninitialized.named_buffers() if not torch.equal(t, before[name])
        ]
        assert bool(changed) == dataset.case.initializes
        for name in changed:
            assert torch.isfinite(dict(uninitialized.named_buffers())[name]).all(), name

    def test_rows_of_sites_are_aligned_and_sequences_are_not(self, dataset, run):
        assert run.alphabet.aligned == (dataset.kind.row_length is not None)

    def test_a_training_batch_has_a_loss(self, run):
        batch = run.sampler.training_batch(0)
        size = run.recipe.optimization.batch_size
        for views in batch.values():
            assert any(name.startswith("ids") for name in views)
            assert {len(view) for view in views.values()} == {size}
        losses = run.learner(batch)
        assert losses.shape == (len(run.recipe.objectives),)
        assert torch.isfinite(losses).all()

    def test_a_trained_model_is_compared_with_a_baseline(self, run, pretrained):
        objectives = run.recipe.objectives.keys()
        for loss_name in ("held_out", "baseline"):
            assert pretrained.facts[loss_name].keys() == objectives
            assert all(map(math.isfinite, pretrained.facts[loss_name].values()))
        card = pretrained.input.card(pretrained.bundle.config, list(objectives), pretrained.network)
        assert objectives <= card.baselines.keys()
        assert card.purpose
        assert card.limits

    def test_the_files_of_an_application_are_in_the_bundle(self, pretrained, folder, loaded):
        for name, content in pretrained.files.items():
            assert (folder / name).read_bytes() == content
            assert name in loaded.config["files"]


ROWS = np.array([3, 40, 17, 3, 11, 50])


class TestViews:
    def test_a_kind_without_heads_says_so(self, datasets):
        dataset = datasets["people"]
        with pytest.raises(TrainingError, match="recipe tiny: it makes generators"):
            dataset.kind.views(dataset.samples(), np.arange(4), dataset.recipe, None)

    def test_plain_batches_are_the_samples(self, dataset, labelled_views):
        samples, views = labelled_views
        batch = views.plain(ROWS)
        assert len(batch.ids) == batch.windows * len(ROWS)
        assert batch.windows == (2 if dataset.case.tables.get("input", {}).get("haplotypes") else 1)
        assert batch.mask is None or batch.mask.shape == batch.ids.shape
        assert batch.share.tolist() == [1.0] * len(ROWS)
        assert batch.labels.keys() == {"pop"}
        assert batch.labels["pop"].tolist() == samples.labels["pop"][ROWS].tolist()
        assert torch.equal(batch.ids, views.plain(ROWS).ids)

    def test_masking_leaves_the_share_asked_for(self, labelled_views):
        samples, views = labelled_views
        rows = np.arange(len(samples))
        shares = [float(views.plain(rows, masked, 1).share.mean()) for masked in (0.0, 0.5, 0.8)]
        assert shares == pytest.approx([1.0, 0.5, 0.2], abs=0.05)

    def test_varied_batches_are_those_of_their_randomness(self, labelled_views):
        samples, views = labelled_views
        one, again = (views.varied(ROWS, np.random.default_rng(5)) for _ in range(2))
        assert torch.equal(one.ids, again.ids)
        assert len(one.ids) == one.windows * len(ROWS)
        assert one.share.shape == (len(ROWS),)
        assert ((one.share >= 0) & (one.share <= 1)).all()
        assert one.labels["pop"].tolist() == samples.labels["pop"][ROWS].tolist()

    def test_a_finetuned_model_scores_the_classes_of_a_batch(self, labelled_views, finetuned):
        samples, views = labelled_views
        batch = views.plain(ROWS)
        with torch.no_grad():
            scores = batch.mean({"pop": finetuned.classifier(batch.ids, batch.mask)["pop"]})
        assert scores["pop"].shape == (len(ROWS), len(samples.classes["pop"]))
        assert torch.isfinite(scores["pop"]).all()
        assert finetuned.heads == samples.classes

    def test_evidence_is_that_of_the_kind(self, dataset, labelled_views, finetuned):
        samples, views = labelled_views
        evidence = finetuned.classifier.evidence
        if dataset.recipe.evidence is None:
            assert evidence is None
            return
        assert evidence.name == dataset.kind.evidence_kind
        batch = views.plain(ROWS)
        inputs = finetuned.classifier.inputs(batch.ids)
        assert evidence.fused(inputs)[LIKELIHOOD].shape == (len(ROWS), len(samples.classes["pop"]))

    def test_a_kind_without_evidence_says_so(self, datasets):
        for name in ("sequence", "people"):
            dataset = datasets[name]
            assert dataset.kind.evidence_kind is None
            with pytest.raises(TrainingError, match=f"{dataset.kind.name} input has no evidence"):
                dataset.kind.fit_evidence(dataset.samples(), ROWS, dataset.recipe)


class TestCalls:
    def test_a_kind_that_is_not_read_says_so(self, dataset, loaded):
        if dataset.case.is_read:
            pytest.skip("records are read")
        with pytest.raises(UsageError, match="the model 'tiny' generates people"):
            loaded.input.reader(loaded, {})

    def test_a_full_record_is_read_in_full(self, dataset, loaded):
        model_input = reader_of(dataset, loaded)(dataset.records[5])
        assert model_input.name == dataset.records[5].name
        assert model_input.windows
        assert (model_input.share, model_input.used_letters) == (1.0, model_input.usable_letters)
        longest = loaded.classifier.max_length
        assert all(len(ids) <= (longest or len(ids)) for ids in model_input.windows)
        assert "LOW_CALL_RATE" not in loaded.input.flags(model_input, {})

    def test_a_sparse_record_is_flagged(self, dataset, loaded):
        record = dataset.records[5]
        known_count = len(record.sequence) // 5
        sparse = record.sequence[:known_count] + "N" * (len(record.sequence) - known_count)
        model_input = reader_of(dataset, loaded)(replace(record, sequence=sparse))
        assert model_input.share == pytest.approx(0.2, abs=0.02)
        assert "LOW_CALL_RATE" in loaded.input.flags(model_input, {})

    def test_a_record_without_a_known_letter_gets_no_label(self, dataset, loaded):
        record = dataset.records[5]
        model_input = reader_of(dataset, loaded)(
            replace(record, sequence="N" * len(record.sequence))
        )
        assert (model_input.used_letters, model_input.share) == (0, 0.0)
        assert loaded.input.unknown_flag(model_input) == "LOW_CALL_RATE"

    def test_a_record_in_its_coordinates_stays_where_it_is(self, dataset):
        assert dataset.kind.mapped(dataset.records[5]) == dataset.records[5]


class TestSignature:
    def test_a_model_of_the_same_input_may_be_begun_from(self, dataset, loaded):
        dataset.kind.require_same(loaded.input, "other")
        loaded.input.require_same(dataset.kind, "other")

    def test_a_model_of_another_input_may_not(self, dataset, datasets):
        for other in datasets.values():
            if other.kind.signature() == dataset.kind.signature():
                dataset.kind.require_same(other.kind, "other")
                continue
            with pytest.raises(TrainingError, match="the model to begin from, other, "):
                dataset.kind.require_same(other.kind, "other")

    def test_other_sites_or_another_reference_are_another_input(self, dataset):
        kind = dataset.kind
        if isinstance(kind.coordinates, Panel):
            other = replace(kind, panel=kind.panel.subset(np.arange(len(kind.panel))[::-1]))
            message = "the model to begin from, other, has other sites"
        elif isinstance(kind.coordinates, Reference):
            reversed_reference = Reference("turned", kind.reference.sequence[::-1], circular=False)
            other = replace(kind, reference=reversed_reference)
            message = "the model to begin from, other, has another reference"
        else:
            pytest.skip("no coordinates")
        assert other.signature() != kind.signature()
        with pytest.raises(TrainingError, match=message):
            kind.require_same(other, "other")


def test_the_labels_of_the_suite_are_those_of_the_cohort(datasets, cohort):
    table = read_labels(cohort.labels).column("population")
    assert datasets["barcode"].labels == table
    assert set(table.values()) == set(POPULATIONS)
