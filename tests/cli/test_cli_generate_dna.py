"""`genomai generate` with models of DNA, which `genomai pretrain --objective diffusion` makes of FASTA."""

import json
from dataclasses import asdict

import likelihood_bundles
import numpy as np
import pytest
import torch
from conftest import changes, run

from genomai_cli.bundles import bundle as bundles
from genomai_cli.inference.generate_diffusion import SequenceGenerator, SequenceRequest, Settings
from genomai_cli.objectives.diffusion import DiffusionSettings

pytestmark = pytest.mark.usefixtures("one_thread")

WINDOW = 24
KINDS = ("AC", "GT")  # every sequence is made of the letters of one kind
TINY = (
    f"network.width=16 network.layers=3 network.taps=3 network.positions={WINDOW} "
    "optimization.steps=120 optimization.batch_size=16 optimization.learning_rate=1e-2 optimization.evaluate_every=120 "
    "corpus.judged=512 split.holdout=0.2"  # the bound of one window varies much
)
TOKENIZERS = {
    "letters": [],
    "triplets": ["tokenizer={kind='kmers',k=3,stride=3}", "network.positions=8"],
}


def pretrained(folder, *options, objective="diffusion"):
    """A model of DNA that is made of either A and C, or G and T."""
    fasta, rng = folder / "kinds.fa", np.random.default_rng(7)
    sequences = ["".join(rng.choice(list(KINDS[n % 2]), 200)) for n in range(200)]
    fasta.write_text("".join(f">s{n}\n{sequence}\n" for n, sequence in enumerate(sequences)))
    set_options = [argument for option in options for argument in ("--set", option)]
    model = folder / "model"
    objective_options = ["--objective", objective]
    if objective != "diffusion":  # for which the recipe is chosen by itself
        objective_options += ["--recipe", "dna-diffusion"]
    command = ["pretrain", fasta, "-o", model, "--device", "cpu", *objective_options]
    result = run([*command, *changes(TINY), *set_options])
    assert result.status == 0, result.stderr
    return model


@pytest.fixture(
    scope="module", params=[(k, t) for k in ("absorbing", "uniform") for t in TOKENIZERS]
)
def model(request, one_thread, tmp_path_factory):
    kernel, tokenizer = request.param
    folder = tmp_path_factory.mktemp("dna")
    return pretrained(folder, f"diffusion.kernel={kernel}", *TOKENIZERS[tokenizer])


def generated(model, *arguments):
    result = run(["generate", "--model", model, "--device", "cpu", "--steps", "12", *arguments])
    assert result.status == 0, result.stderr
    entries = [entry.split("\n")[:2] for entry in result.stdout.split(">")[1:]]
    return [(*title.split(" ", 1), sequence) for title, sequence in entries]


def test_sequences_have_names_and_the_length_asked_for(model):
    sequences = generated(model, "-n", "3", "--length", "20", "--seed", "5")
    assert [entry[:2] for entry in sequences] == [
        (f"synthetic_{number}", "model=model seed=5") for number in (1, 2, 3)
    ]
    assert all(len(sequence) == 20 and set(sequence) <= set("ACGT") for *_, sequence in sequences)
    assert len({sequence for *_, sequence in sequences}) > 1
    assert [len(sequence) for *_, sequence in generated(model)] == [WINDOW]


def test_what_was_trained_on_is_generated(model):
    """Many 8-mers are of one kind; of random ones, one in 128 would be. Both kinds occur."""
    sequences = [sequence for *_, sequence in generated(model, "-n", "12", "--length", "60")]
    kmers = [set(sequence[n : n + 8]) for sequence in sequences for n in range(53)]
    assert np.mean([any(kmer <= set(kind) for kind in KINDS) for kmer in kmers]) > 0.1
    assert len({sequence[0] in "AC" for sequence in sequences}) == 2


@pytest.mark.parametrize("length", [11, 24, 67])
def test_the_prompt_is_kept_and_what_is_open_in_it_filled_in(model, length):
    prompt = "acacNNNNACa"
    for *_, sequence in generated(model, "-n", "3", "--prompt", prompt, "--length", str(length)):
        assert len(sequence) == length
        assert (sequence[:4], sequence[8:11]) == ("ACAC", "ACA")
        assert "N" not in sequence
    assert len(generated(model, "--prompt", prompt)[0][2]) == len(prompt)


