"""Imputation without a network: its bundle, windows of more sites than are read at once, and what refuses it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import empty_arrays, run
from safetensors.numpy import load_file, save_file

from genomai_cli import registry
from genomai_cli.bundles.catalog import sha256
from genomai_cli.denoising.vcf_calls import dosage_r2, with_quality
from genomai_cli.formats.vcf_rewrite import Site, write_variants
from genomai_cli.population.networks.haplotype_imputer import (
    HaplotypeImputer,
    ImputerConfig,
    allele_probabilities,
    windows_of,
)
from genomai_cli.population.packed_haplotypes import PackedHaplotypes
from genomai_cli.training import run_folder

pytestmark = pytest.mark.usefixtures("one_thread")
SITES, INDIVIDUALS, TYPED_EVERY, SPACING = 96, 40, 4, 1000


def mosaics(seed=2, individuals=INDIVIDUALS + 6):
    """Alleles (N, 2, S) of mosaics of eight founders."""
    rng = np.random.default_rng(seed)
    founders = rng.integers(0, 2, (8, SITES))
    switch = rng.random((individuals, 2, SITES)) < 0.01
    row = (rng.integers(8, size=(individuals, 2, 1)) + switch.cumsum(axis=2)) % 8
    return founders[row, np.arange(SITES)].astype(np.int8)


def write(path, alleles, sites=None, phased=True):
    """A VCF of these samples at some of the sites."""
    numbers = range(SITES) if sites is None else sites
    records = [Site("22", SPACING * (n + 1), ".", "A", "G") for n in numbers]
    names = {f"p{n}": "." for n in range(len(alleles))}
    with path.open("wb") as out:
        contigs = {"22": 51304566}
        columns = alleles[:, :, list(numbers)]
        write_variants(out, records, names, columns, build="GRCh37", contigs=contigs, source="test")
    if not phased:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(x if x[0] == "#" else x.replace("|", "/") for x in lines))


def genotypes(path):
    """The copies of the alternate allele (S, N) in each record."""
    lines = [line.split("\t") for line in path.read_text().splitlines() if line[0] != "#"]
    calls = [[call.split(":")[0].replace("|", "/") for call in line[9:]] for line in lines]
    return np.array([[sum(map(int, call.split("/"))) for call in row] for row in calls])


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A folder with bundles of one window and of several, and the alleles of samples to impute."""
    folder = tmp_path_factory.mktemp("imputer")
    alleles = mosaics()
    write(folder / "reference.vcf", alleles[:INDIVIDUALS])
    for name, window in (("one", 4096), ("several", 32)):
        sizes = ["--set", f"network.window={window}", "--set", f"network.overlap={window // 2}"]
        arguments = [
            "pretrain",
            "--for",
            "imputation",
            folder / "reference.vcf",
            "-o",
            folder / name,
        ]
        result = run([*arguments, *sizes, "--device", "cpu"])
        assert result.status == 0, result.stderr
        assert "genotypes without phase: held-out loss" in result.stderr
    return folder, alleles[INDIVIDUALS:]


@pytest.mark.parametrize("name", ["one", "several"])
@pytest.mark.parametrize("phased", [True, False])
def test_hidden_sites_are_added(bundles, tmp_path, name, phased):
    folder, alleles = bundles
    write(tmp_path / "typed.vcf", alleles, range(0, SITES, TYPED_EVERY), phased)
    out = tmp_path / "restored.vcf"
    result = run(["denoise", "--model", folder / name, tmp_path / "typed.vcf", "-o", out])
    assert result.status == 0, result.stderr
    found, truth = genotypes(out), alleles.sum(axis=1).T
    hidden = np.arange(SITES) % TYPED_EVERY > 0
    assert found.shape == truth.shape
    assert (found[hidden] == truth[hidden]).mean() > 0.83
    most_frequent = np.rint(mosaics()[:INDIVIDUALS].mean(axis=(0, 1)) * 2)[:, None]
    assert (most_frequent == truth)[hidden].mean() < 0.7
    text = out.read_text()
    assert text.count("##INFO=<ID=DR2,Number=1,Type=Float,") == 1
    assert text.count("\tIMPUTED;DR2=") == hidden.sum()


