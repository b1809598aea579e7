"""Style: one look for all figures, the stretched x axis, curves with bands, and their evidence."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from math import ceil, exp, floor, inf, log, log10
from pathlib import Path
from statistics import mode
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any, NamedTuple

from sddcli.axes import AXES
from sddcli.core.words import in_words

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def _no_settings() -> Iterator[None]:
    """Within it matplotlib reads no settings of the user's: those that it cannot read would end its import."""
    spec, backend = find_spec("matplotlib"), os.environ.pop("MPLBACKEND", None)
    own = Path(spec.origin).parent / "mpl-data" if spec and spec.origin else Path()
    try:
        # A matplotlibrc in the working folder comes before all others; in this one it holds the defaults.
        with chdir(own) if (own / "matplotlibrc").exists() and "matplotlib" not in sys.modules else nullcontext():
            yield
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


with _no_settings():
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

# Okabe & Ito's palette: apart for colour-blind readers too.
GREY = "#555555"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MORE = ("#882255", "#999933", "#332288", "#DDCC77", "#8C564B", "#AA4499", "#117733")
LIGHTER = ("#7FB8D8", "#EAAE7F", "#7FCEB9", "#E5BCD3", "#F2CF7F", "#AAD9F4", "#7F7F7F")
CURVES = (*COLOURS, *MORE, *LIGHTER)
"""The colours of curves, one after the other: those of Tol's palettes, and lighter ones, where the first is used up."""
MARKERS = dict(zip(CURVES, "os^DvPX*<dph>8+x1234|", strict=True))
"""The mark of a curve of each colour, so that curves are apart in print too."""
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""Styles of lines, for what has no marks."""
PHASES = {"light": "#f4f4f4", "critical": "#fbe9e2", "sweet": "#e5f3ec", "collapsed": "#e9e9e9"}
LOOK: Any = {
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "savefig.dpi": 220,
    "svg.hashsalt": "sdd",
    "pdf.fonttype": 42,
}
APART = "apart"
"""What marks are called that say where two curves differ."""
FEW = 12
"""Of so many values along an axis that is no share of a network, each has a tick where it fits."""
TICKS = (0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 0.99999, 0.999999)


@contextmanager
def look() -> Iterator[None]:
    """Within it figures look as ours do everywhere: matplotlib's defaults and LOOK, whatever the user has set."""
    with rc_context():
        rcdefaults()
        rcParams.update(LOOK)
        yield