def test_a_whole_prompt_comes_back(model):
    assert generated(model, "--prompt", "GATTACA")[0][2] == "GATTACA"


def test_seed_batch_and_number_do_what_they_say(model):
    bundle = bundles.load(model, torch.device("cpu"), torch.float64)
    outputs = []
    for seed, batch in ((1, 1), (1, 3), (2, 3)):
        generator = SequenceGenerator(bundle, Settings(8, seed=seed), batch=batch)
        outputs.append(
            [record.sequence for record in generator.records(SequenceRequest(5, 40, "ACGN"))]
        )
    assert outputs[0] == outputs[1] != outputs[2]
    assert generated(model, "-n", "4")[:2] == generated(model, "-n", "2")


@pytest.mark.parametrize("kernel", ["absorbing", "uniform"])
def test_special_tokens_around_a_window_are_read_and_never_drawn(kernel):
    sizes = {"width": 8, "heads": 2, "layers": 1, "feed_forward": 8, "positions": 16}
    tokenizer = {"kind": "dna_characters", "cls": True}
    bundle = likelihood_bundles.bundle("transformer", tokenizer, "diffusion", **sizes)
    bundle.config["provenance"]["settings"] = {"diffusion": asdict(DiffusionSettings(kernel))}
    generator, inputs = SequenceGenerator(bundle, Settings(4)), []
    bundle.classifier.networks[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    for length in (5, 14, 40):
        (record,) = generator.records(SequenceRequest(1, length, "GATN"))
        assert len(record.sequence) == length
        assert record.sequence.startswith("GAT")
        assert set(record.sequence) <= set("ACGT")
    special = bundle.tokenizer.special
    for ids_BT in inputs:
        assert (ids_BT[:, 0] == special["cls"]).all()
        assert (ids_BT[:, -1] == special["sep"]).all()
        assert ids_BT.shape[1] <= 16


def test_windows_cover_everything_and_overlap_by_half(model):
    bundle = bundles.load(model, torch.device("cpu"), torch.float64)
    windows = SequenceGenerator(bundle, Settings()).windows
    k, longest = bundle.tokenizer.k, bundle.config["network"]["positions"]
    for tokens in (1, longest, longest + 1, 2 * longest, 5 * longest + 3):
        length = k * tokens
        starts, coverage = list(windows.starts(length)), np.zeros(length, int)
        for start in starts:
            coverage[start : start + windows.width(length)] += 1
        assert coverage.min() >= 1
        assert starts[-1] + windows.width(length) == length
        assert all(gap <= k * (longest // 2) for gap in np.diff(starts))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--phenotype EUR", "--phenotype does not fit the model model: it makes DNA"),
        ("--to vcf", "--to does not fit"),
        ("--to tsv", "--to does not fit"),
        ("--haplotypes", "--haplotypes does not fit"),
        ("--build GRCh38", "--build does not fit"),
        ("--guidance 2", "--guidance does not fit"),
        ("--prompt ACGX", "A, C, G, T, or N to be filled in, not 'X'"),
        ("--prompt ACGT --length 3", "--length 3: the --prompt has 4 letters"),
        ("--length 0", "--length"),
    ],
)
def test_what_cannot_be_asked_for(model, arguments, message):
    result = run(["generate", "--model", model, *arguments.split()])
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr


def test_the_card_and_the_config_tell_of_the_markov_model(model):
    card = (model / "README.md").read_text()
    assert "a Markov model of the letters" in card
    assert "genomai generate --model" in card
    facts = json.loads((model / "config.json").read_text())["provenance"]
    assert 0.6 < facts["held_out"]["diffusion"] < 1.25
    assert 0.6 < facts["baseline"]["diffusion"] < 1.0


def test_a_model_of_another_objective_generates_no_dna(tmp_path):
    model = pretrained(tmp_path, "optimization.steps=1", objective="masked")
    result = run(["generate", "--model", model])
    assert (result.status, result.stdout) == (1, "")
    assert "generates no DNA" in result.stderr
