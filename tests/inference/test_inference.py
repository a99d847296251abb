"""From records to calls: batches and their order, windows, other panels' barcodes, flags, the same bytes always."""

from itertools import count, islice

import numpy as np
import pytest
import torch
from conftest import SITES, common_allele, run

from genomai_cli import device as devices
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import InputError, UsageError
from genomai_cli.inference.batching import Batching, padded, score
from genomai_cli.inference.classify import classify_records
from genomai_cli.population.barcode import genotypes_to_letters
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
PAD = 9
BATCHINGS = [
    Batching(),
    Batching(windows=1),
    Batching(windows=2),
    Batching(windows=7),
    Batching(tokens=5),
]


class Sums:
    """A network whose only score is the sum of a window's ids; it remembers its batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, ids, mask):
        self.batches.append(tuple(ids.shape))
        assert torch.equal(mask, ids != PAD)
        return {"sum": (ids * mask).sum(1, keepdim=True).double()}


def windows_of(*id_lists):
    return [np.array(ids, np.int32) for ids in id_lists]


ITEMS = [
    ("one", windows_of([1, 2, 3])),
    ("nothing", []),
    ("three", windows_of([1], [2, 2], [3, 3, 3, 3])),
    ("long", windows_of([1] * 8)),
    ("again", windows_of([1, 2, 3])),
    ("end", []),
]


def scored(items, batching, network=None):
    network = network or Sums()
    return list(score(network, items, pad_id=PAD, device=CPU, batching=batching))


@pytest.mark.parametrize("batching", BATCHINGS)
def test_items_come_out_in_order_with_the_mean_of_their_windows(batching):
    sums = [(name, s and float(s["sum"])) for name, s in scored(iter(ITEMS), batching)]
    means = {"one": 6.0, "nothing": None, "three": 17 / 3, "long": 8.0, "again": 6.0, "end": None}
    assert [name for name, _ in sums] == list(means)
    assert dict(sums) == pytest.approx(means)


def test_a_batch_has_at_most_so_many_windows():
    network = Sums()
    scored(iter(ITEMS), Batching(windows=2), network)
    assert [rows for rows, _ in network.batches] == [1, 2, 2, 1]
    assert max(rows for rows, _ in network.batches) == 2


def test_a_batch_has_about_so_many_tokens():
    network = Sums()
    items = [(n, windows_of([1] * 10)) for n in range(20)]
    scored(iter(items), Batching(tokens=50), network)
    assert network.batches == [(5, 10)] * 4


def test_a_long_window_does_not_make_the_later_batches_small():
    network = Sums()
    sizes = [30] + [5] * 12
    scored(
        iter([(n, windows_of([1] * size)) for n, size in enumerate(sizes)]),
        Batching(tokens=30),
        network,
    )
    assert network.batches == [(1, 30), (6, 5), (6, 5)]


def test_only_a_batch_is_held_of_an_endless_input():
    items = ((n, windows_of([n % 5])) for n in count())
    outputs = score(Sums(), items, pad_id=PAD, device=CPU, batching=Batching(windows=3))
    assert [float(s["sum"]) for _, s in islice(outputs, 7)] == [0, 1, 2, 3, 4, 0, 1]


def test_items_that_compare_equal_stay_apart():
    items = [("same", windows_of([1])), ("same", windows_of([2])), ("same", [])]
    assert [s and float(s["sum"]) for _, s in scored(iter(items), Batching())] == [1, 2, None]


def test_no_items_give_nothing():
    assert scored(iter([]), Batching()) == []


def test_windows_are_filled_up_with_padding():
    assert padded(windows_of([1, 2], [3]), PAD).tolist() == [[1, 2], [3, PAD]]


@pytest.fixture(scope="module")
def tiny(tiny_bundle):
    return bundles.load(tiny_bundle, CPU, torch.float64)


@pytest.fixture(scope="module")
def handmade(handmade_bundle):
    return bundles.load(handmade_bundle, CPU, torch.float64)


@pytest.fixture(scope="module")
def sequence_model(tiny_sequence_bundle):
    return bundles.load(tiny_sequence_bundle, CPU, torch.float64)


def barcode(panel, alleles, name="x", **more):
    """The barcode of a sample with these haplotypes (2, sites)."""
    missing = (alleles < 0).any(axis=0)
    copies = np.where(missing, -1, alleles.sum(axis=0)).astype(np.int8)
    return SequenceRecord(name, genotypes_to_letters(copies, panel).tobytes().decode(), **more)


@pytest.fixture(scope="module")
def barcodes(cohort, tiny):
    return [
        barcode(tiny.coordinates, a, n) for n, a in zip(cohort.names, cohort.alleles, strict=True)
    ]


def call(bundle, record, **options):
    (result,) = classify_records(bundle, [record], **options)
    return result


def test_calls_name_the_populations_of_samples(tiny, barcodes):
    calls = {c.name: c for c in classify_records(tiny, barcodes)}
    assert list(calls) == [record.name for record in barcodes]
    for name in ("NOA_new1", "NOB_new1", "NOB_new2"):
        assert calls[name].labels["superpop"] == "NORTH"
    assert (
        calls["SOC_new1"].labels == calls["SOC_new2"].labels == {"superpop": "SOUTH", "pop": "SOC"}
    )


def test_the_label_is_the_most_probable_one(tiny, barcodes):
    for prediction in classify_records(tiny, barcodes[:-1]):
        for head, probabilities in prediction.probabilities.items():
            assert probabilities.sum() == pytest.approx(1)
            assert prediction.labels[head] == tiny.heads[head][int(probabilities.argmax())]


@pytest.mark.parametrize("batching", BATCHINGS)
def test_calls_do_not_depend_on_the_batching(tiny, barcodes, batching):
    expected = list(classify_records(tiny, barcodes))
    for one, other in zip(
        expected, classify_records(tiny, barcodes, batching=batching), strict=True
    ):
        assert one.labels == other.labels
        assert one.flags == other.flags
        for head in tiny.heads:
            if one.probabilities[head] is not None:
                assert other.probabilities[head] == pytest.approx(one.probabilities[head], abs=1e-9)


def test_a_barcode_without_a_usable_letter_is_unknown(tiny):
    for letters in ("N" * SITES, "BDHV" * (SITES // 4)):
        prediction = call(tiny, SequenceRecord("x", letters))
        assert prediction.labels == {"superpop": "UNKNOWN", "pop": "UNKNOWN"}
        assert prediction.probabilities == {"superpop": None, "pop": None}
        assert (prediction.used, prediction.call_rate, prediction.flags) == (
            0,
            0.0,
            ("LOW_CALL_RATE",),
        )


def test_letters_that_are_not_the_sites_do_not_count(tiny, cohort):
    alleles = cohort.alleles[0]
    letters = list(barcode(tiny.coordinates, alleles).sequence)
    foreign = {"AG": "C", "CT": "A", "GC": "T", "TA": "G", "AC": "T", "TG": "C"}
    for site in range(30):
        letters[site] = foreign[tiny.coordinates.ref[site] + tiny.coordinates.alt[site]]
    masked = alleles.copy()
    masked[:, :30] = -1
    prediction = call(tiny, SequenceRecord("x", "".join(letters)))
    assert (prediction.used, prediction.call_rate) == (90, 0.75)
    expected = call(tiny, barcode(tiny.coordinates, masked))
    assert np.array_equal(prediction.probabilities["pop"], expected.probabilities["pop"])


def test_sparse_evidence_gives_wide_probabilities(tiny, cohort):
    alleles = cohort.alleles[cohort.names.index("SOC_new1")]
    masked = alleles.copy()
    masked[:, 2:] = -1
    sparse, full = (call(tiny, barcode(tiny.coordinates, a)) for a in (masked, alleles))
    assert sparse.used == 2
    assert sparse.probabilities["pop"].max() < 0.95 < full.probabilities["pop"].max()


def typical_alleles(*parents):
    """The alleles of a sample that has the common alleles of its parents' populations."""
    return np.array([[common_allele(p, site) for site in range(SITES)] for p in parents], np.int8)


