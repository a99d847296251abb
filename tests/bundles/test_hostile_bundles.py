"""Bundles are data, and checked as such: attacks of `benchmarks.reliability.hostile_bundles`, in this process."""

import random
import shutil

import pytest
from conftest import REPOSITORY, run

from benchmarks.reliability import hostile_bundles as hostile
from genomai_cli.bundles import catalog

ATTACKS = list(hostile.attacks())
OF_FILES = [
    one
    for one in ATTACKS
    if one.description in hostile.FILES and one.bundle in ("sites", "profile")
]
HEAVY = ("bomb", "2 GB", "100 MB", "device", "million")
DRAWN = random.Random(7).sample(
    [one for one in ATTACKS if one.description not in hostile.FILES], 60
)


def outcome(attack, folder, command):
    """What the program says of the bundle; it never ends as it should not."""
    shutil.copytree(hostile.BUNDLES / attack.bundle, folder, dirs_exist_ok=True)
    attack.change(folder)
    ended = run(command(folder), hostile.sequence_of(attack.bundle))
    assert ended.status in (0, 1, 2)
    assert "unexpected" not in ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


def verify(folder):
    return ["models", "verify", folder]


def classify(folder):
    return ["classify", "--model", folder]


@pytest.mark.parametrize(
    "attack",
    [a for a in OF_FILES if not any(w in a.description for w in HEAVY)],
    ids=lambda a: f"{a.bundle}: {a.description}",
)
def test_a_file_that_is_none_is_refused(tmp_path, attack):
    ended = outcome(attack, tmp_path / "bundle", verify)
    if (tmp_path / "bundle" / "model.safetensors").exists() and ended.status == 0:
        assert attack.description in MADE_NO_DIFFERENCE


MADE_NO_DIFFERENCE = {
    "half precision",
    "panel is a bomb",
    "reference is /proc/pagemap",
    "panel is a link out",
    "panel is /proc/kmsg",
    "panel of nonsense",
    "panel without its last site",
    "sites without the last",
}


def test_configs_with_any_value_replaced_are_refused_or_harmless(tmp_path):
    for number, attack in enumerate(DRAWN):
        outcome(attack, tmp_path / str(number), classify)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("NaN in the weights", "NaN or infinite"),
        ("infinity in the weights", "NaN or infinite"),
        ("integers in the weights", "is int64 where float32 is needed"),
        ("weights of 2 GB, sparse", "damaged safetensors header"),
        ("weights are a link out", "leads out of the model's folder"),
        ("lists ../config.json", "no name of a file in the model's folder"),
        ("lists /proc/kmsg", "no name of a file in the model's folder"),
        ("config with a key twice", "'name' is there twice"),
        ("labels twice", "twice"),
        ("deep config", "too deep"),
        ("config of 100 MB", "more than 8 MiB"),
        ("panel without its last site", "23 sites, where the network has 24"),
        ("panel is a bomb", "compressed, as no file of a model is"),
        ("panel is a link out", "leads out of the model's folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, what, message):
    attack = next(one for one in OF_FILES if one.description == what and one.bundle == "sites")
    for command in (classify, verify):
        ended = outcome(attack, tmp_path / command.__name__, command)
        assert ended.status == 1
        assert message in ended.stdout + ended.stderr


@pytest.mark.parametrize("value", [10**18, 10**6])
@pytest.mark.parametrize("size", ["layers", "width", "vocabulary", "positions", "feed_forward"])
def test_sizes_beyond_the_weights_are_refused_before_they_take_memory(tmp_path, size, value):
    change = hostile.Attack(
        "transformer-kmers", size, lambda f: hostile.put(f, ("network", size), value)
    )
    assert outcome(change, tmp_path / "bundle", classify).status == 1


def test_a_hostile_neighbour_stops_neither_the_list_nor_the_default(tmp_path, monkeypatch):
    shutil.copytree(hostile.BUNDLES / "sites", tmp_path / "bad")
    hostile.bomb(catalog.PANEL)(tmp_path / "bad")
    shutil.copytree(hostile.BUNDLES / "profile", tmp_path / "worse")
    hostile.with_link(catalog.REFERENCE, "/proc/kmsg")(tmp_path / "worse")
    monkeypatch.setenv(catalog.FOLDERS_VARIABLE, str(tmp_path))
    assert run("models list").status == 0
    ended = run(["classify", REPOSITORY / "examples" / "samples.fa"])
    assert ended.status == 0, ended.stderr


def test_a_file_without_a_checksum_is_noticed(tmp_path):
    attack = hostile.Attack("sites", "panel", lambda f: hostile.remove(f, ("files", catalog.PANEL)))
    assert "no checksum of panel.tsv" in outcome(attack, tmp_path / "bundle", verify).stdout
