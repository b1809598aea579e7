"""Looking at runs: analyze and plot."""

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from sddcli import table
from sddcli.cli.kinds import MEASURES, module_of, summarized
from sddcli.cli.seeing import MADE_BY
from sddcli.families import members, names_in
from sddcli.metrics import METRICS
from sddcli.packing import pack
from sddcli.recipes import measuring
from sddcli.store import Store
from tests.conftest import SMALL, Sdd


@pytest.mark.parametrize("measure", members("analyses"))
def test_every_measure_is_made_again_as_it_was(sdd: Sdd, trained: Path, tmp_path: Path, measure: str) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    table = root / "measures" / f"{measure}.csv"
    before, stamps = table.read_bytes() if table.exists() else None, {}
    for path in root.rglob(f"measures/{measure}.*"):
        path.unlink()
    assert sdd("analyze", measure, root).code == 0
    if before is not None:
        assert table.read_bytes() == before
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob(f"measures/{measure}.json")}
    said = sdd("analyze", measure, root, "--where", "seed=1", "--json")
    assert said.code == 0 and len(said.json) == 4
    assert len(stamps) == 12 and all(path.stat().st_mtime_ns == then for path, then in stamps.items())


def test_analyze_prints_the_curve(sdd: Sdd, trained: Path) -> None:
    said = sdd("analyze", "learning-distance", trained)
    assert said.code == 0 and "masking distance" in said.out and "sdd plot learning-distance" in said.out
    assert all(len(line) <= 80 for line in said.out.splitlines()[:-1])


