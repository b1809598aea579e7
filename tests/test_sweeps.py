"""Sweeps: what is left of them and how long it takes, the same whichever command says it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sddcli import sweeps
from sddcli.spec import Run, to_dict, with_parents
from sddcli.store import Store
from tests.conftest import Sdd

RUN = Run("digits", "mlp", criterion="magnitude", rate=0.2, level=3, retraining="lottery")


def test_what_needs_a_failed_run_is_cut_off_and_the_rest_can_be_made(tmp_path: Path) -> None:
    runs = with_parents([RUN, replace(RUN, seed=1, level=1)])
    failed = {replace(RUN, level=1): "diverged"}
    now = sweeps.progress(Store(tmp_path), [], failed.get, finished=[RUN.root], also=runs)
    assert now.failed == failed and now.cut_off == {replace(RUN, level=2), RUN}
    assert set(now.left) == set(runs) - {RUN.root}
    assert now.to_make == with_parents([replace(RUN, seed=1, level=1)])


def test_time_is_that_of_the_same_kind_alone() -> None:
    finished = {replace(RUN.root, epochs=10, seed=k): {"seconds": seconds} for k, seconds in enumerate((10.0, 30.0))}
    assert sweeps.seconds([replace(RUN, epochs=7)], finished) == pytest.approx(14)
    assert sweeps.seconds([], finished) == 0
    for other in ({"train_size": 500}, {"validation": 0.1}, {"model": "convnet"}, {"batch_size": 32}):
        assert sweeps.seconds([RUN, replace(RUN, **other)], finished) is None


@pytest.mark.parametrize(("size", "known"), [(0, True), (800, False)])
def test_status_and_a_dry_run_say_the_same_of_a_sweep_of_another_size(
    sdd: Sdd, trained: Path, tmp_path: Path, size: int, known: bool
) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    shutil.rmtree(root / "sweeps")
    done, _ = next(Store(root).manifests())
    table = to_dict(replace(done.root, train_size=size, seed=77))
    Store(root).save_plan("sdd sweep", [table])
    words = [f"{name}={value}" for name, value in table.items() if value not in (None, "") and name != "rewind"]
    sets = [each for word in words for each in ("--set", word)]
    dry, status = (
        sdd("sweep", "--dry-run", "--json", "--workers", "1", "--runs", root, *sets).json,
        sdd("status", root, "--json").json,
    )
    assert dry["to do"] == status["waiting"] == 1
    assert dry["seconds"] == status["seconds left on one worker"] and (dry["seconds"] is not None) == known
