"""`import genomai_cli as genomai`: the answers of the commands, for files and for records in memory."""

import copy
import io
import pickle
from functools import partial

import likelihood_bundles
import numpy as np
import pytest
import tiny_causal
import user_script
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord
from conftest import REPOSITORY, run

import genomai_cli as genomai
from genomai_cli.backbones.sequence_ensemble import ConvolutionConfig
from genomai_cli.formats.fasta import write_fasta
from genomai_cli.inference.classify import write_calls
from genomai_cli.inference.effect_outputs import format_number
from genomai_cli.library.fitting import columns_of, text_of
from genomai_cli.training import selection

pytestmark = pytest.mark.usefixtures("one_thread")
CONTIG = "ACGTTGCAAGGCTTACCGATATCGGATTACAGATTACAGGGCATCGATCCATGCA"
VCF = (
    "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    f"chr1\t9\t.\t{CONTIG[8]}\tC,T\t.\t.\t.\nchr1\t20\t.\t{CONTIG[19:22]}\t{CONTIG[19]}\t.\t.\t.\n"
    f"chr1\t30\t.\t{CONTIG[29]}\t<DEL>\t.\t.\t.\n"
)


def command(*arguments):
    """What a command writes, which must succeed."""
    result = run([*arguments, "--device", "cpu"])
    assert result.status == 0, result.stderr
    return result


def table(calls, model):
    """Calls as `classify --probs` writes them."""
    out = io.BytesIO()
    write_calls(out, calls, model.bundle, with_probabilities=True)
    return out.getvalue()


def fasta(records):
    out = io.BytesIO()
    write_fasta(out, records)
    return out.getvalue()


@pytest.fixture(scope="module")
def likely(tmp_path_factory):
    """A next-token and a masked model, which have likelihoods."""
    folder = tmp_path_factory.mktemp("likely")
    with pytest.MonkeyPatch.context() as patch:
        tiny_causal.register(patch)
        bundles = {"causal": likelihood_bundles.causal(), "masked": likelihood_bundles.masked()}
        yield {name: likelihood_bundles.saved(one, folder / name) for name, one in bundles.items()}


@pytest.fixture
def variants(tmp_path):
    """A reference, and a VCF on it."""
    reference, vcf = tmp_path / "ref.fa", tmp_path / "v.vcf"
    reference.write_text(f">chr1\n{CONTIG}\n")
    vcf.write_text(VCF)
    return reference, vcf


@pytest.fixture
def small_networks(monkeypatch):
    """Networks that train in a moment."""
    small = partial(ConvolutionConfig, filters=8, channels=4, embedding=4)
    monkeypatch.setattr(selection, "ConvolutionConfig", small)
    monkeypatch.setattr(selection, "FOLDS", 2)
    monkeypatch.setattr(selection, "EPOCHS", 1)
    monkeypatch.setattr(selection, "MIN_EPOCHS", 1)
    monkeypatch.setattr(selection, "MAX_K", {True: 2, False: 2})


@pytest.fixture(scope="module")
def labelled():
    """Sequences rich in A and T or in C and G, and which of both."""
    rng, weights = np.random.default_rng(3), ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])
    kinds = [number % 2 for number in range(40)]
    return ["".join(rng.choice(list("ACGT"), 40, p=weights[kind])) for kind in kinds], kinds


