"""Recipes: the presets, what is read from TOML, what is refused, and changes on the command line."""

import pytest

from genomai_cli import tokenizers
from genomai_cli.backbones.base import complete_config
from genomai_cli.errors import InputError, UsageError
from genomai_cli.training import recipe as recipes
from genomai_cli.training.recipe import for_heads, from_tables, read
from genomai_cli.training.recipe_tables import presets

MINIMAL = """
name = "small"
[tokenizer]
kind = "kmers"
[network]
kind = "transformer"
"""


@pytest.fixture
def toml(tmp_path):
    """Writes a recipe's text and gives its path."""

    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", presets())
def test_every_preset_describes_a_model(name):
    recipe, _ = read(name)
    assert recipe.name == name
    assert recipe.description
    assert tokenizers.from_config(recipe.tokenizer).vocabulary
    sites = {"sites": 1}
    data_sizes = {
        "sites": sites,
        "genotype_regression": sites,
        "profile": {"sites": 2, "variants": 1},
    }
    assert complete_config(recipe.network | data_sizes.get(recipe.network["kind"], {}))


def test_the_presets_are_those_of_the_reference_models_and_of_sequences():
    assert {"ancestry", "genomai-v2", "sequences"} <= set(presets())


def test_hints_weigh_what_a_recipe_says(toml):
    assert read(toml(MINIMAL), ["input.kind='barcode'", "views.hints=3"])[0].views.hints == 3
    assert not hasattr(read(toml(MINIMAL), ["views.hints=3"])[0].views, "hints")


def test_the_reference_preset_reads_200_sites_as_two_haplotypes():
    recipe, _ = read("genomai-v2")
    assert (recipe.input.kind, recipe.input.best_sites, recipe.input.haplotypes) == (
        "barcode",
        200,
        True,
    )
    assert recipe.tokenizer == {"kind": "symmetric", "k": 3}


def test_what_a_recipe_does_not_say_has_a_default(toml):
    recipe, _ = read(toml(MINIMAL))
    assert recipe.input.kind == "sequence"
    assert recipe.split.folds == 1
    assert recipe.evidence is None
    assert recipe.heads == {}


def test_the_text_is_kept_with_the_changes_noted(toml):
    path = toml(MINIMAL)
    recipe, text = read(path, ["optimization.steps=7", "name=other"])
    assert (recipe.optimization.steps, recipe.name) == (7, "other")
    assert text.startswith(MINIMAL)
    assert text.endswith(
        "# changed on the command line: optimization.steps=7\n# changed on the command line: name=other\n"
    )
    assert read(path)[1] == MINIMAL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name =", "not TOML"),
        ("", "missing key name"),
        (MINIMAL + "[optimisation]\nsteps = 3", "unknown key optimisation"),
        (
            MINIMAL + "[optimization]\nstep = 3",
            r"unknown key optimization\.step \(there are: steps, ",
        ),
        (MINIMAL + "[likelihood]\naxes = 3", r"missing key likelihood\.head"),
        (
            MINIMAL + "[likelihood]\nhead = 'pop'\n[regression]\nhead = 'pop'",
            r"\[likelihood\] is for barcodes, \[regression\] for genomes: not both",
        ),
        (MINIMAL + "[views]\nhide = 1.5", r"views\.hide is from 0 to 1, not 1\.5"),
        (MINIMAL + "[views]\nhints = -1.0", r"views\.hints is at least 0, not -1\.0"),
        (MINIMAL + "[views]\ncross = 1.5", r"views\.cross is from 0 to 1, not 1\.5"),
        (MINIMAL + "[views]\ncros = 0.5", r"unknown key views\.cros \(there are: hide, "),
        (MINIMAL + "[optimization]\nsteps = 3.5", r"optimization\.steps is a int, not 3\.5"),
        (MINIMAL + "[optimization]\nclip = -1.0", r"optimization\.clip is at least 0, not -1\.0"),
        (
            MINIMAL + "[optimization]\nweight_decay = -1.0",
            r"optimization\.weight_decay is at least 0, not -1\.0",
        ),
        (
            MINIMAL + "[optimization]\naverage = -3.0",
            r"optimization\.average is from 0 to 1, not -3\.0",
        ),
        (
            MINIMAL + "[optimization]\nwarmup = 2.0",
            r"optimization\.warmup is from 0 to 1, not 2\.0",
        ),
        (MINIMAL + "[optimization]\nsteps = true", r"optimization\.steps is a int, not True"),
        (
            MINIMAL + "[optimization]\nlearning_rate = '1'",
            r"optimization\.learning_rate is a float",
        ),
        (MINIMAL + "[input]\nhaplotypes = 1", r"input\.haplotypes is a bool, not 1"),
        (MINIMAL + "[input]\nbest_sites = 'many'", r"input\.best_sites is a int, not 'many'"),
        (
            MINIMAL + "[input]\nkind = 'protein'",
            r"input\.kind is one of sequence, barcode, people, anchored, tracks, not 'protein'",
        ),
        (MINIMAL + "[likelihood]\nhead = 3", r"likelihood\.head is a str, not 3"),
        (MINIMAL + "[heads]\n'a b' = 'x'", "head 'a b': a name is letters"),
        ("input = 3\n" + MINIMAL, r"\[input\] is not a table"),
        ("heads = 3\n" + MINIMAL, "heads is a dict, not 3"),
        ("version = 1\n" + MINIMAL, "version is a str, not 1"),
        ('name = "x"\nnetwork = 3\n[tokenizer]\nkind = "kmers"', "network is a dict, not 3"),
    ],
)
def test_a_damaged_recipe_is_refused_with_its_name(toml, text, message):
    path = toml(text)
    with pytest.raises(InputError, match=message) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "change",
    [
        "optimization.steps=0",
        "optimization.batch_size=0",
        "optimization.evaluate_every=0",
        "optimization.patience=0",
        "optimization.learning_rate=-1.0",
        "split.folds=0",
        "split.holdout=0.0",
        "split.holdout=1.0",
        "split.holdout=nan",
        "views.cross=1.5",
        "views.hide=-0.1",
        "input.best_sites=0",
    ],
)
def test_numbers_that_make_no_sense_are_refused(toml, change):
    with pytest.raises(UsageError, match=rf"{change.split('=')[0]} is (at least|from) "):
        read(toml(MINIMAL), [change])


