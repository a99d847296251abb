"""`genomai generate`, and the generators that `genomai pretrain --objective diffusion` makes."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from conftest import SITES, changes, frequencies, run
from safetensors.numpy import load_file

from genomai_cli.bundles import bundle as bundles
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.tables import read_labels, read_table
from genomai_cli.inference.generate_diffusion import Settings
from genomai_cli.population.evaluation.genotypes import genotypes_of_variants
from genomai_cli.population.generation.requests import requests_of
from genomai_cli.population.generation.sampler import HaplotypeGenerator
from genomai_cli.population.panel import Panel

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = (
    "network.width=16 network.rank=2 split.holdout=0.1 optimization.steps=40 optimization.batch_size=32 "
    "optimization.evaluate_every=20"
)


def pretrained(cohort, output, *arguments):
    """`genomai pretrain --objective diffusion` on the cohort."""
    command = ["pretrain", "--objective", "diffusion", cohort.vcf, "--panel", cohort.panel]
    return run([*command, "-o", output, *changes(TINY), "--device", "cpu", *arguments])


@pytest.fixture(scope="module")
def generator(cohort, one_thread, tmp_path_factory):
    """A generator trained on the cohort in a second."""
    folder = tmp_path_factory.mktemp("models") / "maker"
    result = pretrained(cohort, folder, "--labels", cohort.labels)
    assert result.status == 0, result.stderr
    return folder


def generated(generator, *arguments):
    result = run(["generate", "--model", generator, "--device", "cpu", *arguments])
    assert result.status == 0, result.stderr
    return result


def records(result):
    """Names, descriptions and sequences of FASTA."""
    entries = [entry.split("\n")[:2] for entry in result.stdout.split(">")[1:]]
    return [(*title.split(" ", 1), sequence) for title, sequence in entries]


# --- the generator -----------------------------------------------------------------------------


def test_a_generator_knows_its_phenotypes_and_how_many_people_had_them(generator):
    phenotypes = json.loads((generator / "config.json").read_text())["phenotypes"]
    assert phenotypes["labels"] == {
        "superpopulation": ["NORTH", "SOUTH"],
        "population": ["NOA", "NOB", "SOC"],
    }
    assert phenotypes["within"] == {"NOA": "NORTH", "NOB": "NORTH", "SOC": "SOUTH"}
    assert sum(phenotypes["people"].values()) == 75 - 8  # those held out are not counted


def rows_of_sites(tensors, sites):
    """Every vector of the tensors that has a value a site (K, S), standardised; a constant one is left out."""
    rows = []
    for tensor in tensors:
        for axis in range(tensor.ndim):
            if tensor.shape[axis] in (sites, 2 * sites):
                values = np.moveaxis(tensor, axis, -1).astype(np.float64)
                rows.append(values.reshape(-1, sites))
    rows = np.concatenate(rows)
    rows = rows[rows.std(axis=1) > 1e-9]
    return (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)


def max_r2(rows_KS, genotypes_NS):
    """The largest share of each sample's variance (N,) that one row, or any two of them together, explain."""
    centred = genotypes_NS - genotypes_NS.mean(axis=1, keepdims=True)
    r_NK = centred @ rows_KS.T / (centred.std(axis=1, keepdims=True) * rows_KS.shape[1])
    correlations = np.clip(rows_KS @ rows_KS.T / rows_KS.shape[1], -0.999, 0.999)
    np.fill_diagonal(correlations, 0)
    pairs = r_NK[:, :, None] ** 2 + r_NK[:, None] ** 2
    pairs = (pairs - 2 * r_NK[:, :, None] * r_NK[:, None] * correlations) / (1 - correlations**2)
    pairs[:, np.arange(len(rows_KS)), np.arange(len(rows_KS))] = r_NK**2
    return pairs.max(axis=(1, 2))


