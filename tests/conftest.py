"""What the tests share: the program run in this process or in a fresh one, and golden outputs."""

import io
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
DATA = TESTS / "data"
EXPECTED = TESTS / "expected"
SHARED = REPOSITORY.parent / "shared"
needs_shared = pytest.mark.shared

# How long a machine takes to draw an example says nothing about the code.
hypothesis.settings.register_profile(
    "genomai", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("genomai")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the extras, marked `shared`, where the data of ../shared are not here."""
    if not (SHARED / "data").is_dir():
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(pytest.mark.skip(reason="an extra: needs ../shared"))


def shared_files(pattern: str) -> list[Path]:
    """The files of ../shared that match a pattern; none where it is not here."""
    return sorted(path for path in SHARED.glob(pattern) if path.is_file())


@dataclass(frozen=True)
class Result:
    """How a run of the program ended; `output` is what `stdout` is the text of."""

    status: int
    output: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """Standard output as text."""
        return self.output.decode()

    @property
    def rows(self) -> list[list[str]]:
        """Standard output as the fields of a TSV."""
        return [line.split("\t") for line in self.stdout.splitlines()]


@pytest.fixture
def few_trees(monkeypatch):
    """Generated samples are told from real ones by a few trees and pairs of sites only, which takes no time."""
    monkeypatch.setattr("genomai_cli.population.evaluation.detection.TREES", 3)
    monkeypatch.setattr("genomai_cli.population.evaluation.detection.MAX_PAIRS", 20)


def run(arguments: str | list[str], stdin: str | bytes | Path = b"") -> Result:
    """Run `genomai ARGUMENTS` in this process, with real file descriptors; start-up costs nothing."""
    from genomai_cli.cli.app import main

    argv = shlex.split(arguments) if isinstance(arguments, str) else arguments
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(_bytes(stdin))
        files[0].seek(0)
        with _standard_streams(files):
            status = main([str(argument) for argument in argv])
        return Result(status, _content(files[1]), _content(files[2]).decode())


def run_process(
    arguments: str | list[str],
    stdin: str | bytes | Path = b"",
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Result:
    """Run `python -m genomai_cli ARGUMENTS` in a fresh interpreter."""
    argv = shlex.split(arguments) if isinstance(arguments, str) else arguments
    result = subprocess.run(
        [sys.executable, "-m", "genomai_cli", *map(str, argv)],
        input=_bytes(stdin),
        capture_output=True,
        env=os.environ | (environment or {}),
        cwd=cwd,
        check=False,
        timeout=120,
    )
    return Result(result.returncode, result.stdout, result.stderr.decode())


# The process's own peak; ru_maxrss would begin with the size of this one, which it is forked from.
PEAK = """
import sys
from genomai_cli.cli.app import main
status = main(sys.argv[1:])
peaks = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peaks[0].split()[1])
sys.exit(status)
"""


def peak_memory(arguments: list[str | Path]) -> float:
    """The most memory, in MiB, of a process that runs `genomai ARGUMENTS`, which must not write to standard output."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("the peak memory of a process is read from /proc, which is not here")
    command = [sys.executable, "-c", PEAK, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    return int(result.stdout) / 1024


def assert_expected(name: str, text: str) -> None:
    """Compare with the golden file `expected/NAME`; GENOMAI_UPDATE_EXPECTED=1 rewrites it instead."""
    golden = EXPECTED / name
    if os.environ.get("GENOMAI_UPDATE_EXPECTED"):
        golden.write_text(text)
    assert text == golden.read_text()


def _bytes(content: str | bytes | Path) -> bytes:
    if isinstance(content, Path):
        return content.read_bytes()
    return content.encode() if isinstance(content, str) else content


def _content(file: io.BufferedRandom) -> bytes:
    file.seek(0)
    return file.read()


@contextmanager
def _standard_streams(files: list[io.BufferedRandom]) -> Iterator[None]:
    """Files in the place of the descriptors 0, 1 and 2, and of `sys.stdin`, `sys.stdout` and `sys.stderr`."""
    with ExitStack() as stack:
        for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
            mode = "r" if descriptor == 0 else "w"
            stack.enter_context(_replaced(descriptor, files[descriptor], name, mode))
        yield


@contextmanager
def _replaced(descriptor: int, file: io.BufferedRandom, name: str, mode: str) -> Iterator[None]:
    stream, saved_descriptor = getattr(sys, name), os.dup(descriptor)
    if mode == "w":
        stream.flush()
    os.dup2(file.fileno(), descriptor)
    setattr(sys, name, io.open(descriptor, mode, encoding="utf-8", newline="", closefd=False))  # noqa: SIM115, UP020
    try:
        yield
    finally:
        getattr(sys, name).close()
        setattr(sys, name, stream)
        os.dup2(saved_descriptor, descriptor)
        os.close(saved_descriptor)


@pytest.fixture
def models_folder(tmp_path, monkeypatch) -> Path:
    """An empty folder in which the program looks for models before the shipped ones."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("GENOMAI_MODELS", str(folder))
    return folder


# A made-up cohort: three populations in two superpopulations, every allele sampled independently.
POPULATIONS = {"NOA": "NORTH", "NOB": "NORTH", "SOC": "SOUTH"}
MEMBERS, SITES = 25, 120
GRCH38_SHIFT = 1000
MISSING = -1


@dataclass(frozen=True)
class Cohort:
    """Files of made-up samples: those to train on, with labels, and newcomers to classify.

    `alleles` are the newcomers' haplotypes (samples, 2, sites): 0 for ref, 1 for alt, -1 missing.
    """

    panel: Path
    vcf: Path
    labels: Path
    newcomers: Path
    names: list[str]
    alleles: np.ndarray

    def variant_text(self, **changes) -> str:
        """The newcomers as a VCF, with the options of `variant_text`."""
        return variant_text(self.names, self.alleles, **changes)


def site(number: int) -> tuple[int, int, str, str]:
    """Chromosome, position in GRCh37, ref and alt of a panel site."""
    pair = ("AG", "CT", "GC", "TA", "AC", "TG")[number % 6]
    return 1 + number // 60, 1000 * (number % 60 + 1), pair[0], pair[1]


def panel_text(sites: int = SITES) -> str:
    """The cohort's panel, or the first sites of it."""
    lines = ["chrom\tpos_grch37\tpos_grch38\trsid\tref\talt"]
    for number in range(sites):
        chrom, position, ref, alt = site(number)
        lines.append(f"{chrom}\t{position}\t{position + GRCH38_SHIFT}\trs{number}\t{ref}\t{alt}")
    return "\n".join(lines) + "\n"


def variant_text(
    names: list[str],
    alleles: np.ndarray,
    *,
    build: str = "GRCh37",
    prefix: str = "",
    swapped: frozenset[int] = frozenset(),
) -> str:
    """Samples as a phased VCF, in either build, with REF and ALT exchanged at some sites."""
    shift = GRCH38_SHIFT if build == "GRCh38" else 0
    lines = ["##fileformat=VCFv4.2", f"##reference={build}"]
    lines += [f"##contig=<ID={prefix}{chrom}>" for chrom in (1, 2)]
    lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    lines.append(
        "\t".join(["#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT".replace(" ", "\t"), *names])
    )
    for number in range(alleles.shape[2]):
        chrom, position, *letters = site(number)
        is_swapped = number in swapped
        calls = [
            "|".join(_allele(allele, is_swapped) for allele in pair)
            for pair in alleles[:, :, number]
        ]
        fixed = [
            f"{prefix}{chrom}",
            str(position + shift),
            f"rs{number}",
            *letters[:: -1 if is_swapped else 1],
        ]
        lines.append("\t".join([*fixed, ".", "PASS", ".", "GT", *calls]))
    return "\n".join(lines) + "\n"


def _allele(allele: int, is_swapped: bool) -> str:
    return "." if allele == MISSING else str(1 - allele if is_swapped else allele)


def frequencies() -> dict[str, np.ndarray]:
    """Allele frequencies by population: superpopulations differ a lot, populations within one a little."""
    rng = np.random.default_rng(11)
    logit = rng.normal(0, 1, SITES)
    superpopulation_logits = {
        name: logit + rng.normal(0, 0.9, SITES) for name in ("NORTH", "SOUTH")
    }
    logits = {
        population: superpopulation_logits[superpopulation] + rng.normal(0, 0.5, SITES)
        for population, superpopulation in POPULATIONS.items()
    }
    return {population: 1 / (1 + np.exp(-values)) for population, values in logits.items()}


def random_sample(rng: np.random.Generator, mother: np.ndarray, father: np.ndarray) -> np.ndarray:
    """The alleles (2, sites) of a sample whose parents come from populations of these frequencies."""
    return np.stack(
        [(rng.random(len(frequency)) < frequency).astype(np.int8) for frequency in (mother, father)]
    )


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Cohort:
    """The files of the cohort, and newcomers: two of each population, a child of two continents, one with
    nine tenths of the sites missing, and one with no site at all."""
    folder = tmp_path_factory.mktemp("cohort")
    rng, frequency = np.random.default_rng(12), frequencies()
    samples = [(f"{p}_{i}", p) for p in POPULATIONS for i in range(MEMBERS)]
    alleles = np.stack([random_sample(rng, frequency[p], frequency[p]) for _, p in samples])
    newcomers = {
        f"{p}_new{i}": random_sample(rng, frequency[p], frequency[p])
        for p in POPULATIONS
        for i in (1, 2)
    }
    newcomers["child"] = random_sample(rng, frequency["NOA"], frequency["SOC"])
    sparse = random_sample(rng, frequency["SOC"], frequency["SOC"])
    sparse[:, np.arange(SITES) % 10 > 0] = MISSING
    newcomers |= {"sparse": sparse, "nobody": np.full((2, SITES), MISSING, np.int8)}
    files = Cohort(
        *(folder / name for name in ("panel.tsv", "cohort.vcf", "labels.tsv", "newcomers.vcf")),
        list(newcomers),
        np.stack(list(newcomers.values())),
    )
    files.panel.write_text(panel_text())
    files.vcf.write_text(variant_text([name for name, _ in samples], alleles))
    rows = [f"{name}\t{p}\t{POPULATIONS[p]}\n" for name, p in samples]
    files.labels.write_text("sample\tpopulation\tsuperpopulation\n" + "".join(rows))
    files.newcomers.write_text(files.variant_text())
    return files


def labelled_samples(cohort: Cohort):
    """The cohort's samples with the heads superpop and pop, and its panel."""
    from genomai_cli.formats.streams import open_inputs
    from genomai_cli.formats.tables import read_labels
    from genomai_cli.population.barcode import read_barcodes
    from genomai_cli.population.panel import Panel
    from genomai_cli.training.labelled_data import gather

    panel = Panel.read(cohort.panel)
    table = read_labels(cohort.labels)
    heads = {"superpop": table.column("superpopulation"), "pop": table.column("population")}
    samples, _ = gather(read_barcodes(open_inputs([cohort.vcf]), panel).records(), heads)
    return samples, panel


def same(one, other) -> bool:
    """Whether two states hold the same tensors, bit for bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def empty_arrays(shapes):
    """Zeros of these shapes and types, by name."""
    return {name: np.zeros(shape, kind) for name, (shape, kind) in shapes.items()}


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Torch and numpy compute with one thread: tiny networks are faster so, and other tests have a core too."""
    from genomai_cli import device

    device.use_threads(1)


TINY = (
    "network.width=16 split.folds=2 likelihood.axes=2 optimization.steps=40 "
    "optimization.batch_size=32 optimization.evaluate_every=20"
)
TINY_SEQUENCES = (
    "network.width=16 network.heads=2 network.layers=1 network.feed_forward=32 network.positions=32 "
    "tokenizer.k=3 optimization.steps=60 optimization.batch_size=16 optimization.evaluate_every=30 "
    "optimization.learning_rate=5e-3"
)


def changes(text: str) -> list[str]:
    """`--set` for each of the settings."""
    return [option for change in text.split() for option in ("--set", change)]


def made_and_asked(
    recipe: str, tiny: str, sequences: tuple[Path, Path], folder: Path, start: Path | None = None
) -> Result:
    """The result of `classify` of sequences by a small model of the recipe, pretrained on random DNA, then trained;
    all three commands must succeed."""
    dna, (fasta, labels) = folder / "dna.fa", sequences
    letters = "".join(np.random.default_rng(5).choice(list("ACGT"), 3000))
    dna.write_text(f">x\n{letters}\n")
    settings = ["--recipe", recipe, *changes(tiny), "--device", "cpu"]
    pretrained, trained_model = folder / "pretrained", folder / "trained"
    start_options = [] if start is None else ["--model", start]
    train = [
        "train",
        fasta,
        "--labels",
        labels,
        "-o",
        trained_model,
        "--model",
        pretrained,
        *settings,
    ]
    for arguments in (["pretrain", dna, "-o", pretrained, *start_options, *settings], train):
        result = run(arguments)
        assert result.status == 0, result.stderr
    result = run(["classify", "--model", trained_model, fasta])
    assert result.status == 0, result.stderr
    return result


def trained(arguments: list[str | Path]) -> Result:
    """`genomai train` on the CPU, which must succeed."""
    result = run(["train", *arguments, "--device", "cpu"])
    assert result.status == 0, result.stderr
    return result


@pytest.fixture(scope="session")
def tiny_bundle(cohort, one_thread, tmp_path_factory) -> Path:
    """A bundle like the shipped `ancestry-967`, trained on the cohort in a second."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    files = [cohort.vcf, "--labels", cohort.labels, "--panel", cohort.panel, "-o", folder]
    trained([*files, "--recipe", "ancestry-967", "--set", "name=tiny", *changes(TINY)])
    return folder


# Whether alt is common, site by site in turn: NORTH and SOUTH differ at two of six, NOA and NOB at one.
COMMON = {"NOA": (1, 0, 1, 0, 1, 0), "NOB": (1, 0, 0, 0, 1, 0), "SOC": (0, 1, 1, 0, 1, 0)}
PRIOR = (0.5, 0.3, 0.2)


def common_allele(population: str, number: int) -> int:
    """Which allele most members of a population have at a site of the handmade bundle."""
    return COMMON[population][number % 6]


@pytest.fixture(scope="session")
def handmade_bundle(cohort, one_thread, tmp_path_factory) -> Path:
    """A bundle without training: the common allele of a population has the frequency 0.8 in it, the networks
    add nothing, so that its answers are those of naive Bayes and the same on every machine."""
    import torch

    from genomai_cli.bundles.bundle import Bundle, build, save
    from genomai_cli.bundles.writing import Extras
    from genomai_cli.population.barcode_input import BarcodeInput
    from genomai_cli.population.panel import Panel

    nesting = {"superpop": [0, 0, 1], "pop": [0, 1, 2]}
    config = {
        "name": "handmade",
        "version": "0.1",
        "description": "a test",
        "input": {"kind": "barcode", "haplotypes": False},
        "tokenizer": {"kind": "iupac"},
        "network": {"kind": "sites", "sites": SITES, "width": 4, "dropout": 0.0},
        "members": 1,
        "heads": {"superpop": ["NORTH", "SOUTH"], "pop": list(POPULATIONS)},
        "likelihood": {"head": "pop", "axes": 1, "nesting": nesting},
    }
    panel = Panel.read(cohort.panel)
    kind = BarcodeInput(panel)
    classifier = build(config, kind).requires_grad_(False)
    for parameter in classifier.parameters():
        parameter.zero_()
    letters = [classifier.encoder.table[:, "ACGTRYSWKMN".index(x)] for x in "ACGTRYSWKM"]
    heterozygote = {"AG": "R", "CT": "Y", "GC": "S", "TA": "W", "AC": "M", "TG": "K"}
    classifier.encoder.table.fill_(MISSING)
    for number in range(SITES):
        ref, alt = panel.ref[number], panel.alt[number]
        for copies, letter in enumerate((ref, heterozygote[ref + alt], alt)):
            letters["ACGTRYSWKM".index(letter)][number] = copies
        common = torch.tensor([common_allele(p, number) for p in POPULATIONS])
        classifier.evidence.theta[:, number] = (2 * common - 1) * float(np.log(4))
    classifier.evidence.log_prior.copy_(torch.tensor(PRIOR).log())
    folder = tmp_path_factory.mktemp("models") / "handmade"
    save(Bundle(config, classifier, kind), folder, Extras("# handmade\n\nA test.\n", ""))
    return folder


@pytest.fixture(scope="session")
def sequences(tmp_path_factory) -> tuple[Path, Path]:
    """FASTA and labels of made-up sequences of two kinds, rich in A and T or in C and G."""
    folder, rng = tmp_path_factory.mktemp("sequences"), np.random.default_rng(13)
    fasta, labels = folder / "sequences.fa", folder / "labels.tsv"
    compositions = [("at" if i % 2 else "gc", int(rng.integers(20, 30))) for i in range(40)]
    weights = {"at": [0.4, 0.1, 0.1, 0.4], "gc": [0.1, 0.4, 0.4, 0.1]}
    texts = [
        "".join(rng.choice(list("ACGT"), size, p=weights[kind])) for kind, size in compositions
    ]
    fasta.write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(texts)))
    rows = [f"s{i}\t{kind}\n" for i, (kind, _) in enumerate(compositions)]
    labels.write_text("name\tcontent\n" + "".join(rows))
    return fasta, labels


@pytest.fixture(scope="session")
def tiny_sequence_bundle(sequences, one_thread, tmp_path_factory) -> Path:
    """A bundle that reads plain DNA in windows of 32 tokens, trained in a second."""
    fasta, labels = sequences
    folder = tmp_path_factory.mktemp("models") / "tiny-sequences"
    recipe = ["--recipe", "sequences", *changes(TINY_SEQUENCES)]
    trained([fasta, "--labels", labels, "-o", folder, *recipe])
    return folder


@pytest.fixture(scope="module")
def shipped_only():
    """No other models than the shipped ones are in the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GENOMAI_MODELS", raising=False)
        yield