@contextmanager
def panels(
    rows: int = 1, height: float = 2.9, width: float = 4.6, apart: int = 0
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of `rows` panels above each other that share the x axis, but the last `apart` ones; inches per panel."""
    # Without pyplot, whose figures live on in it and belong to the screen of whoever imports us.
    with look():
        figure = Figure(figsize=(width, height * rows), layout="constrained")
        grid = figure.subplots(rows, 1, sharex=not apart, squeeze=False)[:, 0]
        for ax in grid[: rows - apart - 1] if apart else ():
            ax.sharex(grid[rows - apart - 1])
            ax.tick_params(labelbottom=False)
        yield figure, list(grid)


@contextmanager
def mosaic(
    names: Sequence[Sequence[str]], height: float, width: float, **shared: Any
) -> Iterator[tuple[Figure, dict[str, Axes]]]:
    """A figure of panels by their names, laid out as these are; sizes in inches, of one row and of the whole."""
    with look():
        figure = Figure(figsize=(width, height * len(names)), layout="constrained")
        yield figure, figure.subplot_mosaic([list(row) for row in names], **shared)


def aligned(axes: Sequence[Axes]) -> None:
    """Gives panels in a row one vertical axis, labelled on the left."""
    for ax in axes[1:]:
        ax.sharey(axes[0])
        ax.tick_params(labelleft=False)


def placed(summary: pd.DataFrame, x: str) -> pd.DataFrame:
    """`summary` with a column `x`: where its rows stand along the axis `x` of sddcli.axes, by the axis's scale.

    What has no place on such an axis is left out: networks of which nothing is left, and on a logarithmic one zeros.
    """
    scale, values = AXES[x].scale, AXES[x].values(summary).astype(float)
    if scale == "linear":
        return summary.assign(x=values)
    values = 1 - values if scale == "removed" else values
    sign = 1 if scale == "log" else -1
    return summary[values > 0].assign(x=sign * values[values > 0].map(log))


def x_axis(ax: Axes, summary: pd.DataFrame, x: str, most: float = 11.5) -> None:
    """Round ticks, or those of few values, at most `most`, and the label of the axis `x`; summary: `placed` on it."""
    ax.set_xlabel(AXES[x].label if most > 7 else fill(AXES[x].label, 32))
    first, last = summary["x"].min(), summary["x"].max()
    shown: dict[float, str] = {}
    for at, name in _ticks(x, summary["x"]):
        if first - 1e-9 <= at <= last + 1e-9 and (not shown or at - max(shown) > (last - first) / most):
            shown[at] = name
    ax.xaxis.set_major_locator(FixedLocator(list(shown)))
    ax.xaxis.set_minor_locator(NullLocator())
    names = {round(at, 9): name for at, name in shown.items()}
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: names.get(round(x, 9), "")))


def _ticks(x: str, drawn: pd.Series[float]) -> Iterator[tuple[float, str]]:
    """Where ticks may stand, from left to right, and how they are called; drawn: where rows stand."""
    scale, at = AXES[x].scale, sorted({round(each, 9) for each in drawn})
    if scale == "removed":
        yield from ((-log(1 - tick), f"{100 * tick:.10g}") for tick in TICKS)
    elif scale in ("log", "linear") and len(at) <= FEW:
        yield from ((each, _short(exp(each) if scale == "log" else each)) for each in at)
    elif scale == "linear":
        yield from ((tick, _short(tick)) for tick in MaxNLocator(10, steps=[1, 2, 5, 10]).tick_values(at[0], at[-1]))
    else:
        digits, sign = (1,) if at[-1] - at[0] > 2.5 * log(10) else (1, 2, 5), 1 if scale == "log" else -1
        low, high = sorted(sign * end / log(10) for end in (at[0], at[-1]))
        ticks = [digit * 10.0**power for power in range(floor(low), ceil(high) + 1) for digit in digits]
        yield from ((sign * log(tick), _short(tick)) for tick in ticks[::sign])


def _short(number: float) -> str:
    """A number in few letters: 0.05, 300, 20k, 1.5M."""
    prefix = min(int(log10(number) + 1e-9) // 3, 3) if number >= 1000 else 0
    return f"{number / 1000**prefix:.3g}{'kMG'[prefix - 1] if prefix else ''}"


def percent_axis(ax: Axes, label: str) -> None:
    """Fractions on the vertical axis, written as percentages."""
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))
    ax.set_ylabel(label)


def log_axis(ax: Axes) -> None:
    """Equal ratios are equal steps on the vertical axis, whose numbers are written as such."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda number, _: _short(number)))


def points_axis(ax: Axes, label: str) -> None:
    """Differences of fractions on the vertical axis, written as percentage points."""
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:+.4g}" if share else "0"))
    ax.set_ylabel(label)


def curves(frame: pd.DataFrame, varied: Sequence[str]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(label, colour, mean over seeds along the axis) for each setting: what `table.summary` gives, cut into curves."""
    groups = frame.groupby(list(varied), sort=True) if varied else [((), frame)]
    for index, (values, curve) in enumerate(groups):
        # A setting may have no value of its own: a retraining that ranks nothing has no criterion.
        label = in_words(dict(zip(varied, values, strict=True)))
        yield plain(label), CURVES[index % len(CURVES)], curve.sort_values("level" if "level" in curve else "x")


def plain(text: str) -> str:
    """A text in which a dollar is one, and starts no formula: a folder of images may be called anything."""
    return text.replace("$", r"\$")


def landmarks(summary: pd.DataFrame, setting: Mapping[str, Any], levels: Iterable[int]) -> list[tuple[int, str, str]]:
    """Those of `levels` that stand for the phases of one setting (its varied fields): (level, label, colour) each.

    The dense network, valley and peak, the last level (the four sparsities of He et al. 2022); where no phases were
    found, four levels at equal distances.
    """
    curve = summary if "phase" in summary else summary.assign(phase=None, smoothed=None)
    for name, value in setting.items():
        curve = curve[curve[name] == value]
    curve = curve[curve["level"].isin(list(levels))].sort_values("level")
    landmark_of = phase_levels(curve)
    if curve["phase"].isna().all():
        spread = [int(curve["level"].iloc[round(k * (len(curve) - 1) / 3)]) for k in range(4)]
        landmark_of = {level: landmark_of.get(level, "") for level in spread}
    sparsity = dict(zip(curve["level"], curve["sparsity"], strict=True))
    prefix = {level: f"{name}, " if name else "" for level, name in landmark_of.items()}
    return [
        (level, f"{prefix[level]}level {level}, {100 * sparsity[level]:.4g}%", colour)
        for level, colour in zip(sorted(landmark_of), COLOURS, strict=False)
    ]


def settings(details: pd.DataFrame, varied: Sequence[str], *keys: str) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of each setting, by those of the `varied` fields that `details` has, and of `keys`."""
    fields = [name for name in (*varied, *keys) if name in details]
    groups = details.groupby(fields, sort=True) if fields else [((), details)]
    return [(dict(zip(fields, values, strict=True)), rows) for values, rows in groups]


class Entry(NamedTuple):
    """A line of a legend."""

    label: str
    colour: Any
    line: Any = "-"
    marker: str = ""


def legend(figure: Figure, entries: Iterable[tuple[Any, ...]]) -> None:
    """A legend below the axes, where it hides nothing: an `Entry` each, or the first of its words; none unlabelled."""
    whole = [Entry(*entry) for entry in entries if entry[0]]
    if not whole:
        return
    lines = [entry._replace(label=wrapped(entry.label, figure.get_figwidth() - 1)) for entry in whole]  # a line before
    handles = [
        Line2D([], [], label=label, color=colour, linestyle=line, marker=marker, markersize=4)
        for label, colour, line, marker in lines
    ]
    columns = _columns([len(entry.label) for entry in whole])
    high = max(entry.label.count("\n") + 1 for entry in lines)
    rows = high * -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.17 * (rows - 1))  # its rows take nothing from the panels
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def key(ax: Axes, entries: Iterable[tuple[str, str, Any]]) -> None:
    """A line on top of one panel that says what its own lines are: (label, colour, line style) each."""
    handles = [Line2D([], [], label=label, color=colour, linestyle=line) for label, colour, line in entries]
    lengths = sorted(len(str(handle.get_label())) for handle in handles)
    columns = 4 if sum(lengths) <= 40 else 2 if sum(lengths[-2:]) <= 46 else 1  # wider ones push the panels apart
    corner: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    ax.legend(handles=handles, ncols=columns, fontsize=7, **corner)


