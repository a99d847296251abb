"""Hints, in training, about the groups that the letters of a barcode speak for."""

import numpy as np
import pytest
from conftest import labelled_samples

from genomai_cli.population.hints import LetterHints

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def hints_and_panel(cohort):
    """Hints about two groups, of which the second has all the alternate alleles; the panel."""
    _, panel = labelled_samples(cohort)
    letters = np.stack([panel.ref_codes, panel.alt_codes]).repeat(4, axis=0)
    return LetterHints.fit(letters, np.arange(8) // 4, panel), panel


def test_a_letter_speaks_for_the_group_that_has_it(hints_and_panel):
    hints, panel = hints_and_panel
    sites = len(panel)
    values = hints.of(np.stack([panel.ref_codes, panel.alt_codes]), sites).numpy()
    assert values.shape == (2, sites, 2)
    assert values[0] == pytest.approx(np.tile([1, -1], (sites, 1)))
    assert values[1] == pytest.approx(-values[0])


def test_a_missing_letter_says_nothing_and_a_heterozygote_the_mean(hints_and_panel):
    hints, panel = hints_and_panel
    iupac_codes = {"AG": "R", "CT": "Y", "CG": "S", "AT": "W", "AC": "M", "GT": "K"}
    heterozygous = "".join(
        iupac_codes["".join(sorted(a + b))] for a, b in zip(panel.ref, panel.alt, strict=True)
    )
    letters = np.frombuffer(heterozygous.encode(), np.uint8)[None].copy()
    letters[0, 3] = ord("N")
    values = hints.of(letters, len(panel))[0].numpy()
    assert np.isnan(values[3]).all()
    assert np.delete(values, 3, axis=0) == pytest.approx(0)


def test_a_longer_token_has_the_hint_of_its_middle_letter(hints_and_panel):
    hints, panel = hints_and_panel
    letters = panel.ref_codes.copy()[None]
    letters[0, 7] = panel.alt_codes[7]
    values = hints.of(letters, len(panel) - 2)[0].numpy()
    assert np.flatnonzero(values[:, 1] > 0).tolist() == [6]


def test_rare_alleles_of_small_groups_stay_finite(cohort):
    samples, panel = labelled_samples(cohort)
    hints = LetterHints.fit(samples.letters[:3], np.arange(3), panel)
    assert np.isfinite(hints.log_odds).all()
    assert np.mean(hints.log_odds.astype(float) ** 2) == pytest.approx(1, abs=1e-5)
    assert hints.log_odds.mean(axis=2) == pytest.approx(0, abs=1e-6)


def test_a_site_without_a_call_in_one_of_two_groups_speaks_for_neither(cohort):
    _, panel = labelled_samples(cohort)
    letters = np.stack([panel.ref_codes, panel.alt_codes]).repeat(4, axis=0)
    letters[4:, 3] = ord("N")
    log_odds = LetterHints.fit(letters, np.arange(8) // 4, panel).log_odds
    assert log_odds[:, 3] == pytest.approx(0)
    assert np.abs(np.delete(log_odds, 3, axis=1)).min() > 0.9
