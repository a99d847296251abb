"""`genomai explain`: rows, HDF5, pictures and motifs of the same explanations; what is refused, with one line."""

import json

import h5py
import likelihood_bundles
import numpy as np
import pytest
import torch
from Bio import motifs as biopython
from conftest import assert_expected, run

pytestmark = pytest.mark.usefixtures("one_thread")
FASTA = ">a some text\nACGTTGACTCAA\n>b\nggNatt\n>c\nNNN\n"
LABELS = {"label": ["bound", "free"]}


def saved_regression(folder, labels, weights=None):
    """A saved k-mer regression whose weights are sines, or with these for their k-mers on both strands and else 0."""
    bundle = likelihood_bundles.bundle(
        "sequence_ensemble",
        likelihood_bundles.CHARACTERS,
        "",
        labels,
        outputs=2,
        parts=[{"kind": "kmers", "longest": 6 if weights else 3}],
    )
    if weights:
        network = bundle.classifier.networks[0]
        (part,), (head,) = network.parts, network.heads
        codes = torch.tensor([["ACGT".index(letter) for letter in kmer] for kmer in weights])
        gradients = [torch.autograd.grad(part(c[None]).sum(), part.linear.weight)[0] for c in codes]
        with torch.no_grad():
            for values in (part.linear.weight, part.linear.bias, head.bias):
                values.zero_()
            head.weight.copy_(torch.eye(2))
            for gradient, weight in zip(gradients, weights.values(), strict=True):
                part.linear.weight[0, gradient[0].nonzero().max()] = weight
    return likelihood_bundles.saved(bundle, folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved_regression(tmp_path_factory.mktemp("explained") / "model", LABELS)


@pytest.fixture(scope="module")
def motif_model(tmp_path_factory):
    """A model that calls sequences with TGACTCA bound."""
    weights = {"TGACTC": 900.0, "GACTCA": 900.0}
    return saved_regression(tmp_path_factory.mktemp("binder") / "model", LABELS, weights)


def explain(model, *options, stdin=FASTA):
    return run(["explain", "--model", model, "--device", "cpu", *options], stdin)


def table(result):
    assert result.status == 0, result.stderr
    header, *rows = result.rows
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_rows_of_letters(model):
    result = explain(model)
    rows = table(result)
    assert_expected("explain.tsv", result.stdout)
    assert "".join(row["base"] for row in rows) == "ACGTTGACTCAAGGNATT"
    assert [row["position"] for row in rows[12:]] == list("123456")
    assert [row["attribution"] == "." for row in rows[12:]] == [False] * 2 + [True] + [False] * 3
    assert "every base replaced by each other, the strand given" in result.stderr
    assert "1 records have no letter that the model can read: left out" in result.stderr


def test_the_gradient_is_the_same_for_a_regression(model):
    exact, fast = (table(explain(model, "--method", m)) for m in ("ism", "gradient"))
    for one, other in zip(exact, fast, strict=True):
        if one["attribution"] != ".":
            assert float(one.pop("attribution")) == pytest.approx(
                float(other.pop("attribution")), abs=2e-6
            )
        assert one == other


def test_hdf5_holds_the_changes_too(model, tmp_path):
    file, report = tmp_path / "x.h5", tmp_path / "r.json"
    result = explain(model, "-o", file, "--report-json", report)
    assert result.status == 0, result.stderr
    run_record = json.loads(report.read_text())
    assert run_record["records"] == {"read": 3, "used": 2, "refused": 1}
    assert run_record["details"]["method"] == "ism"
    rows = table(explain(model))
    with h5py.File(file) as stored:
        assert stored["ids"].asstr()[:].tolist() == ["a", "b"]
        assert stored["offsets"][:].tolist() == [0, 12, 18]
        assert stored["letters"][:].tobytes() == b"ACGTTGACTCAAGGNATT"
        assert stored.attrs["method"] == "ism"
        changes, attributions = stored["changes"][:], stored["attributions"][:]
        labels = np.repeat(stored["labels"].asstr()[:], [12, 6]).tolist()
    assert labels == [row["label"] for row in rows]
    expected = [np.nan if row["attribution"] == "." else float(row["attribution"]) for row in rows]
    np.testing.assert_allclose(attributions, expected, atol=2e-6)
    finite = np.isfinite(attributions)
    np.testing.assert_allclose(
        attributions[finite], -np.nanmean(changes[finite], axis=1), atol=1e-6
    )
    assert np.isnan(changes[0, 0])
    assert np.isnan(changes[14]).all()


def test_another_label_than_the_called_one(model):
    rows = table(explain(model, "--class", "free"))
    others = table(explain(model, "--head", "label", "--class", "bound"))
    for one, other in zip(rows, others, strict=True):
        assert (one["label"], other["label"]) == ("label:free", "label:bound")
        if one["attribution"] != ".":
            values = float(one["attribution"]), -float(other["attribution"])
            assert values[0] == pytest.approx(values[1], abs=2e-6)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_has_the_same_bytes_every_time(model, tmp_path, ending):
    files = [tmp_path / f"{n}.{ending}" for n in (1, 2)]
    for file in files:
        assert explain(model, "--plot", file).status == 0
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert first.startswith(b"\x89PNG" if ending == "png" else b"<?xml")


def sequences(count, site, seed=2):
    """Random DNA with the site in the middle."""
    rng = np.random.default_rng(seed)
    texts = ("".join(rng.choice(list("ACGT"), 50)) for _ in range(count))
    return "".join(
        f">s{n}\n{text[: 20 + n % 7]}{site}{text[20 + n % 7 :]}\n" for n, text in enumerate(texts)
    )


def test_motifs_of_a_set(motif_model, tmp_path):
    files = [tmp_path / name for name in ("m.meme", "m.svg")]
    options = ["--method", "gradient", "--motifs", files[0], "--motif-plot", files[1]]
    fasta = sequences(60, "ATGACTCAT")
    result = explain(motif_model, *options, "-o", tmp_path / "x.tsv", stdin=fasta)
    assert result.status == 0, result.stderr
    with open(files[0]) as handle:
        (motif,) = biopython.parse(handle, "minimal")
    assert motif.name == "bound_1"
    assert motif.evalue < 1e-6
    consensus = str(motif.consensus)
    assert "TGACTCA" in consensus or "TGAGTCA" in consensus
    assert "label:bound: of 1 motifs in 60 sequences 1 are enriched" in result.stderr
    assert files[1].read_bytes().startswith(b"<?xml")
    first = files[0].read_bytes()
    assert explain(motif_model, *options, "-o", tmp_path / "x.tsv", stdin=fasta).status == 0
    assert files[0].read_bytes() == first


def test_a_set_without_motifs_gets_a_file_without_any(motif_model, tmp_path):
    file = tmp_path / "m.meme"
    options = ["--motifs", file, "--motif-plot", tmp_path / "m.png", "-o", tmp_path / "x.tsv"]
    result = explain(motif_model, *options, stdin=FASTA)
    assert result.status == 0, result.stderr
    assert "of 0 motifs in" in result.stderr
    assert file.read_text().startswith("MEME version 5")
    assert "MOTIF" not in file.read_text()


def refused(result, status, message):
    assert result.status == status
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_model_of_barcodes_is_refused_with_what_there_is_instead(handmade_bundle):
    message = "does not read plain DNA: it reads the sites of a panel; `genomai align --attention"
    refused(explain(handmade_bundle), 1, message)


def test_a_model_of_mitochondrial_genomes_is_refused():
    refused(explain("mito"), 1, "it reads genomes by their differences from a reference")


def test_a_model_without_heads_is_refused(tmp_path):
    model = likelihood_bundles.saved(likelihood_bundles.masked(), tmp_path / "model")
    refused(explain(model), 1, "has no heads: it was only pretrained")


def test_a_network_without_a_gradient_by_letters_is_refused(model, monkeypatch):
    from genomai_cli.backbones.sequence_ensemble import SequenceEnsemble

    monkeypatch.setattr(SequenceEnsemble, "has_token_gradients", False)
    message = "a network 'sequence_ensemble' has no gradient by letters: --method ism"
    refused(explain(model, "--method", "gradient"), 1, message)
    assert explain(model).status == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--head", "x"], "--head x: the heads of the model are label"),
        (["--class", "x"], "--class x: the classes of the model are bound, free"),
        (["--plot", "x.pdf"], "--plot x.pdf: name it .png or .svg"),
        (["--motif-plot", "x.png"], "--motif-plot draws the motifs of --motifs"),
    ],
)
def test_wrong_usage_is_told(model, options, message):
    result = explain(model, *options)
    assert result.status == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_model_must_be_named():
    result = run(["explain"], FASTA)
    assert result.status == 2
    assert "--model: name a classifier of DNA" in result.stderr


def test_a_vcf_is_refused(model, cohort):
    result = explain(model, cohort.newcomers)
    assert result.status == 1
    assert "does not read VCF" in result.stderr
    assert result.stdout == ""


def test_nothing_is_left_behind_by_a_picture_that_would_be_too_large(motif_model, tmp_path):
    files = [tmp_path / name for name in ("x.tsv", "p.svg", "m.meme")]
    options = ["--method", "gradient", "-o", files[0], "--plot", files[1], "--motifs", files[2]]
    result = explain(motif_model, *options, stdin=sequences(100, "TGACTCA"))
    assert result.status == 2
    assert "a picture shows at most 5000 bases" in result.stderr
    assert list(tmp_path.iterdir()) == []