class TestClassify:
    def test_a_vcf_is_called_as_by_the_command(self, tiny_bundle, cohort):
        model = genomai.load(tiny_bundle, device="cpu")
        expected = command("classify", "--probs", "--model", tiny_bundle, cohort.newcomers).output
        assert table(model.classify(cohort.newcomers), model) == expected
        assert table(genomai.classify(str(cohort.newcomers), model), model) == expected
        with cohort.newcomers.open("rb") as handle:
            assert table(model.classify(handle), model) == expected
            assert not handle.closed
        with cohort.newcomers.open() as handle:
            assert table(model.classify(handle), model) == expected

    def test_columns_of_all_calls(self, tiny_bundle, cohort):
        calls = genomai.classify(cohort.newcomers, tiny_bundle, device="cpu")
        assert calls.names == cohort.names
        assert len(calls) == len(cohort.names)
        assert calls[0].labels["pop"] == calls.labels("pop")[0]
        assert calls.labels("superpop")[-1] == "UNKNOWN"
        probabilities = calls.probabilities("pop")
        assert probabilities.shape == (len(calls), len(calls.heads["pop"]))
        assert np.isnan(probabilities[-1]).all()
        assert probabilities[:-1].sum(axis=1) == pytest.approx(1)
        assert calls.used[-1] == 0
        assert "LOW_CALL_RATE" in calls.flags[-1]
        with pytest.raises(
            genomai.UsageError, match=r"name a head of the model tiny@.*superpop, pop"
        ):
            calls.labels()

    def test_barcodes_in_memory(self, tiny_bundle, cohort):
        model = genomai.load(tiny_bundle, device="cpu")
        expected = model.classify(cohort.newcomers)
        written = command("tokenize", "--to", "fasta", "--panel", cohort.panel, cohort.newcomers)
        lines = written.stdout.split()
        pairs = dict(zip((name[1:] for name in lines[::2]), lines[1::2], strict=True))
        biopython_records = [SeqRecord(Seq(letters), id=name) for name, letters in pairs.items()]
        own_records = [genomai.SequenceRecord(name, letters) for name, letters in pairs.items()]
        for records in (
            pairs,
            list(pairs.items()),
            biopython_records,
            iter(own_records),
            io.StringIO(written.stdout),
        ):
            assert table(model.classify(records), model) == table(expected, model)
        for records in (own_records[0], biopython_records[0]):
            (call,) = model.classify(records)
            assert call.labels == expected[0].labels
        assert model.classify(list(pairs.values())).names[:2] == ["1", "2"]

    def test_several_files_are_paths(self, tiny_sequence_bundle, sequences):
        model = genomai.load(tiny_sequence_bundle, device="cpu")
        once = model.classify(sequences[0])
        twice = model.classify([sequences[0], sequences[0]])
        assert twice.names == once.names * 2

    def test_without_a_model_the_records_choose(self, shipped_only):
        messages = []
        file = REPOSITORY / "examples" / "samples.vcf.gz"
        calls = genomai.classify(file, proportions="superpop", progress=messages.append)
        expected = command("classify", "--proportions", "superpop", file)
        assert calls.model == "ancestry@2.0.0"
        assert calls.labels("pop").tolist() == [row[3] for row in expected.rows[1:]]
        column = expected.rows[0].index("fraction:EUR")
        fractions = [f"{value:.4f}" for value in calls.measured["fraction:EUR"]]
        assert fractions == [row[column] for row in expected.rows[1:]]
        assert any("sites" in line for line in messages)


