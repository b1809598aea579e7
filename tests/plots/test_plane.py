"""Plane: each cell where it belongs, gaps grey, the ridge between fitted and not; what makes no plane."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sddcli import table
from sddcli.core.words import UsageError
from sddcli.plots import plane


def summary(field: str = "noise", levels: int = 12) -> pd.DataFrame:
    rows = [
        {
            field: f"lenet-{value}" if field == "model" else value, "width": value, "level": level, "n": 3,
            "sparsity": 1 - 0.8**level, "test_accuracy": value + level / 100, "test_accuracy_std": 0.01,
            "train_accuracy": 1.0 if level < 4 + 2 * value else 0.5,
        }
        for value in (1, 2, 3) for level in range(levels)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def cells(figure: Figure) -> np.ma.MaskedArray:
    mesh = next(each for each in figure.axes[0].collections if hasattr(each, "get_coordinates"))
    return np.ma.asarray(mesh.get_array()).reshape(3, -1)


@pytest.mark.parametrize("field", ["noise", "epochs", "weight_decay", "model"])
def test_a_row_is_a_value_and_a_column_a_level(field: str) -> None:
    figure = plane.draw(summary(field), [field], "a title")
    figure.draw_without_rendering()
    for row, value in enumerate((1, 2, 3)):
        assert cells(figure)[row].tolist() == pytest.approx([value + level / 100 for level in range(12)])
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["1", "2", "3"] and figure.axes[0].get_ylabel() == plane.SECOND[field][1]


def test_a_missing_corner_is_a_gap() -> None:
    whole = summary()
    figure = plane.draw(whole[(whole["noise"] < 3) | (whole["level"] < 10)], ["noise"], "a title")
    gaps = np.ma.getmaskarray(cells(figure)) | ~np.isfinite(np.ma.filled(cells(figure), np.nan))
    assert gaps.tolist() == [[False] * 12, [False] * 12, [False] * 10 + [True] * 2]


def test_the_ridge_is_where_labels_are_no_longer_fitted() -> None:
    figure = plane.draw(summary(), ["noise"], "a title", x="level")
    (ridge,) = (each for each in figure.axes[0].collections if hasattr(each, "levels"))
    points = np.concatenate([path.vertices for path in ridge.get_paths()])
    for row, value in enumerate((1, 2, 3)):
        on_row = points[np.abs(points[:, 1] - row) < 1e-6][:, 0]
        assert on_row == pytest.approx([3 + 2 * value + 0.02], abs=0.01), "between the last fitted level and the next"


def test_valleys_are_marked_where_they_are_found() -> None:
    judged = summary().assign(phase="critical", smoothed=lambda frame: (frame["level"] - 7).abs())
    figure = plane.draw(judged, ["noise"], "a title", x="level")
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(dot.get_xdata()) for dot in dots] == [[7], [7], [7]]
    assert [list(dot.get_ydata()) for dot in dots] == [[0], [1], [2]]


WRONG: list[tuple[list[str], str]] = [
    ([], "differ in nothing"),
    (["noise", "model"], "in noise, model"),
    (["criterion"], "in criterion"),
]


@pytest.mark.parametrize(("varied", "says"), WRONG)
def test_runs_that_make_no_plane_are_refused(varied: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=f"a plane needs runs that differ in one of model, noise, .*{says}"):
        plane.draw(summary(), varied, "a title")


def test_one_level_is_no_plane() -> None:
    with pytest.raises(UsageError, match="needs several levels, and these runs are all of level 0"):
        plane.draw(summary(levels=1), ["noise"], "a title")


def test_networks_that_differ_in_more_than_width_make_no_plane() -> None:
    rows = summary("model").assign(width=8)
    with pytest.raises(UsageError, match="do not differ in width alone"):
        plane.draw(rows, ["model"], "a title")


def chains(widths: tuple[int, ...]) -> pd.DataFrame:
    """Chains of 1024 and more weights; accuracy is the width and the log2 of the weights kept, in hundredths."""
    return pd.DataFrame(
        [
            {
                "chain": f"{width}-{seed}", "width": width, "weights": 128 * width * 2.0**-level,
                "test_accuracy": (width + np.log2(128 * width * 2.0**-level) + seed) / 100,
            }
            for width in widths for seed in (0, 1) for level in range(4)
        ]
    )  # fmt: skip


def test_at_equal_weights_accuracy_is_interpolated_between_levels() -> None:
    equal = table.at_equal_weights(chains((8, 16, 32)))
    assert equal["weights"].unique().tolist() == [1024]
    assert equal["width"].tolist() == [8, 16, 32] and (equal["n"] == 2).all()
    assert equal["test_accuracy"].tolist() == pytest.approx([(width + 10.5) / 100 for width in (8, 16, 32)])
    assert table.at_equal_weights(chains((8, 16))).empty, "two widths are no curve"
    drawn = plane.draw(summary("model"), ["model"], "a title", details=equal)
    assert drawn.axes[1].get_xlabel() == "width" or drawn.axes[-1].get_xlabel() == "width"