def test_the_bundle_tells_what_it_holds(bundles):
    folder, _ = bundles
    names = {file.name for file in (folder / "one").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "panel.tsv", "recipe.toml"}
    provenance = json.loads((folder / "one" / "config.json").read_text())["provenance"]
    for loss, baseline in zip(
        provenance["held_out"].values(), provenance["baseline"].values(), strict=True
    ):
        assert loss < baseline / 2
    card = (folder / "one" / "README.md").read_text()
    assert "holds the haplotypes of 40 people" in card
    assert "no trainable parameters" in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "-n", "1"], "generates nobody"),
        (["classify", "typed.vcf"], "has no heads"),
        (["embed", "typed.vcf", "-o", "x.h5"], "it has no vectors"),
    ],
)
def test_what_needs_a_network_refuses_it(bundles, tmp_path, monkeypatch, arguments, message):
    folder, alleles = bundles
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "typed.vcf", alleles)
    result = run([*arguments, "--model", str(folder / "one")])
    assert result.status in (1, 2)
    assert message in result.stderr.splitlines()[-1]
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objective", "diffusion"], "no --objective"),
        (["--recipe", "region"], "no --recipe"),
        (["--labels", "labels.tsv"], "no use for --labels"),
        (["--phenotypes", "labels.tsv"], "no use for --phenotypes"),
        (["--tracks", "labels.tsv"], "no use for --tracks"),
        (["--reference", "x.fa", "--regions", "x.bed"], "no use for --reference"),
        (["--model", "ancestry"], "no use for --model"),
        (["--shard"], "no use for --shard"),
        (["--set", "network.overlap=4096"], "overlap is at most half of the window"),
        (["--set", "network.depth=1"], "unexpected keyword argument 'depth'"),
        (["--set", 'network.kind="region"'], "--set: network.kind is 'haplotypes', not 'region'"),
        (["--set", "network.people=3"], "3 individuals are too few for a reference: 4 at least"),
        (["--set", "optimisation.steps=3"], "--set: unknown key optimisation"),
        (["--set", "input.haplotypes=false"], "--set: reference haplotypes have input.kind"),
        (["--set", "objectives={diffusion=1}"], "without objectives"),
    ],
)
def test_options_without_use_are_refused(bundles, tmp_path, monkeypatch, options, message):
    folder, _ = bundles
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.tsv").write_text("sample\tside\np0\tNORTH\n")
    (tmp_path / "x.fa").write_text(">22\nACGT\n")
    (tmp_path / "x.bed").write_text("22\t0\t4\n")
    arguments = ["pretrain", "--for", "imputation", folder / "reference.vcf", "-o", "m", *options]
    result = run(arguments)
    assert result.status in (1, 2)
    assert message in result.stderr.splitlines()[-1]
    assert "unexpected:" not in result.stderr
    assert not list(tmp_path.glob("m*"))


def test_torchrun_is_refused(bundles, tmp_path, monkeypatch):
    folder, _ = bundles
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = ["pretrain", "--for", "imputation", folder / "reference.vcf", "-o", tmp_path / "m"]
    result = run(arguments)
    assert (result.status, "run it without torchrun" in result.stderr) == (2, True), result.stderr
    assert not list(tmp_path.iterdir())


def pretrain_small(folder, name, *options):
    """Pretrain an imputation bundle on the CPU."""
    arguments = ["pretrain", "--recipe", "imputation", "-o", folder / name, *options]
    return run([*map(str, arguments), "--device", "cpu"])


def without_clock(folder):
    """The config without what differs from run to run."""
    config = json.loads((folder / "config.json").read_text())
    del config["provenance"]["seconds"], config["name"]
    return config


@pytest.fixture(scope="module")
def few_sites(tmp_path_factory):
    """A VCF of few sites, and their panel, in a folder."""
    folder = tmp_path_factory.mktemp("few")
    hidden = np.random.default_rng(3).random((12, 2, 16)) < 0.1
    alleles = np.where(hidden, np.int8(-1), mosaics(individuals=12)[:, :, :16])
    write(folder / "few.vcf", alleles, range(16))
    assert (
        pretrain_small(folder, "vcf", folder / "few.vcf", "--panel", folder / "few.vcf").status == 0
    )
    return folder