class TestVectorsAndScores:
    def test_vectors_are_those_of_the_command(self, tiny_sequence_bundle, sequences):
        names, vectors = genomai.embed(
            sequences[0], tiny_sequence_bundle, both_strands=True, device="cpu"
        )
        expected = command(
            "embed", "--model", tiny_sequence_bundle, "--strand", "both", sequences[0]
        )
        assert vectors.dtype == np.float32
        assert names == [row[0] for row in expected.rows[1:]]
        assert vectors == pytest.approx(
            np.array([row[1:] for row in expected.rows[1:]], np.float32), rel=1e-5
        )

    def test_a_record_that_cannot_be_read_has_no_numbers(self, tiny_sequence_bundle):
        embeddings = genomai.load(tiny_sequence_bundle, device="cpu").embed(["NN", "ACGTACGT"])
        assert np.isnan(embeddings.vectors).all(axis=1).tolist() == [True, False]
        assert embeddings.attributes["model_name"] == "tiny-sequences"
        assert embeddings.names == ["1", "2"]

    def test_vectors_can_be_copied(self, tiny_sequence_bundle):
        embeddings = genomai.load(tiny_sequence_bundle, device="cpu").embed(["ACGTACGT"])
        for copied in (pickle.loads(pickle.dumps(embeddings)), copy.deepcopy(embeddings)):
            assert type(copied) is type(embeddings)
            assert copied.names == embeddings.names
            assert np.array_equal(copied.vectors, embeddings.vectors)
            assert copied.attributes == embeddings.attributes

    @pytest.mark.parametrize("model", [None, "kmers"])
    def test_gaps_are_taken_out_whoever_chooses_the_model(self, shipped_only, tmp_path, model):
        rng = np.random.default_rng(4)
        text = "".join(rng.choice(list("ACGT"), 300))
        gapped = "-".join(text[start : start + 7] for start in range(0, 300, 7))
        paths = [tmp_path / name for name in ("one.fa", "other.fa")]
        for path in paths:
            path.write_text(f">{path.stem}\n{gapped}\n")
        _, expected = genomai.embed([text], "kmers", device="cpu")
        with pytest.warns(genomai.GenomaiWarning, match="gaps of an alignment .* taken out"):
            _, vectors = genomai.embed(paths, model, device="cpu")
        assert np.array_equal(vectors, np.repeat(expected, 2, axis=0))

    @pytest.mark.parametrize("objective", ["causal", "masked"])
    def test_likelihoods_are_those_of_the_command(self, likely, tmp_path, objective):
        file = tmp_path / "x.fa"
        file.write_text(f">a\n{CONTIG}\n>b\nN\n")
        expected = command("score", "--model", likely[objective], file).rows[1:]
        scores = genomai.score({"a": CONTIG, "b": "N"}, likely[objective], device="cpu")
        columns = (scores.log_likelihoods, scores.per_base, scores.perplexities)
        rows = [list(map(format_number, values)) for values in zip(*columns, strict=True)]
        assert rows == [row[2:5] for row in expected]
        assert scores.names == ["a", "b"]
        assert scores.lengths.tolist() == [len(CONTIG), 1]
        assert scores.method == expected[0][-1]

    @pytest.mark.parametrize("objective", ["causal", "masked"])
    def test_effects_are_those_of_the_command(self, likely, variants, objective):
        reference, vcf = variants
        expected = command(
            "score", "--model", likely[objective], "--reference", reference, vcf
        ).rows[1:]
        model = genomai.load(likely[objective], device="cpu")
        before = model.score([CONTIG]).log_likelihoods
        effects = model.score_variants(vcf, reference)
        scored = [index for index, reason in enumerate(effects.skipped) if not reason]
        assert effects.alts == ["C", "T", CONTIG[19], "<DEL>"]
        assert scored == [0, 1, 2]
        assert [format_number(effects.deltas[index]) for index in scored] == [
            row[6] for row in expected
        ]
        assert [str(effects.positions[index]) for index in scored] == [row[1] for row in expected]
        assert np.isnan(effects.deltas[3])
        assert model.score([CONTIG]).log_likelihoods == before  # variants change no model

    def test_effects_on_labels(self, tiny_sequence_bundle, variants):
        reference, vcf = variants
        model = ("--model", tiny_sequence_bundle, "--reference", reference)
        expected = command("score", *model, vcf)
        effects = genomai.score_variants(vcf, reference, tiny_sequence_bundle, device="cpu")
        column = expected.rows[0].index(effects.labels[0])
        rows = effects.label_changes[:3, 0]
        assert list(map(format_number, rows)) == [row[column] for row in expected.rows[1:]]


class TestExplain:
    def test_attributions_are_those_of_the_command(self, tiny_sequence_bundle, tmp_path):
        (tmp_path / "x.fa").write_text(f">a\n{CONTIG[:12]}\n")
        expected = command("explain", "--model", tiny_sequence_bundle, tmp_path / "x.fa")
        model = genomai.load(tiny_sequence_bundle, device="cpu")
        explanation, unreadable = model.explain({"a": CONTIG[:12], "b": "NN"})
        column = expected.rows[0].index("attribution")
        assert list(map(format_number, explanation.attributions)) == [
            row[column] for row in expected.rows[1:]
        ]
        assert unreadable is None
        assert genomai.explain(["NN"], model) == [None]
        with pytest.raises(genomai.UsageError, match="method guess: there are ism, gradient"):
            model.explain(["ACGT"], method="guess")


