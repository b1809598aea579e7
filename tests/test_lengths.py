"""Lengths: a training counted in steps, whose last epoch may be cut short."""

from dataclasses import replace
from pathlib import Path

import pytest

from sddcli.core.types import Trained
from sddcli.core.words import UsageError
from sddcli.recipes import measuring
from sddcli.resolve import plan, runs
from sddcli.spec import Run, from_dict, to_dict
from sddcli.stages import setting
from sddcli.store import Store
from tests.conftest import Sdd

RUN = Run("digits", "lenet-8", batch_size=100, length="30it")  # 13 steps an epoch: two whole epochs and 4 steps


def test_a_length_in_epochs_is_that_many_epochs() -> None:
    assert Run("digits", "lenet-8", length="40ep") == Run("digits", "lenet-8", epochs=40)
    assert (RUN.epochs, RUN.steps, RUN.length) == (0, 30, "30it") and replace(RUN, length="030it") == RUN
    assert from_dict(to_dict(RUN)) == RUN and RUN.id != replace(RUN, length="31it").id
    assert Run("digits", "lenet-8", epochs=40).steps == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"epochs": 50, "length": "40ep"}, "epochs 50 and length 40ep both say how long to train: give one"),
        ({"epochs": 50, "length": "40it"}, "epochs 50 and length 40it both say"),
        ({"length": "40"}, "length takes steps or epochs, such as 1000it or 5ep, got '40'"),
        ({"length": "0it"}, "length 0it is outside"),
        ({"epochs": 0}, "epochs 0 is outside"),
    ],
)
def test_no_length(words: dict[str, int | str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Run("digits", "lenet-8", **words)  # type: ignore[arg-type]


def test_a_schedule_has_that_many_steps_and_drops_at_shares_of_them() -> None:
    rates, first = setting.schedule(replace(RUN, milestones="0.5/0.75"), 1297)
    assert rates == pytest.approx([0.1] * 15 + [0.01] * 7 + [0.001] * 8) and first == 0
    assert setting.epochs(RUN, 1297) == 3 and setting.epochs(replace(RUN, length="26it"), 1297) == 2
    assert setting.schedule(replace(RUN, milestones="2"), 1297)[0] == pytest.approx([0.1] * 26 + [0.01] * 4)
    whole = replace(RUN, length="2ep", milestones="0.5/0.75")
    assert setting.schedule(whole, 1297) == setting.schedule(replace(RUN, length="26it", milestones="0.5/0.75"), 1297)


def test_the_word_asked_for_takes_the_place_of_the_protocols(tmp_path: Path) -> None:
    words = {"level": "0-1", "seed": "0"}
    assert {(run.epochs, run.length) for run in runs(words | {"length": "50it"})} == {(0, "50it")}
    assert {(run.epochs, run.length) for run in runs(words | {"length": "50it,7ep"})} == {(0, "50it"), (7, "")}
    (file := tmp_path / "sweep.toml").write_text('length = "50it"')
    assert {run.length for run in runs(words, path=file)} == {"50it"}
    assert {run.epochs for run in runs(words | {"epochs": "3"}, path=file)} == {3}, "a flag counts more than a file"
    file.write_text('length = "50it"\nepochs = 5')
    for given in (
        (words, [], file),
        (words | {"epochs": "3", "length": "4it"},),
        (words | {"epochs": "3"}, ["length=4it"]),
    ):
        with pytest.raises(UsageError, match="epochs . and length .*it both say how long to train: give one"):
            runs(*given)


@pytest.mark.parametrize(
    ("words", "rewinds"), [({"length": "300it"}, {"30it"}), ({"length": "300it,4ep"}, {"30it", "0it"})]
)
def test_a_protocols_rewinding_point_fits_a_length_in_steps(words: dict[str, str], rewinds: set[str]) -> None:
    asked = {"dataset": "folder:x", "model": "resnet18", "level": "1", "seed": "0"} | words
    tables = plan(asked, count=lambda *_: 40)
    assert {str(rewind) for table in tables for rewind in table["rewind"]} == rewinds


def test_a_sweep_of_so_many_steps(sdd: Sdd, tmp_path: Path) -> None:
    """Its last epoch is cut short and evaluated; rewinding, events, cycles and analyses count its steps."""
    words = ["--model", "lenet-8", "--batch-size", "100", "--length", "30it", "--eval-every", "2", "--levels", "0-1"]
    words += [
        "--seed",
        "0",
        "--rewind",
        "5it",
        "--retraining",
        "lottery,finetune,cyclic,gradual",
        "--runs",
        str(tmp_path),
    ]
    dry = sdd("sweep", *words, "--dry-run", "--json").json
    assert dry["epochs"] == 3 * dry["runs"] == 15
    done = sdd("sweep", *words)
    assert done.code == 0, done.err
    store = Store(tmp_path)
    for run, _ in store.manifests():
        assert [row["epoch"] for row in store.history(run)] == ["2", "3"]
    speed = sdd("analyze", "learning-speed:accuracy=0.01", tmp_path)
    assert speed.code == 0, speed.err
    run = next(run for run, _ in store.manifests() if run.level == 0)
    data = measuring.data_of(store, run)
    net = Trained(store.initial(run), *store.weights(run))
    steps = [row["step"] for row in measuring.subject(store, run, net, setting.model_of(run, data), data).history()]
    assert steps == [26, 30]


def test_whole_epochs_in_steps_are_the_same_training(sdd: Sdd, tmp_path: Path) -> None:
    words = ["--model", "lenet-8", "--batch-size", "100", "--levels", "0", "--seed", "0", "--runs", tmp_path]
    for length in (["--length", "26it"], ["--epochs", "2"]):
        assert sdd("sweep", *words, *length).code == 0
    steps, epochs = (Store(tmp_path).weights(run)[0] for run, _ in Store(tmp_path).manifests())
    assert all(bool((w == epochs[name]).all()) for name, w in steps.items())
