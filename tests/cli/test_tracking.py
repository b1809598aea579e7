"""Tracking: what a tracker is handed is what the runs are; a tracker that fails takes no run along."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sddcli.cli.tracking import TRACKERS, listener
from sddcli.core.words import UsageError
from sddcli.events import Saved
from sddcli.store import Store
from tests.conftest import Sdd


def test_each_evaluation_and_the_final_numbers_are_handed_over(
    trained: Path, sdd: Sdd, tmp_path: Path, tensorboard: list[Any]
) -> None:
    said = sdd("track", trained, "--to", "tensorboard", "-o", tmp_path / "tracked")
    assert said.code == 0 and said.out == f"12 runs in {tmp_path / 'tracked' / 'tensorboard'}\n"
    store = Store(trained)
    for run, manifest in store.manifests():
        mine = [row for row in tensorboard if row[0].startswith(f"{run.slug}-{run.chain}-level-{run.level:02d}")]
        epochs = {int(row["epoch"]): float(row["test_accuracy"]) for row in store.history(run)}
        assert {step: value for _, name, value, step in mine if name == "test_accuracy"} == epochs
        (final,) = [value for _, name, value, _ in mine if name == "final/test_accuracy"]
        assert final == manifest["metrics"]["test_accuracy"]


def test_a_tracker_that_is_not_there_is_said(trained: Path, sdd: Sdd) -> None:
    assert "unknown tracker 'tensorbord'; did you mean 'tensorboard'" in sdd("track", trained, "--to", "tensorbord").err
    run = next(run for run, _ in Store(trained).manifests())
    for name in TRACKERS:
        if find_spec(name) is None:
            with pytest.raises(UsageError, match=rf"pip install 'sddcli\[{name}\]'"):
                listener(Store(trained), name)(Saved(run))


def test_a_sweep_goes_on_where_its_tracker_fails(
    sdd: Sdd, tmp_path: Path, tensorboard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr("tensorboard.summary.Writer.add_scalar", fail)
    words = ("--levels", "0-1", "--seeds", "0", "--epochs", "1", "--workers", "1", "--runs", tmp_path / "runs")
    said = sdd("sweep", *words, "--track", "tensorboard")
    assert said.code == 0 and said.err.count("the tracker failed (no room); the sweep goes on") == 1
    assert len(list(Store(tmp_path / "runs").manifests())) == 2