class TestGenerate:
    def test_samples_are_those_of_the_command(self, shipped_only):
        model = genomai.load("ancestry-generator", device="cpu")
        sampling = genomai.Sampling(steps=2)
        for extra_options in ({}, {"haplotypes": True}):
            records = model.generate(
                2, phenotype=["GBR", "EUR:1,AFR:1"], seed=3, sampling=sampling, **extra_options
            )
            phenotype_options = [
                "--phenotype",
                "GBR",
                "--phenotype",
                "EUR:1,AFR:1",
                "-n",
                "2",
                "--seed",
                "3",
            ]
            options = ["--haplotypes"] if extra_options else []
            assert (
                fasta(records)
                == command("generate", *phenotype_options, "--steps", "2", *options).output
            )
        with pytest.raises(genomai.UsageError, match="length does not fit the model"):
            model.generate(length=5)

    def test_dna_is_that_of_the_command(self, likely):
        records = genomai.load(likely["causal"], device="cpu").generate(3, prompt="ACGT", length=30)
        options = ["--prompt", "ACGT", "--length", "30", "-n", "3"]
        assert fasta(records) == command("generate", "--model", likely["causal"], *options).output
        with pytest.raises(genomai.UsageError, match="steps does not fit"):
            genomai.load(likely["causal"], device="cpu").generate(
                sampling=genomai.Sampling(steps=3)
            )