def test_records_of_haplotypes_make_the_same_bundle(few_sites, tmp_path):
    panel, fasta = few_sites / "vcf" / "panel.tsv", tmp_path / "few.fa"
    arguments = [
        "tokenize",
        "--to",
        "fasta",
        "--haplotypes",
        "--panel",
        panel,
        few_sites / "few.vcf",
    ]
    assert run([*arguments, "-o", fasta]).status == 0
    result = pretrain_small(tmp_path, "fasta", fasta, "--panel", panel)
    assert result.status == 0, result.stderr
    assert "12 individuals at 16 sites" in result.stderr
    weights = [f / "model.safetensors" for f in (few_sites / "vcf", tmp_path / "fasta")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert without_clock(few_sites / "vcf") == without_clock(tmp_path / "fasta")


def test_of_many_individuals_some_are_kept(few_sites, tmp_path):
    arguments = [
        few_sites / "few.vcf",
        "--panel",
        few_sites / "few.vcf",
        "--set",
        "network.people=6",
    ]
    arguments += ["--set", "optimization.steps=3"]  # which counts for nothing
    result = pretrain_small(tmp_path, "m", *arguments, "--report", tmp_path / "page.html")
    assert result.status == 0, result.stderr
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["network"]["people"] == 6
    assert config["provenance"]["corpus"]["records"] == 12
    retained = load_file(tmp_path / "m" / "model.safetensors")["members.0.haplotypes.packed"]
    full = load_file(few_sites / "vcf" / "model.safetensors")["members.0.haplotypes.packed"]
    assert retained.shape == (12, 2)
    assert (retained[:2] == full[:2]).mean() > 0.8  # the first; what is unknown is the usual allele
    assert "genotypes with phase" in (tmp_path / "page.html").read_text()


def test_who_has_no_known_allele_is_left_out(few_sites, tmp_path):
    lines = (few_sites / "few.vcf").read_text().splitlines()
    rows = [line if line[0] == "#" else line[: line.rindex("\t")] + "\t.|." for line in lines]
    (tmp_path / "x.vcf").write_text("\n".join(rows) + "\n")
    result = pretrain_small(tmp_path, "m", tmp_path / "x.vcf", "--panel", few_sites / "few.vcf")
    assert "1 individuals without a known allele are left out" in result.stderr
    assert without_clock(tmp_path / "m")["network"]["people"] == 11


def test_a_killed_run_is_begun_again(few_sites, tmp_path, monkeypatch):
    arguments = [few_sites / "few.vcf", "--panel", few_sites / "few.vcf"]
    monkeypatch.setattr(run_folder.Workspace, "remove", lambda self: self.lock.release())
    assert pretrain_small(tmp_path, "m", *arguments).status == 0
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "m")
    assert "holds an interrupted run" in pretrain_small(tmp_path, "m", *arguments).stderr
    assert (
        "a run with other seed"
        in pretrain_small(tmp_path, "m", *arguments, "--resume", "--seed", "1").stderr
    )
    result = pretrain_small(tmp_path, "m", *arguments, "--resume")
    assert result.status == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert "--force replaces it" in pretrain_small(tmp_path, "m", *arguments).stderr
    assert pretrain_small(tmp_path, "m", *arguments, "--force").status == 0


def test_standard_input_needs_a_panel(tmp_path):
    result = run(
        ["pretrain", "--for", "imputation", "-o", tmp_path / "m"], b"##fileformat=VCFv4.2\n"
    )
    assert (result.status, "needs a --panel" in result.stderr) == (2, True)
    result = run(["pretrain", "--for", "imputation", tmp_path / "x.vcf", "-o", tmp_path / "m"])
    assert (result.status, "x.vcf: no such file" in result.stderr) == (1, True)