def test_a_generator_holds_no_one_s_genotypes(generator, cohort):
    """No row of its tensors, and no two of them, explain more of a training sample than of another of its population.

    Explained is the variance of genotypes about the mean of all others of the population. Genotypes that are put among
    the tensors are found by this.
    """
    panel = Panel.read(cohort.panel)
    training, others = (
        genotypes_of_variants([open_input(file)], panel) for file in (cohort.vcf, cohort.newcomers)
    )
    population = read_labels(cohort.labels).column("population")
    populations = np.array([population[name] for name in training.names])
    copies = training.copies.astype(np.float64)
    members, non_members = [], []
    for number, name in enumerate(populations):
        same_population = (populations == name) & (np.arange(len(populations)) != number)
        members.append(copies[number] - copies[same_population].mean(axis=0))
    for number, name in enumerate(others.names):
        if "_new" in name:
            non_members.append(others.copies[number] - copies[populations == name[:3]].mean(axis=0))
    tensors = list(load_file(generator / "model.safetensors").values())
    rows = rows_of_sites(tensors, copies.shape[1])
    members_N, non_members_M = max_r2(rows, np.stack(members)), max_r2(rows, np.stack(non_members))
    auc = (members_N[:, None] > non_members_M).mean()
    assert members_N.max() < 0.4
    assert 0.2 < auc < 0.8  # of random pairs, one is above the other half the time
    leaking_rows = rows_of_sites([*tensors, copies[:3]], copies.shape[1])
    assert (max_r2(leaking_rows, np.stack(members))[:3] > max(0.4, members_N.max())).all()


def test_the_card_has_the_bound_beside_independent_sites(generator):
    card = (generator / "README.md").read_text()
    assert "| diffusion | 0." in card
    assert "independent sites" in card


def test_without_labels_there_is_only_null(cohort, tmp_path):
    assert pretrained(cohort, tmp_path / "plain").status == 0
    names = [name for name, *_ in records(generated(tmp_path / "plain", "-n", "2"))]
    assert names == ["synthetic_null_1", "synthetic_null_2"]
    result = run(["generate", "--model", tmp_path / "plain", "--phenotype", "NOA"])
    assert (result.status, "reference null" in result.stderr) == (2, True)


def test_people_are_trained_on_by_diffusion_alone(cohort, tmp_path):
    options = ["--objective", "masked,diffusion", "-o", tmp_path / "m"]
    result = run(["pretrain", cohort.vcf, "--panel", cohort.panel, *options])
    assert result.status == 1
    assert "by diffusion alone" in result.stderr


def test_barcodes_can_be_noised_as_tokens(cohort, tmp_path):
    options = ["--recipe", "barcodes", "--objective", "diffusion", "--set", "optimization.steps=2"]
    result = run(["pretrain", cohort.vcf, "--panel", cohort.panel, *options, "-o", tmp_path / "m"])
    assert result.status == 0, result.stderr
    assert (
        "independent sites, at the frequencies of their tokens"
        in (tmp_path / "m" / "README.md").read_text()
    )
    generation = run(["generate", "--model", tmp_path / "m"])
    assert (generation.status, "generates nobody" in generation.stderr) == (1, True)


def test_people_can_be_noised_uniformly(cohort, tmp_path):
    options = ["--labels", cohort.labels, "--set", "diffusion.kernel=uniform"]
    assert pretrained(cohort, tmp_path / "maker", *options).status == 0
    facts = json.loads((tmp_path / "maker" / "config.json").read_text())["provenance"]
    assert 0.4 < facts["held_out"]["diffusion"] < 1.0
    three = records(generated(tmp_path / "maker", "--phenotype", "NOA", "-n", "3", "--steps", "8"))
    one = records(generated(tmp_path / "maker", "--phenotype", "NOA", "-n", "1", "--steps", "8"))
    assert three[:1] == one
    assert len({sequence for *_, sequence in three}) == 3


def test_people_are_sampled_as_the_recipe_says_unless_a_temperature_is_given(generator, tmp_path):
    options = ["--phenotype", "NOA", "-n", "3", "--steps", "8"]
    default = records(generated(generator, *options))
    low_temperature = shutil.copytree(generator, tmp_path / generator.name)
    config = json.loads((low_temperature / "config.json").read_text())
    config["provenance"]["settings"]["diffusion"] |= {"temperature": 0.1}
    (low_temperature / "config.json").write_text(json.dumps(config))
    sharpened = records(generated(low_temperature, *options))
    assert sharpened == records(generated(generator, *options, "--temperature", "0.1"))
    assert (
        sharpened != default == records(generated(low_temperature, *options, "--temperature", "1"))
    )


