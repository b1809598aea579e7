"""Style: the stretched axis, the words about replicates."""

import math
import os
import subprocess
import sys
from io import BytesIO
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import RcParams, rc_context, rcParams
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.style import library
from matplotlib.text import Text
from PIL import Image

from sddcli.axes import AXES
from sddcli.plots import (
    best_epoch,
    calibration,
    criteria,
    double_descent,
    flatness,
    generalization_gap,
    interpolation,
    learning_distance,
    learning_order,
    memorization,
    movement,
    stability,
    turning_points,
)
from sddcli.plots.style import (
    APART,
    GREY,
    curves,
    landmarks,
    log_axis,
    phase_levels,
    placed,
    rendered,
    replicates,
    row_labels,
    with_palette,
)

OF_LEVELS = ("sparsity", "weights", "per-example")
DRAWN = (
    best_epoch, calibration, double_descent, generalization_gap, learning_distance, learning_order, memorization,
    movement, stability,
)  # fmt: skip


def summary(settings: int = 1, n: int = 3, top: float = 0.999) -> pd.DataFrame:
    rows = []
    for setting in range(settings):
        for level in range(31):
            row = {"noise": setting / 10, "level": level, "sparsity": top * (1 - 0.8**level), "n": n}
            row |= {"weights": 265_200 * (1 - row["sparsity"]), "examples": 1297}
            for name in {name for drawn in DRAWN for name in drawn.NEEDS}:
                row |= {name: 0.5 + level / 100 + setting / 20, f"{name}_std": 0.02 if n > 1 else float("nan")}
            rows.append(row)
    return pd.DataFrame(rows)


def test_equal_shares_removed_are_equal_steps() -> None:
    for x in OF_LEVELS:
        steps = placed(summary(top=1), x)["x"].diff()[1:]
        assert steps.std() < 1e-9 and steps.mean() > 0.2, x


@pytest.mark.parametrize("values", [[], [math.nan, math.nan], [0.0, -1.0]])
def test_a_logarithmic_axis_that_nothing_is_on_is_drawn_empty(values: list[float]) -> None:
    """As of an analysis that was stopped before it measured any of the runs that are shown."""
    figure = Figure()
    ax = figure.subplots()
    log_axis(ax)
    ax.plot(range(len(values)), values)
    assert len(rendered(figure, ".png", {})) > 1000


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(1, 1, "one seed, so no band"), (3, 3, "over 3 seeds"), (2, 5, "over 2 to 5 seeds")],
)
def test_bands_say_what_they_are(low: int, high: int, said: str) -> None:
    assert said in replicates(pd.DataFrame({"n": [low, high]}))


def test_as_many_as_20_curves_are_told_apart_by_colour_and_by_mark() -> None:
    figure = double_descent.draw(summary(20), ["noise"], "digits, a title")
    handles = [handle for handle in figure.legends[0].legend_handles if "noise" in str(handle.get_label())]
    looks = [(to_hex(handle.get_color()), handle.get_marker()) for handle in handles]  # type: ignore[union-attr]
    assert len(looks) == 20 and all(len(set(each)) == 20 for each in zip(*looks, strict=True))
    drawn = {
        (to_hex(line.get_color()), line.get_marker()) for line in figure.axes[0].lines if line.get_marker() != "None"
    }
    assert drawn == set(looks)


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda module: module.__name__)
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
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_a_long_title_stays_within_the_figure() -> None:
    title = "folder:cifar:size=16, convnet:width=8, 20% symmetric noise, magnitude, lottery, of some length"
    for drawn in (double_descent, learning_distance):
        figure = drawn.draw(summary(), [], title)
        figure.draw_without_rendering()
        figure.draw_without_rendering()
        box = figure.axes[0]._left_title.get_window_extent()  # type: ignore[attr-defined]
        assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height and box.height > 30


def test_phases_are_shaded_and_named() -> None:
    phases = ["light"] * 10 + ["critical"] * 8 + ["sweet"] * 10 + ["collapsed"] * 3
    figure = double_descent.draw(summary().assign(phase=phases), [], "title")
    assert [text.get_text() for text in figure.axes[0].texts] == ["light", "critical", "sweet", "collapsed"]
    assert len(double_descent.draw(summary().assign(phase=None), [], "title").axes[0].texts) == 0