def write_likelihoods(path, alleles):
    """A VCF in which no genotype is called; PL supports each genotype as a few reads would."""
    write(path, alleles, phased=False)
    rng = np.random.default_rng(4)
    likelihoods = {"0/0": "0,3,30", "0/1": "12,0,12", "1/0": "12,0,12", "1/1": "30,3,0"}
    lines = []
    for line in path.read_text().splitlines():
        if line[0] != "#":
            fields = line.split("\t")
            pl = [likelihoods[c] if rng.random() < 0.5 else "0,0,0" for c in fields[9:]]
            line = "\t".join([*fields[:8], "GT:PL", *(f"./.:{x}" for x in pl)])
        lines.append(line)
    header = '##FORMAT=<ID=PL,Number=G,Type=Integer,Description="x">'
    path.write_text("\n".join([lines[0], header, *lines[1:]]) + "\n")


def test_likelihoods_of_missing_genotypes_are_evidence(bundles, tmp_path):
    folder, alleles = bundles
    write_likelihoods(tmp_path / "soft.vcf", alleles)
    out = tmp_path / "restored.vcf"
    result = run(["denoise", "--model", folder / "one", tmp_path / "soft.vcf", "-o", out])
    assert result.status == 0, result.stderr
    found, truth = genotypes(out), alleles.sum(axis=1).T
    assert (found == truth).mean() > 0.85


def with_calls(path, calls, header=""):
    """Rewrite a VCF's calls: `calls` takes the number of a record and its calls, and returns FORMAT and new ones."""
    lines, number = [], 0
    for line in path.read_text().splitlines():
        if line[0] != "#":
            fields = line.split("\t")
            line, number = "\t".join([*fields[:8], *calls(number, fields[9:])]), number + 1
        lines.append(header + line if line.startswith("#CHROM") else line)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["one", "several"])
def test_who_has_one_allele_gets_one(bundles, tmp_path, name):
    """As men on X; and outside of X's ends, where they have two."""
    folder, alleles = bundles
    alleles = alleles.copy()
    alleles[:3, 1] = alleles[:3, 0]
    typed, out = range(0, SITES, TYPED_EVERY), tmp_path / "restored.vcf"
    write(tmp_path / "typed.vcf", alleles, typed)

    def calls(number, fields):
        haploid = [True, number % 3 > 0, number < len(typed) / 2]
        shown = [f[0] if one else f for f, one in zip(fields[:3], haploid, strict=True)]
        return ["GT", shown[0], shown[1] if haploid[1] else ".", *shown[2:], *fields[3:]]

    diploid = run(["denoise", "--model", folder / name, tmp_path / "typed.vcf"])
    with_calls(tmp_path / "typed.vcf", calls)
    arguments = ["--changes", tmp_path / "changes.tsv", "-o", out]
    result = run(["denoise", "--model", folder / name, tmp_path / "typed.vcf", *arguments])
    assert result.status == 0, result.stderr
    changes = [row.split("\t") for row in (tmp_path / "changes.tsv").read_text().splitlines()[1:]]
    words = {name: {row[2] for row in changes if row[0] == name} for name, *_ in changes}
    assert [*map(sorted, words.values())][:4] == [["."], ["."], [".", "./."], ["./."]]
    before, after = (
        [line.split("\t") for line in text.splitlines() if line[0] != "#"]
        for text in (diploid.output.decode(), out.read_text())
    )
    right = []
    for site, (old, new) in enumerate(zip(before, after, strict=True)):
        assert [call[:3] for call in old[12:]] == [call[:3] for call in new[12:]]
        in_haploid_part = site < SITES / 2 - TYPED_EVERY / 2
        for sample, call in enumerate(new[9 : 12 if in_haploid_part else 11]):
            genotype, *rest = call.split(":")
            assert genotype in ("0", "1")
            if rest:  # else nothing is restored in the record
                none, one = map(float, rest[0].split(","))
                assert none + one == pytest.approx(1, abs=1e-3)
                assert one == pytest.approx(float(rest[1]), abs=1e-3)
            right.append(int(genotype) == alleles[sample, 0, site])
        assert ("|" in new[11].split(":")[0]) != in_haploid_part
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("hidden", ["one site in eight", "one allele of every heterozygote"])
def test_half_genotypes_without_phase_are_restored(bundles, tmp_path, hidden):
    folder, alleles = bundles
    write(tmp_path / "half.vcf", alleles, phased=False)
    truth = alleles.sum(axis=1).T
    every_heterozygote = hidden == "one allele of every heterozygote"
    is_half = (
        truth == 1 if every_heterozygote else (np.arange(SITES) % 8 == 3)[:, None] & (truth >= 0)
    )
    seen = np.random.default_rng(4).integers(0, 2, truth.shape)

    def calls(number, fields):
        halves = zip(fields, seen[number], is_half[number], strict=True)
        return ["GT", *(f"{call.split('/')[i]}/." if half else call for call, i, half in halves)]

    with_calls(tmp_path / "half.vcf", calls)
    out = tmp_path / "restored.vcf"
    result = run(["denoise", "--model", folder / "one", tmp_path / "half.vcf", "-o", out])
    assert result.status == 0, result.stderr
    found = genotypes(out)
    assert (found == truth)[is_half & (truth == 1)].mean() > (0.85 if every_heterozygote else 0.95)
    assert (found == truth).mean() > 0.95


