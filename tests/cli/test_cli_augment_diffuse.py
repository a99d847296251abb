"""`genomai augment --diffuse`: barcodes and DNA that are noised and denoised."""

from dataclasses import asdict

import likelihood_bundles
import numpy as np
import pytest
import torch
from conftest import SITES, run
from test_cli_augment import records
from test_cli_generate import pretrained
from test_cli_generate_dna import pretrained as pretrained_dna

from genomai_cli.inference.augment import Changes
from genomai_cli.inference.augment import augmented as views_of
from genomai_cli.inference.generate_diffusion import SequenceDiffuser, Settings
from genomai_cli.objectives.diffusion import DiffusionSettings
from genomai_cli.population.barcode import letters_to_genotypes
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["absorbing", "uniform"])
def generator(request, cohort, one_thread, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "maker"
    options = ["--labels", cohort.labels, "--set", f"diffusion.kernel={request.param}"]
    assert pretrained(cohort, folder, *options).status == 0
    return folder


@pytest.fixture(scope="module")
def dna(one_thread, tmp_path_factory):
    return pretrained_dna(tmp_path_factory.mktemp("dna"))


def augmented(model, *arguments, stdin=b""):
    result = run(["augment", "--model", model, "--device", "cpu", *arguments], stdin=stdin)
    assert result.status == 0, result.stderr
    return result


def genotypes(text, panel):
    letters = np.frombuffer("".join(records(text).values()).encode(), np.uint8)
    return letters_to_genotypes(letters.reshape(-1, SITES), Panel.read(panel))


# --- barcodes ------------------------------------------------------------------------------------


def test_names_and_descriptions_say_what_was_done(generator, cohort):
    options = ["--diffuse", "0.3", "--mask", "0.1", "--views", "2", "--seed", "4", cohort.newcomers]
    lines = augmented(generator, *options).stdout.splitlines()
    name = cohort.names[0]
    assert lines[0] == f">{name}_view1 diffuse=0.3 mask=0.1 seed=4"
    assert lines[2].startswith(f">{name}_view2 ")
    assert all(len(line) == SITES for line in lines[1::2])


def test_the_later_the_time_the_less_is_left_and_missing_letters_stay_missing(generator, cohort):
    original = genotypes(
        run(["tokenize", "--to", "fasta", "--panel", cohort.panel, cohort.newcomers]).stdout,
        cohort.panel,
    )
    change_rates = []
    for time in ("0", "0.2", "0.6", "1"):
        view = genotypes(
            augmented(generator, "--diffuse", time, cohort.newcomers).stdout, cohort.panel
        )
        assert ((view < 0) == (original < 0)).all()
        change_rates.append(float((view != original)[original >= 0].mean()))
    assert change_rates[0] == 0
    assert change_rates == sorted(change_rates)
    assert 0.02 < change_rates[1] < 0.4 < change_rates[3] < 0.7


def test_a_view_depends_on_its_record_alone(generator, cohort):
    fasta = run(["tokenize", "--to", "fasta", "--panel", cohort.panel, cohort.newcomers]).stdout
    entries = [f">{entry}" for entry in fasta.split(">")[1:]]
    options = ["--diffuse", "0.4", "--views", "2"]
    together = records(augmented(generator, *options, stdin=fasta).stdout)
    alone = {}
    for entry in reversed(entries[:4]):
        alone |= records(augmented(generator, *options, stdin=entry).stdout)
    assert alone == {name: together[name] for name in alone}
    assert together == records(augmented(generator, *options, cohort.newcomers).stdout)
    other = records(augmented(generator, *options, "--seed", "1", stdin=fasta).stdout)
    assert other != together


def test_with_labels_people_are_drawn_as_members_of_their_group(generator, cohort):
    """At time 1 nothing is left but the group."""
    from conftest import frequencies

    options = ["--diffuse", "1", "--labels", cohort.labels, "--group", "population", cohort.vcf]
    views = genotypes(augmented(generator, *options, "--views", "3").stdout, cohort.panel)
    population = np.repeat(np.arange(3), 25 * 3)  # NOA, NOB, SOC in the order of the file
    expected = frequencies()
    for number, name in enumerate(("NOA", "NOB", "SOC")):
        group_frequencies = views[population == number].mean(axis=0) / 2
        assert np.corrcoef(group_frequencies, expected[name])[0, 1] > 0.85


def test_haplotypes_stay_haplotypes(generator, cohort):
    fasta = augmented(generator, "--diffuse", "0.5", "--haplotypes", cohort.newcomers).stdout
    views = records(fasta)
    assert set("".join(views.values())) <= set("ACGTN")
    assert {name.rsplit("_", 2)[1] for name in views} == {"A", "B"}


def test_it_composes_with_crosses(generator, cohort):
    options = ["--diffuse", "0.2", "--cross", "--labels", cohort.labels, "--group", "population"]
    result = augmented(generator, *options, cohort.vcf)
    assert "cross=NOA diffuse=0.2 seed=0" in result.stdout


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ("--diffuse 1.5", 2, "--diffuse"),
        ("--diffuse nan", 2, "--diffuse"),
        ("--diffuse 0.5 --group population", 2, "--group needs --labels"),
        ("--diffuse 0.5 --revcomp", 2, "no other strand"),
    ],
)
def test_what_is_refused(generator, cohort, options, status, message):
    result = run(["augment", "--model", generator, *options.split(), cohort.vcf])
    assert (result.status, result.stdout) == (status, "")
    assert message in result.stderr


