"""Views of records: what each change does, and that a view depends on nothing but its record, number and seed."""

import numpy as np
import pytest
from conftest import panel_text
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli import augmentations
from genomai_cli.errors import InputError, UsageError
from genomai_cli.inference.augment import Alignment, Changes, augmented
from genomai_cli.population.augment import BarcodeAlignment, BarcodeCrosses, groups_of
from genomai_cli.population.barcode import (
    BarcodeSites,
    is_haplotype,
    letters_to_genotypes,
    sites_of,
)
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord

without_deadline = settings(deadline=None, max_examples=50)
ALL_CHANGES = Changes(mask=0.2, crop=0.7, mutate=0.3, revcomp=True)
KINDS = ("ACGT", "RYSWKM", "BDHV", "N")
names = st.sampled_from(["a", "b", "c"])
sequences = st.text("ACGTRYSWKMBDHVN", max_size=40)
files = st.lists(st.builds(SequenceRecord, names, sequences), max_size=8)


def view(sequence, changes, **options):
    """The sequence of the only view of a record."""
    (record,) = augmented([SequenceRecord("x", sequence)], changes, **options)
    return record.sequence


def codes(text):
    return np.frombuffer(text.encode(), np.uint8)


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    file = tmp_path_factory.mktemp("panel") / "panel.tsv"
    file.write_text(panel_text(30))
    return Panel.read(file)


@pytest.fixture(scope="module")
def sites(panel):
    return BarcodeSites.of(panel)


def barcode(panel, genotypes):
    from genomai_cli.population.barcode import genotypes_to_letters

    return genotypes_to_letters(np.asarray(genotypes, np.int8), panel).tobytes().decode()


@without_deadline
@given(files, st.integers(0, 2**40), st.integers(1, 3), st.randoms())
def test_a_view_does_not_depend_on_the_other_records_or_their_order(records, seed, views, random):
    shuffled = [*records, SequenceRecord("other", "ACGTACGT")]
    random.shuffle(shuffled)
    by_name = {}
    for augmented_record in augmented(shuffled, ALL_CHANGES, views=views, seed=seed):
        by_name.setdefault(augmented_record.name, []).append(augmented_record.sequence)
    for name in {record.name for record in records}:
        alone = [record for record in shuffled if record.name == name]
        for augmented_record in augmented(alone, ALL_CHANGES, views=views, seed=seed):
            assert by_name[augmented_record.name].pop(0) == augmented_record.sequence


@without_deadline
@given(sequences, st.integers(0, 2**40))
def test_more_views_leave_the_first_ones_as_they_are(sequence, seed):
    record = SequenceRecord("x", sequence)
    three, one = (list(augmented([record], ALL_CHANGES, views=n, seed=seed)) for n in (3, 1))
    assert three[:1] == one


def test_seeds_views_and_records_of_one_name_differ():
    duplicates = [SequenceRecord("x", "ACGT" * 20)] * 2
    sequences_of_views = [
        v.sequence
        for seed in (0, 1)
        for v in augmented(duplicates, ALL_CHANGES, views=2, seed=seed)
    ]
    assert len(set(sequences_of_views)) == 8


def test_names_and_descriptions_say_what_was_done():
    augmented_records = list(
        augmented([SequenceRecord("x", "ACGT", "old")], ALL_CHANGES, views=2, seed=7)
    )
    assert [v.name for v in augmented_records] == ["x_view1", "x_view2"]
    assert {v.description for v in augmented_records} == {
        "mask=0.2 crop=0.7 mutate=0.3 revcomp seed=7"
    }


@without_deadline
@given(sequences, st.integers(0, 2**32))
def test_substitutes_are_of_the_letters_kind(sequence, seed):
    changed = view(sequence, Changes(mutate=1.0), seed=seed)
    for old, new in zip(sequence, changed, strict=True):
        assert next(kind for kind in KINDS if old in kind) == next(k for k in KINDS if new in k)
        assert (old != new) == (old != "N")


@without_deadline
@given(sequences)
def test_the_other_strand_is_the_reverse_complement(sequence):
    expected = augmentations.reverse_complement(codes(sequence)).tobytes().decode()
    assert view(sequence, Changes(revcomp=True)) == expected


@without_deadline
@given(st.text("ACGT", min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 99))
def test_a_crop_is_a_stretch_of_the_sequence(sequence, share, seed):
    cropped = view(sequence, Changes(crop=share), seed=seed)
    assert cropped in sequence
    assert len(cropped) == max(1, round(share * len(sequence)))


def test_about_the_share_of_letters_is_masked_and_replaced():
    sequence = "ACGT" * 5000
    masked = view(sequence, Changes(mask=0.15))
    assert masked.count("N") / len(sequence) == pytest.approx(0.15, abs=0.01)
    assert all(new in (old, "N") for old, new in zip(sequence, masked, strict=True))
    replaced = view(sequence, Changes(mutate=0.1))
    differing = sum(a != b for a, b in zip(sequence, replaced, strict=True))
    assert differing / len(sequence) == pytest.approx(0.1, abs=0.01)


def test_no_share_of_anything_is_the_record_itself():
    assert view("ACGTRYN", Changes(mask=0, crop=1, mutate=0)) == "ACGTRYN"


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("change", ["mask", "crop", "mutate"])
def test_a_share_is_from_0_to_1(change, share):
    with pytest.raises(UsageError, match=f"--{change}"):
        Changes(**{change: share})


