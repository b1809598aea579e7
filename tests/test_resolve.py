"""Resolve: precedence, ranges and lists, errors of one line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sddcli.core.words import unknown
from sddcli.resolve import assignment, parse, runs
from sddcli.spec import FIELDS, Run


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def test_the_default_sweep_is_the_digits() -> None:
    found = runs({})
    assert {(run.dataset, run.model, run.noise) for run in found} == {("digits", "lenet-300-100", 0.4)}
    assert len({run.seed for run in found}) >= 3 and {run.level for run in found} >= set(range(31))
    assert {run.criterion for run in found if run.level} == {"magnitude"}


def test_precedence(tmp_path: Path) -> None:
    """Run's defaults < protocol < TOML < --set < flags."""
    toml = write(tmp_path, "epochs = 7\nlr = 0.3\nmomentum = 0.5\nlevel = 1\nseed = [1, 2]\n")
    (first, second) = runs({"lr": "0.5"}, ["momentum=0.6", "lr=0.4"], toml)
    assert (first.lr, first.momentum, first.epochs, first.batch_size, first.weight_decay) == (0.5, 0.6, 7, 64, 0.0)
    assert (first.seed, second.seed) == (1, 2)


def test_words_of_toml(tmp_path: Path) -> None:
    toml = write(tmp_path, 'level = "0-2"\nseed = "0,5"\nnoise = [0, 0.5]\nmilestones = "2/3"\n')
    found = runs({}, [], toml)
    assert len(found) == 3 * 2 * 2 and found[0].milestones == "2/3"


def test_toml_takes_the_names_and_ranges_of_the_command_line(tmp_path: Path) -> None:
    toml = write(tmp_path, 'levels = ["0-2", 5]\nseeds = 1\nbatch-size = 32\n')
    found = runs({}, [], toml)
    assert {run.level for run in found} == {0, 1, 2, 5} and {(run.seed, run.batch_size) for run in found} == {(1, 32)}


def test_ranges_and_lists() -> None:
    assert parse("level", "0-3,7, 9") == [0, 1, 2, 3, 7, 9]
    assert parse("noise", "0,0.2,2e-1") == [0.0, 0.2]
    assert parse("criterion", "magnitude,random") == ["magnitude", "random"]
    assert assignment("noise-kind=flip") == ("noise_kind", "flip") and assignment("seeds=3") == ("seed", "3")


@pytest.mark.parametrize(
    ("name", "text"),
    [("level", "3-1"), ("level", "0-99999999"), ("level", ""), ("level", "1,,2"), ("level", "-1"), ("noise", "x"),
     ("noise", "1.5"), ("noise", "nan"), ("epochs", "1.5"), ("epochs", "1e3"), ("lr", "inf"), ("seed", "0x3")],
)  # fmt: skip
def test_unreadable_values_are_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        parse(name, text)


@given(st.sampled_from(list(FIELDS)), st.text(max_size=12))
def test_any_word_is_read_or_refused_in_one_line(name: str, text: str) -> None:
    try:
        values = parse(name, text)
    except ValueError as error:
        assert "\n" not in str(error).replace(repr(text), "").replace(text, "")
    else:
        assert values and all(
            type(value) is {"str": str, "int": int, "float": float}[str(FIELDS[name].type)] for value in values
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("epochs = 3.5", "epochs takes a whole number"),
        ("noise = 2", "noise 2 is outside"),
        ("noise = []", "noise is an empty list"),
        ("noise = [[0.1]]", "noise takes a number"),
        ("seed = true", "seed takes a whole number"),
        ("level = 2020-01-01", "level takes a whole number"),
        ("[table]\nx = 1", "unknown key 'table'"),
        ("epochs = ", "sweep.toml"),
        ('seed = "a-b"', "seed takes whole numbers"),
    ],
)
def test_errors_of_toml_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        runs({}, [], write(tmp_path, text))
    assert message in str(error.value) and "sweep.toml" in str(error.value)


def test_unknown_data_sets_and_keys() -> None:
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        runs({"dataset": "digitz"})
    with pytest.raises(ValueError, match="comes in a later version"):
        runs({"dataset": "cifar10"})
    with pytest.raises(ValueError, match="is not key=value"):
        runs({}, ["epochs"])
    with pytest.raises(ValueError, match=str(unknown("key", "epoch", FIELDS))[:20]):
        runs({}, ["epoch=3"])


def test_a_level_makes_a_run() -> None:
    (run,) = runs({"level": "0", "seed": "3"})
    assert isinstance(run, Run) and run.criterion == ""
