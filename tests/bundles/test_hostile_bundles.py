"""Bundles are data, and checked as such: attacks of `benchmarks.reliability.hostile_bundles`, in this process."""

import random
import shutil

import pytest
from conftest import REPOSITORY, run

from benchmarks.reliability import hostile_bundles as hostile
from genomai_cli.bundles import catalog

ATTACKS = list(hostile.attacks())
FILE_ATTACKS = [
    attack
    for attack in ATTACKS
    if attack.description in hostile.FILES and attack.bundle in ("sites", "profile")
]
SLOW_ATTACKS = ("bomb", "2 GB", "100 MB", "device", "million")
SAMPLED_ATTACKS = random.Random(7).sample(
    [attack for attack in ATTACKS if attack.description not in hostile.FILES], 60
)


def outcome(attack, folder, command):
    """The result of a command on the attacked bundle, which never is an unexpected error."""
    shutil.copytree(hostile.BUNDLES / attack.bundle, folder, dirs_exist_ok=True)
    attack.change(folder)
    result = run(command(folder), hostile.sequence_of(attack.bundle))
    assert result.status in (0, 1, 2)
    assert "unexpected" not in result.stderr
    assert "Traceback" not in result.stderr
    return result


def verify(folder):
    return ["models", "verify", folder]


def classify(folder):
    return ["classify", "--model", folder]


@pytest.mark.parametrize(
    "attack",
    [
        attack
        for attack in FILE_ATTACKS
        if not any(word in attack.description for word in SLOW_ATTACKS)
    ],
    ids=lambda attack: f"{attack.bundle}: {attack.description}",
)
def test_a_damaged_file_is_refused(tmp_path, attack):
    result = outcome(attack, tmp_path / "bundle", verify)
    assert (result.status == 0) == ((attack.bundle, attack.description) in HARMLESS)


HARMLESS = {  # the last two change nothing: these bundles have no such file
    ("sites", "half precision"),
    ("profile", "half precision"),
    ("sites", "sites without the last"),
    ("profile", "panel without its last site"),
}


def test_configs_with_any_value_replaced_are_refused_or_harmless(tmp_path):
    for number, attack in enumerate(SAMPLED_ATTACKS):
        outcome(attack, tmp_path / str(number), classify)


@pytest.mark.parametrize(
    ("description", "message"),
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
def test_what_is_wrong_is_named(tmp_path, description, message):
    attack = next(
        attack
        for attack in FILE_ATTACKS
        if attack.description == description and attack.bundle == "sites"
    )
    for command in (classify, verify):
        result = outcome(attack, tmp_path / command.__name__, command)
        assert result.status == 1
        assert message in result.stdout + result.stderr


@pytest.mark.parametrize("value", [10**18, 10**6])
@pytest.mark.parametrize("size", ["layers", "width", "vocabulary", "positions", "feed_forward"])
def test_sizes_beyond_the_weights_are_refused_before_they_take_memory(tmp_path, size, value):
    attack = hostile.Attack(
        "transformer-kmers", size, lambda f: hostile.put(f, ("network", size), value)
    )
    assert outcome(attack, tmp_path / "bundle", classify).status == 1


def test_a_hostile_neighbour_stops_neither_the_list_nor_the_default(tmp_path, monkeypatch):
    shutil.copytree(hostile.BUNDLES / "sites", tmp_path / "bad")
    hostile.bomb(catalog.PANEL)(tmp_path / "bad")
    shutil.copytree(hostile.BUNDLES / "profile", tmp_path / "worse")
    hostile.with_link(catalog.REFERENCE, "/proc/kmsg")(tmp_path / "worse")
    monkeypatch.setenv(catalog.FOLDERS_VARIABLE, str(tmp_path))
    assert run("models list").status == 0
    result = run(["classify", REPOSITORY / "examples" / "samples.fa"])
    assert result.status == 0, result.stderr


def test_a_file_without_a_checksum_is_noticed(tmp_path):
    attack = hostile.Attack("sites", "panel", lambda f: hostile.remove(f, ("files", catalog.PANEL)))
    assert "no checksum of panel.tsv" in outcome(attack, tmp_path / "bundle", verify).stdout
