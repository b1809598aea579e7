"""Judging: which curves verdicts are given, and where what they say of them goes."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sddcli import judging, table
from sddcli.spec import FIELDS
from sddcli.verdicts.double_descent import INDICES, judge, sentences
from tests.test_table import of_settings


def test_no_rows_are_no_setting(trained: Path) -> None:
    none = table.read(trained).iloc[:0]
    assert list(judging.curves(none)) == [] and judging.judged(none, lambda *_: {}).empty
    assert judging.sized(none, lambda *_: {}).empty and judging.marked(none, lambda *_: {}, dict).empty


def test_what_the_verdict_rests_on_is_said() -> None:
    """Levels that some chains lack, a peak at the end of the curve, chains that share seeds."""
    rises = {0: 0.5, 1: 0.3, 2: 0.4, 3: 0.6, 4: 0.7}
    frame = pd.concat([of_settings({}, {}).iloc[:6].query("level == 0").assign(level=k) for k in rises])
    frame = frame.assign(test_accuracy=frame["level"].map(rises) + frame["seed"] / 100, train_accuracy=0.5)
    several = pd.concat([frame.assign(init_seed=k, chain=frame["chain"] + str(k)) for k in (0, 1)])

    def said(rows: pd.DataFrame) -> str:
        (row,) = (row for _, row in judging.judged(rows, judge, INDICES).iterrows())
        return "\n".join(sentences(row))

    assert "may lie beyond level 4" in said(frame) and "judged up to" not in said(frame) and "share" not in said(frame)
    assert "judged up to level 3, which all chains have; some go on to 4" in said(frame.query("seed or level < 4"))
    assert "its 6 chains share seeds, 2 of a kind" in said(several)
    assert "fewer than four levels" in said(frame.query("level < 3")) and "one seed" in said(frame.query("seed < 1"))


def test_networks_that_got_their_weights_back_have_the_marks_of_the_sparse_ones() -> None:
    """Found by what the retraining does, whatever it is called; without the sparse ones they have their own."""
    plain: dict[str, object] = {name: field.default for name, field in FIELDS.items()} | {
        "dataset": "digits", "model": "lenet-8", "criterion": "magnitude", "rate": 0.2,
        "init_seed": 0, "order_seed": 0, "noise_seed": 0, "sparsity": 0.5, "train_accuracy": 1.0,
    }  # fmt: skip
    rows = [
        {**plain, "retraining": retraining, "level": level, "test_accuracy": accuracy, "chain": retraining}
        for retraining, accuracy in (("lottery", 0.1), ("redense:lr=0.1", 0.2), ("reinit", 0.3))
        for level in range(2 if retraining == "lottery" else 3)
    ]
    frame = pd.DataFrame(rows)

    def first(test: NDArray[np.float64], *_: object) -> dict[str, float]:
        return {"first": float(test[0, 0])}

    def marked(frame: pd.DataFrame) -> list[tuple[str, list[float]]]:
        columns = judging.marked(frame, first, lambda said: {"first": [said["first"]] * 3}).fillna(-1)
        return [(name, own["first"].tolist()) for name, own in columns.groupby("retraining")]

    assert marked(frame) == [("lottery", [0.1] * 2), ("redense:lr=0.1", [0.1, 0.1, -1]), ("reinit", [0.3] * 3)]
    assert marked(frame[frame["retraining"] != "lottery"]) == [("redense:lr=0.1", [0.2] * 3), ("reinit", [0.3] * 3)]