def _columns(lengths: Sequence[int], room: int = 72) -> int:
    """The most columns in which labels of these lengths, and their lines, fit into `room` letters' width."""
    for columns in (3, 2):
        share, more = divmod(len(lengths), columns)  # as matplotlib fills columns: the first ones get one more
        starts = [k * share + min(k, more) for k in range(columns + 1)]
        if share and sum(7 + max(lengths[a:b]) for a, b in pairwise(starts)) <= room:
            return columns
    return 1


def band(ax: Axes, curve: pd.DataFrame, name: str, **line: Any) -> None:
    """The mean of `name` over seeds along the axis, with a band of one sample standard deviation each way."""
    x, mean = curve["x"], curve[name]
    (drawn,) = ax.plot(x, mean, **line)
    spread = curve[f"{name}_std"]
    if spread.notna().any():
        ax.fill_between(x, mean - spread, mean + spread, color=drawn.get_color(), alpha=0.18, linewidth=0)
    if f"{name}_low" in curve and curve[f"{name}_low"].notna().any():
        _apart(ax, curve, name, drawn)


def _apart(ax: Axes, curve: pd.DataFrame, name: str, like: Line2D) -> None:
    """Squares on the axis at the levels where `curve` and the other one of two differ, paired by seed.

    There the 95 % t-interval of `table.compared` leaves out zero; hollow for a line that is not solid.
    """
    levels = curve[(curve[f"{name}_low"] > 0) | (curve[f"{name}_high"] < 0)]
    row = 0.02 + 0.03 * sum(line.get_gid() == APART for line in ax.lines)
    ax.plot(
        levels["x"],
        [row] * len(levels),
        linestyle="",
        marker="s",
        markersize=2.5,
        color=like.get_color(),
        mfc=like.get_color() if like.get_linestyle() == "-" else "white",
        mew=0.6,
        transform=ax.get_xaxis_transform(),
        gid=APART,
    )


def shaded(ax: Axes, summary: pd.DataFrame, inches: float = 3.5) -> None:
    """The phases of the one curve that is drawn, as grounds of the panel with their names on top.

    inches: how wide the curve is drawn; by it names of narrow phases are moved to the right, where they overlap no
    other.
    """
    judged = summary.dropna(subset="phase").sort_values("x")
    x, names = judged["x"].to_list(), judged["phase"].to_list()
    edges = [x[0], *((a + b) / 2 for a, b in pairwise(x)), x[-1]] if x else []
    letter, free = 0.055 * (edges[-1] - edges[0]) / inches if x else 0.0, float("-inf")
    for phase, shade in PHASES.items():
        at = [k for k, name in enumerate(names) if name == phase]
        if at:
            low, high = edges[at[0]], edges[at[-1] + 1]
            ax.axvspan(low, high, color=shade, linewidth=0, zorder=0)
            middle = max((low + high) / 2, free + letter * (1 + len(phase) / 2))
            free = middle + letter * len(phase) / 2
            ax.text(middle, 1.0, phase, transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=7)


