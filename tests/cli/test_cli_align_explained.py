"""`genomai align --attention` and `--plot`: the content of the files, sums of attributions, no half-written files."""

import shutil
import subprocess
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from conftest import SITES, run, site
from crossmodal_bundle import COLUMNS, LABELS, with_phenotypes
from test_cli_align import BARCODES, FASTA

from genomai_cli.bundles import catalog
from genomai_cli.population.panel import Panel

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENS = len(COLUMNS.vocabulary)
HEADS, LAYERS = 2, 2
GENOTYPED = [name for name in BARCODES if name != "nobody"]


@pytest.fixture(scope="module")
def model(handmade_bundle, tmp_path_factory):
    return with_phenotypes(handmade_bundle, tmp_path_factory.mktemp("models") / "handmade")


@pytest.fixture(scope="module")
def align(model):
    def run_align(*arguments, stdin=FASTA):
        return run(["align", "--device", "cpu", "--model", model, *arguments], stdin=stdin)

    return run_align


@pytest.fixture(scope="module")
def explanations(align, tmp_path_factory):
    """The file of explanations of the samples, and the rows of the table."""
    path = tmp_path_factory.mktemp("explained") / "why.h5"
    result = align("--attention", path)
    assert result.status == 0, result.stderr
    with h5py.File(path) as file:
        yield file, result.rows[1:]


def strings(dataset):
    return list(dataset.asstr()[:])


# --- HDF5 ---------------------------------------------------------------------------------------


def test_the_attributes_name_model_and_method(explanations, model):
    attributes = explanations[0].attrs
    assert attributes["format"] == "genomai explanations"
    assert attributes["model_name"] == "handmade"
    assert attributes["model_version"] == "0.1"
    assert attributes["model_sha256"] == catalog.sha256(model / "model.safetensors")
    assert attributes["attribution"].startswith("integrated gradients (Sundararajan")


def test_the_sites_are_those_of_the_panel(explanations):
    sites = explanations[0]["sites"]
    assert strings(sites["rsid"]) == [f"rs{number}" for number in range(SITES)]
    for number in range(SITES):
        chrom, position, ref, alt = site(number)
        assert sites["pos_grch37"][number] == position
        assert sites["pos_grch38"][number] == position + 1000
        site_columns = [sites[name].asstr()[number] for name in ("chrom", "ref", "alt")]
        assert site_columns == [str(chrom), ref, alt]


def test_a_row_is_a_sample_and_its_most_similar_record(explanations):
    file, table = explanations
    best = [(row[0], row[1], float(row[2])) for row in table if row[3] == "1"]
    assert strings(file["phenotypes/ids"]) == LABELS
    phenotypes = [LABELS[number] for number in file["phenotype"]]
    similarities = file["similarity"][:].round(6)
    assert list(zip(strings(file["ids"]), phenotypes, similarities, strict=True)) == best
    assert strings(file["phenotypes/columns/superpop"]) == ["NORTH", "NORTH", "SOUTH"]


def test_attributions_add_up_to_the_similarity(explanations):
    file, _ = explanations
    difference = file["similarity"][:] - file["baseline_similarity"][:]
    np.testing.assert_allclose(file["attributions"][:].sum(axis=1), difference, atol=1e-4)
    assert np.abs(difference).max() > 0.5


def test_missing_sites_have_no_attribution_and_the_others_their_sign(explanations):
    file, _ = explanations
    for name, values in zip(strings(file["ids"]), file["attributions"], strict=True):
        letters = np.array(list(BARCODES[name]))
        assert (values[letters == "N"] == 0).all()
        assert (values[letters != "N"] > 0).any()
    # A site speaks for a population where the sample has the allele that is common in it and rare in others.
    noa = file["attributions"][strings(file["ids"]).index("noa")]
    kinds = [noa[number::6] for number in range(6)]
    assert LABELS[file["phenotype"][0]] == "NOA"
    for kind in kinds:
        np.testing.assert_allclose(kind, kind[0], rtol=1e-5)
    assert (
        min(kinds[0][0], kinds[1][0]) > kinds[3][0]
    )  # two sites that differ, one that is the same in all


def test_means_of_the_records(explanations):
    file, _ = explanations
    rows, record = file["attributions"][:], file["phenotype"][:]
    assert list(file["phenotypes/rows"]) == [int((record == r).sum()) for r in range(len(LABELS))]
    for number, mean in enumerate(file["phenotypes/attributions"]):
        if (record == number).any():
            np.testing.assert_allclose(mean, rows[record == number].mean(axis=0), atol=1e-6)
        else:
            assert np.isnan(mean).all()