def test_labels_are_for_people(cohort, tmp_path):
    files = [cohort.vcf, "--panel", cohort.panel, "--labels", cohort.labels, "-o", tmp_path / "m"]
    result = run(["pretrain", *files])
    assert (result.status, "--objective diffusion" in result.stderr) == (2, True)


def test_people_in_fasta_are_pairs_of_haplotypes(cohort, tmp_path):
    fasta = tmp_path / "people.fa"
    fasta.write_text(f">a_A\n{'N' * SITES}\n>b_B\n{'N' * SITES}\n")
    result = run(
        [
            "pretrain",
            "--objective",
            "diffusion",
            fasta,
            "--panel",
            cohort.panel,
            "-o",
            tmp_path / "m",
        ]
    )
    assert result.status == 1
    assert f"{fasta}:3: a_A and b_B are not NAME_A and NAME_B" in result.stderr


# --- generate ------------------------------------------------------------------------------------


def test_people_are_named_after_what_was_asked_for(generator):
    barcodes = records(generated(generator, "--phenotype", "NORTH", "-n", "2", "--seed", "5"))
    description = "phenotype=NORTH model=maker seed=5"
    assert [entry[:2] for entry in barcodes] == [
        ("synthetic_NORTH_1", description),
        ("synthetic_NORTH_2", description),
    ]
    assert all(len(sequence) == SITES for *_, sequence in barcodes)
    assert barcodes[0][2] != barcodes[1][2]


def test_the_reference_is_the_default_and_everybody_in_proportion(generator):
    names = [name.split("_")[1] for name, *_ in records(generated(generator, "-n", "9"))]
    assert sorted(names) == ["NOA"] * 3 + ["NOB"] * 3 + ["SOC"] * 3


def test_the_same_seed_gives_the_same_people(generator):
    options = ["--phenotype", "NOA", "-n", "4", "--seed"]
    first, again, other = (generated(generator, *options, seed) for seed in ("1", "1", "2"))
    assert first.output == again.output
    assert first.output != other.output


def test_more_people_begin_with_the_same_ones(generator):
    few, many = (records(generated(generator, "--phenotype", "SOC", "-n", n)) for n in ("3", "7"))
    assert many[:3] == few


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_the_batch_size_does_not_matter(generator, guidance):
    bundle = bundles.load(generator, torch.device("cpu"), torch.float64)
    outputs = []
    for batch in (1, 3, 100):
        sampler = HaplotypeGenerator(bundle, Settings(steps=5, guidance=guidance), batch=batch)
        requests = requests_of(["NOA:0.5,SOC:0.5", "null"], 5, sampler.phenotypes)
        outputs.append(np.stack([sample.alleles for sample in sampler.individuals(requests)]))
    assert (outputs[0] == outputs[1]).all()
    assert (outputs[0] == outputs[2]).all()


def test_haplotypes_make_up_the_barcodes(generator):
    options = ["--phenotype", "NOB", "-n", "2"]
    barcodes = records(generated(generator, *options))
    haplotypes = records(generated(generator, *options, "--haplotypes"))
    assert [name for name, *_ in haplotypes[:2]] == ["synthetic_NOB_1_A", "synthetic_NOB_1_B"]
    assert set("".join(sequence for *_, sequence in haplotypes)) <= set("ACGT")
    pairs = zip(haplotypes[0][2], haplotypes[1][2], strict=True)
    for letter, pair in zip(barcodes[0][2], pairs, strict=True):
        assert (letter in "ACGT") == (pair[0] == pair[1])


@pytest.mark.parametrize("build", ["GRCh37", "GRCh38"])
def test_vcf_holds_the_same_people_as_fasta(generator, cohort, tmp_path, build):
    options = ["--phenotype", "NOA", "-n", "3"]
    file = tmp_path / "people.vcf.gz"
    assert generated(generator, *options, "--to", "vcf", "--build", build, "-o", file).stdout == ""
    tokenized = run(["tokenize", "--to", "fasta", "--panel", cohort.panel, file])
    assert build in tokenized.stderr
    fasta = records(generated(generator, *options))
    lines = tokenized.stdout.splitlines()
    assert lines == [line for name, _, letters in fasta for line in (f">{name}", letters)]