NORTHERNER, CHILD = typical_alleles("NOA", "NOB"), typical_alleles("NOA", "SOC")
FEW_SITES = np.arange(SITES) % 3 == 0
SHARED_SITES = np.arange(SITES) % 6 >= 3  # sites at which all populations are alike


@pytest.mark.parametrize(
    ("alleles", "flags"),
    [
        (NORTHERNER, ()),
        (CHILD, ("ADMIXED",)),
        (NORTHERNER[[0, 0]], ("HAPLOID",)),
        (np.where(FEW_SITES, NORTHERNER, -1), ("LOW_CALL_RATE", "HAPLOID")),
        (np.where(SHARED_SITES, 1 - NORTHERNER, NORTHERNER), ("NOVEL",)),
    ],
    ids=["none", "admixed", "haploid", "low", "novel"],
)
def test_flags(handmade, alleles, flags):
    assert call(handmade, barcode(handmade.coordinates, alleles)).flags == flags


def variants_only(alleles):
    """The same with every site missing that is homozygous for the reference."""
    return np.where((alleles == 0).all(axis=0), -1, alleles).astype(np.int8)


def test_a_list_of_variants_is_flagged_and_still_called(tiny, cohort):
    for name in ("NOA_new1", "SOC_new1"):
        alleles = cohort.alleles[cohort.names.index(name)]
        full, listed = (
            call(tiny, barcode(tiny.coordinates, a)) for a in (alleles, variants_only(alleles))
        )
        assert "VARIANTS_ONLY" in listed.flags
        assert "VARIANTS_ONLY" not in full.flags
        assert listed.labels["superpop"] == full.labels["superpop"]