def test_attention_of_every_head_and_layer_both_ways(explanations):
    attention = explanations[0]["attention"]
    assert strings(attention["words"]) == COLUMNS.vocabulary
    assert attention["dna_to_phenotype"].shape == (LAYERS, HEADS, SITES, 3, TOKENS)
    assert attention["phenotype_to_dna"].shape == (len(LABELS), LAYERS, HEADS, SITES)
    assert attention["sample_to_phenotype"].shape == (len(GENOTYPED), HEADS, TOKENS)
    for name in ("dna_to_phenotype", "phenotype_to_dna", "sample_to_phenotype"):
        weights = attention[name][:]
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)


def test_pairs_are_explained_as_pairs(align, tmp_path):
    pairs, path = tmp_path / "pairs.tsv", tmp_path / "why.h5"
    pairs.write_text("sample\tphenotype\nfew\tNOB\nnoa\tSOC\nnoa\tNOA\nnobody\tNOA\n")
    result = align("--pairs", pairs, "--attention", path)
    assert result.status == 0
    similarity = {(row[0], row[1]): row[2] for row in result.rows[1:]}
    with h5py.File(path) as file:
        rows = list(zip(strings(file["ids"]), [LABELS[n] for n in file["phenotype"]], strict=True))
        assert rows == [("noa", "SOC"), ("noa", "NOA"), ("few", "NOB")]  # in the order of the input
        for row, value in zip(rows, file["similarity"], strict=True):
            assert float(similarity[row]) == pytest.approx(value, abs=1e-6)


def test_the_table_does_not_depend_on_explanations(align, explanations, tmp_path):
    assert align().rows[1:] == explanations[1]
    reverse = align("--reverse")
    assert align("--reverse", "--attention", tmp_path / "x.h5").output == reverse.output


def test_the_same_run_gives_the_same_bytes(align, tmp_path):
    paths = [tmp_path / "one.h5", tmp_path / "two.h5"]
    for path in paths:
        assert align("--attention", path).status == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.skipif(not shutil.which("h5dump"), reason="h5dump is not installed here")
def test_h5dump_reads_the_file(align, tmp_path):
    path = tmp_path / "why.h5"
    align("--attention", path)
    command = ["h5dump", "-d", "/ids", "-d", "/attention/words", path]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '"noa", "mixed", "few"' in dump
    assert '"pop=NOA"' in dump


def test_nobody_to_explain_is_an_empty_file(align, tmp_path):
    path = tmp_path / "why.h5"
    assert align("--attention", path, stdin=f">nobody\n{'N' * SITES}\n").status == 0
    with h5py.File(path) as file:
        assert list(file["phenotypes/rows"]) == [0] * len(LABELS)
        assert len(file["ids"]) == 0
        assert file["attributions"].shape == (0, SITES)


@pytest.mark.parametrize("option", ["--attention", "--plot"])
def test_a_run_that_fails_leaves_no_file(align, tmp_path, option):
    out, path = tmp_path / "out.tsv", tmp_path / "why.png"
    result = align(option, path, "-o", out, stdin=FASTA + ">odd\nACGT\n")
    assert result.status == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told_before_the_work(align, tmp_path):
    result = align("--attention", tmp_path / "no" / "why.h5")
    assert (result.status, result.output) == (1, b"")
    assert "its folder does not exist" in result.stderr


def test_the_attribution_of_a_site_by_the_definition(model):
    """Integrated gradients over the genotypes themselves agree with the shortcut, which integrates over sums."""
    import torch

    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.inference.integrated_gradients import mean_gradients
    from genomai_cli.population.alignment.similarity import Aligner
    from genomai_cli.population.networks.crossmodal import crossmodal_of, genotypes_of
    from genomai_cli.population.phenotypes import read_phenotypes
    from genomai_cli.records import SequenceRecord

    bundle = bundles.load(str(model), torch.device("cpu"), torch.float64)
    aligner = Aligner(bundle, read_phenotypes(model / "phenotypes.tsv"))
    samples = list(aligner.align(SequenceRecord(name, BARCODES[name]) for name in ("noa", "few")))
    attributions = aligner.explain([(sample, 1) for sample in samples])
    genotypes_BSG = genotypes_of(torch.from_numpy(np.stack([s.copies for s in samples]))).double()
    network = crossmodal_of(bundle)
    f_S = network.frequency
    probabilities_SG = torch.stack([(1 - f_S) ** 2, 2 * f_S * (1 - f_S), f_S**2], dim=1)
    expected_BSG = probabilities_SG * genotypes_BSG.sum(2, keepdim=True)
    record_E = aligner._records_PE[1]

    def similarity(flat_BX):
        return network.genotype_vectors(flat_BX.unflatten(1, (-1, 3))) @ record_E

    inputs_BX, baseline_BX = genotypes_BSG.flatten(1), expected_BSG.flatten(1)
    gradients_BX = mean_gradients(similarity, inputs_BX, baseline_BX)
    by_site = ((inputs_BX - baseline_BX) * gradients_BX).unflatten(1, (-1, 3)).sum(2).numpy()
    np.testing.assert_allclose(attributions.values, by_site, atol=1e-9)