def test_settings_of_other_kinds_of_input_are_ignored(toml):
    changes = ["input.best_sites=5", "input.fewest=3", "views.cross=0.5", "views.hide=0.25"]
    recipe, _ = read(toml(MINIMAL), changes)
    assert (recipe.views.hide, recipe.input) == (0.25, read(toml(MINIMAL))[0].input)
    assert not hasattr(recipe.views, "cross")


def test_a_whole_number_may_stand_for_a_float(toml):
    assert read(toml(MINIMAL), ["optimization.clip=2"])[0].optimization.clip == 2


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("optimization.steps=12", 12),
        ("optimization.learning_rate=1e-3", 1e-3),
        ("input.haplotypes=true", True),
        ("input.kind=barcode", "barcode"),
        ('input.kind="barcode"', "barcode"),
        ("network.width=64", 64),
        ("heads.pop=population", "population"),
        ("description=two words = four", "two words = four"),
    ],
)
def test_a_change_is_a_toml_value_or_else_text(toml, change, value):
    recipe, _ = read(toml(MINIMAL), [change])
    *sections, key = change.split("=")[0].split(".")
    setting = recipe
    for name in [*sections, key]:
        setting = setting[name] if isinstance(setting, dict) else getattr(setting, name)
    assert setting == value
    assert type(setting) is type(value)


def test_the_last_of_two_changes_counts(toml):
    assert (
        read(toml(MINIMAL), ["optimization.steps=1", "optimization.steps=2"])[0].optimization.steps
        == 2
    )


def test_the_order_of_changes_that_need_each_other_does_not_matter(toml):
    recipe, _ = read(toml(MINIMAL), ["likelihood.axes=2", "likelihood.head=pop"])
    assert (recipe.evidence.head, recipe.evidence.axes) == ("pop", 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimization.steps", "write SECTION.KEY=VALUE"),
        ("a.b.c=1", "write SECTION.KEY=VALUE"),
        ("=1", "write SECTION.KEY=VALUE"),
        ("optimization.=1", "write SECTION.KEY=VALUE"),
        ("steps=3", "unknown key steps"),
        ("optimization.stepz=3", r"unknown key optimization\.stepz"),
        ("optimization.steps=fast", r"optimization\.steps is a int, not 'fast'"),
        ("optimization=3", r"\[optimization\] is not a table"),
        ("name.x=3", "name has no keys"),
        ("likelihood.axes=2", r"missing key likelihood\.head"),
    ],
)
def test_a_change_that_cannot_be_made_is_wrong_usage(toml, change, message):
    with pytest.raises(UsageError, match=message):
        read(toml(MINIMAL), [change])


def test_an_unknown_recipe_is_wrong_usage_and_names_those_there_are():
    with pytest.raises(
        UsageError, match="no recipe 'nothing': a TOML file, or one of alphagenome-tiny, ancestry, "
    ):
        read("nothing")


@pytest.mark.parametrize("head", ["pop", "superpop", "a-b_2", "X"])
def test_names_that_heads_may_have(head):
    recipes.check_head_name(head)


@pytest.mark.parametrize("head", ["", "2a", "a b", "a.b", "a:b", "a\tb", "é"])
def test_names_that_heads_may_not_have(head):
    with pytest.raises(ValueError, match="a name is letters"):
        recipes.check_head_name(head)


TABLES = {
    "name": "x",
    "network": {"kind": "sites"},
    "tokenizer": {"kind": "iupac"},
    "input": {"kind": "barcode", "best_sites": 5, "best_for": "pop"},
    "likelihood": {"head": "pop"},
}


def test_a_recipe_is_about_the_heads_that_are_trained():
    recipe = from_tables(TABLES)
    other = for_heads(recipe, ["breed", "colour"])
    assert other.evidence.head == "colour"
    assert other.input.best_for is None
    assert for_heads(recipe, ["superpop", "pop"]) == recipe


def test_reading_leaves_the_given_tables_alone():
    before = {name: dict(v) if isinstance(v, dict) else v for name, v in TABLES.items()}
    from_tables(TABLES)
    assert before == TABLES