@pytest.mark.skipif(not shutil.which("bcftools"), reason="bcftools is not installed")
def test_bcftools_has_nothing_to_say_about_the_vcf(generator, tmp_path):
    file = tmp_path / "people.vcf.gz"
    generated(generator, "-n", "5", "--to", "vcf", "-o", file)
    for command in (["index", file], ["view", file], ["query", "-f", "%CHROM %POS[ %GT]\n", file]):
        result = subprocess.run(["bcftools", *command], capture_output=True, text=True, check=True)
        assert result.stderr == ""
    rows = [line.split() for line in result.stdout.splitlines()]
    positions = [(int(row[0]), int(row[1])) for row in rows]
    assert len(rows) == SITES
    assert positions == sorted(positions)
    assert {call for row in rows for call in row[2:]} <= {"0|0", "0|1", "1|0", "1|1"}


@pytest.mark.skipif(not shutil.which("plink2"), reason="plink2 is not installed")
def test_plink2_reads_the_vcf_and_loses_nothing(generator, cohort, tmp_path):
    """As a .pgen, which it makes of it, it gives the same barcodes."""
    pytest.importorskip("pgenlib")
    file, prefix = tmp_path / "people.vcf.gz", tmp_path / "people"
    generated(generator, "-n", "5", "--to", "vcf", "-o", file)
    command = ["plink2", "--vcf", file, "--make-pgen", "--out", prefix]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stdout + result.stderr
    barcodes = ["tokenize", "--to", "fasta", "--panel", cohort.panel]
    tokenized = run([*barcodes, prefix.with_suffix(".pgen")])
    assert tokenized.status == 0, tokenized.stderr
    assert tokenized.stdout == run([*barcodes, file]).stdout


def test_a_table_has_a_row_a_person_and_a_column_a_site(generator):
    options = ["--phenotype", "SOC", "-n", "2", "--to", "tsv"]
    header, *rows = generated(generator, *options).rows
    assert header[:3] == ["sample", "phenotype", "1:1000:A:G"]
    assert [row[:2] for row in rows] == [["synthetic_SOC_1", "SOC"], ["synthetic_SOC_2", "SOC"]]
    haplotypes = generated(generator, *options, "--haplotypes").rows[1:]
    dosages = [
        str(int(a) + int(b)) for a, b in zip(haplotypes[0][2:], haplotypes[1][2:], strict=True)
    ]
    assert (haplotypes[0][0], dosages) == ("synthetic_SOC_1_A", rows[0][2:])


def copies(generator, tmp_path, *arguments):
    """Copies of the alternate allele (samples, sites)."""
    file = tmp_path / "table.tsv"
    generated(generator, "--to", "tsv", "-o", file, *arguments)
    columns = list(read_table(file).columns.values())[2:]
    return np.array(columns, np.int64).T


def test_allele_frequencies_are_those_of_the_phenotype(generator, tmp_path):
    expected = frequencies()
    found = {
        name: copies(generator, tmp_path, "--phenotype", name, "-n", "150").mean(axis=0) / 2
        for name in ("NOA", "SOC")
    }
    for name, frequency in found.items():
        assert np.corrcoef(frequency, expected[name])[0, 1] > 0.88
        other = expected["SOC" if name == "NOA" else "NOA"]
        assert np.corrcoef(frequency, other)[0, 1] < 0.75


def test_admixed_people_lie_between(generator, tmp_path):
    mixed = copies(generator, tmp_path, "--phenotype", "NOA:0.75,SOC:0.25", "-n", "100")
    expected = frequencies()
    axis = expected["SOC"] - expected["NOA"]
    share = (mixed.mean(axis=0) / 2 - expected["NOA"]) @ axis / (axis @ axis)
    assert share == pytest.approx(0.25, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("--phenotype XYZ", 2, "reference null; NORTH SOUTH; NOA NOB SOC"),
        ("--phenotype NOA:2,XYZ:1", 2, "no phenotype 'XYZ'"),
        ("--phenotype reference --phenotype NOA -n 5", 2, "NOA twice"),
        ("--to vcf --haplotypes", 2, "a VCF is phased"),
        ("-n 0", 2, "must be at least 1"),
        ("--guidance inf", 2, "inf is not a finite number"),
        ("--guidance nan", 2, "--guidance"),
        ("--temperature inf", 2, "inf is not a finite number"),
        ("--temperature nan", 2, "--temperature"),
        ("--length 100", 2, "--length does not fit the model maker: it makes people"),
        ("--prompt ACGT", 2, "--prompt does not fit"),
        ("--build GRCh38", 2, "--build is for VCF and TSV"),
    ],
)
def test_what_cannot_be_asked_for(generator, arguments, status, message):
    result = run(["generate", "--model", generator, *arguments.split()])
    assert (result.status, result.stdout) == (status, "")
    assert message in result.stderr


