"""Genotypes by their likelihoods: from a file's records to what models read, and what a model makes of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genomai_cli.formats.streams import open_inputs
from genomai_cli.population.barcode import Barcodes, read_barcodes
from genomai_cli.population.barcode_reader import BarcodeReader
from genomai_cli.population.networks.genotype_likelihoods import (
    Polynomial,
    equivalent_counts,
    surplus,
)
from genomai_cli.population.networks.genotype_regression import (
    GenotypeRegression,
    GenotypeRegressionConfig,
)
from genomai_cli.population.networks.likelihood import (
    LIKELIHOOD,
    MIXTURE,
    PopulationLikelihood,
)
from genomai_cli.population.panel import Panel
from genomai_cli.population.uncertain_calls import likelihoods_of
from genomai_cli.records import UncertainGenotypes
from genomai_cli.tokenizers import from_config

pytestmark = pytest.mark.usefixtures("one_thread")
SITES = 60
POPULATIONS = 4
RNG = np.random.default_rng(3)
ALLELES = [("A", "G"), ("C", "T"), ("G", "A"), ("T", "C"), ("A", "C")]
REFS, ALTS = zip(*(ALLELES[site % len(ALLELES)] for site in range(SITES)), strict=True)
POSITIONS = 1000 * np.arange(1, SITES + 1)
PANEL = Panel(
    "made", ("1",) * SITES, {"GRCh37": POSITIONS, "GRCh38": POSITIONS + 7}, (".",) * SITES, REFS, ALTS,
    (".",) * SITES,
)  # fmt: skip
THETA = RNG.normal(0, 1.2, (POPULATIONS, SITES))
FREQUENCY = 1 / (1 + np.exp(-THETA))
COPIES = RNG.binomial(2, FREQUENCY[[0, 1, 2, 3, 0]])
AXIS = RNG.normal(0, 0.3, (SITES, 1))
CERTAIN = ("0,99,255", "99,0,99", "255,99,0")
Row = list[str]


def rows_of(*calls: list[str], layout: str = "PL") -> list[Row]:
    """Rows of samples with these values at each site."""
    return [
        ["1", str(position), ".", ref, alt, ".", "PASS", ".", layout, *values]
        for position, ref, alt, *values in zip(POSITIONS, REFS, ALTS, *calls, strict=True)
    ]


def barcodes(folder: Path, rows: list[Row]) -> Barcodes:
    samples = [f"S{number}" for number in range(len(rows[0]) - 9)]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]
    path = folder / "x.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n" + "".join("\t".join(row) + "\n" for row in [columns, *rows])
    )
    return read_barcodes(open_inputs([path]), PANEL, likelihoods=True)


def uncertain(folder: Path, rows: list[Row], sample: int = 0) -> UncertainGenotypes | None:
    return list(barcodes(folder, rows).records())[sample].uncertain


@pytest.fixture(scope="module")
def likelihood() -> PopulationLikelihood:
    """Four populations of two groups on one axis."""
    nesting = {"group": [0, 0, 1, 1], "pop": [0, 1, 2, 3]}
    likelihood = PopulationLikelihood(POPULATIONS, SITES, 1, nesting).double()
    likelihood.theta.copy_(torch.from_numpy(THETA))
    likelihood.axes.copy_(torch.from_numpy(AXIS))
    likelihood.spread.mul_(0.5)
    return likelihood


def reader() -> BarcodeReader:
    tokenizer = from_config({"kind": "iupac"})
    mean = FREQUENCY.mean(axis=0)
    return BarcodeReader(PANEL, "m", tokenizer, lambda: [], haplotypes=False, frequency=mean)


def one_hot(copies: np.ndarray) -> torch.Tensor:
    """Likelihoods of known genotypes, flat for -1."""
    table = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]).double()
    return table[torch.from_numpy(copies)]


# --- from records


def test_a_turned_or_swapped_record_has_its_values_turned(tmp_path):
    rows = rows_of(["0,3,30"] * SITES)
    swapped = [[*row[:3], row[4], row[3], *row[5:]] for row in rows]
    of_panel = uncertain(tmp_path, rows).values
    np.testing.assert_array_equal(uncertain(tmp_path, swapped).values, of_panel[:, ::-1])
    complement = str.maketrans("ACGT", "TGCA")
    complemented = [
        [*row[:3], row[3].translate(complement), row[4].translate(complement), *row[5:]]
        for row in rows
    ]
    np.testing.assert_array_equal(uncertain(tmp_path, complemented).values, of_panel)


def test_what_stands_for_alleles_that_were_not_seen_is_the_panels_alternate(tmp_path):
    rows = [[*row[:4], "<NON_REF>", *row[5:]] for row in rows_of(["0,3,30"] * SITES)]
    found = uncertain(tmp_path, rows).values[0]
    assert found.tolist() == pytest.approx([1, 0.5, 0.001], abs=1e-2)


def test_whoever_carries_another_allele_or_contradicts_himself_has_no_likelihoods(tmp_path):
    rows = rows_of(["./.:0,3,30"] * SITES, layout="GT:PL")
    third = next(base for base in "ACGT" if base not in (REFS[0], ALTS[0]))
    carrier = [*rows[0][:4], third, *rows[0][5:8], "GT", "0/1"]
    contradicting = [*rows[1][:9], "./.:30,3,0"]
    found = uncertain(tmp_path, [rows[0], carrier, rows[1], contradicting, *rows[2:]]).values
    assert found[0].tolist() == [1, 1, 1]
    assert found[1].tolist() == uncertain(tmp_path, rows).values[1].tolist()  # the first counts


def test_the_report_counts_them_and_names_the_field(tmp_path):
    report = barcodes(tmp_path, rows_of(["0,3,30"] * SITES, ["0,0,0"] * SITES)).report
    assert report.uncertain == {"PL": SITES}
    assert str(report).endswith(f"missing or doubtful calls read {SITES} by PL")


def test_certain_calls_come_without(tmp_path):
    calls = [f"{('0/0', '0/1', '1/1')[c]}:{CERTAIN[c]}" for c in COPIES[0]]
    found = barcodes(tmp_path, rows_of(calls, layout="GT:PL"))
    assert [record.uncertain for record in found.records()] == [None]
    assert found.report.uncertain == {}


# --- to what a model reads


def test_decisive_likelihoods_are_the_genotypes_and_flat_ones_are_missing(tmp_path):
    known = np.random.default_rng(5).random(SITES) < 0.6
    calls = ["./.:" + (CERTAIN[c] if k else "0,0,0") for c, k in zip(COPIES[1], known, strict=True)]
    record = next(barcodes(tmp_path, rows_of(calls, layout="GT:PL")).records())
    assert set(record.sequence) == {"N"}
    model_input = reader()(record)
    assert (model_input.used_letters, model_input.usable_letters) == (known.sum(), SITES)
    assert model_input.call_rate == pytest.approx(known.mean(), abs=1e-6)
    expected = one_hot(np.where(known, COPIES[1], -1)).numpy()
    np.testing.assert_allclose(model_input.likelihoods, expected, atol=1e-6)


def test_a_read_counts_for_less_than_a_genotype(tmp_path):
    calls = ["./.:0,3,30", *["./.:."] * (SITES - 1)]
    record = next(barcodes(tmp_path, rows_of(calls, layout="GT:PL")).records())
    model_input = reader()(record)
    assert (model_input.used_letters, model_input.is_haplotype) == (1, False)
    assert 0.3 / SITES < model_input.call_rate < 0.7 / SITES


def test_variants_only_stay_calls(tmp_path):
    calls = ["0/1:3,0,9"] * 30 + ["1/1:60,9,0"] * 30
    record = next(barcodes(tmp_path, rows_of(calls, layout="GT:PL")).records())
    assert record.uncertain is not None
    model_input = reader()(record)
    assert model_input.selected
    assert model_input.likelihoods is None
    assert model_input.heterozygous == 30


def test_models_of_letters_alone_read_the_calls(tmp_path):
    record = next(barcodes(tmp_path, rows_of(["0/0:0,3,30"] * SITES, layout="GT:PL")).records())
    plain = BarcodeReader(PANEL, "m", from_config({"kind": "iupac"}), lambda: [], haplotypes=False)
    assert plain(record).likelihoods is None
    assert plain(record).used_letters == SITES


def test_probabilities_at_the_populations_frequencies_say_nothing():
    f = FREQUENCY.mean(axis=0).clip(0.02, 0.98)
    prior = np.stack([(1 - f) ** 2, 2 * f * (1 - f), f**2], axis=1)
    likelihoods = np.array([0.9, 0.5, 0.1])
    values = np.concatenate([prior[:30], (prior * likelihoods)[30:]])
    posterior = UncertainGenotypes(values.astype(np.float16), np.ones(SITES, np.bool_))
    recovered = likelihoods_of(posterior, f)
    np.testing.assert_allclose(recovered[:30], 1, rtol=1e-2)
    np.testing.assert_allclose(recovered[30:], np.tile(likelihoods / 0.9, (30, 1)), rtol=1e-2)


# --- and what it makes of them


def some_copies() -> NDArray[np.int64]:
    """The copies with a fifth of them missing."""
    known = np.random.default_rng(6).random(COPIES.shape) < 0.8
    return np.where(known, COPIES, -1)


def test_known_genotypes_are_scored_as_letters_are(likelihood):
    copies = some_copies()
    by_letter = likelihood.scores(torch.from_numpy(copies))
    by_likelihood = likelihood.scores(one_hot(copies))
    assert by_letter.keys() == by_likelihood.keys()
    for scores in (by_letter, by_likelihood):  # a heterozygote has two orders, in every population
        scores[LIKELIHOOD] = scores[LIKELIHOOD].log_softmax(1)
    for name in by_letter:
        torch.testing.assert_close(by_likelihood[name], by_letter[name], rtol=1e-6, atol=1e-6)


def test_a_network_reads_known_genotypes_as_letters():
    network = GenotypeRegression(GenotypeRegressionConfig(SITES, 8)).double()
    network.frequency.copy_(torch.from_numpy(FREQUENCY.mean(0)))
    torch.nn.init.normal_(network.weight)
    copies = some_copies()
    found = network.pooled(one_hot(copies))
    torch.testing.assert_close(found, network.pooled(torch.from_numpy(copies)))


def test_one_read_is_one_allele(likelihood):
    """Of reads of reference and alternate alleles, whatever the frequency, up to errors."""
    f = torch.linspace(0.05, 0.95, 19).double()
    data = Polynomial.of(torch.tensor([[0.0, 0.5, 1.0]]).double())
    torch.testing.assert_close(data.probabilities(f.unsqueeze(1)).squeeze(1), f)
    alternate, total = equivalent_counts(
        torch.tensor([[[0.0, 0.5, 1.0]]]).double(), f[3:4].unsqueeze(1)
    )
    assert (alternate.item(), total.item()) == pytest.approx((1, 1))


def test_slope_and_curvature_are_derivatives_by_the_logit():
    data = Polynomial.of(torch.tensor([[1.0, 0.6, 0.1]]).double())
    x = torch.tensor([[0.4]]).double().requires_grad_()
    value = data.probabilities(torch.sigmoid(x)).log().sum()
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    _, found, curvature = data.terms(torch.sigmoid(x.detach()))
    torch.testing.assert_close(found, slope.detach())
    torch.testing.assert_close(curvature, -second)


def test_a_site_that_says_nothing_adds_nothing(likelihood):
    copies = np.where(np.arange(SITES) < 40, COPIES[:1], -1)
    doubtful = one_hot(copies)
    doubtful[:, 40:] = torch.tensor([0.3, 0.3, 0.3]).double()
    torch.testing.assert_close(
        likelihood.scores(doubtful)[LIKELIHOOD], likelihood.scores(one_hot(copies))[LIKELIHOOD]
    )
    slope, known = surplus(doubtful, torch.from_numpy(FREQUENCY[0]))
    assert not slope[:, 40:].abs().gt(1e-9).any()
    assert not known[:, 40:].gt(1e-9).any()


def test_reads_tell_the_population(likelihood):
    """Of members with a read a site: better than the likeliest genotypes, which take heterozygotes for homozygotes."""
    rng = np.random.default_rng(8)
    truth = rng.integers(0, POPULATIONS, 200)
    copies = rng.binomial(2, FREQUENCY[truth])
    depth = rng.poisson(1.0, copies.shape)
    alternate = rng.binomial(depth, np.array([0.01, 0.5, 0.99])[copies])
    p = np.array([0.01, 0.5, 0.99])
    log = alternate[..., None] * np.log(p) + (depth - alternate)[..., None] * np.log1p(-p)
    values = torch.from_numpy(np.exp(log - log.max(-1, keepdims=True)))
    called = np.where(depth > 0, log.argmax(-1), -1)
    by_reads = likelihood.scores(values)
    by_calls = likelihood.scores(torch.from_numpy(called))
    mean = {
        name: scores[LIKELIHOOD].log_softmax(1)[torch.arange(200), torch.from_numpy(truth)].mean()
        for name, scores in (("reads", by_reads), ("calls", by_calls))
    }
    assert mean["reads"] > mean["calls"]
    assert by_reads[MIXTURE].isfinite().all()


def test_replaced_records_keep_what_is_uncertain(tmp_path):
    record = next(barcodes(tmp_path, rows_of(["0,3,30"] * SITES)).records())
    assert replace(record, name="other").uncertain is record.uncertain
