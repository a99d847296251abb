"""DNA token by token: how tokens are sampled, the cache, windows, batches and stops; `genomai generate --prompt`."""

import likelihood_bundles
import numpy as np
import pytest
import tiny_causal
import torch
from conftest import run
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli.backbones.base import Backbone
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.inference.generate_causal import CausalGenerator, CausalSampling, draw

pytestmark = pytest.mark.usefixtures("one_thread")
LOGITS = np.log([0.1, 0.4, 0.2, 0.3])
PROMPT = "ACGTTGA"


@pytest.fixture(scope="module", autouse=True)
def tiny_causal_registered():
    with pytest.MonkeyPatch.context() as patch:
        tiny_causal.register(patch)
        yield


@pytest.fixture(scope="module")
def bundle(tiny_causal_registered):
    return likelihood_bundles.causal()


@pytest.fixture(scope="module")
def model(bundle, tmp_path_factory):
    return likelihood_bundles.saved(bundle, tmp_path_factory.mktemp("m") / "model")


def generate(bundle, number=3, prompt=PROMPT, length=30, batch=32, **sampling):
    generator = CausalGenerator(bundle, CausalSampling(**sampling), batch=batch)
    return [record.sequence for record in generator.records(number, prompt, length)]


def shares(draws=20_000, **sampling):
    """How often each token is sampled, over a grid of uniform numbers."""
    sampled = [draw(LOGITS, CausalSampling(**sampling), (n + 0.5) / draws) for n in range(draws)]
    return np.bincount(sampled, minlength=4) / draws