RECORDS = "record\tpop\tlatitude\tlongitude\nHelsinki\t.\t60.2\t24.9\nwhoever\tYRI\t.\t.\n"


def test_people_are_described_by_records(tmp_path):
    file = tmp_path / "records.tsv"
    file.write_text(RECORDS)
    options = ["--phenotypes", file, "-n", "6", "--steps", "4", "--device", "cpu"]
    result = run(["generate", *options])
    assert result.status == 0, result.stderr
    titles = [line[1:].split() for line in result.stdout.splitlines() if line.startswith(">")]
    assert [title[0] for title in titles] == [
        f"synthetic_{record}_{number}"
        for record in ("Helsinki", "whoever")
        for number in range(1, 7)
    ]
    assert {title[1] for title in titles[:6]} == {"phenotype=Helsinki"}
    rows = run(["classify", "--device", "cpu"], stdin=result.output).stdout.splitlines()[1:]
    predicted = [row.split("\t")[1] for row in rows]
    assert predicted[6:] == ["AFR"] * 6
    assert predicted[:6].count("EUR") >= 4  # the coordinates say Finland for nine in ten


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RECORDS.replace("YRI", "XYZ"), "records.tsv:3: pop 'XYZ' is unknown"),
        (
            RECORDS.replace("whoever", "who ever"),
            "records.tsv:3: 'who ever' cannot be part of a name",
        ),
        (RECORDS.replace("60.2", "95"), "records.tsv:2: "),
    ],
)
def test_bad_records_are_refused_by_their_line(tmp_path, text, message):
    file = tmp_path / "records.tsv"
    file.write_text(text)
    result = run(["generate", "--phenotypes", file])
    assert (result.status, result.stdout) == (1, "")
    assert message in result.stderr


def test_people_are_named_or_described(tmp_path):
    result = run(["generate", "--phenotype", "EUR", "--phenotypes", tmp_path / "records.tsv"])
    assert (result.status, result.stdout) == (2, "")
    assert "not both" in result.stderr


def test_a_classifier_generates_nobody(tiny_bundle):
    result = run(["generate", "--model", tiny_bundle])
    assert (result.status, result.stdout) == (1, "")
    assert "'tiny' generates nobody" in result.stderr


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_a_generator_neither_classifies_nor_embeds(generator, cohort, command, tmp_path):
    result = run([command, "--model", generator, cohort.newcomers, "-o", tmp_path / "out"])
    assert result.status in (1, 2)
    assert "unexpected" not in result.stderr


def test_the_report_tells_model_and_number(generator, tmp_path):
    file = tmp_path / "run.json"
    generated(generator, "-n", "4", "--report-json", file)
    report = json.loads(file.read_text())
    assert (report["model"]["name"], report["records"]["used"]) == ("maker", 4)


# --- records that the generator itself reads -------------------------------------------------------


CROPS = {"NOA": "rye", "SOC": "rice"}


@pytest.fixture(scope="module")
def phenotype_generator(cohort, one_thread, tmp_path_factory):
    """A generator trained on records, whose column `crop` is associated with many sites, and on no labels."""
    folder = tmp_path_factory.mktemp("described")
    populations = read_labels(cohort.labels).column("population")
    rows = [
        f"{n}\t{CROPS.get(p, '.')}\t{7 * i % 10}\n" for i, (n, p) in enumerate(populations.items())
    ]
    (folder / "records.tsv").write_text("person\tcrop\theight\n" + "".join(rows))
    options = ["--phenotypes", folder / "records.tsv", *changes(LONGER)]
    result = pretrained(cohort, folder / "maker", *options)
    assert result.status == 0, result.stderr
    return folder / "maker"


LONGER = (
    "optimization.steps=300 optimization.learning_rate=0.02 optimization.average=0.9 "
    "optimization.evaluate_every=100 network.dropout=0"
)