class TestTrain:
    def test_the_model_is_that_of_the_command(self, small_networks, labelled, tmp_path, capfd):
        texts, kinds = labelled
        rows = "".join(f"{text},{kind}\n" for text, kind in zip(texts, kinds, strict=True))
        (tmp_path / "x.csv").write_text(f"sequence,label\n{rows}")
        command("train", tmp_path / "x.csv", "--time", "1s", "--seed", "5", "-o", tmp_path / "m")
        classifier = genomai.train(texts, kinds, time="1s", seed=5, device="cpu")
        assert capfd.readouterr() == ("", "")  # the library prints nothing
        classifier.save(tmp_path / "library")
        weights = [tmp_path / name / "model.safetensors" for name in ("m", "library")]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        calls = genomai.load(tmp_path / "library", device="cpu").classify(texts)
        assert np.array_equal(calls.probabilities(), classifier.predict_proba(texts))
        assert calls.labels().tolist() == [str(kind) for kind in classifier.predict(texts)]
        assert classifier.classes_.tolist() == [0, 1]
        assert classifier.score(texts, kinds) > 0.9
        card = (tmp_path / "library" / "README.md").read_text()
        assert "SequenceClassifier(time='1s', seed=5, device='cpu').fit(" in card
        with pytest.raises(genomai.UsageError, match=r"exists: force=True replaces it"):
            classifier.save(tmp_path / "library")
        with pytest.raises(genomai.UsageError, match="cannot be written"):
            classifier.save(tmp_path / "x.csv" / "library")
        classifier.save(tmp_path / "library", force=True)
        assert run(["models", "verify", tmp_path / "library"]).status == 0

    def test_labels_of_any_type_come_back(self, small_networks, labelled):
        texts, kinds = labelled
        levels = np.array(["low", "high"])[kinds]
        classifier = genomai.train(texts, levels, time="1s", device="cpu")
        assert classifier.classes_.tolist() == ["high", "low"]
        assert set(classifier.predict([*texts[:4], "N"])) == {"high", "low", "UNKNOWN"}
        assert np.isnan(classifier.predict_proba(["N"])).all()

    def test_numbers_that_are_labels_are_in_their_own_order(
        self, small_networks, labelled, tmp_path
    ):
        texts, kinds = labelled
        (tmp_path / "x.csv").write_text(
            "sequence,label\n"
            + "".join(f"{t},{10 - k}\n" for t, k in zip(texts, kinds, strict=True))
        )
        of_file = genomai.train(tmp_path / "x.csv", time="1s", device="cpu")
        assert of_file.classes_.tolist() == ["10", "9"]
        assert of_file.score(texts, [10 - kind for kind in kinds]) > 0.9
        with pytest.warns(genomai.GenomaiWarning, match="no label of label, as 1, is one of"):
            assert of_file.score(texts[:2], [1, None]) == 0
        classifier = genomai.train(texts, [10 - kind for kind in kinds], time="1s", device="cpu")
        assert classifier.classes_.tolist() == [9, 10]
        assert set(classifier.predict([*texts[:4], "N"]).tolist()) == {9, 10, None}
        best = classifier.predict_proba(texts).argmax(axis=1)
        assert classifier.classes_[best].tolist() == classifier.predict(texts).tolist()

    def test_several_labels_a_record(self, small_networks, labelled, tmp_path):
        texts, kinds = labelled
        levels = np.array(["low", "high"])[kinds]
        rows = "".join(map("{},{},{}\n".format, texts, kinds, levels))
        (tmp_path / "x.csv").write_text(f"sequence,kind,word\n{rows}")
        command("train", tmp_path / "x.csv", "--time", "1s", "-o", tmp_path / "m")
        labels = {"kind": kinds, "word": levels}
        classifier = genomai.train(texts, labels, time="1s", device="cpu")
        classifier.save(tmp_path / "library")
        weights = [tmp_path / name / "model.safetensors" for name in ("m", "library")]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        assert [classes.tolist() for classes in classifier.classes_] == [[0, 1], ["high", "low"]]
        predicted = classifier.predict([*texts, "N"])
        assert predicted.shape == (len(texts) + 1, 2)
        assert predicted[-1].tolist() == [None, "UNKNOWN"]
        both_right = (predicted[:-1, 0] == kinds) & (predicted[:-1, 1] == levels)
        assert classifier.score(texts, labels) == np.mean(both_right) > 0.9
        with pytest.raises(genomai.UsageError, match="several heads, kind, word: classify"):
            classifier.predict_proba(texts)
        with pytest.raises(genomai.UsageError, match="kind is missing"):
            classifier.score(texts, {"word": levels})
        with pytest.raises(genomai.UsageError, match=r"in memory are needed, not the file x\.csv"):
            classifier.score(texts, "x.csv")

    def test_a_data_frame_of_labels(self):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"kind": [0, 1], "word": ["low", None]})
        assert columns_of(frame) == {"kind": [0, 1], "word": ["low", None]}
        assert columns_of(frame["kind"]) == {"label": [0, 1]}

    def test_a_validation_set_and_missing_labels(self, small_networks, labelled):
        texts, kinds = labelled
        labels = [None, float("nan"), *kinds[2:30]]
        with pytest.warns(genomai.GenomaiWarning, match="2 samples have no label"):
            classifier = genomai.train(
                texts[:30], labels, validation=(texts[30:], kinds[30:]), time="1s", device="cpu"
            )
        assert classifier.validation_["label"]["n"] == 10

    def test_labels_are_read_once(self, small_networks, labelled):
        texts, kinds = labelled
        levels = np.array(["low", "high"])[kinds].tolist()
        expected = genomai.train(texts, levels, time="1s", device="cpu")
        classifier = genomai.train(iter(texts), iter(levels), time="1s", device="cpu")
        assert classifier.classes_.tolist() == ["high", "low"]
        assert classifier.predict(texts).tolist() == expected.predict(texts).tolist()
        one_head = {"level": iter(levels)}
        assert genomai.train(texts, one_head, time="1s", device="cpu").classes_.tolist() == [
            "high",
            "low",
        ]

    def test_equal_labels_are_one_class(self, small_networks, labelled):
        texts, kinds = labelled
        words = [f"{'low' if kind else 'high'}{' ' * (n % 3)}" for n, kind in enumerate(kinds)]
        for labels, classes in (
            (words, ["high", "low"]),
            ([kind if n % 3 else float(kind) for n, kind in enumerate(kinds)], [0, 1]),
            ([0 if kind else 1.0 for kind in kinds], [0, 1]),
            ([np.float32(0.1 + kind) for kind in kinds], [np.float32(0.1), np.float32(1.1)]),
        ):
            classifier = genomai.train(texts, labels, time="1s", device="cpu")
            assert classifier.classes_.tolist() == classes
            assert len(classifier.model_.heads["label"]) == 2
            assert classifier.predict_proba(texts).sum(axis=1) == pytest.approx(1)
            assert classifier.score(texts, labels) > 0.9

    def test_a_score_is_of_records_with_labels(self, small_networks, labelled):
        texts, kinds = labelled
        classifier = genomai.train(texts, kinds, time="1s", device="cpu")
        missing = [None, float("nan"), np.float32("nan"), ".", *kinds[4:]]
        assert classifier.score(texts, missing) == classifier.score(texts[4:], kinds[4:])
        with pytest.raises(genomai.InputError, match=f"1 labels for {len(texts)} records"):
            classifier.score(texts, kinds[:1])
        with pytest.raises(genomai.UsageError, match="none of the 2 records has a label of label"):
            classifier.score(texts[:2], [None, ""])

    def test_a_score_of_several_heads_leaves_out_what_is_missing(self, small_networks, labelled):
        texts, kinds = labelled
        levels = np.array(["low", "high"])[kinds]
        classifier = genomai.train(texts, {"kind": kinds, "word": levels}, time="1s", device="cpu")
        wrong = {"kind": [1 - kinds[0], None, kinds[2]], "word": [None, None, levels[2]]}
        assert classifier.predict(texts[2:3]).tolist() == [[kinds[2], levels[2]]]
        assert classifier.score(texts[:3], wrong) == 0.5

    def test_a_score_of_numbers_leaves_out_what_is_missing(self, small_networks, labelled):
        texts, _ = labelled
        shares = [text.count("G") / len(text) + 0.001 for text in texts]
        regressor = genomai.SequenceRegressor(time="1s", device="cpu").fit(texts, shares)
        missing = [None, ".", *shares[2:]]
        assert regressor.score(texts, missing) == regressor.score(texts[2:], shares[2:])
        with pytest.raises(genomai.InputError, match="1 labels for"):
            regressor.score(texts, shares[:1])
        with pytest.raises(genomai.InputError, match="label 'a' is no number"):
            regressor.score(texts[:2], ["a", 1])

    def test_a_seed_of_numpy_is_one(self, small_networks, labelled):
        fits = [
            genomai.train(*labelled, time="1s", seed=seed, device="cpu")
            for seed in (3, np.int64(3))
        ]
        texts = labelled[0]
        assert np.array_equal(*(classifier.predict_proba(texts) for classifier in fits))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"seed": -1}, "seed -1: a whole number"),
            ({"seed": None}, "seed None: a whole number"),
            ({"seed": 0.5}, r"seed 0\.5: a whole number"),
            ({"time": 60}, "time 60: write a time such as 90s"),
        ],
    )
    def test_settings_that_are_wrong(self, small_networks, labelled, settings, message):
        with pytest.raises(genomai.UsageError, match=message):
            genomai.train(*labelled, **settings)

    def test_labels_that_pandas_calls_missing(self):
        pandas = pytest.importorskip("pandas")
        series = pandas.Series(["low", None, "high"], dtype="string")
        assert [text_of(value) for value in columns_of(series)["label"]] == ["low", None, "high"]
        assert text_of(pandas.NaT) is None
        assert text_of(np.float32("nan")) is None

    def test_another_recipe(self, labelled):
        """Its four steps teach nothing, which is said."""
        texts, kinds = labelled
        small = "network.width=16 network.heads=2 network.layers=1 network.feed_forward=32"
        steps = "network.positions=64 optimization.steps=4 optimization.evaluate_every=2"
        messages = []
        classifier = genomai.SequenceClassifier(
            recipe="sequences",
            changes=f"{small} {steps}".split(),
            device="cpu",
            progress=messages.append,
        )
        with pytest.warns(genomai.GenomaiWarning, match="no better than chance"):
            classifier.fit(texts, kinds)
        assert classifier.model_.bundle.config["network"]["kind"] == "transformer"
        assert messages[-1].startswith("network 1, step 4: loss ")

    def test_scikit_learn_cross_validates_it(self, small_networks, labelled):
        model_selection = pytest.importorskip("sklearn.model_selection")
        from sklearn.base import clone, is_classifier

        texts, kinds = labelled
        classifier = genomai.SequenceClassifier(time="1s", seed=2, device="cpu")
        assert is_classifier(classifier)
        assert clone(classifier).get_params() == classifier.get_params()
        arrays = np.array(texts), np.array(kinds)
        losses = model_selection.cross_val_score(classifier, *arrays, cv=2, scoring="neg_log_loss")
        assert losses.mean() > -0.6
        assert classifier.set_params(time="2s").time == "2s"
        with pytest.raises(genomai.UsageError, match="no setting 'depth'"):
            classifier.set_params(depth=3)

    def test_numbers_are_predicted_as_by_the_command(self, small_networks, labelled, tmp_path):
        from sklearn.base import clone, is_regressor

        texts, _ = labelled
        shares = [text.count("G") / len(text) + 0.001 for text in texts]
        rows = "".join(f"{text},{share}\n" for text, share in zip(texts, shares, strict=True))
        (tmp_path / "x.csv").write_text(f"sequence,label\n{rows}")
        command("train", tmp_path / "x.csv", "--time", "1s", "-o", tmp_path / "m")
        regressor = clone(genomai.SequenceRegressor(time="1s", device="cpu"))
        assert is_regressor(regressor)
        regressor.fit(texts, shares).save(tmp_path / "library")
        weights = [tmp_path / name / "model.safetensors" for name in ("m", "library")]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        predicted = regressor.predict([*texts, "N"])
        assert np.isnan(predicted).tolist() == [False] * len(texts) + [True]
        variance, error = np.var(shares), np.mean(np.square(predicted[:-1] - shares))
        assert regressor.score(texts, shares) == pytest.approx(1 - error / variance)
        unreadable_error = (
            np.mean([*shares, 1]) - 1
        ) ** 2  # no variance is explained of what cannot be read
        error, variance = (
            (error * len(texts) + unreadable_error) / (len(texts) + 1),
            np.var([*shares, 1]),
        )
        assert regressor.score([*texts, "N"], [*shares, 1]) == pytest.approx(1 - error / variance)
        card = (tmp_path / "library" / "README.md").read_text()
        assert "genomai_cli.SequenceRegressor(time='1s', device='cpu').fit(" in card
        calls = genomai.classify(texts, tmp_path / "m", device="cpu")
        expected = command("classify", "--model", tmp_path / "m", tmp_path / "x.csv")
        assert [[f"{n:.6g}" for n in row] for row in calls.numbers()] == [
            row[1:4] for row in expected.rows[1:]
        ]
        with pytest.raises(genomai.UsageError, match="none of this kind"):
            calls.labels()

    def test_several_numbers_a_record(self, small_networks, labelled):
        texts, _ = labelled
        shares = [text.count("G") / len(text) + 0.001 for text in texts]
        labels = {"g": shares, "a": [1 - share for share in shares]}  # in no alphabetical order
        regressor = genomai.SequenceRegressor(time="1s", device="cpu").fit(texts, labels)
        predicted = regressor.predict(texts)
        assert predicted.shape == (len(texts), 2)
        assert repr(regressor.model_).endswith(", heads: a, g>")
        errors = np.square(predicted - np.array(list(labels.values())).T).mean(axis=0)
        assert regressor.score(texts, labels) == pytest.approx(1 - errors.mean() / np.var(shares))