def test_heterozygotes_alone_bear_no_label(tiny):
    alleles = np.tile([[0], [1]], SITES).astype(np.int8)
    prediction = call(tiny, barcode(tiny.coordinates, alleles))
    assert prediction.labels == {"superpop": "UNKNOWN", "pop": "UNKNOWN"}
    assert prediction.probabilities == {"superpop": None, "pop": None}
    assert (prediction.used, prediction.call_rate, prediction.flags) == (
        SITES,
        1.0,
        ("VARIANTS_ONLY",),
    )


def test_networks_alone_do_not_classify_a_list_of_variants(tiny, cohort):
    panel = tiny.coordinates
    model = random_model(panel, haplotypes=False)
    prediction = call(model, barcode(panel, variants_only(cohort.alleles[0])))
    assert set(prediction.labels.values()) == {"UNKNOWN"}
    assert "VARIANTS_ONLY" in prediction.flags


def test_half_of_the_sites_is_not_a_low_call_rate(tiny, cohort):
    alleles = cohort.alleles[0].copy()
    alleles[:, ::2] = -1
    assert "LOW_CALL_RATE" not in call(tiny, barcode(tiny.coordinates, alleles)).flags
    alleles[:, 1] = -1
    assert "LOW_CALL_RATE" in call(tiny, barcode(tiny.coordinates, alleles)).flags


def random_model(panel, *, haplotypes):
    """A model of two-haplotype or full barcodes with random weights."""
    sizes = {
        "width": 8,
        "heads": 2,
        "layers": 1,
        "feed_forward": 8,
        "positions": 200,
        "dropout": 0.0,
    }
    config = {
        "name": "random",
        "version": "0",
        "input": {"kind": "barcode", "haplotypes": haplotypes},
        "tokenizer": {"kind": "symmetric", "k": 3, "stride": 1},
        "network": {"kind": "transformer", **sizes},
        "members": 1,
        "heads": {"pop": ["a", "b", "c"]},
    }
    torch.manual_seed(5)
    kind = BarcodeInput(panel, haplotypes)
    return Bundle(config, bundles.build(config, kind).double().eval(), kind)


