from pathlib import Path

import pandas as pd

from sddcli import records, table
from sddcli.records import joined
from sddcli.spec import Run


def test_an_origin_of_several_says_each_fact_once() -> None:
    one = {"commit": "a, b", "date": "2026-11-28", "command": "sdd reproduce C1a, sdd reproduce C2"}
    two = {"commit": "b, c, a", "date": "2026-11-28"}
    assert joined([one, two]) == {
        "commit": "a, b, c",
        "date": "2026-11-28",
        "command": "sdd reproduce C1a, sdd reproduce C2, unknown",
    }


def test_engines_are_those_of_the_networks_whose_rows_are_used(tmp_path: Path) -> None:
    """A record has rows of two networks by two engines, another one does not say which network is of which engine."""
    lenet, wide, deep = (
        Run(dataset="digits", model=model) for model in ("lenet-30-10", "lenet-90-10", "convnet:width=8")
    )

    def write(name: str, runs: list[Run], engine: str) -> None:
        rows = [{"dataset": run.dataset, "model": run.model, "seed": 0, "level": 0, "run": run.id} for run in runs]
        more = {"sparsity": 0, "test_accuracy": 0.5, "retraining": "lottery"}
        frame = pd.DataFrame(rows).assign(chain=[run.id for run in runs], **more)
        records.save(
            tmp_path / name, [table.completed(frame)], [{"date": "2026-11-28", "engine": engine}], "sdd reproduce C0"
        )

    write("a.csv", [lenet, deep], "0000aaaa of lenet-30-10, 0000bbbb of convnet:width=8")
    write("b.csv", [wide], "0000aaaa, 0000cccc")
    kept = records.read(tmp_path)
    engines = {
        "lenet": [("0000aaaa", "lenet-30-10")],
        "deep": [("0000bbbb", "convnet:width=8")],
        "wide": [("0000aaaa", "lenet-90-10"), ("0000cccc", "lenet-90-10")],
    }
    for name, run in {"lenet": lenet, "deep": deep, "wide": wide}.items():
        assert records.trained(records.rows(kept, [run])[1]) == engines[name]
    _, origin = records.rows(kept, [deep, wide])
    assert records.trained(origin) == engines["deep"] + engines["wide"] and origin["file"] == "a.csv, b.csv"


def test_of_a_run_that_is_recorded_again_the_new_row_counts(tmp_path: Path) -> None:
    """Its old engine goes with its old row; where other rows of that engine stay, both are named."""

    def save(seeds: list[int], accuracy: float, engine: str) -> None:
        runs = [Run(dataset="digits", model="lenet-30-10", seed=seed) for seed in seeds]
        rows = [{"seed": run.seed, "level": 0, "run": run.id, "chain": run.id} for run in runs]
        more = {
            "dataset": "digits",
            "model": "lenet-30-10",
            "sparsity": 0,
            "retraining": "lottery",
            "test_accuracy": accuracy,
        }
        frame = table.completed(pd.DataFrame(rows).assign(**more))
        records.save(tmp_path / "a.csv", [frame], [{"date": "2026-11-28", "engine": engine}], f"sdd sweep {seeds}")

    save([0, 1], 0.5, "0000aaaa")
    save([1, 2], 0.6, "0000bbbb")
    kept = records.read(tmp_path)
    assert dict(zip(kept.files["a.csv"]["seed"], kept.files["a.csv"]["test_accuracy"], strict=True)) == {
        0: 0.5,
        1: 0.6,
        2: 0.6,
    }
    assert kept.origins["a.csv"]["engine"] == "0000aaaa, 0000bbbb"
    assert kept.origins["a.csv"]["command"] == "sdd sweep [0, 1], sdd sweep [1, 2]"
    save([0, 1, 2], 0.7, "0000cccc")
    kept = records.read(tmp_path)
    assert set(kept.files["a.csv"]["test_accuracy"]) == {0.7} and kept.origins["a.csv"]["engine"] == "0000cccc"