@pytest.mark.parametrize(("valley", "peak"), [((12, 15), (26, 26)), ((3, 15), (12, 19)), ((4, 6), (2, 19))])
def test_bars_stand_where_valley_and_peak_may_lie(valley: tuple[int, int], peak: tuple[int, int]) -> None:
    """Also where one could be where the other is: above each other, and below all that is drawn."""
    spans = {"in_valley": valley, "in_peak": peak}
    within = {name: [low <= k <= high for k in range(31)] for name, (low, high) in spans.items()}
    curve = summary().assign(smoothed=0.5, **within)
    assert not double_descent.draw(curve.assign(smoothed=None), [], "title").axes[0].texts, "none is found"
    (ax,) = double_descent.draw(curve, [], "title").axes
    assert [text.get_text() for text in ax.texts] == ["valley", "peak"]
    x = [-math.log(1 - sparsity) for sparsity in curve["sparsity"]]
    for line, ends in zip(ax.lines[-2:], spans.values(), strict=True):
        assert list(line.get_xdata()) == pytest.approx([x[end] for end in ends])
    heights = [min(line.get_ydata()) for line in ax.lines[-2:]]
    assert (heights[0] != heights[1]) == (peak[0] <= valley[1])
    lowest = min(curve["train_accuracy"].min(), curve["test_accuracy"].min())
    assert ax.transLimits.transform((0, lowest))[1] > max(heights) + 0.05, "nothing is drawn where the bars are"
    assert "bars: 95 % intervals" in ax.get_title(loc="left")
    several = pd.concat([curve.assign(noise=noise) for noise in (0.2, 0.4)])
    assert "bars" not in double_descent.draw(several, ["noise"], "title").axes[0].get_title(loc="left")


def test_turning_points_stand_in_rows_by_their_peaks_and_are_hollow_where_nothing_is_found() -> None:
    def judged(criterion: str, valley: int, peak: int, is_there: bool) -> pd.DataFrame:
        places = {"fitted": valley - 1, "valley": valley, "peak": peak}
        at = {f"at_{name}": [k == place for k in range(31)] for name, place in places.items()}
        near = {f"in_{name}": [abs(k - place) < 3 for k in range(31)] for name, place in places.items()}
        return summary().assign(criterion=criterion, smoothed=0.5 if is_there else None, **at, **near)

    both = pd.concat([judged("magnitude", 14, 27, True), judged("random", 9, 16, False)])
    (ax,) = turning_points.draw(both, ["criterion"], "title").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["random", "magnitude"]
    x = placed(judged("", 0, 0, True), "sparsity")["x"].to_list()
    points = [line for line in ax.lines if line.get_marker() in ("o", "s")]
    bars = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert [float(line.get_xdata()[0]) for line in points] == [x[9], x[16], x[14], x[27]]
    assert [list(line.get_xdata()) for line in bars] == [[x[k - 2], x[k + 2]] for k in (9, 16, 14, 27)]
    assert [line.get_markerfacecolor() == "white" for line in points] == [True, True, False, False]


def test_criteria_have_a_panel_for_each_family_with_magnitude_and_random_behind() -> None:
    words = ["magnitude", "random", "lamp", "snip", "synflow:rounds=1", "mine"]
    rows = pd.concat([summary().assign(criterion=word) for word in words])
    axes = criteria.draw(rows, ["criterion"], "title").axes
    keys = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in axes]
    assert keys == [["size:", "lamp"], ["before training:", "snip", "synflow:rounds=1"], ["other:", "mine"]]
    assert all(sum(line.get_color() == GREY for line in ax.lines) == 2 for ax in axes)
    alone = criteria.draw(rows[rows["criterion"] == "magnitude"], [], "title").axes
    assert len(alone) == 1 and len(alone[0].lines) == 1


def test_a_picture_with_a_palette_looks_as_before_in_a_third_of_the_bytes() -> None:
    """With the bands of six curves over each other: areas keep their colours, edges nearly so."""
    whole = rendered(double_descent.draw(summary(6), ["noise"], "title"), ".png", {"claim": "C0"})
    small = with_palette(whole)
    before, after = Image.open(BytesIO(whole)), Image.open(BytesIO(small))
    assert after.mode == "P" and after.size == before.size and after.info["dpi"] == before.info["dpi"]
    assert after.text == before.text == {"Software": "sdd", "Description": '{"claim": "C0"}'}  # type: ignore[attr-defined]
    old, new = (np.asarray(each.convert("RGB"), dtype=int).reshape(-1, 3) for each in (before, after))
    colours, of_pixel, counts = np.unique(old, axis=0, return_inverse=True, return_counts=True)
    off = np.abs(old - new).max(axis=1)
    in_areas = counts[of_pixel.ravel()] > 0.001 * len(old)
    assert len(colours) > 1000 and in_areas.mean() > 0.9
    assert off[in_areas].max() <= 2 and (off > 16).mean() < 0.002
    assert len(small) < 0.4 * len(whole) and with_palette(whole) == small