def test_what_cannot_be_measured_is_named_and_the_rest_is(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    for path in root.rglob("measures/*"):
        path.unlink()
    damaged = next(root.rglob("level-02/weights.safetensors"))
    damaged.write_bytes(b"x")
    said = sdd("analyze", "learning-distance", root)
    assert said.code == 4 and str(damaged) in said.err and said.err.count("\n") == 1
    assert len(pd.read_csv(root / "measures" / "learning-distance.csv")) == 11


def test_runs_of_an_older_version_were_not_recorded(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")

    def forget(pattern: str) -> None:
        for path in root.glob(pattern):
            manifest = json.loads(path.read_text())
            if manifest["files"].pop("fitted.safetensors", None):
                path.write_text(json.dumps(manifest))
                path.with_name("fitted.safetensors").unlink()

    forget("*/level-02/manifest.json")
    said = sdd("analyze", "memorization", root)
    assert said.code == 3 and said.err.count("was not recorded") == said.err.count("\n") == 3
    assert len(pd.read_csv(root / "measures" / "memorization.csv")) == 9
    for path in root.rglob("measures/memorization*"):
        path.unlink()
    forget("**/manifest.json")
    said = sdd("analyze", "memorization", root)
    assert said.code == 3 and said.err.count("was not recorded") == said.err.count("\n") == 12 and not said.out
    assert sdd("analyze", "memorization", root, "--json").json == [] and sdd("verify", root).code == 0


OTHERS = {"effective-complexity", "event-stability", "plane", "risk"}
"""Figures of other runs: of several training sets, with events within a training, of several widths; of no runs."""


@pytest.mark.parametrize("figure", sorted({*members("plots")} - OTHERS))
@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_every_figure_from_runs_and_from_csv(
    sdd: Sdd, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: str, ending: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sdd("plot", figure, measured, "-o", f"a.{ending}").out == f"a.{ending}\n"
    assert sdd("plot", figure, measured / "results.csv", "-o", f"b.{ending}").code == 0
    content = (tmp_path / f"a.{ending}").read_bytes()
    assert len(content) > 5000
    if ending != "pdf":  # a PDF compresses its words
        run = pd.read_csv(measured / "results.csv")["run"][0]
        assert run.encode() in content and b"sdd plot" in content, "a figure carries its evidence"
    assert sdd("plot", figure, measured).out == f"{figure}.png\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("plot double RUNS", 2, "did you mean 'double-descent'?"),
        ("plot double-descent none", 4, "no runs folder at none"),
        ("plot double-descent none.csv", 4, "none.csv"),
        ("plot double-descent RUNS -o figure.docx", 2, "ends in .png, .pdf or .svg"),
        ("plot double-descent RUNS --where seed=9", 2, "no run has seed 9; known: 0, 1, 2"),
        ("plot double-descent RUNS --where sede=9", 2, "did you mean 'seed'?"),
        ("plot double-descent RUNS --where seed", 2, "is not key=value"),
        ("plot double-descent RUNS --along weight", 2, "did you mean 'weights'?"),
        (
            "plot double-descent RUNS --panels noise",
            2,
            "cannot draw a panel for each 'noise'; these runs differ in nothing",
        ),
        ("plot epochs RUNS --panels noise", 2, "--panels is for best-epoch, double-descent"),
        ("analyze distance RUNS", 2, "did you mean 'learning-distance'?"),
        ("analyze learning-distance none", 4, "no runs folder at none"),
        ("analyze learning-distance TABLE", 4, "results.csv is a file, not a runs folder"),
        ("analyze learning-distance RUNS --pairs seeds", 2, "--pairs and --between are for interpolation"),
        ("analyze interpolation RUNS --pairs seed", 2, "did you mean 'seeds'?"),
        ("analyze interpolation RUNS --pairs redense", 2, "no two of these runs are a pair of redense"),
        ("analyze interpolation RUNS --between RUNS", 2, "--between is given twice"),
        ("analyze interpolation RUNS --between RUNS --between RUNS", 4, "is no folder of a run"),
        ("list none", 4, "no runs folder at none"),
        ("list .", 4, "no finished runs in ."),
    ],
)
def test_errors_are_one_line(
    sdd: Sdd, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"RUNS": str(trained), "TABLE": str(trained / "results.csv")}
    said = sdd(*(files.get(word, word) for word in words.split()))
    assert said.code == code and message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_list(sdd: Sdd, trained: Path) -> None:
    said = sdd("list", trained)
    assert said.out.count("0-3") == 3 and all(len(line) <= 80 for line in said.out.splitlines())
    rows = sdd("list", trained, "--where", "seeds=0,2", "--json").json
    assert [row["seed"] for row in rows] == [0, 2] and rows[0]["levels"] == 4
    assert "0-3 (2 of them)" in sdd("list", trained, "--where", "level=0,3").out


@pytest.mark.parametrize("measure", members("verdicts"))
def test_every_measure_of_curves_says_something_of_each_setting(
    sdd: Sdd, trained: Path, tmp_path: Path, measure: str
) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    said = sdd("analyze", measure, root)
    assert said.code == 0 and "digits, lenet-300-100" in said.out
    assert (root / "measures" / f"{measure}.csv").exists()
    assert len(sdd("analyze", measure, root, "--json").json) == 1


@pytest.mark.parametrize("measure", MEASURES)
def test_no_number_is_parted_from_its_spread_at_80_columns(sdd: Sdd, measured: Path, measure: str) -> None:
    said = sdd("analyze", measure, measured)
    if measure in members("verdicts/sizes"):
        assert said.code == 2
        return
    assert said.code == 0 and (measure in members("verdicts") or said.out.count(" ±") > 7)
    for line in said.out.split("\n\n")[0].splitlines():
        assert len(line) <= 80 and not re.search(r"(^|  ) *±", line), line


def test_all_analyses_say_a_line_each_and_whole_tables_when_asked(sdd: Sdd, measured: Path) -> None:
    said = sdd("analyze", "all", measured)
    title, _, *lines = said.out.split("\n\n")[0].splitlines()
    words = [line.split()[0] for line in lines if line[1] != " "]
    assert said.code == 0 and title.startswith("digits")
    assert sorted(words) == sorted(set(MEASURES) - {"effective-complexity"})  # which needs training sets of other sizes
    assert all(len(line) <= 80 for line in said.out.splitlines()[:-2])  # the last two name folders
    frame = pd.read_csv(measured / "measures" / "sharpness-correlations.csv").set_index("measure")
    mean, std = frame.loc["hessian_top", ["mean", "std"]]
    assert f"{mean:+.2f} ±{std:.2f}" in next(line for line in lines if "hessian top" in line)
    assert f"{measured / 'measures'}/MEASURE.csv" in said.out
    full = sdd("analyze", "all", measured, "--full").out
    assert len(full.splitlines()) > 5 * len(said.out.splitlines()) and "measures/sharpness.csv" in full


@pytest.mark.slow
def test_each_setting_has_its_digest(sdd: Sdd, tmp_path: Path) -> None:
    sizes = [
        "--train-size",
        "40,200",
        "--levels",
        "0-4",
        "--seeds",
        "0-1",
        "--epochs",
        "2",
        "--runs",
        tmp_path / "runs",
    ]
    assert sdd("sweep", *sizes).code == 0
    said = sdd("analyze", "all", tmp_path / "runs")
    parts = re.split(r"^(?=digits)", said.out, flags=re.MULTILINE)[1:]
    assert [part.splitlines()[0].partition(": ")[2] for part in parts] == ["train size 40", "train size 200", ""]
    assert all("learning distance" in part and "double-descent" in part for part in parts[:2])
    assert "examples fitted none to none" in parts[2]


def test_where_may_be_said_twice(sdd: Sdd, trained: Path) -> None:
    assert len(sdd("list", trained, "--where", "seed=0", "--where", "seed=2", "--json").json) == 2


def test_a_figure_says_which_measure_it_lacks(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    for path in root.rglob("measures"):
        shutil.rmtree(path)
    said = sdd("plot", "learning-distance", root)
    assert said.code == 4 and "first: sdd analyze learning-distance" in said.err
    assert sdd("sweep", *SMALL, "--runs", root).code == 0  # which makes what is missing
    assert sdd("plot", "learning-distance", root, "-o", tmp_path / "a.png").code == 0


def test_epochs_are_read_from_the_histories_and_lacking_ones_said(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    """Evaluated at epochs 2 and 3 of 3; the file is beside the results."""
    frame = table.read(trained)
    rows = table.details(trained, "history", frame, ["epoch"])
    assert set(rows["epoch"]) == {2, 3} and set(rows["level"]) == set(frame["level"]) and set(rows["n"]) == {3}
    last = rows[rows["epoch"] == 3].set_index("level")["test_accuracy"]
    assert last.to_dict() == pytest.approx(frame.groupby("level")["test_accuracy"].mean().to_dict())
    shutil.copy(trained / "results.csv", tmp_path)
    said = sdd("plot", "epochs", tmp_path / "results.csv")
    assert said.code == 4 and said.err == (
        f"sdd: no {tmp_path / 'history.csv'}; first: sdd analyze learning-distance {tmp_path}\n"
    )


def test_a_gap_is_of_each_seed_before_it_is_a_mean(trained: Path) -> None:
    frame = table.grown(table.read(trained))
    gap = (frame["train_accuracy"] - frame["test_accuracy"]).groupby(frame["level"])
    summary = summarized(frame).set_index("level")
    assert summary["generalization_gap"].to_dict() == pytest.approx(gap.mean().to_dict())
    assert summary["generalization_gap_std"].to_dict() == pytest.approx(gap.std().to_dict())


def test_along_weights_and_weights_per_example(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    pictures = set()
    for x in ("sparsity", "weights", "per-example"):
        assert sdd("plot", "double-descent", trained, "--along", x, "-o", tmp_path / "a.svg").code == 0
        pictures.add((tmp_path / "a.svg").read_bytes())
    assert len(pictures) == 3
    older = pd.read_csv(trained / "results.csv", dtype=str).drop(columns=["weights", "noise_kind", "init_seed"])
    older.to_csv(tmp_path / "older.csv", index=False)
    assert sdd("plot", "double-descent", tmp_path / "older.csv", "-o", tmp_path / "b.png").code == 0
    said = sdd("plot", "double-descent", tmp_path / "older.csv", "--along", "weights", "-o", tmp_path / "c.png")
    assert said.code == 4 and "does not say the prunable weights kept" in said.err and not (tmp_path / "c.png").exists()


def test_one_seed_is_not_tested_and_says_so(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    said = sdd("analyze", "double-descent", root, "--where", "seed=1")
    assert said.code == 0 and "not tested: one seed" in said.out
    assert (
        "fewer than 3 seeds are too few to trust" in sdd("analyze", "double-descent", root, "--where", "seed=0,1").out
    )
    assert [run.seed for run, _ in Store(root).manifests()].count(1) == 4


def test_two_curves_are_compared_and_three_are_not(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(trained / "results.csv", keep_default_na=False)
    for settings in (1, 2, 3):
        several = [frame.assign(noise=noise, test_accuracy=frame["test_accuracy"] - noise) for noise in (0.2, 0.4, 0.6)]
        pd.concat(several[:settings]).to_csv(tmp_path / "results.csv", index=False)
        assert sdd("plot", "double-descent", tmp_path / "results.csv", "-o", tmp_path / "a.svg").code == 0
        drawn = (tmp_path / "a.svg").read_text()
        assert ("noise 0.4 minus noise 0.2, paired by seed (3)" in drawn) == (settings == 2)


@pytest.mark.parametrize("figure", ["double-descent", "memorization", "best-epoch", "learning-distance"])
def test_settings_without_noise_or_without_common_seeds_are_drawn(
    sdd: Sdd, trained: Path, tmp_path: Path, figure: str
) -> None:
    frame = pd.read_csv(trained / "results.csv", keep_default_na=False)
    clean = frame.assign(noise=0.0, memorized=float("nan"), chain=frame["chain"] + "0", run=frame["run"] + "0")
    for other in (clean, clean.assign(seed=clean["seed"] + 7), frame.assign(noise=0.2, seed=frame["seed"] + 7)):
        pd.concat([frame, other]).to_csv(tmp_path / "results.csv", index=False)
        said = sdd("plot", figure, tmp_path / "results.csv", "-o", tmp_path / "a.png")
        assert said.code == 0, said.err


def test_data_that_cannot_be_read_are_said_once(
    sdd: Sdd, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")

    def load(*_: object) -> None:
        raise OSError("cannot read digits")

    monkeypatch.setattr(measuring, "load", load)
    said = sdd("analyze", "calibration,complexity", root)
    assert said.code == 4 and said.err.count("cannot read digits") == said.err.count("\n") == 1


def test_a_measure_with_parameters_lies_beside_the_usual_one(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    said = sdd("analyze", "learning-distance:per=layer", trained)
    assert said.code == 2 and "takes no parameters" in said.err


def test_a_run_that_is_not_finite_is_named_and_the_rest_is_measured(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    for path in root.rglob("measures/*"):
        path.unlink()
    store = Store(root)
    run = next(run for run, _ in store.manifests() if run.level == 2)
    weights, masks = store.weights(run)
    weights["output.bias"][0] = float("nan")
    manifest = store.manifest(run) or {}
    content = pack(weights, masks)
    (store.folder(run) / "weights.safetensors").write_bytes(content)
    manifest["files"]["weights.safetensors"] = hashlib.sha256(content).hexdigest()
    (store.folder(run) / "manifest.json").write_text(json.dumps(manifest))
    said = sdd("analyze", "learning-distance", root)
    assert said.code == 3 and "is not finite" in said.err and said.err.count("\n") == 1
    assert len(pd.read_csv(root / "measures" / "learning-distance.csv")) == 11


@pytest.mark.parametrize("kind", names_in("pairs.PAIRS"))
def test_pairs_are_compared_once_and_their_ends_are_the_metrics_of_the_runs(
    sdd: Sdd, trained: Path, tmp_path: Path, kind: str
) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    if kind == "redense":
        assert (
            sdd("sweep", *SMALL[:2], "--seeds", "0", "--epochs", "3", "--retraining", "redense", "--runs", root).code
            == 0
        )
    if kind == "orders":
        orders = ("--seeds", "0", "--epochs", "3", "--order-seed", "5,6", "--levels", "0")
        assert sdd("sweep", *orders, "--runs", root).code == 0
    words = ("analyze", "interpolation:points=3", root, "--pairs", kind)
    rows = sdd(*words, "--json").json
    assert len(rows) == {"redense": 3, "levels": 9, "seeds": 8, "orders": 1}[kind] and {
        row["kind"] for row in rows
    } == {kind}
    stamps = {path: path.stat().st_mtime_ns for path in (root / "pairs").rglob("*")}
    assert sdd(*words, "--json").json == rows
    assert stamps == {path: path.stat().st_mtime_ns for path in (root / "pairs").rglob("*")}
    details = pd.read_csv(root / "measures" / "interpolation,points=3-details.csv", dtype={"run": str, "other": str})
    results = pd.read_csv(root / "results.csv", dtype={"run": str}).drop_duplicates("run").set_index("run")
    for end, alpha in (("other", 0), ("run", 1)):
        ends = details[details["alpha"] == alpha]
        assert len(ends) == len(rows)
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
            assert ends[name].to_list() == pytest.approx(results.loc[ends[end], name].to_list(), rel=1e-12)
    dense = ("--where", "order_seed=5,6") if kind == "orders" else ()  # which no chain has grown from
    picture = ("-o", tmp_path / "a.png")
    assert sdd(*words).code == 0 and sdd("plot", "interpolation:points=3", root, *dense, *picture).code == 0


def test_any_two_runs_and_those_that_have_no_line(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    a, b = sorted(root.glob("*lottery*"))[:2]
    said = sdd("analyze", "interpolation:points=3", "--between", a / "level-01", "--between", b / "level-03", "--json")
    (row,) = said.json
    assert (row["kind"], row["other_level"], row["level"]) == ("other", 1, 3)
    assert sdd("sweep", "--model", "lenet-20", "--level", "0", "--epochs", "1", "--runs", root).code == 0
    other = next(root.glob("*lenet-20*"))
    said = sdd("analyze", "interpolation,learning-distance", root, "--between", a / "level-01", "--between", other)
    assert said.code == 3 and "no line between networks of different shapes" in said.err and said.err.count("\n") == 1
    assert "learning distance" in said.out


def test_flatness_at_step_0_is_what_the_sweep_saw(sdd: Sdd, measured: Path) -> None:
    details = pd.read_csv(measured / "measures" / "flatness-details.csv", dtype={"run": str})
    results = pd.read_csv(measured / "results.csv", dtype={"run": str}).drop_duplicates("run").set_index("run")
    middle = details[details["step"] == 0]
    assert len(middle) == len(results) == 12
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert middle[name].to_list() == pytest.approx(results.loc[middle["run"], name].to_list(), rel=1e-12)


@pytest.mark.slow
def test_how_much_networks_can_fit_needs_several_training_sets(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    said = sdd("analyze", "effective-complexity", trained)
    assert said.code == 2 and "differ in train_size" in said.err and said.err.count("\n") == 1
    root = tmp_path / "runs"
    for size in ("40", "200"):
        sizes = ["--train-size", size, "--levels", "0-1", "--seeds", "0-1", "--epochs", "12", "--runs", root]
        assert sdd("sweep", *sizes).code == 0
    found = sdd("analyze", "effective-complexity", root, "--json").json
    assert [row["level"] for row in found] == [0, 1] and found[0]["effective_complexity"] >= 40
    assert "examples fitted" in sdd("analyze", "effective-complexity:error=0.3", root).out
    assert sdd("plot", "effective-complexity", root, "-o", tmp_path / "a.png").code == 0
    assert sdd("plot", "effective-complexity", trained, "-o", tmp_path / "b.png").code == 2


def test_what_needs_a_missing_level_is_left_out_and_the_rest_is_measured(
    sdd: Sdd, trained: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    for path in root.rglob("level-02"):
        shutil.rmtree(path)
    said = sdd("analyze", "movement,calibration,interpolation", root)
    assert said.code == 3 and "Traceback" not in said.err
    lines = said.err.splitlines()
    assert len(lines) == 6 and all("level 2" in line and "is not in" in line for line in lines)
    assert len(pd.read_csv(root / "measures" / "calibration.csv")) == 9


@pytest.mark.parametrize("words", ["plot double-descent RUNS -o OUT.png", "report RUNS -o OUT.html"])
def test_a_full_disk_is_named_and_the_old_file_stays(
    sdd: Sdd, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    command = [word.replace("RUNS", str(trained)).replace("OUT", str(tmp_path / "out")) for word in words.split()]
    path = Path(command[-1])
    path.write_bytes(b"the old one")
    monkeypatch.setattr(os, "fsync", full)
    ended = sdd(*command)
    assert ended.code == 4 and ended.err == f"sdd: cannot write {path}: No space left on device\n"
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"the old one"


def test_a_figure_goes_through_a_link(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "f.png").symlink_to(tmp_path / "paper" / "f.png")
    assert sdd("plot", "double-descent", trained, "-o", tmp_path / "f.png").code == 0
    assert (tmp_path / "f.png").is_symlink() and (tmp_path / "paper" / "f.png").stat().st_size > 10_000


@pytest.mark.parametrize("figure", members("plots"))
def test_what_a_figure_lacks_is_made_by_an_analysis_that_there_is(figure: str) -> None:
    needs = {name for name in module_of("plots", figure).NEEDS if name not in (*METRICS, "generalization_gap")}
    _, command, *more = MADE_BY.get(figure, f"sdd analyze {figure} {{}}").split()
    assert not needs or command == "theory" or more[0] in MEASURES


@pytest.mark.parametrize(("word", "drawn"), [("untrained", False), ("signs", False), ("movement", True)])
def test_what_no_figure_shows_is_not_said_to_be_plotted(
    sdd: Sdd, trained: Path, tmp_path: Path, word: str, drawn: bool
) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    said = sdd("analyze", word, root)
    assert said.code == 0 and f"{word}.csv" in said.out and (f"to plot it: sdd plot {word}" in said.out) == drawn