class TestSampling:
    @pytest.mark.parametrize(
        ("sampling", "expected"),
        [
            ({}, [0.1, 0.4, 0.2, 0.3]),
            ({"temperature": 0.5}, np.array([1, 16, 4, 9]) / 30),
            ({"top_k": 1}, [0, 1, 0, 0]),
            ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
            ({"top_p": 0.69}, [0, 4 / 7, 0, 3 / 7]),
            ({"top_p": 0.71}, [0, 4 / 9, 2 / 9, 3 / 9]),
            ({"top_p": 0.0}, [0, 1, 0, 0]),
            ({"top_k": 9, "top_p": 1.0}, [0.1, 0.4, 0.2, 0.3]),
        ],
    )
    def test_tokens_fall_by_their_probabilities(self, sampling, expected):
        assert shares(draws=2000, **sampling) == pytest.approx(expected, abs=2e-3)

    @given(st.lists(st.floats(-20, 20), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
    def test_greedy_is_the_likeliest_first(self, logits, chance):
        token = draw(np.array(logits), CausalSampling(top_k=1), chance)
        assert token == int(np.argmax(logits))


class TestSequences:
    def test_they_go_on_from_the_prompt(self, bundle):
        generated = generate(bundle, length=30)
        assert [len(sequence) for sequence in generated] == [30] * 3
        assert all(
            sequence.startswith(PROMPT) and set(sequence) <= set("ACGT") for sequence in generated
        )
        assert len(set(generated)) == 3

    def test_sequences_depend_on_seed_and_number_and_not_on_batches(self, bundle):
        generated = generate(bundle, 5)
        assert generated == generate(bundle, 5, batch=1) == generate(bundle, 5, batch=2)
        assert generated[:2] == generate(bundle, 2)
        assert generated != generate(bundle, 5, seed=1)

    def test_greedy_generation_equals_that_without_a_cache(self, bundle):
        network, head, tokenizer = (
            bundle.classifier.networks[0],
            bundle.auxiliary["causal"],
            bundle.tokenizer,
        )
        (generated,) = generate(bundle, 1, length=20, top_k=1)
        text = PROMPT
        while len(text) < 20:
            ids = torch.from_numpy(tokenizer.encode(text)).long()[None]
            with torch.no_grad():
                logits = head(network(ids))[0, -1]
            text += "ACGT"[int(logits[:4].argmax())]
        assert generated == text

    def test_a_network_without_a_cache_of_its_own_generates_the_same(self, bundle, monkeypatch):
        generated = generate(bundle)
        monkeypatch.setattr(tiny_causal.TinyCausal, "decode", Backbone.decode)
        assert generate(bundle) == generated

    def test_beyond_its_window_it_goes_on_from_the_last_half(self, bundle):
        short_window_bundle = likelihood_bundles.causal(positions=12)
        (generated,) = generate(short_window_bundle, 1, length=40, top_k=1)
        text, window = PROMPT, PROMPT
        while len(text) < 40:
            if len(window) > 12:
                window = text[-6:]
            (longer,) = generate(bundle, 1, prompt=window, length=len(window) + 1, top_k=1)
            text, window = text + longer[-1], longer
        assert generated == text

    def test_a_stop_token_ends_a_sequence(self, bundle):
        generated = generate(bundle, 40, length=200, stop="[MASK]", temperature=3.0)
        lengths = [len(sequence) for sequence in generated]
        assert min(lengths) < 200
        assert all(set(sequence) <= set("ACGT") for sequence in generated)
        assert generated == generate(
            bundle, 40, length=200, stop="[MASK]", temperature=3.0, batch=7
        )

    def test_the_default_length_is_behind_the_prompt(self, bundle):
        assert len(generate(bundle, 1, length=None)[0]) == len(PROMPT) + 500

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"prompt": "ACN"}, "goes on from A, C, G and T, not 'N'"),
            ({"prompt": ""}, "needs something to go on from"),
            ({"length": 3}, "--length 3: the --prompt has 7 letters"),
            ({"stop": "[END]"}, "has no such token"),
            ({"stop": "A"}, "that is DNA"),
        ],
    )
    def test_what_cannot_be_is_refused(self, bundle, options, message):
        with pytest.raises(UsageError, match=message.replace("[", r"\[")):
            generate(bundle, **options)

    def test_a_masked_model_is_refused(self):
        with pytest.raises(BundleError, match="predicts no next token"):
            CausalGenerator(likelihood_bundles.masked(), CausalSampling())

    def test_a_species_tag_is_read_and_not_written(self, tiny_causal_registered):
        bytes_bundle = likelihood_bundles.bundle(tiny_causal.KIND, {"kind": "bytes"}, "causal")
        (tagged,) = generate(bytes_bundle, 1, prompt=f"|D__BACTERIA;|{PROMPT}", top_k=1)
        assert tagged.startswith(PROMPT)
        assert len(tagged) == 30


class TestCommand:
    def test_fasta_of_the_same_bytes(self, model):
        arguments = [
            "generate",
            "--model",
            model,
            "--prompt",
            PROMPT,
            "--length",
            40,
            "-n",
            3,
            "--device",
            "cpu",
        ]
        options = ["--temperature", 0.8, "--top-p", 0.9, "--top-k", 3, "--seed", 4]
        result = run([*arguments, *options])
        assert result.status == 0, result.stderr
        title, sequence, *_ = result.stdout.splitlines()
        assert title == ">synthetic_1 model=likely seed=4"
        assert sequence.startswith(PROMPT)
        assert result.stdout == run([*arguments, *options]).stdout != run(arguments).stdout

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ("--steps 3", "draws token by token"),
            ("--phenotype EUR", "makes DNA without phenotypes"),
        ],
    )
    def test_options_of_other_models_are_refused(self, model, options, message):
        result = run(["generate", "--model", model, "--prompt", PROMPT, *options.split()])
        assert result.status == 2
        assert message in result.stderr

    def test_its_options_are_refused_by_others(self):
        result = run("generate --top-k 3 --device cpu")
        assert result.status == 2
        assert (
            "--top-k does not fit the model ancestry-generator: it does not predict next tokens"
            in result.stderr
        )