def test_half_genotypes_without_phase_do_not_mislead_individuals_with_phase(bundles):
    alleles = mosaics()
    config = ImputerConfig(people=INDIVIDUALS, sites=SITES)
    packed = np.packbits(alleles[:INDIVIDUALS].reshape(-1, SITES) == 1, axis=1)
    reference = PackedHaplotypes([""] * INDIVIDUALS, SITES, packed)
    imputer = HaplotypeImputer.fitted(config, reference, np.arange(SITES) * float(SPACING))
    kriging = imputer.kriging_reference(imputer.windows[0])
    typed = np.where(np.arange(SITES) % TYPED_EVERY, np.int8(-1), alleles[INDIVIDUALS:])
    sites = np.arange(0, SITES, 3 * TYPED_EVERY)
    half, missing = typed.copy(), typed.copy()
    half[:, 0, sites], half[:, 1, sites], missing[:, :, sites] = typed[:, 1, sites], -1, -1
    phased = np.ones((len(typed), SITES), np.bool_)
    phased[:, sites] = False
    with_phase = ((missing[:, 0] != missing[:, 1]) & phased).any(axis=1)
    assert with_phase.sum() > 3
    found = [allele_probabilities(kriging, queries, phased) for queries in (half, missing)]
    np.testing.assert_array_equal(*(probabilities[with_phase] for probabilities in found))


def test_half_genotypes_keep_their_half_beside_likelihoods(bundles, tmp_path):
    folder, alleles = bundles
    write(tmp_path / "half.vcf", alleles, phased=False)
    forms = ["0/.:20,3,0", "0/.:0,3,20", "0/.:3,0,3", "1/.:0,3,20", "./1:20,3,0", "1/.:3,0,3"]
    with_calls(
        tmp_path / "half.vcf",
        lambda number, fields: ["GT:PL", *forms] if number % 16 == 8 else ["GT", *fields],
        '##FORMAT=<ID=PL,Number=G,Type=Integer,Description="x">\n',
    )
    out = tmp_path / "restored.vcf"
    result = run(["denoise", "--model", folder / "one", tmp_path / "half.vcf", "-o", out])
    assert "read 36 by PL" in result.stderr
    restored = [x.split("\t")[9:] for x in out.read_text().splitlines() if "GT:PL" in x]
    assert len(restored) == 6
    for calls in restored:
        for form, call in zip(forms, calls, strict=True):
            assert form[:3].strip("./") in call.split(":")[0].split("/")


@pytest.fixture(scope="module")
def command_lines(bundles):
    """Command lines that restore files of all kinds, without the output."""
    folder, alleles = bundles
    typed = range(0, SITES, TYPED_EVERY)
    is_missing = np.random.default_rng(1).random((SITES, len(alleles))) < 0.3
    write(folder / "phased.vcf", alleles, typed)
    write(folder / "unphased.vcf", alleles, typed, phased=False)
    write(folder / "missing.vcf", alleles, phased=False)
    with_calls(
        folder / "missing.vcf",
        lambda number, calls: ["GT", *np.where(is_missing[number], "./.", calls)],
    )
    write_likelihoods(folder / "likelihoods.vcf", alleles)
    write(folder / "first.vcf", alleles, typed[:10])
    write(folder / "second.vcf", alleles, typed[10:])
    files = {
        "one": [["phased"], ["unphased"], ["missing"], ["likelihoods"]],
        "several": [["first", "second"]],
    }
    return [
        ["denoise", "--model", str(folder / name), *(str(folder / f"{file}.vcf") for file in names)]
        for name, files_of_each in files.items()
        for names in files_of_each
    ] + [["denoise", "--model", str(folder / "one"), str(barcodes_of(folder, "unphased"))]]