class TestErrors:
    @pytest.mark.parametrize(
        ("records", "message"),
        [
            ("nowhere.vcf", "nowhere.vcf: no such file"),
            ("ACGTACGT", "ACGTACGT: no such file; a sequence is given in a list"),
            (["ACGT", "ACEF"], "<records>:2: 'E' is not a nucleotide letter"),
            ([("a", "ACGT"), ("b", 5)], r"<records>:2: \('b', 5\) is no record"),
            (b"ACGT", "65 is no record"),
            (5, "int: neither a file nor records"),
            (io.BytesIO(b"nothing of ours"), "<stream>:1: not FASTA, FASTQ, VCF or BCF"),
            (io.StringIO(">a\nAC\nAEG\n"), "<stream>:3: 'E' is not a nucleotide letter"),
            ([REPOSITORY / "README.md", "x"], "among paths, 'x' is none"),
            ([str(REPOSITORY / "README.md")], "is a file: among several"),
        ],
    )
    def test_what_is_no_record(self, tiny_sequence_bundle, records, message):
        model = genomai.load(tiny_sequence_bundle, device="cpu")
        with pytest.raises(genomai.GenomaiError, match=message):
            model.classify(records)

    def test_a_data_frame_is_asked_for_its_column(self, tiny_sequence_bundle):
        class Frame(list):
            columns = ("sequence",)

        with pytest.raises(genomai.UsageError, match="of a data frame, give the column"):
            genomai.classify(Frame(), tiny_sequence_bundle, device="cpu")

    def test_a_vcf_for_a_model_of_dna(self, tiny_sequence_bundle, cohort):
        with pytest.raises(genomai.BundleError, match="does not read VCF"):
            genomai.classify(cohort.newcomers, tiny_sequence_bundle, device="cpu")

    def test_models_that_are_not_there_or_cannot(self, likely):
        with pytest.raises(genomai.BundleError, match="no model named"):
            genomai.load("nothing")
        with pytest.raises(genomai.BundleError, match="has no heads"):
            genomai.classify(["ACGT"], likely["causal"], device="cpu")
        with pytest.raises(genomai.UsageError, match="no such CUDA device"):
            genomai.load(likely["causal"], device="cuda:99")

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([1, 2], "2 labels for 3 records"),
            ([1, 1, 1], "<labels>:1: head label: needs two labels at least"),
            ([1, "x", 2], "<labels>:2: label 'x' is no number"),
            (["a", "b\x07", "c"], "<labels>:2: .* control characters"),
            ([["a"], ["b"], ["a", "b"]], r"<labels>:1: \['a'\] is no label"),
            ({"a": [1, 2, 1], "b": [1, 2]}, "2 labels of b for 3 records"),
        ],
    )
    def test_labels_that_are_wrong(self, labels, message):
        with pytest.raises(genomai.InputError, match=message):
            genomai.train(["ACGT", "ACGG", "TTTT"], labels, device="cpu")

    def test_records_of_one_name_cannot_have_labels(self):
        with pytest.raises(genomai.InputError, match="<records>:2: record a again"):
            genomai.train([("a", "ACGT"), ("a", "TTTT")], [1, 2], device="cpu")

    def test_what_is_not_trained_has_no_answers(self):
        with pytest.raises(genomai.UsageError, match="call fit first"):
            genomai.SequenceClassifier().predict(["ACGT"])
        with pytest.raises(genomai.UsageError, match="call fit first"):
            genomai.SequenceRegressor().predict(["ACGT"])

    def test_numbers_that_are_none(self):
        with pytest.raises(genomai.InputError, match=r"<labels>:2: .*'x'"):
            genomai.SequenceRegressor(device="cpu").fit(["ACGT", "ACGG", "TTTT"], [0.5, "x", 2])

    def test_names_that_are_not_there(self):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            genomai.nothing  # noqa: B018


