"""Style: the stretched axis, the words about replicates."""

from itertools import pairwise

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from sddcli.plots import best_epoch, double_descent, learning_distance, memorization
from sddcli.plots.style import replicates, stretched


def summary(settings: int = 1, n: int = 3, top: float = 0.999) -> pd.DataFrame:
    rows = []
    for setting in range(settings):
        for level in range(31):
            row = {"noise": setting / 10, "level": level, "sparsity": top * (1 - 0.8**level), "n": n}
            for name in {*double_descent.NEEDS, *best_epoch.NEEDS, *learning_distance.NEEDS, *memorization.NEEDS}:
                row |= {name: 0.5 + level / 100 + setting / 20, f"{name}_std": 0.02 if n > 1 else float("nan")}
            rows.append(row)
    return pd.DataFrame(rows)


def test_equal_shares_removed_are_equal_steps() -> None:
    steps = stretched(pd.Series([1 - 0.8**level for level in range(20)])).diff()[1:]
    assert steps.std() < 1e-9


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(1, 1, "one seed, so no band"), (3, 3, "over 3 seeds"), (2, 5, "over 2 to 5 seeds")],
)
def test_bands_say_what_they_are(low: int, high: int, said: str) -> None:
    assert said in replicates(pd.DataFrame({"n": [low, high]}))


@pytest.mark.parametrize(
    "drawn", [best_epoch, double_descent, learning_distance, memorization], ids=lambda module: module.__name__
)
@pytest.mark.parametrize("settings", [1, 3])
@pytest.mark.parametrize("n", [1, 4])
def test_lines_bands_labels_and_title(drawn: object, settings: int, n: int) -> None:
    varied = ["noise"] if settings > 1 else []
    figure = drawn.draw(summary(settings, n), varied, "digits, a title")  # type: ignore[attr-defined]
    axes = figure.axes
    assert "digits, a title" in axes[0].get_title(loc="left")
    assert all(axis.get_ylabel() for axis in axes) and "sparsity" in axes[-1].get_xlabel()
    for axis in axes:
        assert len(axis.collections) == (0 if n == 1 else len(axis.lines))
        assert len({to_hex(line.get_color()) for line in axis.lines}) >= settings
    if settings > 1:
        assert "noise 0.2" in " ".join(text.get_text() for text in figure.legends[0].get_texts())


@pytest.mark.parametrize("settings", [1, 2, 3, 6])
@pytest.mark.parametrize("name", ["noise", "a_field_of_a_long_name"])
def test_legends_stay_within_the_figure(settings: int, name: str) -> None:
    figure = double_descent.draw(summary(settings).rename(columns={"noise": name}), [name], "title")
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_phases_are_shaded_and_named() -> None:
    phases = ["light"] * 10 + ["critical"] * 8 + ["sweet"] * 10 + ["collapsed"] * 3
    figure = double_descent.draw(summary().assign(phase=phases), [], "title")
    assert [text.get_text() for text in figure.axes[0].texts] == ["light", "critical", "sweet", "collapsed"]
    assert len(double_descent.draw(summary().assign(phase=None), [], "title").axes[0].texts) == 0


@pytest.mark.parametrize("top", [0.0, 0.5, 0.9, 0.999, 0.99999])
def test_ticks_do_not_touch(top: float) -> None:
    figure = double_descent.draw(summary(top=top), [], "title")
    figure.canvas.draw()
    labels = [text for text in figure.axes[0].get_xticklabels() if text.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    assert labels and all(a.x1 < b.x0 for a, b in pairwise(boxes))