def barcodes_of(folder, name):
    """A file of the barcodes that a VCF has at the sites of a model."""
    command = ["tokenize", "--to", "fasta", "--panel", folder / "one" / "panel.tsv"]
    result = run([*command, folder / f"{name}.vcf", "-o", folder / f"{name}.fa"])
    assert result.status == 0, result.stderr
    return folder / f"{name}.fa"


def test_without_a_network_torch_stays_closed_and_the_bytes_are_the_same(
    command_lines, tmp_path, monkeypatch
):
    program = (
        "import json, sys; from genomai_cli.cli.app import main\n"
        "for words in json.loads(sys.argv[1]): assert main(words) == 0, words\n"
        "print(*sys.modules)"
    )
    pretraining = [
        "pretrain",
        "--for",
        "imputation",
        command_lines[0][3],
        "-o",
        str(tmp_path / "m"),
        "--report",
    ]
    lines = [
        [*arguments, "-o", str(tmp_path / f"{n}.vcf")] for n, arguments in enumerate(command_lines)
    ]
    lines.insert(0, [*pretraining, str(tmp_path / "page.html")])
    command = [sys.executable, "-c", program, json.dumps(lines)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    imported = set(completed.stdout.split())
    assert "genomai_cli.population.networks.kriging" in imported
    assert not {"torch", "genomai_cli.device", "genomai_cli.bundles.bundle"} & imported
    monkeypatch.setattr(registry, "DENOISERS_OF_ARRAYS", {})
    for number, arguments in enumerate(command_lines):
        out = tmp_path / "by_network.vcf"
        assert run([*arguments, "-o", out]).status == 0
        expected = without_command((tmp_path / f"{number}.vcf").read_text())
        assert expected == without_command(out.read_text())
    barcodes, restored = Path(arguments[-1]).read_text(), out.read_text()
    assert restored.count("N") < barcodes.count("N") / 2


def without_command(text):
    """The lines of a VCF without the one that holds the command."""
    return [line for line in text.splitlines() if not line.startswith("##genomai")]


def replace_arrays(folder, **arrays):
    """Other values of some arrays, with the checksum of the file."""
    path = folder / "model.safetensors"
    stored = {n: x for n, x in (load_file(path) | arrays).items() if x is not None}
    save_file(stored, path)
    config = json.loads((folder / "config.json").read_text())
    config["files"][path.name] = sha256(path)
    (folder / "config.json").write_text(json.dumps(config))


SCALE = "members.0.calibration.scale"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({SCALE: None}, f"missing tensor {SCALE} (1 in all)"),
        ({"more": np.ones(3)}, "unknown tensor more (1 in all)"),
        ({SCALE: np.ones(3, np.float32)}, f"tensor {SCALE} has another shape than the config says"),
        ({SCALE: np.full(16, np.nan, np.float32)}, f"{SCALE} has values that are NaN or infinite"),
        ({SCALE: np.ones(16, np.int64)}, f"tensor {SCALE} is int64 where float32 is needed"),
    ],
)
def test_arrays_that_are_none_of_a_reference_are_refused(bundles, tmp_path, arrays, message):
    folder, alleles = bundles
    shutil.copytree(folder / "one", tmp_path / "model")
    replace_arrays(tmp_path / "model", **arrays)
    write(tmp_path / "typed.vcf", alleles)
    result = run(["denoise", "--model", tmp_path / "model", tmp_path / "typed.vcf"])
    assert (result.status, message in result.stderr.splitlines()[-1]) == (1, True), result.stderr
    assert not result.stdout


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"people": 10**12}, "another shape"),
        ({"people": -1}, "another shape"),
        ({"people": "x"}, "another shape"),
        ({"overlap": 4096}, "overlap is at most half of the window"),
        ({"depth": 3}, "unexpected keyword argument 'depth'"),
        ({"sites": 95}, "96 sites, where the network has 95"),
    ],
)
def test_a_config_of_another_reference_is_refused(bundles, tmp_path, sizes, message):
    folder, alleles = bundles
    shutil.copytree(folder / "one", tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "network": {**config["network"], **sizes}}))
    write(tmp_path / "typed.vcf", alleles)
    result = run(["denoise", "--model", tmp_path / "model", tmp_path / "typed.vcf"])
    assert (result.status, message in result.stderr.splitlines()[-1]) == (1, True), result.stderr
    assert "unexpected:" not in result.stderr


