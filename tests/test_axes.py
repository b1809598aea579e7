"""Axes: curves along each of them, of sweeps that were really trained; what makes no curve is one line."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import exp
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from sddcli import judging, table
from sddcli.axes import AXES, COLUMNS, column_of, family
from sddcli.cli.kinds import summarized, viewed
from sddcli.cli.seeing import drawn
from sddcli.launchers import looking
from sddcli.plots import style
from sddcli.recipes import prune_retrain
from sddcli.spec import FIELDS, Run, with_parents
from sddcli.store import Store, StoreError
from tests.conftest import Sdd

RUN = Run("digits", "lenet-16-16", noise=0.4, train_size=200, epochs=2, batch_size=50, lr=0.1, eval_every=2)
PRUNED: dict[str, Any] = {"criterion": "magnitude", "retraining": "lottery", "rate": 0.4}
WIDTHS = {"model": [f"lenet-{width}-{width}" for width in (4, 8, 16, 32)]}
SWEEPS: dict[str, tuple[dict[str, list[Any]], list[float]]] = {
    # axis -> a field and its values, and where these stand on the axis, from left to right
    "sparsity": ({"level": [0, 1, 2, 3]}, [0, 0.4, 0.64, 0.784]),
    "level": ({"level": [0, 1, 2, 3]}, [0, 1, 2, 3]),
    "weights": (WIDTHS, [3072, 1280, 576, 272]),
    "per-example": ({"train_size": [50, 100, 150, 200]}, [25.6, 12.8, 1280 / 150, 6.4]),
    "width": (WIDTHS, [4, 8, 16, 32]),
    "parameters": (WIDTHS, [330, 682, 1482, 3466]),
    "ratio": (WIDTHS, [1.65, 3.41, 7.41, 17.33]),
    "train-size": ({"train_size": [50, 100, 150, 200]}, [50, 100, 150, 200]),
    "batch-size": ({"batch_size": [10, 20, 40, 80]}, [10, 20, 40, 80]),
    "lr": ({"lr": [0.01, 0.03, 0.1, 0.3]}, [0.01, 0.03, 0.1, 0.3]),
    "noise": ({"noise": [0.0, 0.2, 0.4, 0.8]}, [0, 0.2, 0.4, 0.8]),
    "epochs": ({"epochs": [1, 2, 4, 8]}, [1, 2, 4, 8]),
    "epoch": ({"epochs": [8]}, [2, 4, 6, 8]),
    "n-eff": ({"level": [0, 1, 2, 3]}, []),  # where they stand is measured
}


def trained_along(root: Path, axis: str) -> Path:
    """A folder with the runs of an axis, of two seeds."""
    ((field, values),) = SWEEPS[axis][0].items()
    fields = PRUNED if field == "level" else {}
    runs = [replace(RUN, seed=seed, **fields, **{field: value}) for seed, value in product((0, 1), values)]
    for run in with_parents(runs):
        prune_retrain.work(Store(root), [run], {}, "cpu", lambda event: None)
    table.export(Store(root))
    if axis == "n-eff":
        looking.analyze(Store(root), ["effective-parameters"], runs, 1, "cpu", lambda *_: None, {})
    return root


def rows_of(root: Path, axis: str) -> pd.DataFrame:
    frame = table.results(Store(root))
    return table.at_epochs(frame, root) if axis == "epoch" else frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def call(axis: str) -> Path:
        if axis not in made:
            made[axis] = trained_along(tmp_path_factory.mktemp(axis), axis)
        return made[axis]

    return call


def test_every_axis_is_tried() -> None:
    assert SWEEPS.keys() == AXES.keys() and {name for axis in AXES.values() for name in axis.columns} == set(COLUMNS)


@pytest.mark.parametrize("axis", AXES)
def test_a_sweep_is_one_curve_along_its_axis(axis: str, folder: Callable[[str], Path]) -> None:
    root, values = folder(axis), SWEEPS[axis][1]
    view = viewed(rows_of(root, axis), axis)
    assert view.varied == [] and view.curves["chain"].nunique() == 2
    summary = summarized(view.curves, view.column)
    assert summary["n"].tolist() == [2] * 4
    placed = style.placed(summary, axis).sort_values("x")
    values = values or sorted(view.frame.groupby("level")["n_eff"].mean(), reverse=True)
    assert AXES[axis].values(placed).tolist() == pytest.approx(values, abs=1e-3)
    by_hand = view.frame.groupby(view.column)["test_accuracy"].mean()
    assert placed.set_index(view.column)["test_accuracy"].to_dict() == pytest.approx(by_hand.to_dict())
    figure = drawn(root, view.curves, summary, "double-descent", axis, view.column)
    figure.draw_without_rendering()
    assert figure.axes[-1].get_xlabel() == AXES[axis].label and "over 2 seeds" in figure.axes[0].get_title(loc="left")
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [4, 4]  # type: ignore[arg-type]
    if AXES[axis].scale in ("log", "linear"):
        assert [numeral(text) for text in ticks(figure)] == pytest.approx(values, rel=0.01)


def ticks(figure: Figure) -> list[str]:
    return [text for label in figure.axes[-1].get_xticklabels() if (text := label.get_text())]


def numeral(text: str) -> float:
    return 1000 * float(text[:-1]) if text.endswith("k") else float(text)


@pytest.mark.parametrize("axis", AXES)
def test_commands_take_the_axis(axis: str, folder: Callable[[str], Path], sdd: Sdd, tmp_path: Path) -> None:
    root = folder(axis)
    column = viewed(rows_of(root, axis), axis).column
    levels = axis in ("sparsity", "level", "n-eff")
    judged = sdd("analyze", "double-descent", root, "--along", axis)
    assert judged.code == 0 and "phases" not in judged.out, judged.err
    assert levels or "read along" in judged.out
    if axis == "epoch":
        return
    numbers = sdd("analyze", "learning-distance", root, "--along", axis)
    assert numbers.code == 0 and (levels or "rank correlation" in numbers.out)
    assert f"{COLUMNS[column].called.split(' ')[-1]} " in numbers.out, "heads the first column"
    assert sdd("plot", "learning-distance", root, "--along", axis, "-o", tmp_path / "a.png").code == 0


def rows(**columns: list[Any]) -> pd.DataFrame:
    """Rows of dense runs that differ in these columns, whose test accuracy grows with the row."""
    n = len(next(iter(columns.values())))
    fields = {name: getattr(RUN, name) for name in FIELDS} | {"init_seed": 0, "order_seed": 0, "noise_seed": 0}
    numbers = {"sparsity": 0.0, "density": 1.0, "weights": 100, "examples": 100, "width": 16, "parameters": 200}
    frame = pd.DataFrame([{**fields, **numbers, "chain": str(k), "run": str(k)} for k in range(n)])
    return frame.assign(test_accuracy=[0.1 * k for k in range(n)], train_accuracy=0.5, **columns)


def test_the_family_of_a_model_is_what_its_width_does_not_say() -> None:
    assert family("convnet:width=8", "width") == family("convnet", "parameters") == "convnet"
    assert family("lenet-64-32", "width") == family("lenet-8-4", "width") == "lenet-H-0.5H"
    assert family("lenet-300-100:prunable=all", "width") == "lenet-H-0.33H:prunable=all"
    assert family("lenet-64-32", "parameters") == family("lenet-5", "parameters") == "lenet"


def test_other_fields_tell_curves_apart_level_too() -> None:
    frame = rows(lr=[0.1, 0.2, 0.1, 0.2, 0.1, 0.2], level=[0, 0, 1, 1, 2, 2], retraining=["lottery"] * 6)
    view = viewed(frame, "lr")
    assert view.varied == ["level"] and len(table.summary(view.curves, column="lr")) == 6
    assert [curve.levels for curve in judging.curves(view.curves, "lr")] == [[0.2, 0.1]] * 3


def test_a_dense_run_is_one_point_however_many_chains_grew_from_it() -> None:
    chains = {"retraining": ["lottery", "finetune", ""], "rate": [0.2, 0.2, 0.0], "criterion": ["magnitude"] * 2 + [""]}
    frame = rows(lr=[0.1, 0.1, 0.2], level=[0, 0, 0], **chains).assign(run=["a", "a", "b"])
    assert table.along(frame, "lr")[0]["run"].tolist() == ["a", "b"], "of dense runs alone those of no chain count too"
    pruned = rows(lr=[0.1, 0.1, 0.2], level=[1, 1, 1], retraining=["lottery", "finetune", "lottery"], rate=[0.2] * 3)
    both = pd.concat([frame, pruned.assign(run=["c", "d", "e"], criterion="magnitude")])
    curves, _ = table.along(both, "lr")
    assert sorted(curves["run"]) == ["a", "c", "d", "e"]
    dense = curves[curves["run"] == "a"].iloc[0]
    assert (dense["criterion"], dense["rate"], dense["retraining"]) == ("magnitude", 0.2, ""), "what all chains share"


def test_networks_without_noise_belong_to_every_kind_of_noise() -> None:
    kinds = ["symmetric", "symmetric", "pairflip"]
    frame = rows(noise=[0.0, 0.2, 0.2], noise_kind=kinds, noise_seed=[0, 7, 7])
    view = viewed(frame, "noise")
    assert view.varied == ["noise_kind"]
    for curve in judging.curves(view.curves, "noise"):
        assert curve.levels == [0, 0.2] and curve.test.shape == (1, 2) and curve.test[0, 0] == 0


def test_curves_are_judged_from_where_labels_are_easiest_to_fit() -> None:
    def judge(test: Any, train: Any, density: Any) -> dict[str, Any]:
        return {"place": 1, "first": float(test[0, 0]), "steps": list(density), "words": ["a", "b", "c"]}

    frame = rows(width=[2, 4, 8], model=["lenet-2", "lenet-4", "lenet-8"])
    ((says,),) = [judging.judged(*viewed(frame, "width")[:1], judge, ("place",), "width").to_dict("records")]
    assert (says["first"], says["place"], says["judged_from"], says["judged_to"]) == (pytest.approx(0.2), 4, 8, 2)
    assert says["along"] == "width" and says["words"] == "" and "place_sparsity" not in says
    (curve,) = judging.curves(viewed(frame, "width").curves, "width")
    assert curve.density.tolist() == pytest.approx([1, 0.5, 0.25])
    (curve,) = judging.curves(viewed(rows(noise=[0.0, 0.1, 0.2, 0.4]), "noise").curves, "noise")
    assert curve.density.tolist() == pytest.approx([1, 0.5, 0.25, 1 / 16])


def test_along_epochs_each_evaluation_of_a_training_is_a_point(folder: Callable[[str], Path], sdd: Sdd) -> None:
    """As history.csv has them; the last is what the results say. Numbers of the trained network alone are left out."""
    root = folder("epoch")
    results, history = table.results(Store(root)), table.at_epochs(table.results(Store(root)), root)
    written = pd.read_csv(root / "history.csv", dtype={"run": str}).set_index(["run", "epoch"])["test_accuracy"]
    assert history.set_index(["run", "epoch"])["test_accuracy"].to_dict() == written.to_dict()
    last = history[history["epoch"] == 8].set_index("run")["test_accuracy"]
    assert last.to_dict() == results.set_index("run")["test_accuracy"].to_dict()
    assert "best_test_accuracy" in results and "best_test_accuracy" not in history
    (curve,) = judging.curves(*table.along(history, "epoch"))
    assert curve.levels == [8, 6, 4, 2] and curve.test.shape == (2, 4) and curve.density[2] == pytest.approx(0.5)
    said = sdd("analyze", "learning-distance,double-descent", root, "--along", "epoch")
    assert (said.code, said.err.count("\n")) == (2, 1) and "along epoch there are accuracies and losses" in said.err


def test_effective_parameters_are_an_axis_once_they_are_measured(folder: Callable[[str], Path], sdd: Sdd) -> None:
    said = sdd("plot", "double-descent", folder("level"), "--along", "n-eff")
    assert (said.code, said.err.count("\n")) == (4, 1) and "first: sdd analyze effective-parameters" in said.err


def test_what_is_no_curve_is_one_line(folder: Callable[[str], Path], sdd: Sdd) -> None:
    for words, code, says in (
        (
            "plot double-descent ROOT --along widht",
            2,
            "did you mean 'width'? known: batch-size, epoch, epochs, level, lr",
        ),
        ("plot double-descent ROOT --along noise", 2, "do not differ along noise; they do along: lr"),
        ("analyze stability ROOT --along level", 0, ""),
        ("analyze double-descent ROOT --along epochs", 2, "do not differ along epochs; they do along: lr"),
        ("plot calibration ROOT --along lr", 4, "first: sdd analyze calibration"),
    ):
        said = sdd(*words.replace("ROOT", str(folder("lr"))).split(" "))
        assert said.code == code and says in said.err and said.err.count("\n") <= 1, said.err
    with pytest.raises(StoreError, match="the width of some of these runs are not known: an older sdd wrote them"):
        table.along(rows(model=["lenet-2", "lenet-4"], width=[2.0, float("nan")]), "width")
    with pytest.raises(ValueError, match=r"have the same parameters, 200, and make no curve along parameters"):
        table.along(rows(model=["lenet-2", "lenet-4"]), "parameters")
    with pytest.raises(ValueError, match="they do along: no axis"):
        column_of("lr", ["seed"])


def test_a_point_of_a_figure_stands_where_its_value_is() -> None:
    summary = pd.DataFrame({"lr": [0.01, 0.1], "noise": [0.0, 0.4], "sparsity": [0.0, 1.0], "weights": [10, 0]})
    assert style.placed(summary, "lr")["x"].map(exp).tolist() == pytest.approx([0.01, 0.1])
    assert style.placed(summary, "noise")["x"].tolist() == [0, 0.4]
    assert len(style.placed(summary, "sparsity")) == len(style.placed(summary, "weights")) == 1


def test_every_axis_has_its_line_in_the_documents() -> None:
    page = (Path(__file__).parent.parent / "docs" / "axes.md").read_text().split("## ")[0]
    assert re.findall(r"^\| `([a-z][a-z-]*)` \|", page, flags=re.MULTILINE) == list(AXES)