def test_likelihoods_alone_are_no_letters_of_a_network_that_reads_letters(model):
    """They are known to the reader of a model whose own networks read them."""
    import torch

    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.population.alignment.similarity import Aligner
    from genomai_cli.population.barcode_reader import with_uncertain
    from genomai_cli.population.phenotypes import read_phenotypes
    from genomai_cli.records import SequenceRecord, UncertainGenotypes

    bundle = bundles.load(str(model), torch.device("cpu"))
    aligner = Aligner(bundle, read_phenotypes(model / "phenotypes.tsv"))
    read, sites = aligner._reader, len(aligner.panel)
    values = np.tile(np.array([1, 0.5, 0.01], np.float16), (sites, 1))
    evidence = UncertainGenotypes(values, np.zeros(sites, np.bool_))
    aligner._reader = lambda record: with_uncertain(read(record), evidence, np.full(sites, 0.5))
    assert aligner._reader(SequenceRecord("x", "N" * sites)).used_letters == sites
    (found,) = aligner.align([SequenceRecord("x", "N" * sites)])
    assert found.similarities is None


# --- pictures -----------------------------------------------------------------------------------


def test_a_picture_as_png(align, tmp_path):
    from matplotlib.image import imread

    path = tmp_path / "why.png"
    assert align("--plot", path).status == 0
    pixels = imread(path)
    assert pixels.shape[1] == 1650
    assert pixels.std() > 0.05  # something is drawn


def test_a_picture_as_svg_names_the_top_sites(align, tmp_path):
    path = tmp_path / "why.svg"
    assert align("--plot", path).status == 0
    texts = [e.text for e in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    assert "NORTH  (2 samples)" in texts
    assert "SOUTH  (1 sample)" in texts
    assert any(text.startswith("rs") for text in texts)
    assert texts.count("1") >= 1  # chromosomes
    second = tmp_path / "again.svg"
    align("--plot", second)
    assert second.read_bytes() == path.read_bytes()


def test_a_page_stands_alone_and_has_a_tip_at_every_point(align, tmp_path):
    path = tmp_path / "why.html"
    assert align("--plot", path, "--plot-of", "NOA", "--plot-of", "SOC").status == 0
    text = path.read_text()
    for link in ('href="http', "src=", "@import", "url(http", "unsafe-inline"):
        assert link not in text
    assert text.count("<title>") == 1 + 2 * SITES
    assert "<title>rs7: " in text
    assert "<td>SOC  (1 sample)</td>" in text
    assert "integrated gradients" in text


def test_groups_without_samples_are_left_out(align, tmp_path):
    path = tmp_path / "why.svg"
    result = align("--plot", path, "--plot-of", "NOB", "--plot-of", "SOUTH")
    assert result.status == 0
    assert "warning: 1 of the groups have no sample: not drawn" in result.stderr
    assert "NOB" not in path.read_text()


def test_nothing_to_draw_is_an_error(align, tmp_path):
    path = tmp_path / "why.svg"
    result = align("--plot", path, "--plot-of", "NOB")
    assert (result.status, result.output) == (1, b"")
    assert f"{path}: no sample is explained for what is to be drawn" in result.stderr
    assert not path.exists()


def test_an_unknown_group_is_wrong_usage(align, tmp_path):
    result = align("--plot", tmp_path / "why.svg", "--plot-of", "MARS")
    assert (result.status, result.output) == (2, b"")
    assert "--plot-of MARS: neither a record of" in result.stderr


def test_names_of_sites(model):
    from dataclasses import replace

    from genomai_cli.population.alignment.manhattan import site_names

    panel = Panel.read(model / "panel.tsv").subset([0, 1, 2])
    named = replace(panel, rsid=("rs1426654", "rs1", "."))
    assert site_names(named) == ["rs1426654 SLC24A5", "rs1", "1:3000"]