def test_a_device_that_is_not_there_is_refused(command_lines):
    result = run([*command_lines[0], "--device", "cuda:77"])
    assert (result.status, "no such CUDA device here" in result.stderr) == (2, True), result.stderr


def test_the_quality_of_a_site_is_what_its_probabilities_imply():
    certain, uninformative = np.eye(3), [[0.25, 0.5, 0.25]] * 3
    half = [[0.5, 0.5, 0], [0, 0.5, 0.5], [0.25, 0.5, 0.25]]
    dosages, variances = [0.5, 1.5, 1.0], [0.25, 0.25, 0.5]
    of_half = np.var(dosages) / (np.var(dosages) + np.mean(variances))
    found = dosage_r2(np.array([certain, uninformative, half, [[1, 0, 0]] * 3], np.float32))
    assert found == pytest.approx([1, 0, of_half, 0])
    assert dosage_r2(np.array(certain, np.float32)[None, :0]) == [None]


def test_who_has_no_call_does_not_count():
    calls = np.array([[[0, 1, 0], [0, 0, 0], [1, 0, 0]], [[0, 0, 0]] * 3], np.float32)
    assert dosage_r2(calls) == [pytest.approx(1), None]
    assert dosage_r2(calls * 0.5) == dosage_r2(calls)
    assert dosage_r2(np.ones((2, 1, 6), np.float32)) == [None, None]


@pytest.mark.parametrize(
    ("info", "expected"), [(b".", b"DR2=0.500"), (b"AC=1;DR2=0.1;X", b"AC=1;X;DR2=0.500")]
)
def test_the_quality_replaces_an_old_one(info, expected):
    assert with_quality(info, 0.5) == expected
    assert with_quality(info, None) == info


@pytest.mark.parametrize("sites", [1, 31, 32, 33, 48, 49, 1000])
def test_windows_tell_every_site_once_within_what_they_read(sites):
    windows = windows_of(sites, 32, 16)
    output_sites = [site for w in windows for site in range(w.first, w.last)]
    assert output_sites == list(range(sites))
    for w in windows:
        assert w.begin <= w.first < w.last <= w.end <= w.begin + 32
        assert w.begin % 8 == 0
        assert len(range(w.begin, w.end)[w.output]) == w.last - w.first


def test_a_window_is_what_its_own_sites_are():
    alleles = mosaics()
    config = ImputerConfig(people=INDIVIDUALS, sites=SITES, window=32, overlap=16)
    imputer = HaplotypeImputer(config, empty_arrays(HaplotypeImputer.shapes(config)))
    imputer.haplotypes.set_haplotypes(alleles[:INDIVIDUALS], np.arange(SITES) * float(SPACING))
    imputer.calibration.set_frequencies(alleles[:INDIVIDUALS].sum(axis=1))
    window = imputer.windows[2]
    kriging = imputer.kriging_reference(window)
    np.testing.assert_array_equal(kriging.copies, alleles[:INDIVIDUALS, :, window.input].sum(1))
    np.testing.assert_array_equal(kriging.calibration.base, imputer.calibration.base[window.input])
    probabilities = allele_probabilities(
        kriging, alleles[INDIVIDUALS:, :, window.input], np.ones((6, 32), np.bool_)
    )
    assert probabilities.shape == (6, 2, 32)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