class TestFrames:
    def test_calls(self, tiny_bundle, cohort):
        pytest.importorskip("pandas")
        calls = genomai.classify(cohort.newcomers, tiny_bundle, device="cpu")
        frame = calls.to_pandas()
        expected = command("classify", "--probs", "--model", tiny_bundle, cohort.newcomers)
        assert [frame.index.name, *frame.columns] == expected.rows[0]
        assert frame["pop"].tolist() == [row[3] for row in expected.rows[1:]]
        assert f"{frame['pop_p'].iloc[0]:.4f}" == expected.rows[1][4]
        assert frame.loc["nobody"].isna().sum() == 2 + sum(map(len, calls.heads.values()))

    def test_vectors_and_scores(self, likely, variants):
        pytest.importorskip("pandas")
        scores = genomai.score([CONTIG], likely["causal"], device="cpu").to_pandas()
        assert scores.loc["1", "length"] == len(CONTIG)
        effects = genomai.score_variants(variants[1], variants[0], likely["causal"], device="cpu")
        assert effects.to_pandas()["skipped"].iloc[-1].startswith("symbolic")
        vectors = genomai.embed([CONTIG], likely["causal"], device="cpu")
        assert vectors.to_pandas().loc["1"].tolist() == vectors.vectors[0].tolist()

    def test_an_anndata_of_vectors(self, likely):
        pytest.importorskip("anndata")
        vectors = genomai.embed({"a": CONTIG}, likely["causal"], device="cpu")
        anndata = vectors.to_anndata()
        assert anndata.obs_names.tolist() == ["a"]
        assert anndata.uns["genomai"]["model_name"] == "likely"
        assert np.array_equal(anndata.X, vectors.vectors)

    def test_what_is_not_installed_is_named(self, likely, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "pandas", None)
        with pytest.raises(genomai.UsageError, match="pandas is not installed: pip install pandas"):
            genomai.embed([CONTIG], likely["causal"], device="cpu").to_pandas()


def test_a_script_with_types_works(
    tiny_bundle, tiny_sequence_bundle, cohort, likely, variants, small_networks, labelled
):
    assert len(user_script.classified(tiny_bundle, cohort.newcomers)) == len(cohort.names)
    names, vectors = user_script.embedded(str(tiny_sequence_bundle))
    assert vectors.shape == (len(names), 16)
    assert all(map(np.isfinite, user_script.likelihoods(str(likely["causal"]), *variants)))
    assert user_script.cross_checked(*labelled) > 0.8


def test_type_checkers_see_what_there_is():
    from genomai_cli import library

    assert sorted(genomai.__all__) == sorted(library.__all__)
    assert set(genomai.__all__) <= set(dir(genomai))
    for name in genomai.__all__:
        assert getattr(genomai, name) is getattr(library, name)