@pytest.fixture(scope="module")
def panel(cohort):
    return Panel.read(cohort.panel)


def test_a_larger_panels_barcode_is_read_at_the_models_sites(panel, cohort):
    order = np.random.default_rng(1).permutation(SITES)[:50]
    model = random_model(panel.subset(order), haplotypes=True)
    full = barcode(panel, cohort.alleles[0])
    part = SequenceRecord("x", "".join(full.sequence[site] for site in order))
    expected = call(model, part)
    prediction = call(model, full, other_inputs={"larger": BarcodeInput(panel)})
    assert prediction.used == expected.used == 50
    assert np.array_equal(prediction.probabilities["pop"], expected.probabilities["pop"])


def test_a_panel_that_lacks_a_site_of_the_model_does_not_serve(panel):
    model = random_model(panel.subset([0, 1, 2, 3]), haplotypes=True)
    reader = model.input.reader(
        model, {"other": BarcodeInput(panel.subset(range(1, 60))), "larger": BarcodeInput(panel)}
    )
    assert reader(SequenceRecord("x", "N" * SITES)).usable_letters == 4
    with pytest.raises(InputError):
        reader(SequenceRecord("x", "N" * 59))


def test_a_barcode_of_another_length_is_refused_with_file_and_line(tiny):
    record = SequenceRecord("kim", "ACGT", path="some.fa", line=7)
    message = r"some\.fa:7: kim has 4 letters: a barcode for the model tiny has 120"
    with pytest.raises(InputError, match=message):
        call(tiny, record)


def test_heterozygotes_are_read_as_two_haplotypes_whose_scores_are_averaged(panel):
    model = random_model(panel, haplotypes=True)
    sequence = "R" + panel.alt[1] + "".join(panel.ref[2:])
    model_input = model.input.reader(model, {})(SequenceRecord("x", sequence))
    haplotypes = ["A" + sequence[1:], "G" + sequence[1:]]
    assert [ids.tolist() for ids in model_input.windows] == [
        model.tokenizer.encode(haplotype).tolist() for haplotype in haplotypes
    ]
    logits = [model.classifier(torch.from_numpy(ids)[None])["pop"] for ids in model_input.windows]
    expected = (sum(logits) / 2).softmax(1)[0].detach().numpy()
    assert call(model, SequenceRecord("x", sequence)).probabilities["pop"] == pytest.approx(
        expected
    )


def test_a_long_sequence_is_read_in_windows_that_overlap_by_half(sequence_model):
    letters = "".join(np.random.default_rng(2).choice(list("ACGT"), 101))
    windows = sequence_model.input.reader(sequence_model, {})(SequenceRecord("x", letters)).windows
    ids = sequence_model.tokenizer.encode(letters)
    starts = [0, 16, 32, 48, 64, 67]
    assert [w.tolist() for w in windows] == [ids[s : s + 32].tolist() for s in starts]


@pytest.mark.parametrize(
    ("length", "windows"), [(2, 0), (3, 1), (34, 1), (35, 2), (50, 2), (51, 3)]
)
def test_how_many_windows_a_sequence_has(sequence_model, length, windows):
    assert (
        len(
            sequence_model.input.reader(sequence_model, {})(
                SequenceRecord("x", "A" * length)
            ).windows
        )
        == windows
    )


def test_the_scores_of_windows_are_averaged(sequence_model):
    letters = "".join(np.random.default_rng(3).choice(list("ACGT"), 90))
    windows = sequence_model.input.reader(sequence_model, {})(SequenceRecord("x", letters)).windows
    logits = [sequence_model.classifier(torch.from_numpy(ids)[None])["content"] for ids in windows]
    mean = sum(logits) / len(logits)
    expected = sequence_model.fusion({"content": mean}, torch.ones(1).double())["content"].exp()
    probabilities = call(sequence_model, SequenceRecord("x", letters)).probabilities["content"]
    assert probabilities == pytest.approx(expected[0].numpy())