def phase_levels(curve: pd.DataFrame) -> dict[int, str]:
    """Level -> what it is, of one setting: the four that He et al. (2022) look at, as far as it has them.

    Dense, the lowest smoothed test accuracy of the critical phase, the highest of the sweet one, and the last level.
    """
    levels = curve["level"].astype(int)
    first = int(levels.min())
    names = {int(levels.max()): "last", first: "first" if first else "dense"}
    for name, landmark, sign in (("critical", "valley", -1), ("sweet", "peak", 1)) if "phase" in curve else ():
        test = sign * curve["smoothed"].where(curve["phase"] == name)
        if test.notna().any():
            names[int(levels[test == test.max()].iloc[0])] = landmark
    return dict(sorted(names.items()))


def headline(ax: Axes, title: str, summary: pd.DataFrame, pad: float | None = None, more: str = "") -> None:
    """What is shown, in lines that the figure has room for, and what lines and bands are."""
    ax.set_title(f"{plain(fill(title, 68))}\n{replicates(summary)}{more}", fontsize=8, loc="left", pad=pad)


def headlines(figure: Figure, title: str, replicates: str) -> None:
    """The headline of a whole figure that shows several `settings`, and what its lines are."""
    lines = plain(wrapped(title, figure.get_figwidth()))
    figure.suptitle(f"{lines}\n{replicates}", fontsize=8, x=0.01, ha="left")


def wrapped(title: str, width: float) -> str:
    """A title in lines that fit a figure of so many inches."""
    return fill(title, 15 * round(width))


def named(axes: Sequence[Axes], columns: Sequence[tuple[Mapping[str, Any], Any]], pad: float | None = None) -> None:
    """Says above each panel which of `settings` it shows; pad: points of room for the names of phases below that."""
    for ax, (setting, _) in zip(axes, columns, strict=True):
        ax.set_title(plain(in_words(setting)), fontsize=8, pad=pad)


LONGEST = 60
"""Characters of a label beside a panel: of a longer one the end is left out."""


def seeds(frame: pd.DataFrame) -> str:
    """How many seeds there are, in words."""
    low, high = int(frame["n"].min()), int(frame["n"].max())
    return f"{low} seed{'s' * (low != 1)}" if low == high else f"{low} to {high} seeds"


def row_labels(rows: Iterable[tuple[Mapping[str, Any], pd.DataFrame]]) -> list[str]:
    """What tells each setting from the others, in so few letters that it can stand beside a panel."""
    settings = [fields for fields, _ in rows]
    labels = [in_words(fields) for fields in settings]
    if (
        max(map(len, labels), default=0) > LONGEST
    ):  # what most of them have tells none apart, and its end would be cut off
        usual = {name: mode(fields[name] for fields in settings) for name in settings[0]}
        own = [{name: value for name, value in fields.items() if value != usual[name]} for fields in settings]
        labels = [in_words(fields) or "none of these" for fields in own]
    return [plain(shorten(label, LONGEST, placeholder=" ...")) for label in labels]


def replicates(frame: pd.DataFrame) -> str:
    """What lines, bands and squares are, in words: how many seeds, what the band shows, where two curves differ."""
    if int(frame["n"].max()) == 1:
        return "one seed, so no band"
    text = f"mean ± standard deviation over {seeds(frame)}"
    if any(str(name).endswith("_difference") for name in frame):
        text += "\nsquares: here the two differ, by the 95 % t-interval of pairs of seeds"
    return text


def rendered(figure: Figure, ending: str, evidence: Mapping[str, Any]) -> bytes:
    """The content of such a file: the same bytes for the same figure and evidence."""
    for ax in figure.axes:  # a logarithmic axis with nothing on it, as of runs not measured yet, cannot be drawn
        if ax.get_yscale() == "log" and not 0 < ax.dataLim.y1 < inf:
            ax.set_yscale("linear")
            ax.set_yticks([])
    description, content = json.dumps(evidence), BytesIO()
    metadata = {
        ".png": {"Software": "sdd", "Description": description},
        ".pdf": {"Creator": "sdd", "Subject": description, "CreationDate": None},
        ".svg": {"Creator": "sdd", "Description": description, "Date": None},
    }
    with look():
        figure.savefig(content, format=ending[1:], metadata=metadata[ending])
    return content.getvalue()


def with_palette(picture: bytes) -> bytes:
    """A PNG of ours in 256 colours, its description kept: a third of the bytes, for pages with many pictures.

    Areas keep their colours; edges, whose pixels are mixtures of two, have some of them a little off.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngImageFile, PngInfo

    whole, texts, content = PngImageFile(BytesIO(picture)), PngInfo(), BytesIO()
    for name, text in whole.text.items():
        texts.add_text(name, text)
    # Without the k-means step pixels go to the box of colours they lie in, and not to the nearest of the 256.
    few = whole.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    few.save(content, "PNG", optimize=True, pnginfo=texts, dpi=whole.info["dpi"])
    return content.getvalue()