def ancestry_scores(cohort, phenotype_generator, tmp_path, text, *arguments):
    """By record: how much nearer the samples generated for it are to NOA than to SOC, over the distance of the two."""
    (tmp_path / "asked.tsv").write_text(text)
    options = ["--phenotypes", tmp_path / "asked.tsv", "-n", "60", "--steps", "8", "--to", "tsv"]
    _header, *rows = generated(phenotype_generator, *options, *arguments).stdout.splitlines()
    real = genotypes_of_variants([open_input(cohort.vcf)], Panel.read(cohort.panel))
    populations = read_labels(cohort.labels).column("population")
    masks = [np.array([populations.get(name) == pop for name in real.names]) for pop in CROPS]
    north, south = (np.maximum(real.copies[mask], 0).mean(axis=0) for mask in masks)
    projections = {}
    for _, record, *copies in (row.split("\t") for row in rows):
        projections.setdefault(record, []).append(np.array(copies, float) @ (north - south))
    return {
        record: np.mean(values) / ((north - south) ** 2).sum()
        for record, values in projections.items()
    }


def test_people_follow_a_column_that_goes_with_sites(cohort, phenotype_generator, tmp_path):
    text = "record\tcrop\theight\nnorth\trye\t.\nsouth\trice\t.\nwhoever\t.\t3\n"
    plain = ancestry_scores(cohort, phenotype_generator, tmp_path, text)
    assert list(plain) == ["north", "south", "whoever"]
    assert plain["south"] < plain["whoever"] < plain["north"]
    assert plain["north"] - plain["south"] > 0.7  # real people of both: 1
    guided = ancestry_scores(cohort, phenotype_generator, tmp_path, text, "--guidance", "3")
    assert guided["north"] - guided["south"] > plain["north"] - plain["south"]


def test_records_of_nobody_are_refused_and_those_without_are_told(cohort, tmp_path):
    (tmp_path / "records.tsv").write_text("person\tcrop\nnobody\trye\n")
    result = pretrained(cohort, tmp_path / "out", "--phenotypes", tmp_path / "records.tsv")
    assert result.status == 1
    assert "records.tsv: none of the people has a record here" in result.stderr


def test_the_quality_of_people_asked_for_by_records(phenotype_generator, tmp_path):
    (tmp_path / "asked.tsv").write_text("record\tcrop\nnorth\trye\n")
    options = ["--phenotypes", tmp_path / "asked.tsv", "-n", "5", "--steps", "4"]
    files = ["--quality", tmp_path / "q.tsv", "--report", tmp_path / "page.html"]
    result = generated(phenotype_generator, *options, *files)
    assert "allele_frequency: not measured, since people were asked for by records" in result.stderr
    assert "Frequencies of the alternate alleles" not in (tmp_path / "page.html").read_text()


def test_the_card_names_the_columns(phenotype_generator):
    assert "by records of crop, height" in (phenotype_generator / "README.md").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "record\tcrop\teyes\na\trye\t.\n",
            "no column 'eyes' in the model, which knows crop, height",
        ),
        ("record\tcrop\na\trye\nb\twheat\n", "asked.tsv:3: crop 'wheat' is unknown to the model"),
        ("record\tcrop\n-a\trye\n", "'-a' cannot be part of a name"),
        ("record\theight\na\ttall\n", "asked.tsv:2: height is 'tall', which is not a number"),
    ],
)
def test_what_the_generator_cannot_read_of_records(phenotype_generator, tmp_path, text, message):
    (tmp_path / "asked.tsv").write_text(text)
    result = run(
        ["generate", "--model", phenotype_generator, "--phenotypes", tmp_path / "asked.tsv"]
    )
    assert (result.status, result.stdout) == (1, "")
    assert message in result.stderr


def test_the_recipe_region_reads_no_records(cohort, tmp_path):
    (tmp_path / "records.tsv").write_text("person\tcrop\nNOA_0\trye\n")
    command = ["pretrain", "--recipe", "region", cohort.vcf, "--panel", cohort.panel]
    result = run([*command, "--phenotypes", tmp_path / "records.tsv", "-o", tmp_path / "out"])
    assert result.status == 1
    assert "a network of kind region reads no --phenotypes" in result.stderr
