"""Views of barcodes for training: masked, crossed, of one haplotype or two."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import labelled_samples

from genomai_cli import tokenizers
from genomai_cli.inputs.base import ModelInput
from genomai_cli.population.barcode import join
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.barcode_views import (
    MISSINGNESS_DRAWS,
    SAMPLES_PER_DRAW,
    BarcodeViews,
    BarcodeViewsSettings,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def labelled(cohort):
    return labelled_samples(cohort)


def barcode_views(labelled, *, haplotypes=False, parents=None, letters=None, **views):
    samples, panel = labelled
    parents = np.arange(len(samples)) if parents is None else parents
    tokenizer = tokenizers.from_config({"kind": "iupac"})
    letters_of_samples = samples.letters if letters is None else letters
    recipe = BarcodeViewsSettings(**views)
    return BarcodeViews(
        samples, letters_of_samples, parents, tokenizer, recipe, panel=panel, haplotypes=haplotypes
    )


def letters_of(batch):
    tokenizer = tokenizers.from_config({"kind": "iupac"})
    return np.stack([np.frombuffer(tokenizer.decode(ids).encode(), np.uint8) for ids in batch.ids])


def step_rng(step, seed=1):
    return np.random.default_rng([seed, step])


ALL_OPTIONS = {"cross": 0.5, "hide": 0.9, "hide_often": 0.7, "haploid": 0.2}
ROWS = np.array([3, 40, 70, 3, 11, 60])


class TestBarcodeViews:
    def test_the_same_seed_and_step_make_the_same_batch(self, labelled):
        views = barcode_views(labelled, **ALL_OPTIONS)
        one, again, other = (views.varied(ROWS, step_rng(step)) for step in (5, 5, 6))
        assert torch.equal(one.ids, again.ids)
        assert torch.equal(one.share, again.share)
        assert not torch.equal(one.ids, other.ids)

    def test_a_plain_view_is_the_barcode(self, labelled):
        batch = barcode_views(labelled).plain(ROWS)
        assert np.array_equal(letters_of(batch), labelled[0].letters[ROWS])
        assert batch.windows == 1
        assert batch.share.tolist() == [1.0] * 6
        assert batch.labels["pop"].tolist() == labelled[0].labels["pop"][ROWS].tolist()

    def test_a_plain_view_of_haplotypes_is_both(self, labelled):
        batch = barcode_views(labelled, haplotypes=True).plain(ROWS)
        first, second = letters_of(batch).reshape(2, len(ROWS), -1)
        assert batch.windows == 2
        assert np.array_equal(join(first, second), labelled[0].letters[ROWS])

    def test_a_plain_view_masks_the_share_asked_for(self, labelled):
        batch = barcode_views(labelled).plain(np.arange(75), 0.8, 3)
        known = letters_of(batch) != ord("N")
        assert known.mean() == pytest.approx(0.2, abs=0.02)
        assert batch.share.numpy() == pytest.approx(known.mean(axis=1))

    def test_a_varied_view_without_variation_is_the_barcode(self, labelled):
        batch = barcode_views(labelled).varied(ROWS, step_rng(1))
        assert np.array_equal(letters_of(batch), labelled[0].letters[ROWS])

    def test_a_varied_view_of_haplotypes_holds_bases_of_the_barcode(self, labelled):
        batch = barcode_views(labelled, haplotypes=True).varied(ROWS, step_rng(1))
        varied = letters_of(batch)
        assert set(varied.ravel().tobytes().decode()) <= set("ACGT")
        letters = labelled[0].letters[ROWS]
        homozygous = np.isin(letters, np.frombuffer(b"ACGT", np.uint8))
        assert np.array_equal(varied[homozygous], letters[homozygous])

    def test_at_most_the_share_asked_for_is_masked(self, labelled):
        batch = barcode_views(labelled, hide=0.4, hide_often=1.0).varied(np.arange(75), step_rng(2))
        known = (letters_of(batch) != ord("N")).mean(axis=1)
        assert batch.share.numpy() == pytest.approx(known)
        assert known.min() > 0.45
        assert known.mean() == pytest.approx(0.8, abs=0.05)

    def test_masking_touches_the_share_of_samples_asked_for(self, labelled):
        rows = np.tile(np.arange(75), 4)
        batch = barcode_views(labelled, hide=0.9, hide_often=0.25).varied(rows, step_rng(3))
        assert float((batch.share < 1).double().mean()) == pytest.approx(0.25, abs=0.08)

    def test_a_haploid_view_has_no_heterozygote(self, labelled):
        batch = barcode_views(labelled, haploid=1.0).varied(ROWS, step_rng(4))
        assert set(letters_of(batch).ravel().tobytes().decode()) <= set("ACGT")

    def test_crossing_draws_from_the_own_group_of_those_to_train_on(self, labelled):
        samples, panel = labelled
        refs, alts = panel.ref_codes, panel.alt_codes
        train, held_out = np.arange(0, 75, 2), np.arange(1, 75, 2)
        letters = np.tile(refs, (75, 1))
        letters[samples.labels["pop"] == 1] = alts
        letters[held_out] = np.where(letters[held_out] == refs, alts, refs)
        views = barcode_views(labelled, parents=train, letters=letters, cross=1.0)
        crossed = letters_of(views.varied(train, step_rng(5)))
        assert np.array_equal(crossed, letters[train])

    def test_crossing_makes_new_individuals(self, labelled):
        batch = barcode_views(labelled, cross=1.0).varied(ROWS, step_rng(6))
        assert (letters_of(batch) == labelled[0].letters[ROWS]).mean() < 0.9

    def test_crossing_stays_within_the_stratum(self, labelled):
        samples, panel = labelled
        strata = np.arange(75) % 3
        letters = np.where((strata == 1)[:, None], panel.alt_codes, panel.ref_codes)
        stratified = (replace(samples, strata=strata), panel)
        rows = np.arange(75)
        crossed = letters_of(
            barcode_views(stratified, letters=letters, cross=1.0).varied(rows, step_rng(9))
        )
        assert np.array_equal(crossed, letters)

    def test_hints_are_about_the_groups_of_those_to_train_on_and_for_training_only(self, labelled):
        samples, panel = labelled
        train = np.flatnonzero(samples.labels["pop"] < 2)
        letters = np.where(samples.labels["pop"][:, None] == 1, panel.alt_codes, panel.ref_codes)
        views = barcode_views(labelled, parents=train, letters=letters, hints=2.5)
        hints = views.varied(train, step_rng(1)).hints
        assert hints.weight == 2.5
        hinted_group = hints.values.argmax(2).numpy()
        assert np.array_equal(hinted_group, np.tile(samples.labels["pop"][train, None], len(panel)))
        assert views.plain(train).hints is None

    def test_without_their_setting_there_are_no_hints(self, labelled):
        assert barcode_views(labelled, **ALL_OPTIONS).varied(ROWS, step_rng(1)).hints is None

    def test_the_two_haplotypes_of_a_crossed_sample_are_drawn_apart(self, labelled):
        _, panel = labelled
        letters = np.where(np.arange(75)[:, None] % 2, panel.ref_codes, panel.alt_codes)
        crossed = letters_of(
            barcode_views(labelled, letters=letters, cross=1.0).varied(ROWS, step_rng(8))
        )
        heterozygous = ~np.isin(crossed, np.frombuffer(b"ACGT", np.uint8))
        assert heterozygous.mean() == pytest.approx(0.5, abs=0.1)

    def test_missing_letters_stay_missing(self, labelled):
        letters = labelled[0].letters.copy()
        letters[:, :30] = ord("N")
        varied = letters_of(
            barcode_views(labelled, letters=letters, **ALL_OPTIONS).varied(ROWS, step_rng(7))
        )
        assert (varied[:, :30] == ord("N")).all()

    def test_calibration_shows_everybody_at_random_sites_and_in_files_of_several_kinds(
        self, labelled
    ):
        rows = np.arange(70)
        batches = list(barcode_views(labelled).for_calibration(rows, (0.0, 0.5), 4))
        assert [float(batch.share.mean()) for batch in batches[:2]] == [
            1,
            pytest.approx(0.5, abs=0.02),
        ]
        files = batches[2:]
        known = [letters_of(batch) != ord("N") for batch in files]
        assert all(
            len(is_known) <= SAMPLES_PER_DRAW and (is_known == is_known[0]).all()
            for is_known in known
        )
        labels = torch.cat([batch.labels["pop"] for batch in files])
        expected = torch.from_numpy(labelled[0].labels["pop"][rows])
        assert torch.equal(labels.bincount(), MISSINGNESS_DRAWS * expected.bincount())


def test_a_model_that_saw_no_missing_sites_flags_samples_with_some(labelled):
    inputs = [ModelInput("x", [], used, 20) for used in (20, 19, 18, 9)]
    panel = labelled[1]
    for min_share, expected in ((0.95, [False, False, True, True]), (0.5, [False] * 3 + [True])):
        kind = BarcodeInput(panel, min_share=min_share)
        assert [kind.has_low_call_rate(model_input, {}) for model_input in inputs] == expected
