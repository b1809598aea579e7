"""Auto: rounds of runs, chosen by what finished ones found, until the budget is used."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sddcli import auto, judging, table
from sddcli.resolve import plan
from sddcli.spec import Run, unfold, with_parents
from sddcli.store import Store
from tests.conftest import Sdd

TINY = ["--levels", "auto:last=8", "--seeds", "0-4", "--epochs", "1", "--batch-size", "256"]
CURVE = [0.7, 0.7, 0.69, 0.66, 0.62, 0.6, 0.62, 0.68, 0.74, 0.8, 0.82, 0.8, 0.7, 0.5, 0.3, 0.2, *[0.1] * 17]
EVIDENCE = Path(__file__).parent.parent / "docs" / "evidence" / "digits.csv"


def finish(store: Store, run: Run, accuracy: float) -> None:
    """Writes `run` as if it had been trained."""
    facts = {"metrics": {"test_accuracy": accuracy}, "data": {"name": "digits", "sha256": ""}, "seconds": 1}
    store.save_trained(run, {}, {}, [{"epoch": 1}], {}, facts)


def rounds(store: Store, asked: auto.Table, broken: set[Run]) -> list[list[Run]]:
    """The new runs of each round, made one round after the other; broken ones fail with all that needs them."""
    found: list[list[Run]] = []
    lost: set[Run] = set()
    while new := [
        run
        for run in with_parents(auto.runs_now(store, asked, lost.__contains__))
        if run not in lost and not store.finished(run)
    ]:
        found.append(new)
        for run in new:
            if run in broken or lost.intersection(run.parents):
                lost.add(run)
            else:
                finish(store, run, CURVE[run.level])
    return found


def choice(pruning: str) -> auto.Table:
    (found,) = plan({"level": "auto:last=16", "seed": "0-4", "pruning": pruning})
    return found


@pytest.mark.parametrize("pruning", ["iterative", "one-shot"])
def test_rounds_follow_from_finished_runs_alone_within_the_budget_and_are_the_full_sweeps(
    pruning: str, tmp_path: Path
) -> None:
    asked = choice(pruning)
    runs = [run for new in rounds(Store(tmp_path / "a"), asked, set()) for run in new]
    assert len(set(runs)) == len(runs) <= 34  # 40 % of 17 levels of 5 seeds
    assert set(runs) < set(unfold({**asked, "level": list(range(17))}))
    (said,) = auto.landmarks(Store(tmp_path / "a"), asked, lambda run: False)
    assert np.abs(np.subtract(said.valley_and_peak, (5, 10))).max() <= 1 and (said.trainings, said.of_trainings) == (
        len(runs),
        85,
    )
    assert said.seeds == (2 if pruning == "iterative" else 5)
    store = Store(tmp_path / "b")
    for run in runs[:13]:
        finish(store, run, CURVE[run.level])
    again = [run for new in rounds(store, asked, set()) for run in new]
    assert set(again) == set(runs[13:])
    assert set(auto.runs_now(store, asked, lambda run: False)) == set(runs)
    assert set(auto.runs_at_most(store, asked)) == set(runs), "nothing is left to choose"
    most = with_parents(auto.runs_at_most(Store(tmp_path / "c"), asked))
    assert len(most) == 34


def test_the_first_chain_ends_where_it_has_fallen_and_others_end_behind_its_peak(tmp_path: Path) -> None:
    (asked,) = plan({"level": "auto:last=32", "seed": "0-2"})
    store = Store(tmp_path)
    runs = [run for new in rounds(store, asked, set()) for run in new]
    ends = {seed: max(run.level for run in runs if run.seed == seed) for seed in (0, 1)}
    assert 13 <= ends[0] < 32 and 12 <= ends[1] <= ends[0]


def test_a_chain_that_fails_is_left_and_the_next_one_leads(tmp_path: Path) -> None:
    asked = choice("iterative")
    (broken,) = [run for run in auto.runs_now(Store(tmp_path), asked, lambda run: False) if run.level == 8]
    found = rounds(Store(tmp_path), asked, {broken})
    assert {run.seed for run in found[0]} == {0} and {run.seed for run in found[1]} == {1}
    assert not any(run.seed == 0 for new in found[1:] for run in new) and sum(map(len, found)) <= 34


def test_one_shot_goes_on_without_the_chain_that_failed(tmp_path: Path) -> None:
    asked = choice("one-shot")
    broken = next(
        run for run in auto.runs_now(Store(tmp_path), asked, lambda run: False) if run.level and run.seed == 2
    )
    found = rounds(Store(tmp_path), asked, {broken})
    assert len(found) > 1 and not any(run.seed == 2 for new in found[1:] for run in new)


def test_numbers_are_asked_for_as_they_are(tmp_path: Path) -> None:
    (asked,) = plan({"level": "0-2", "seed": "0"})
    assert [run.level for run in auto.runs_now(Store(tmp_path), asked, bool)] == [0, 1, 2]
    assert auto.runs_at_most(Store(tmp_path), asked) == auto.runs_now(Store(tmp_path), asked, bool)
    assert list(auto.landmarks(Store(tmp_path), asked, bool)) == []


@given(
    st.integers(3, 6).flatmap(
        lambda seeds: st.integers(9, 40).flatmap(
            lambda levels: arrays(float, (seeds, levels), elements=st.floats(0, 1))
        )
    ),
    st.sampled_from([auto._iterative, auto._one_shot]),
)
def test_any_curves_are_chosen_from_within_the_budget_and_nothing_twice(test: np.ndarray, choose: Any) -> None:
    seeds, levels = test.shape
    curves: list[auto.Curve] = [{} for _ in range(seeds)]
    room = auto.budget(seeds, levels - 1)
    while more := choose(curves, levels - 1, 0.2, room):
        assert len(set(more)) == len(more) <= room
        room -= len(more)
        for k, level in more:
            assert level not in curves[k] and 0 <= level < levels
            curves[k][level] = float(test[k, level])
    assert len(curves[0]) > 1
    if choose is auto._iterative:
        assert all(sorted(curve) == list(range(len(curve))) for curve in curves), "no level is left out on the way"


@pytest.mark.parametrize("noise", [0.2, 0.4, 0.8])
def test_two_recorded_seeds_of_five_are_what_the_budget_holds(noise: float) -> None:
    where = {"noise": [noise], "noise_kind": ["symmetric"], "criterion": ["magnitude"], "retraining": ["lottery"]}
    where |= {"model": ["lenet-300-100"], "pruning": ["iterative"]}
    (curve,) = judging.curves(table.select(table.read(EVIDENCE), where))  # type: ignore[arg-type]
    curves: list[auto.Curve] = [{} for _ in curve.test]
    room = auto.budget(5, 32)
    while more := auto._iterative(curves, 32, 0.2, room):
        room -= len(more)
        for k, level in more:
            curves[k][level] = float(curve.test[k, level])
    assert [len(each) > 25 for each in curves] == [True, True, False, False, False] and room >= 0


@pytest.mark.slow
def test_a_sweep_chooses_its_levels_and_goes_on_as_if_it_had_not_been_stopped(sdd: Sdd, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert sdd("sweep", *TINY, "--dry-run", "--runs", runs).out.startswith("at most 18 runs: 0 done, at most 18 to do")
    said = sdd("sweep", *TINY, "--runs", runs)
    frame = pd.read_csv(runs / "results.csv")
    seeds = frame["seed"].nunique()
    assert said.code == 0 and 9 <= len(frame) <= 18 and seeds > 1
    assert f"from {seeds} of 5 seeds and {len(frame)} of 45 trainings" in said.err.splitlines()[-1]
    assert sdd("status", runs, "--json").json["waiting"] == 0
    assert sdd("sweep", *TINY, "--runs", runs).err.splitlines() == said.err.splitlines()[-1:]
    assert sdd("analyze", "double-descent", runs).code == 0
    assert sdd("plot", "double-descent", runs, "-o", tmp_path / "a.png").code == 0
    part = shutil.copytree(runs, tmp_path / "part")
    for folder in [*part.glob("*lottery-seed1*"), *part.glob("*seed0*/level-0[3-8]")]:
        shutil.rmtree(folder)
    assert sdd("status", part, "--json").json["waiting"] > 0
    assert sdd("sweep", *TINY, "--runs", part, "--keep", "masks").code == 0
    assert (part / "results.csv").read_bytes() == (runs / "results.csv").read_bytes()
    assert sdd("verify", part).code == 0
    (recorded,) = (json.loads(path.read_text()) for path in (part / "sweeps").glob("*.json"))
    assert recorded["tables"][0]["level"] == ["auto:last=8"]
    full = sdd("sweep", *TINY[2:], "--levels", "0-8", "--runs", part, "--dry-run").out
    assert full.startswith(f"45 runs: {len(frame)} done, {45 - len(frame)} to do")


@pytest.mark.slow
def test_what_later_rounds_grow_from_stays_until_levels_are_chosen(sdd: Sdd, tmp_path: Path) -> None:
    words = [*TINY, "--retraining", "lottery,reinit", "--keep", "last", "--runs", tmp_path]
    assert sdd("sweep", *words).code == 0 and sdd("verify", tmp_path).code == 0
    store = Store(tmp_path)
    kept = {run: "weights.safetensors" in manifest["files"] for run, manifest in store.manifests() if run.level}
    further = {run: store.finished(replace(run, level=run.level + 1)) for run in kept}
    assert {run.retraining for run in kept} == {"lottery", "reinit"} and len(set(further.values())) == 2
    assert all(kept[run] != further[run] for run in kept)


@pytest.mark.slow
def test_a_one_shot_sweep_takes_all_seeds_and_some_levels(sdd: Sdd, tmp_path: Path) -> None:
    said = sdd(
        "sweep", *TINY[:2], *TINY[4:], "--pruning", "one-shot", "--seeds", "0-1", "--noise", "0,0.4", "--runs", tmp_path
    )
    assert said.code == 0 and len(said.err.splitlines()) >= 2
    assert {line.split(":")[0] for line in said.err.splitlines()[-2:]} == {"noise 0.0", "noise 0.4"}
    frame = pd.read_csv(tmp_path / "results.csv")
    assert frame.groupby("noise")["seed"].nunique().to_list() == [2, 2] and len(frame) == 12
    assert sdd("analyze", "double-descent", tmp_path).code == 0


def test_too_few_seeds_are_a_line_that_says_what_to_do(sdd: Sdd, tmp_path: Path) -> None:
    said = sdd("sweep", "--levels", "auto", "--seeds", "0-1", "--runs", tmp_path)
    assert said.code == 2 and len(said.err.splitlines()) == 1 and "--pruning one-shot" in said.err
