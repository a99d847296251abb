"""Tables of phenotype records: what they may hold, what is refused with its line, and what they become."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli.alphabet import MISSING
from genomai_cli.errors import BundleError, InputError
from genomai_cli.population.phenotype_encoding import (
    HaplotypeGroups,
    PhenotypeRows,
    common_records,
    encode,
    ignored,
)
from genomai_cli.population.phenotypes import (
    LOCATION_ANCHORS,
    Columns,
    Location,
    PhenotypeTable,
    degrees,
    location_anchors,
    read_phenotypes,
    unit_vectors,
)

TABLE = (
    "person\tpop\tsex\theight\tlatitude\tlongitude\n"
    "a\tGBR\tfemale\t1.60\t52.5\t-1.9\n"
    "b\tGBR\t.\t1.80\t52.5\t-1.9\n"
    "c\tFIN\tmale\tNA\t60\t25\n"
    "d\t\tmale\t2.00\t.\t\n"
)


@pytest.fixture
def read(tmp_path):
    """Reads a table from text."""

    def read_text(text):
        path = tmp_path / "table.tsv"
        path.write_text(text)
        return read_phenotypes(path)

    return read_text


@pytest.fixture
def table(read):
    return read(TABLE)


@pytest.fixture
def columns(table):
    return Columns.of(table)


class TestTable:
    def test_what_is_missing_is_none(self, table):
        assert table.names == ("a", "b", "c", "d")
        assert table.column("pop") == ("GBR", "GBR", "FIN", None)
        assert table.column("sex")[1] is None
        assert table.column("height")[2] is None

    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            ("", None, "empty"),
            ("person\tpop\n", 1, "no records"),
            ("person\na\n", 1, "two or more columns"),
            ("person\tpop\na\tGBR\nb\tFIN\na\tFIN\n", 4, "record a again (first in line 2)"),
            ("person\tpop\n\tGBR\n", 2, "without a name"),
            ("person\tpop\na\tGBR\tmore\n", 2, "3 columns where the header has 2"),
            ("person\tpop\tpop\na\tGBR\tFIN\n", 1, "there twice"),
        ],
    )
    def test_a_bad_table_is_refused_with_its_line(self, read, text, line, message):
        with pytest.raises(InputError) as refused:
            read(text)
        assert message in str(refused.value)
        assert refused.value.line == line


class TestColumns:
    def test_they_are_inferred(self, columns):
        assert columns.names == ["pop", "sex", "height", "place"]
        assert columns.fields == ["pop", "sex", "height", "latitude", "longitude"]
        assert columns.categories[0].labels == ("FIN", "GBR")
        assert columns.numbers[0].mean == pytest.approx(1.8)
        assert columns.location == Location()

    def test_declared_columns_are_what_they_are_said_to_be(self, table):
        columns = Columns.of(table, categories=["height"])
        assert [c.name for c in columns.categories] == ["pop", "sex", "height"]
        assert columns.categories[2].labels == ("1.60", "1.80", "2.00")
        with pytest.raises(InputError, match=r"table\.tsv:2: pop is 'GBR', which is not a number"):
            Columns.of(table, numbers=["pop"])
        with pytest.raises(InputError, match="no column 'weight'"):
            Columns.of(table, numbers=["weight"])

    def test_a_latitude_alone_is_a_number(self, read):
        assert Columns.of(read("p\tlatitude\na\t1\nb\t2\n")).numbers[0].name == "latitude"

    def test_a_table_that_tells_nothing_is_refused(self, read):
        with pytest.raises(InputError, match="no column with a value"):
            Columns.of(read("p\tpop\na\t.\n"))

    def test_the_vocabulary_names_every_token(self, columns):
        tokens = columns.vocabulary
        assert tokens[:4] == ["pop=FIN", "pop=GBR", "sex=female", "sex=male"]
        assert len(tokens) == len(set(tokens)) == sum(columns.sizes) == 4 + 11 + LOCATION_ANCHORS
        assert columns.bounds[0] == (0, 2)
        assert columns.bounds[-1] == (15, 15 + LOCATION_ANCHORS)

    def test_a_config_brings_them_back(self, columns):
        assert Columns.from_config(json.loads(json.dumps(columns.to_config()))) == columns
        with pytest.raises(BundleError, match="phenotype columns"):
            Columns.from_config({"categories": []})

    def test_anchors_cover_the_globe(self):
        anchors = location_anchors()
        assert np.allclose(np.linalg.norm(anchors, axis=1), 1)
        points = np.random.default_rng(1).normal(size=(500, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        assert np.arccos((points @ anchors.T).max(axis=1)).max() < 0.4  # radians

    @given(st.floats(-89.9, 89.9), st.floats(-179.9, 179.9))
    def test_locations_come_back_as_degrees(self, latitude, longitude):
        found = degrees(unit_vectors(np.array([latitude]), np.array([longitude])))
        assert np.allclose(found, [[latitude, longitude]], atol=1e-6)


class TestEncoding:
    def test_values_become_numbers(self, table, columns):
        encoded = encode(table, columns)
        assert encoded.categories.tolist() == [[1, 0], [1, MISSING], [0, 1], [MISSING, 1]]
        deviation = np.std([1.6, 1.8, 2.0])
        assert encoded.numbers[0, 0] == pytest.approx(-0.2 / deviation)
        assert np.isnan(encoded.numbers[2, 0])
        assert np.allclose(encoded.locations[0], unit_vectors(52.5, -1.9))
        assert encoded.known.tolist() == [
            [True, True, True, True],
            [True, False, True, True],
            [True, True, False, True],
            [False, True, True, False],
        ]

    def test_any_of_the_columns_will_do(self, read, columns):
        encoded = encode(read("r\tsex\tcolour\nx\tmale\tred\n"), columns)
        assert encoded.known.tolist() == [[False, True, False, False]]
        assert ignored(read("r\tsex\tcolour\nx\tmale\tred\n"), columns) == ["colour"]

    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            ("r\tpop\nx\tGBR\ny\tXYZ\n", 3, "pop 'XYZ' is unknown to the model (known: FIN, GBR)"),
            ("r\theight\nx\ttall\n", 2, "height is 'tall', which is not a number"),
            ("r\theight\nx\tinf\n", 2, "not a number"),
            ("r\tlatitude\tlongitude\nx\t91\t0\n", 2, "latitude is 91, which is not between"),
            ("r\tlatitude\tlongitude\nx\t0\t-181\n", 2, "longitude is -181"),
            ("r\tlatitude\tlongitude\nx\t1\t1\ny\t0\t.\n", 3, "one is missing"),
            ("r\tlatitude\nx\t1\n", 1, "no column 'longitude'"),
            ("r\tcolour\nx\tred\n", 1, "no column that the model knows"),
            ("r\tpop\tsex\nx\tGBR\tmale\ny\t.\tNA\n", 3, "nothing is known of y"),
        ],
    )
    def test_what_the_model_does_not_understand(self, read, columns, text, line, message):
        with pytest.raises(InputError) as refused:
            encode(read(text), columns)
        assert message in str(refused.value)
        assert refused.value.line == line

    def test_columns_can_be_masked(self, table, columns):
        encoded = encode(table, columns)
        visible = np.zeros((4, 4), np.bool_)
        visible[:, 3] = True
        assert (encoded.with_columns(visible).known == (visible & encoded.known)).all()

    def test_rows_of_a_corpus_hold_them(self, table, columns):
        layout = PhenotypeRows(5, columns)
        letters = np.random.default_rng(0).choice(list(b"ACGTN"), (4, 5)).astype(np.uint8)
        encoded = encode(table, columns)
        rows = layout.rows(letters, encoded)
        assert rows.shape == (4, len(layout))
        assert (layout.letters(rows) == letters).all()
        decoded = layout.encoded(rows)
        for name in ("categories", "numbers", "locations"):
            assert np.array_equal(getattr(decoded, name), getattr(encoded, name), equal_nan=True)


class TestGroups:
    def test_what_samples_have_in_common_makes_a_record(self, table, columns):
        assert list(common_records(table, columns, "pop")) == [
            ["record", "pop", "sex", "height", "latitude", "longitude"],
            ["FIN", "FIN", "male", ".", "60", "25"],
            ["GBR", "GBR", ".", ".", "52.5", "-1.9"],
        ]

    def test_without_groups_every_label_is_one(self, table, columns):
        records = [row[0] for row in common_records(table, columns, "")]
        assert records == ["record", "pop=FIN", "pop=GBR", "sex=female", "sex=male"]

    def test_groups_are_the_samples_of_a_label(self, table, columns):
        layout = PhenotypeRows(3, columns)
        letters = np.frombuffer(b"AAACCCGGGTTT", np.uint8).reshape(4, 3)
        rows = layout.rows(letters, encode(table, columns))
        groups = HaplotypeGroups.of(rows[:3], layout, "pop")
        assert groups.groups(encode(table, columns)).tolist() == [1, 1, 0, MISSING]
        crossed = groups.pool.cross(np.array([0, 1]), np.random.default_rng(0))
        assert crossed[0].tobytes() == b"GGG"
        assert set(crossed[1].tobytes()) <= set(b"AC")
        assert groups.contain(letters).tolist() == [True, True, True, False]


@given(st.lists(st.sampled_from(["x", "y", None]), min_size=2, max_size=9))
def test_labels_survive_encoding(values):
    values = [*values, "x"]
    names = tuple(map(str, range(len(values))))
    cells = {"c": tuple(values), "n": ("1",) * len(values)}
    table = PhenotypeTable("t", names, tuple(range(2, len(values) + 2)), cells)
    columns = Columns.of(table)
    labels = columns.categories[0].labels
    found = encode(table, columns).categories[:, 0]
    assert [None if n == MISSING else labels[n] for n in found] == values
