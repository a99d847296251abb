"""`genomai pretrain --objective diffusion --labels` of sequences, and `genomai generate --phenotype` by such models."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import changes, run

import genomai_cli as genomai
from genomai_cli.bundles import bundle as bundles
from genomai_cli.inference.generate_diffusion import SequenceGenerator, SequenceRequest, Settings

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTH, WINDOW = 20, 24
GC_CONTENT = {"low": 0.25, "high": 0.75}  # of G and C
TINY = (
    f"network.width=16 network.layers=3 network.taps=3 network.positions={WINDOW} "
    "optimization.steps=80 optimization.batch_size=32 optimization.learning_rate=1e-2 optimization.evaluate_every=80 "
    "split.holdout=0.2 diffusion.null=0.2"
)


def sequences(rng, gc_content, number, length=LENGTH):
    return [
        "".join(
            rng.choice(list("GCAT"), length, p=(gc_content / 2,) * 2 + ((1 - gc_content) / 2,) * 2)
        )
        for _ in range(number)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sequences of low and high GC content, in a ratio of 3 to 1; one without a label, and a long one."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(3)
    fasta, rows = [], []
    for kind, number in (("low", 150), ("high", 50)):
        for at, sequence in enumerate(sequences(rng, GC_CONTENT[kind], number)):
            fasta.append(f">{kind}{at}\n{sequence}\n")
            rows.append(f"{kind}{at}\t{kind}\n")
    long = "".join(sequences(rng, GC_CONTENT["high"], 1, 100))
    fasta += [f">alone\n{'ACGT' * 5}\n", f">long\n{long}\n"]
    (folder / "seqs.fa").write_text("".join(fasta))
    (folder / "labels.tsv").write_text("name\tcontent\n" + "".join([*rows, "long\thigh\n"]))
    return folder


def pretrain(data, output, *options, settings=TINY):
    command = [
        "pretrain",
        data / "seqs.fa",
        "--objective",
        "diffusion",
        "--device",
        "cpu",
        "-o",
        output,
    ]
    return run([*command, *changes(settings), "--labels", data / "labels.tsv", *options])


@pytest.fixture(scope="module", params=["absorbing", "uniform"])
def model(request, data, one_thread, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "model"
    result = pretrain(data, folder, "--set", f"diffusion.kernel={request.param}")
    assert result.status == 0, result.stderr
    assert "1 sequences have no labels" in result.stderr
    return folder


def generated(model, *arguments):
    result = run(
        ["generate", "--model", model, "--device", "cpu", "--steps", "10", *map(str, arguments)]
    )
    assert result.status == 0, result.stderr
    entries = [entry.split("\n")[:2] for entry in result.stdout.split(">")[1:]]
    return [(*title.split(" ", 1), sequence) for title, sequence in entries]


def gc(entries):
    return np.mean([letter in "GC" for *_, sequence in entries for letter in sequence])


def test_what_is_generated_has_the_label_asked_for(model):
    found = {kind: generated(model, "--phenotype", kind, "-n", 40) for kind in GC_CONTENT}
    for kind, entries in found.items():
        assert gc(entries) == pytest.approx(GC_CONTENT[kind], abs=0.1)
        assert [entry[:2] for entry in entries[:2]] == [
            (f"synthetic_{kind}_{number}", f"phenotype={kind} model=model seed=0")
            for number in (1, 2)
        ]
        assert {len(sequence) for *_, sequence in entries} == {LENGTH}
    guided = generated(model, "--phenotype", "high", "--guidance", 3, "-n", 40)
    assert gc(guided) > gc(found["high"]) + 0.03
    unconditional = gc(generated(model, "--phenotype", "null", "-n", 40))
    assert gc(found["low"]) < unconditional < gc(found["high"])


def test_without_a_phenotype_it_is_those_trained_on(model):
    names = [name for name, *_ in generated(model, "-n", 8)]
    assert sum(name.startswith("synthetic_low_") for name in names) == 6
    mixed = generated(model, "--phenotype", "low:0.5,high:0.5", "-n", 40)
    assert mixed[0][:2] == ("synthetic_low-high_1", "phenotype=low:0.5,high:0.5 model=model seed=0")
    assert 0.4 < gc(mixed) < 0.6
    gc_contents = [np.mean([letter in "GC" for letter in sequence]) for *_, sequence in mixed]
    assert np.std(gc_contents) > 0.17  # each is of one kind: 0.11 if all of them were of both


def test_a_sequence_follows_from_seed_label_and_number(model):
    bundle = bundles.load(model, torch.device("cpu"), torch.float64)
    request = SequenceRequest(5, 30, "ACGN", (("high", 1.0),), "high", "high")
    outputs = [
        [
            record.sequence
            for record in SequenceGenerator(bundle, settings, batch=batch).records(request)
        ]
        for settings, batch in ((Settings(8), 1), (Settings(8), 3), (Settings(8, seed=1), 3))
    ]
    assert outputs[0] == outputs[1] != outputs[2]
    both = generated(model, "--phenotype", "high", "--phenotype", "low", "-n", 2)
    assert both[2:] == generated(model, "--phenotype", "low", "-n", 2)


def test_a_model_says_what_it_knows(model):
    config = json.loads((model / "config.json").read_text())
    assert config["phenotypes"]["labels"] == {"content": ["high", "low"]}
    assert config["letters"] == LENGTH
    assert config["network"]["conditions"] == 3
    assert "It knows null, high, low" in (model / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--phenotype bound", "no phenotype 'bound': the model knows reference null; high low"),
        ("--phenotypes x.tsv", "--phenotypes does not fit the model model: it makes DNA"),
        ("--to vcf", "--to does not fit"),
    ],
)
def test_what_cannot_be_asked_for(model, arguments, message):
    result = run(["generate", "--model", model, *arguments.split()])
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr


def test_labels_that_do_not_match_a_bundle_are_refused(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["phenotypes"]["labels"]["content"].append("more")
    (folder / "config.json").write_text(json.dumps(config))
    result = run(["generate", "--model", folder])
    assert (result.status, result.stdout) == (1, "")
    assert "has 4 labels for 3" in result.stderr


@pytest.mark.parametrize(
    ("options", "message", "status"),
    [
        (["--objective", "masked"], "--labels are for --objective diffusion alone", 2),
        (["--set", "network={kind='hyenadna'}"], "need a network of kind transformer", 2),
        (["--set", "tokenizer={kind='kmers',k=3,stride=1}"], "tokens that do not overlap", 1),
        (["--set", "input.phenotypes=['kind']"], "no column 'kind' (there are: content)", 1),
        (["--labels", "{}/others.tsv"], "none of the 202 sequences has a label there", 1),
        (["--labels", "{}/bad.tsv"], "'not a name' cannot be the name of a phenotype", 1),
    ],
)
def test_what_cannot_be_trained(data, tmp_path, options, message, status):
    (tmp_path / "others.tsv").write_text("name\tkind\nother\ta\nanother\tb\n")
    (tmp_path / "bad.tsv").write_text("name\tkind\nlow0\tnot a name\nlow1\tb\n")
    result = pretrain(
        data, tmp_path / "model", *(option.replace("{}", str(tmp_path)) for option in options)
    )
    assert result.status == status
    assert message in result.stderr


def test_haplotypes_with_labels_are_people(data, tmp_path):
    text = "".join(f">p{number}_{haplotype}\nACGT\n" for number in range(2) for haplotype in "AB")
    (tmp_path / "seqs.fa").write_text(text)
    shutil.copy(data / "labels.tsv", tmp_path)
    result = pretrain(tmp_path, tmp_path / "model")
    assert result.status == 1
    assert "no column 'superpopulation'" in result.stderr  # of the recipe for people


def test_python_gives_what_the_command_gives(model):
    loaded = genomai.load(model, device="cpu")
    sampling = genomai.Sampling(steps=10, guidance=2)
    records = loaded.generate(3, phenotype="high", sampling=sampling)
    assert [record.sequence for record in records] == [
        sequence
        for *_, sequence in generated(model, "--phenotype", "high", "-n", 3, "--guidance", 2)
    ]
    names = [record.name for record in loaded.generate(4, sampling=sampling)]
    assert names[-1] == "synthetic_low_3"