def test_long_sequences_are_changed_in_stretches_everywhere(monkeypatch):
    monkeypatch.setattr("genomai_cli.inference.augment._CHUNK_LETTERS", 7)
    changed = view("A" * 50, Changes(mutate=1.0))
    assert len(changed) == 50
    assert "A" not in changed
    assert set(view("A" * 50, Changes(mask=1.0))) == {"N"}


# --- barcodes --------------------------------------------------------------------------------


def test_a_barcode_is_recognised_by_its_length_and_letters(panel, sites):
    letters = barcode(panel, [0, 1, 2, -1] * 7 + [0, 1])
    assert sites_of(codes(letters), [sites]) is sites
    assert sites_of(codes(letters[1:] + letters[0]), [sites]) is None
    assert sites_of(codes(letters[1:]), [sites]) is None
    assert not is_haplotype(codes(letters))
    assert is_haplotype(codes(barcode(panel, [0, 2] * 15)))


@without_deadline
@given(st.lists(st.integers(-1, 2), min_size=30, max_size=30), st.integers(0, 99))
def test_a_substituted_barcode_has_other_genotypes_of_its_sites(panel, sites, genotypes, seed):
    letters = barcode(panel, genotypes)
    changed = view(
        letters, Changes(mutate=1.0), seed=seed, alignment=BarcodeAlignment(panels=[sites])
    )
    new = letters_to_genotypes(codes(changed), panel)
    old = np.array(genotypes)
    assert ((new >= 0) == (old >= 0)).all()
    assert (new[old >= 0] != old[old >= 0]).all()
    if 1 not in genotypes:  # a haplotype: its other allele
        assert (new[old >= 0] == 2 - old[old >= 0]).all()


def test_a_cropped_barcode_keeps_its_length(panel, sites):
    letters = barcode(panel, [0, 1, 2] * 10)
    cropped = view(letters, Changes(crop=0.5), alignment=BarcodeAlignment(panels=[sites]))
    assert len(cropped.strip("N")) == 15
    assert all(new in (old, "N") for old, new in zip(letters, cropped, strict=True))


def test_what_is_in_a_references_coordinates_keeps_its_length_too():
    cropped = view("ACGT" * 10, Changes(crop=0.5), alignment=Alignment(length=40))
    assert (len(cropped), len(cropped.strip("N"))) == (40, 20)


def test_a_barcode_has_no_other_strand(panel, sites):
    letters = barcode(panel, [1] * 30)
    with pytest.raises(UsageError, match="--revcomp: x is aligned"):
        view(letters, Changes(revcomp=True), alignment=BarcodeAlignment(panels=[sites]))


def test_a_named_panel_refuses_records_of_another_length(sites):
    with pytest.raises(InputError, match=r"f.fa:3: x has 4 letters, the panel 30 sites"):
        list(
            augmented(
                [SequenceRecord("x", "ACGT", path="f.fa", line=3)],
                Changes(mask=0.1),
                alignment=BarcodeAlignment(panels=[sites], required=True),
            )
        )


# --- crosses ---------------------------------------------------------------------------------

GROUP_OF = {"a1": "A", "a2": "A", "b1": "B"}


def sample_records(panel):
    """Two of a group that has only refs but at one site, and one of a group that has only alts."""
    refs = [0] * 29
    rows = {"a1": [*refs, 2], "a2": [*refs, 0], "b1": [2] * 30}
    return [SequenceRecord(name, barcode(panel, row)) for name, row in rows.items()]


def crossed(records, panel, views):
    alignment = BarcodeAlignment(panels=[BarcodeSites.of(panel)])
    options = {"views": views, "alignment": alignment}
    return list(augmented(records, Changes(), crosses=BarcodeCrosses(records, GROUP_OF), **options))


def test_a_cross_takes_each_site_from_a_member_of_the_records_group(panel):
    crosses = crossed(sample_records(panel), panel, 200)
    copies = {
        name: np.array(
            [letters_to_genotypes(codes(v.sequence), panel) for v in crosses if v.name[:2] == name]
        )
        for name in GROUP_OF
    }
    assert (copies["b1"] == 2).all()
    assert (copies["a1"][:, :29] == 0).all()
    # No heterozygote among the three: haplotypes, whose last site has either letter.
    assert (copies["a2"][:, 29] == 2).mean() == pytest.approx(0.5, abs=0.15)
    assert crosses[0].description == "cross=A seed=0"


def test_genotypes_are_crossed_as_two_haplotypes(panel):
    records = sample_records(panel)
    records.append(SequenceRecord("b1", barcode(panel, [1] * 30)))
    crosses = [v for v in crossed(records, panel, 100) if v.name.startswith("b1")]
    copies = np.array([letters_to_genotypes(codes(v.sequence), panel) for v in crosses])
    # Three of the group's four alleles are alternate.
    assert copies.mean() == pytest.approx(1.5, abs=0.05)
    assert (copies == 1).mean() == pytest.approx(2 * 0.75 * 0.25, abs=0.05)


def test_a_cross_does_not_depend_on_the_order_of_the_file(panel):
    records = sample_records(panel)
    reversed_order = crossed(records[::-1], panel, 3)
    assert sorted(crossed(records, panel, 3), key=str) == sorted(reversed_order, key=str)


def test_haplotypes_go_by_the_name_of_their_individual():
    labels = {"x": "A", "y_B": "B"}
    assert groups_of(["x_A", "x_B", "y_B", "z_A"], labels) == {"x_A": "A", "x_B": "A", "y_B": "B"}