def test_long_names_of_criteria_push_no_panels_apart() -> None:
    words = ["magnitude", "lamp", "gradient", "large-init", "snip"]
    words += ["magnitude-increase-diff-sign", "magnitude-increase-same-sign", "movement", "magnitude-increase"]
    figure = criteria.draw(pd.concat([summary().assign(criterion=word) for word in words]), ["criterion"], "title")
    rendered(figure, ".png", {})
    boxes = sorted((ax.get_position() for ax in figure.axes), key=lambda box: (-round(box.y0, 2), box.x0))
    gaps = [right.x0 - left.x1 for left, right in pairwise(boxes[:3])]
    assert len(boxes) == 5 and max(gaps) < 0.08


def test_reliability_diagrams_of_one_setting_only() -> None:
    rows = [
        {"level": level, "bin": b, "confidence": b / 15, "accuracy": b / 15 if b > 2 else math.nan, "n": 3}
        for level in (0, 30)
        for b in range(1, 16)
    ]
    axes = calibration.draw(summary(), [], "title", "sparsity", pd.DataFrame(rows)).axes
    assert len(axes) == 3 and [len(line.get_xdata()) for line in axes[2].lines] == [2, 13, 13]
    assert len(calibration.draw(summary(3), ["noise"], "title", "sparsity", pd.DataFrame(rows)).axes) == 2