def test_labels_that_the_model_does_not_know(generator, cohort, tmp_path):
    table = tmp_path / "labels.tsv"
    names = [name for name in cohort.names if name != "child"]
    options = ["--diffuse", "0.5", "--labels", table, "--group", "kind", cohort.newcomers]
    table.write_text("sample\tkind\n" + "".join(f"{name}\told\n" for name in names))
    result = run(["augment", "--model", generator, *options])
    assert (result.status, "the model knows none of its labels" in result.stderr) == (2, True)
    table.write_text(
        "sample\tkind\n" + "".join(f"{name}\told\n" for name in names) + "child\tNOA\n"
    )
    assert (
        "drawn without a phenotype, since the model does not know it: old"
        in augmented(generator, *options).stderr
    )


def test_dna_is_no_barcode(generator, tmp_path):
    fasta = tmp_path / "dna.fa"
    fasta.write_text(">one\nACGTACGT\n")
    result = run(["augment", "--model", generator, "--diffuse", "0.5", fasta])
    assert (result.status, result.stdout) == (1, "")
    assert "has 8 letters" in result.stderr
    result = run(["augment", "--diffuse", "0.5", fasta])
    assert (result.status, result.stdout) == (1, "")
    assert "one is no barcode of the 967 sites of ancestry-generator: name a model" in result.stderr


# --- DNA -----------------------------------------------------------------------------------------


def test_dna_is_sampled_again(dna, tmp_path):
    rng = np.random.default_rng(5)
    sequences = {
        f"s{n}": "".join(rng.choice(list("ACAC" if n % 2 else "GTGT"), 70)) for n in range(6)
    }
    sequences["s0"] = sequences["s0"][:30] + "NNRN" + sequences["s0"][34:]
    fasta = tmp_path / "in.fa"
    fasta.write_text("".join(f">{name}\n{letters}\n" for name, letters in sequences.items()))
    views = records(augmented(dna, "--diffuse", "0.4", "--views", "2", fasta).stdout)
    assert views["s0_view1"][30:34] == "NNRN"
    unchanged = [
        np.mean([a == b for a, b in zip(sequences[name.split("_")[0]], letters, strict=True)])
        for name, letters in views.items()
    ]
    assert 0.6 < np.mean(unchanged) < 0.95
    kinds = [set(letters) & set("ACGT") for letters in views.values()]
    assert np.mean([kind in ({"A", "C"}, {"G", "T"}) for kind in kinds]) > 0.2
    alone = tmp_path / "alone.fa"
    alone.write_text(f">s3\n{sequences['s3']}\n")
    assert (
        records(augmented(dna, "--diffuse", "0.4", alone).stdout)["s3_view1"] == views["s3_view1"]
    )


@pytest.mark.parametrize("kernel", ["absorbing", "uniform"])
@pytest.mark.parametrize(("time", "least"), [(0.0, 1.0), (0.05, 0.9)])
def test_letters_beside_missing_ones_are_noised_no_more_than_others(kernel, time, least):
    """Also where a token holds both: those of three letters with an N, or that reach over the end."""
    sizes = {"width": 8, "heads": 2, "layers": 1, "feed_forward": 8, "positions": 32}
    tokenizer = {"kind": "kmers", "k": 3, "stride": 3}
    bundle = likelihood_bundles.bundle("transformer", tokenizer, "diffusion", **sizes)
    bundle.config["provenance"]["settings"] = {"diffusion": asdict(DiffusionSettings(kernel))}
    with torch.no_grad():  # says nothing
        for values in bundle.auxiliary["diffusion"].parameters():
            values.zero_()
    diffuser = SequenceDiffuser(bundle, Settings(64, start_time=time))
    texts = [("ACN" + "TNG" + "NNA") * 8 + "GT"[:end] for end in (0, 1, 2)]
    made = [SequenceRecord(str(number), text) for number, text in enumerate(texts)]
    found = list(views_of(made, Changes(diffuse=time), views=20, diffuser=diffuser))
    pairs = [
        pair for view in found for pair in zip(texts[int(view.name[0])], view.sequence, strict=True)
    ]
    assert all((before == "N") == (after == "N") for before, after in pairs)
    assert np.mean([a == b for a, b in pairs if a != "N"]) >= least


def test_groups_are_for_people(dna, cohort, tmp_path):
    fasta = tmp_path / "in.fa"
    fasta.write_text(">one\nACGTACGT\n")
    options = ["--diffuse", "0.5", "--labels", cohort.labels, "--group", "population"]
    result = run(["augment", "--model", dna, *options, fasta])
    assert (result.status, "it knows no phenotypes" in result.stderr) == (2, True)


def test_an_empty_sequence_has_an_empty_view(dna):
    result = augmented(dna, "--diffuse", "0.5", stdin=">none\n\n>one\nACGT\n")
    assert ">none_view1 diffuse=0.5 seed=0\n\n" in result.stdout
