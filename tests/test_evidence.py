"""Evidence: what docs/evidence says of the paper's claims on digits is what its CSV holds, and can be made again."""

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sddcli import table
from sddcli.cli.kinds import summarized
from sddcli.cli.seeing import drawn
from sddcli.verdicts.double_descent import PLACES, judge

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("figure-*-digits.toml"))


@pytest.fixture(
    scope="module", params=["recorded", pytest.param("made again", marks=pytest.mark.evidence)], name="frame"
)
def fixture_frame(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    if request.param == "recorded":
        return pd.concat(
            [table.read(ROOT / "docs" / "evidence" / f"{name}.csv") for name in ("digits", "digits-convnet")]
        )
    root = tmp_path_factory.mktemp("evidence") / "runs"
    for example in EXAMPLES:
        subprocess.run([sys.executable, "-m", "sddcli", "sweep", str(example), "--runs", str(root)], check=True)
    return table.read(root / "results.csv")


USUAL: dict[str, Any] = {
    "model": "lenet-300-100",
    "noise": 0.4,
    "noise_kind": "symmetric",
    "criterion": "magnitude",
    "retraining": "lottery",
}


def said(frame: pd.DataFrame, accuracy: str = "test_accuracy", **where: Any) -> dict[str, Any]:
    """The verdict on one setting; what is not said is 40 % symmetric noise, magnitude, lottery."""
    rows = table.select(frame, {name: [value] for name, value in (USUAL | where).items()})
    assert rows["seed"].nunique() == 5 and rows["level"].nunique() >= 31
    (verdict,) = table.judged(rows.assign(test_accuracy=rows[accuracy]), judge, PLACES).to_dict("records")
    return verdict


def at(frame: pd.DataFrame, level: int, name: str, **where: Any) -> float:
    rows = table.select(frame, {key: [value] for key, value in {**USUAL, **where, "level": level}.items()})
    return float(rows[name].mean())


def test_the_tables_of_the_page_are_those_of_the_records() -> None:
    """Each line with a p of its own: places and sizes with their intervals, p, verdict; no setting left out."""
    said = []
    for name in ("digits", "digits-convnet", "cifar-images", "mnist-2000", "precision"):
        frame = table.read(ROOT / "docs" / "evidence" / f"{name}.csv")
        for row in table.judged(frame, judge, PLACES).to_dict(orient="records"):
            places = [f"{row[at]} [{row[f'{at}_low']:.0f}, {row[f'{at}_high']:.0f}]" for at in ("valley", "peak")]
            sizes = [[100 * row[f"{size}{end}"] for end in ("", "_low", "_high")] for size in ("dip", "rise", "gain")]
            numbers = ["{:.1f} [{:.1f}, {:.1f}]".format(*size) for size in sizes]
            said.append([f"{row['fitted']:.0f}", *places, *numbers, f"{row['p']:.3f}", "yes" if row["found"] else "no"])
    page = (ROOT / "docs" / "evidence" / "README.md").read_text(encoding="utf-8")
    lines = [
        re.split(r" *\| *", line.strip("| ")) for line in page.splitlines() if line.endswith(("| yes |", "| no |"))
    ]
    assert sorted(line[-8:] for line in lines) == sorted(said)


def test_c1_the_valley_lies_at_the_interpolation_threshold_and_the_peak_forgets_noise(frame: pd.DataFrame) -> None:
    verdict = said(frame)
    assert verdict["found"] and verdict["dip_low"] > 0 and verdict["rise_low"] > 0.1
    assert abs(verdict["valley"] - verdict["fitted"]) <= 3
    assert at(frame, verdict["peak"], "memorized") < 0.1 < 0.97 < at(frame, verdict["fitted"], "memorized")


def test_c2_without_noise_there_is_none(frame: pd.DataFrame) -> None:
    assert said(frame, noise=0.0)["found"] is False


def test_c3_noise_moves_the_critical_phase_down_and_the_peak_up(frame: pd.DataFrame) -> None:
    verdicts = [said(frame, noise=noise) for noise in (0.2, 0.4, 0.8)]
    assert all(verdict["found"] for verdict in verdicts)
    for place, sign in (("fitted", -1), ("valley", -1), ("peak", 1)):
        places = [sign * verdict[place] for verdict in verdicts]
        assert places == sorted(places) and places[0] < places[-1], place


def test_c4_turning_points_by_criterion(frame: pd.DataFrame) -> None:
    """Magnitude is last at every turning point; gradient and random do not keep the paper's order at all of them."""
    magnitude, gradient, random = (said(frame, criterion=name) for name in ("magnitude", "gradient", "random"))
    assert magnitude["fitted"] > max(gradient["fitted"], random["fitted"])
    assert magnitude["valley"] > gradient["valley"] and gradient["found"]
    assert min(magnitude["peak"], gradient["peak"]) > random["peak"] + 5
    assert random["found"] is False and random["rise_low"] > 0.1  # it only rises, then falls


def test_c5_retrainings(frame: pd.DataFrame) -> None:
    """Lr-rewinding shows it, fine-tuning dips so; from scratch, accuracy only rises and falls here."""
    for name in ("finetune", "lr-rewind"):
        verdict = said(frame, retraining=name)
        assert verdict["dip_low"] > 0 and verdict["rise_low"] > 0.02 and verdict["found"] in (True, name == "lr-rewind")
    scratch = said(frame, retraining="scratch")
    assert scratch["found"] is False and scratch["rise_low"] > 0.1


def test_c6_other_noises_show_little_here(frame: pd.DataFrame) -> None:
    assert said(frame, noise_kind="asymmetric")["found"] is False
    assert max(said(frame, noise_kind=kind)["rise"] for kind in ("asymmetric", "pairflip")) < 0.05


def test_c6_a_convnet_dips_and_c8_with_batchnorm_the_distance_has_no_peak(frame: pd.DataFrame) -> None:
    verdict = said(frame, model="convnet:width=8")
    assert verdict["dip"] > 0.01 and verdict["rise_low"] > 0.1 and verdict["gain_low"] > 0.1 and verdict["p"] < 0.1
    assert abs(verdict["valley"] - verdict["fitted"]) <= 2
    distances = [at(frame, level, "learning_distance", model="convnet:width=8") for level in range(31)]
    assert max(distances) < 1.03 * distances[0] and max(distances) == max(distances[:4])
    threshold = verdict["fitted"]
    assert distances[verdict["peak"]] < 0.7 * distances[threshold]
    floor = [at(frame, level, "masking_distance", model="convnet:width=8") for level in range(31)]
    assert floor == sorted(floor)


def test_c7_best_epochs_hide_the_dip_at_the_threshold_but_have_one_of_their_own(frame: pd.DataFrame) -> None:
    last, best = said(frame), said(frame, "best_test_accuracy")
    assert at(frame, last["valley"], "best_test_accuracy") > at(frame, 0, "best_test_accuracy")
    assert best["found"] and best["valley"] < last["valley"] - 5


def test_c8_the_distance_peaks_at_the_valley(frame: pd.DataFrame) -> None:
    distances = [at(frame, level, "learning_distance") for level in range(33)]
    assert abs(distances.index(max(distances)) - said(frame)["valley"]) <= 2


def test_c9_new_weights_shift_the_curve_to_lower_sparsity_and_win_in_places(frame: pd.DataFrame) -> None:
    lottery, reinit = said(frame), said(frame, retraining="reinit")
    assert reinit["fitted"] < lottery["fitted"] - 5 and reinit["peak"] < lottery["peak"] - 5
    level = lottery["valley"]
    assert at(frame, level, "test_accuracy", retraining="reinit") > at(frame, level, "test_accuracy") + 0.1


def test_c10_redense_training_at_a_large_rate_loses_most_of_the_sweet_phase(frame: pd.DataFrame) -> None:
    """At the last learning rate, 0.001, and in these 60 epochs it does not."""
    lottery, slow, fast = said(frame), said(frame, retraining="redense"), said(frame, retraining="redense:lr=0.1")
    level = lottery["peak"]
    assert at(frame, level, "test_accuracy", retraining="redense:lr=0.1") < at(frame, level, "test_accuracy") - 0.08
    assert at(frame, level, "memorized", retraining="redense:lr=0.1") > 0.3 > 0.15 > at(frame, level, "memorized")
    assert fast["gain"] < lottery["gain"] - 0.05 and slow["gain"] > lottery["gain"] - 0.01


def test_mnist_has_its_valley_at_the_threshold_and_its_largest_distance_beside_it() -> None:
    frame = table.read(ROOT / "docs" / "evidence" / "mnist-2000.csv")
    (verdict,) = table.judged(frame, judge, PLACES).to_dict("records")
    assert verdict["found"] and verdict["n"] == 4 and verdict["dip_low"] > 0.1 and verdict["rise_low"] > 0.05
    assert abs(verdict["valley"] - verdict["fitted"]) <= 1
    mean = frame.groupby("level")[["learning_distance", "test_accuracy", "memorized"]].mean()
    assert abs(mean["learning_distance"].idxmax() - verdict["valley"]) <= 1
    assert mean["memorized"][verdict["peak"]] < 0.2 and mean["test_accuracy"][25] < 0.3


def test_photographs_show_it_at_the_threshold() -> None:
    frame = table.read(ROOT / "docs" / "evidence" / "cifar-images.csv")
    (verdict,) = table.judged(frame, judge, PLACES).to_dict("records")
    assert verdict["found"] and verdict["n"] == 4 and verdict["dip_low"] > 0.01 and verdict["rise_low"] > 0.005
    assert abs(verdict["valley"] - verdict["fitted"]) <= 2 and verdict["gain_low"] < 0 < verdict["gain_high"]


def test_products_in_bf16_leave_the_curve_where_it_is() -> None:
    frame = table.read(ROOT / "docs" / "evidence" / "precision.csv")
    verdicts = table.judged(frame, judge, PLACES).set_index("precision")
    assert list(verdicts.index) == ["bf16", "fp32"] and verdicts["found"].all() and (verdicts["n"] == 5).all()
    assert all(verdicts[place].max() - verdicts[place].min() <= 1 for place in ("fitted", "valley", "peak"))
    pairs = table.compared(frame)
    beside = {name: (pairs[f"{name}_low"] > 0) | (pairs[f"{name}_high"] < 0) for name in ("test_accuracy", "memorized")}
    assert len(pairs) == 33 and beside["test_accuracy"].sum() == 1 and not beside["memorized"].any()
    assert pairs["test_accuracy_difference"].abs().max() < 0.021


def test_what_the_phenomenon_page_says_is_in_its_record() -> None:
    """Its table of correlations, and its verdict, against the results it was written from."""
    frame = table.read(ROOT / "docs" / "phenomenon" / "results.csv")
    page = (ROOT / "docs" / "phenomenon.md").read_text(encoding="utf-8")
    numbers = frame[["run", "level", *table.further(frame), "memorized"]].drop_duplicates()
    found = table.correlations(frame, numbers).set_index("measure")
    rows = re.findall(r"^\| (\w+) \| ([+-][\d.]+) ± ([\d.]+) \|", page, re.MULTILINE)
    assert len(rows) == 12
    for name, mean, std in rows:
        assert (f"{found.loc[name, 'mean']:+.2f}", f"{found.loc[name, 'std']:.2f}") == (mean, std), name
    (verdict,) = table.judged(frame, judge, PLACES).to_dict(orient="records")
    assert f"up to level {verdict['fitted']}" in page and verdict["found"] and f"(p = {verdict['p']:.3f})" in page
    for place, size in (("valley", "dip"), ("peak", "rise")):
        interval = f"[{100 * verdict[f'{size}_low']:.1f}, {100 * verdict[f'{size}_high']:.1f}]"
        assert f"at level {verdict[place]}" in page and f"{100 * verdict[size]:.1f} points {interval}" in page


def test_the_figure_of_the_phenomenon_has_the_intervals_of_its_verdict() -> None:
    """From the record to the bars under the curve, through summary and phases as the command does it."""
    frame = table.grown(table.read(ROOT / "docs" / "phenomenon" / "results.csv"))
    (verdict,) = table.judged(frame, judge, PLACES).to_dict(orient="records")
    picture = drawn(ROOT, frame, summarized(frame), "double-descent")
    sparsity = frame.groupby("level")["sparsity"].mean()
    for line, place in zip(picture.axes[0].lines[-2:], ("valley", "peak"), strict=True):
        ends = [-math.log(1 - sparsity[verdict[f"{place}_{end}"]]) for end in ("low", "high")]
        assert list(line.get_xdata()) == pytest.approx(ends)