def test_windows_without_a_known_token_do_not_vote(sequence_model):
    known = "ACGGCGCCGT" * 4
    reader = sequence_model.input.reader(sequence_model, {})
    plain, with_unknown = (
        reader(SequenceRecord("x", known)),
        reader(SequenceRecord("x", known + "N" * 400)),
    )
    assert len(with_unknown.windows) < len(plain.windows) + 3
    assert with_unknown.used_letters == 40
    assert with_unknown.share == pytest.approx(40 / 440)


@pytest.mark.parametrize("letters", ["", "A", "AC", "NNNNNNNN", "ANANANANAN"])
def test_a_sequence_without_a_known_token_is_unknown(sequence_model, letters):
    prediction = call(sequence_model, SequenceRecord("x", letters))
    assert prediction.labels == {"content": "UNKNOWN"}
    assert prediction.used == 0


def test_letters_of_several_bases_are_not_counted_as_used(sequence_model):
    prediction = call(sequence_model, SequenceRecord("x", "ACGTACGTRY"))
    assert (prediction.used, prediction.call_rate) == (8, 0.8)


@pytest.fixture
def mixed_fasta(tmp_path):
    """Sequences of many lengths, so that they pad one another in a batch."""
    rng = np.random.default_rng(4)
    sizes = [5, 80, 3, 33, 34, 150, 1, 20, 60, 35]
    sequences = ["".join(rng.choice(list("ACGT"), size)) for size in sizes]
    path = tmp_path / "mixed.fa"
    path.write_text("".join(f">s{n}\n{sequence}\n" for n, sequence in enumerate(sequences)))
    return path


@pytest.fixture
def restore_threads():
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    "options",
    ["--batch-size 1", "--batch-size 3", "--batch-size 100", "--threads 2", "--threads 1"],
)
def test_any_batch_size_and_thread_count_gives_the_same_bytes(
    options, tiny_bundle, tiny_sequence_bundle, cohort, mixed_fasta, restore_threads
):
    for model, file in ((tiny_bundle, cohort.newcomers), (tiny_sequence_bundle, mixed_fasta)):
        command = ["classify", "--device", "cpu", "--probs", "--model", model, file]
        expected = run(command)
        assert expected.status == 0
        assert run([*command, *options.split()]).output == expected.output
    assert torch.get_num_threads() == (2 if "threads 2" in options else 1)


def test_any_order_gives_the_same_rows(tiny_sequence_bundle, mixed_fasta):
    records = mixed_fasta.read_text().split(">")[1:]
    forward, backward = (
        run(
            ["classify", "--device", "cpu", "--probs", "--model", tiny_sequence_bundle],
            stdin="".join(f">{record}" for record in order),
        ).rows
        for order in (records, records[::-1])
    )
    assert forward[1:] == backward[:0:-1]


def test_the_cpu_is_always_there():
    assert devices.choose("cpu") == CPU
    assert devices.choose("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_wrong_usage(name):
    with pytest.raises(UsageError, match=f"--device {name}: no such CUDA device"):
        devices.choose(name)


def test_models_answer_in_double_precision_and_train_in_single_on_a_cpu():
    assert devices.exact_precision(CPU) == torch.float64
    assert devices.mixed_precision(CPU) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_same_rows(tiny_bundle, tiny_sequence_bundle, cohort, mixed_fasta):
    for model, file in ((tiny_bundle, cohort.newcomers), (tiny_sequence_bundle, mixed_fasta)):
        rows = [
            run(["classify", "--model", model, file, "--device", d]).rows for d in ("cpu", "cuda")
        ]
        assert rows[0] == rows[1]