@pytest.mark.parametrize("x", OF_LEVELS)
@pytest.mark.parametrize("top", [0.0, 0.5, 0.9, 0.999, 0.99999])
def test_ticks_do_not_touch(top: float, x: str) -> None:
    figure = double_descent.draw(summary(top=top), [], "title", x)
    figure.draw_without_rendering()
    assert figure.axes[0].get_xlabel() == AXES[x].label
    if top == 0 and x != "sparsity":
        return  # one point, at no round number
    labels = [text for text in figure.axes[0].get_xticklabels() if text.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    assert labels and all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_ticks_say_how_many_weights_are_left() -> None:
    figure = double_descent.draw(summary(top=0.9999), [], "title", "weights")
    figure.draw_without_rendering()
    (left, right), named = (
        figure.axes[0].get_xlim(),
        dict(zip(figure.axes[0].get_xticks(), ("100k", "10k", "1k"), strict=True)),
    )
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["100k", "10k", "1k"]
    for place, name in named.items():
        assert math.exp(-place) == pytest.approx(float(name.replace("k", "000"))) and left < place < right


def test_phase_levels_are_those_that_the_paper_looks_at() -> None:
    curve = pd.DataFrame({"level": [0, 1, 2, 3, 4, 5, 6], "test_accuracy": [0.5, 0.7, 0.3, 0.4, 0.8, 0.6, 0.1]})
    assert phase_levels(curve) == {0: "dense", 6: "last"}
    phases = ["light", "light", "critical", "critical", "sweet", "sweet", "collapsed"]
    curve["smoothed"] = [0.5, 0.6, 0.45, 0.4, 0.6, 0.5, 0.3]  # as the verdict reads it: the valley is at level 3
    assert phase_levels(curve.assign(phase=phases)) == {0: "dense", 3: "valley", 4: "peak", 6: "last"}
    assert phase_levels(curve.assign(phase=None)) == {0: "dense", 6: "last"}
    assert phase_levels(curve[:5].assign(phase=phases[:5])) == {0: "dense", 3: "valley", 4: "peak"}


def test_landmarks_are_the_papers_four_of_a_setting() -> None:
    curve = summary().assign(phase=["light"] * 10 + ["critical"] * 8 + ["sweet"] * 10 + ["collapsed"] * 3)
    curve["smoothed"] = 0.5
    curve.loc[curve["level"] == 13, "smoothed"] = 0.1
    curve.loc[curve["level"] == 20, "smoothed"] = 0.95
    shown = landmarks(curve, {}, range(31))
    assert [level for level, _, _ in shown] == [0, 13, 20, 30]
    assert [label.split(",")[0] for _, label, _ in shown] == ["dense", "valley", "peak", "last"]
    assert shown[1][1] == "valley, level 13, 94.41%" and len({colour for *_, colour in shown}) == 4
    both = pd.concat([curve.assign(retraining="lottery", phase="light"), curve.assign(retraining="redense:lr=0.1")])
    assert landmarks(both, {"retraining": "redense:lr=0.1"}, range(1, 31)) == [
        (1, "first, level 1, 19.98%", shown[0][2]),
        *shown[1:],
    ]
    assert [level for level, _, _ in landmarks(summary(), {}, [0, 1, 2, 4, 8, 30])] == [0, 2, 4, 30]


def rows(keys: dict[str, list[float]], **same: object) -> pd.DataFrame:
    """Details of two levels, each the same numbers at all places."""
    places = [dict(zip(keys, values, strict=True)) for values in product(*keys.values())]
    names = [f"{split}_{name}" for split in ("train", "test") for name in ("loss", "accuracy")]
    found = dict.fromkeys(names, 0.5) | dict.fromkeys([f"{name}_std" for name in names], 0.1) | {"n": 3, **same}
    return pd.DataFrame([place | found | {"level": level} for level in (0, 30) for place in places])


@pytest.mark.parametrize("settings", [1, 3])
def test_slices_planes_and_lines_have_a_panel_for_each_setting(settings: int) -> None:
    varied = ["noise"] if settings > 1 else []
    told = summary(settings).assign(flatness_train_loss_rise=1.0, flatness_train_loss_rise_std=0.1)
    noises = sorted({*told["noise"]}) if settings > 1 else [0.0]
    step = [-0.5, 0.0, 0.5]
    line, plane = ({"step": step, "across": across} for across in ([0.0], step))
    for drawn, keys, panels in (
        (flatness, line, settings + 1),
        (flatness, plane, 4 * settings),
        (interpolation, {"kind": ["level above (0) to this level (1)"], "alpha": [0.0, 0.5, 1.0]}, 2 * settings),
    ):
        details = pd.concat([rows(keys, **({"noise": noise} if varied else {})) for noise in noises])
        if keys is plane:
            details["train_loss"] = details["step"].abs() + details["across"].abs() + 0.1
        figure = drawn.draw(told, varied, "digits, a title", "sparsity", details)
        assert len(figure.axes) == panels and figure.get_suptitle().startswith("digits, a title\n")
        said = " ".join(text.get_text() for text in figure.findobj(Text))
        assert "level 30" in said and ("noise 0.1" in said) == (settings > 1)


def test_squares_say_where_two_curves_differ_by_pairs() -> None:
    told = summary(2)
    second = told["noise"] == 0.1
    told["learning_distance_difference"] = 0.0
    told["learning_distance_low"] = (told["level"] - 10.5).where(second)
    told["learning_distance_high"] = (told["level"] + 10.5).where(second)
    figure = learning_distance.draw(told, ["noise"], "a title")
    (squares,) = (line for line in figure.axes[1].lines if line.get_gid() == APART)
    x = placed(told[second], "sparsity")["x"].to_list()
    assert list(squares.get_xdata()) == pytest.approx(x[11:])
    assert "squares: here the two differ" in figure.axes[0].get_title(loc="left")
    assert "squares" not in learning_distance.draw(summary(2), ["noise"], "a title").axes[0].get_title(loc="left")


USERS = {
    "text.usetex": True,
    "font.family": "serif",
    "font.size": 20,
    "axes.prop_cycle": "cycler('color', ['r', 'g'])",
    "axes.unicode_minus": False,
    "axes.formatter.use_locale": True,
    "path.sketch": "1, 100, 2",
    "lines.marker": "x",
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "savefig.dpi": 30,
    "figure.facecolor": "black",
    "figure.constrained_layout.w_pad": 1,
    "image.cmap": "gray",
    "text.color": "red",
    "svg.fonttype": "none",
    "pdf.fonttype": 3,
    "contour.linewidth": 5,
}
"""What a user may have set, each of which changes figures that are drawn without a look of their own."""
SETTINGS = [*(name for name in library), "a user's"]


def several() -> list[tuple[object, tuple[object, ...]]]:
    """Figures, and what each is drawn from: every kind of artist that we use."""
    told = summary(3).assign(flatness_train_loss_rise=1.0, flatness_train_loss_rise_std=0.1)
    details = pd.concat([rows({"step": [-0.5, 0.0, 0.5], "across": [-0.5, 0.0, 0.5]}, noise=k / 10) for k in range(3)])
    details["train_loss"] = details["step"].abs() + details["across"].abs() + 0.1
    phases = ["light"] * 10 + ["critical"] * 8 + ["sweet"] * 10 + ["collapsed"] * 3
    return [
        (double_descent, (summary().assign(phase=phases), [], "a title", "sparsity")),
        (learning_distance, (summary(3), ["noise"], "a title", "weights")),
        (flatness, (told, ["noise"], "a title", "sparsity", details)),
    ]


@pytest.fixture(scope="module")
def ours() -> list[bytes]:
    return [rendered(module.draw(*what), ".png", {}) for module, what in several()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("setting", SETTINGS)
def test_figures_do_not_depend_on_what_the_user_has_set(setting: str, ours: list[bytes]) -> None:
    theirs = library.get(setting, USERS)
    with rc_context(theirs):
        again = [rendered(module.draw(*what), ".png", {}) for module, what in several()]  # type: ignore[attr-defined]
        assert again == ours and all(rcParams[name] == value for name, value in RcParams(theirs).items())


@pytest.mark.parametrize("ending", [".pdf", ".svg"])
def test_nor_do_vector_figures(ending: str) -> None:
    module, what = several()[0]
    usual = rendered(module.draw(*what), ending, {})  # type: ignore[attr-defined]
    with rc_context(USERS):
        assert rendered(module.draw(*what), ending, {}) == usual  # type: ignore[attr-defined]


BROKEN = {"latex": b"text.usetex: True\n", "bytes": b"\xff\xfe\x00", "words": b"what is this\nfont.size: huge\nx: y\n"}


@pytest.mark.slow
def test_no_matplotlibrc_and_no_backend_stop_a_figure(trained: Path, tmp_path: Path) -> None:
    """Of the working folder, of a notebook; nor are matplotlib's warnings shown."""
    pixels = set[bytes]()
    for kind, content in {"none": b"", **BROKEN}.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "matplotlibrc").write_bytes(content)
        command = [sys.executable, "-m", "sddcli", "plot", "double-descent", str(trained), "-o", "a.png"]
        environment = os.environ | {"MPLBACKEND": "agg" if kind == "none" else "no backend"}
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
        assert ended.returncode == 0 and not ended.stderr, ended.stderr
        pixels.add(pixels_of(folder / "a.png"))
    assert len(pixels) == 1


def pixels_of(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


def test_networks_of_which_nothing_is_left_have_no_place_on_the_axis() -> None:
    frame = summary()
    last = frame["level"] == frame["level"].max()
    emptied = frame.assign(sparsity=frame["sparsity"].mask(last, 1.0), weights=frame["weights"].mask(last, 0.0))
    for x in OF_LEVELS:
        assert len(placed(emptied, x)) == len(frame) - 1 and placed(emptied, x)["x"].map(math.isfinite).all()


def test_a_setting_is_not_named_by_a_value_that_it_has_not() -> None:
    frame = summary().assign(criterion="", retraining="supermask")
    ((label, _, _),) = curves(frame, ["criterion", "retraining"])
    assert label == "retraining supermask"


def test_a_difference_is_drawn_where_it_has_an_interval_and_its_title_fits() -> None:
    long = "a retraining of a very long name: with a parameter = 0.125, and another"
    told = summary(2).rename(columns={"noise": long})
    second = told[long] == 0.1
    names = ("test_accuracy", "train_accuracy")
    for name, end in product(names, ("difference", "low", "high")):
        told[f"{name}_{end}"] = (told["level"] / 100).where(second)
    told["pairs"] = 3
    figure = double_descent.draw(told, [long], "a title")
    figure.draw_without_rendering()
    title = figure.axes[1]._left_title  # type: ignore[attr-defined]
    words = title.get_text().replace("\n", " ")
    assert "paired by seed (3)" in words and words.count(long) == 2
    box = title.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    alone = told.assign(**{f"{name}_{end}": float("nan") for name in names for end in ("low", "high")})
    assert len(double_descent.draw(alone, [long], "a title").axes) == 1


def test_labels_too_long_to_stand_beside_a_panel_leave_out_what_most_rows_have() -> None:
    usual = {"loss": "cross-entropy", "regularization": "none", "dropout": 0.0, "weight_decay": 0.0, "rate": 0.2}
    settings = [usual, usual | {"loss": "distill:teacher=dense"}, usual | {"weight_decay": 0.003, "dropout": 0.3}]
    labels = row_labels([(each, pd.DataFrame()) for each in settings])
    assert labels == ["none of these", "loss distill:teacher=dense", "dropout 0.3, weight decay 0.003"]
    assert row_labels([({"loss": "mse"}, pd.DataFrame()), ({"loss": "hinge"}, pd.DataFrame())]) == [
        "loss mse",
        "loss hinge",
    ]
