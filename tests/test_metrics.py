"""Metrics: all that is recorded is in the table, reaches results.csv, and has the unit that it says."""

from pathlib import Path

import pandas as pd
import pytest

from sddcli import table
from sddcli.families import members
from sddcli.metrics import METRICS, metric_of
from sddcli.store import Store
from tests.conftest import Sdd


@pytest.fixture(scope="module")
def various(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that record whatever a run may record: examples held out, events between segments, gates drawn."""
    import subprocess
    import sys

    root = tmp_path_factory.mktemp("various") / "runs"
    words = "sweep --model lenet-16-8 --levels 0-2 --seeds 0 --epochs 3 --validation 0.2 --retraining"
    for retraining in ("lottery,supermask", "gradual:events=2 --take validation"):
        command = [sys.executable, "-m", "sddcli", *words.split(), *retraining.split(), "--runs", str(root)]
        subprocess.run(command, check=True, capture_output=True)
    return root


def test_what_manifests_record_reaches_results_csv(various: Path) -> None:
    frame = table.results(Store(various)).drop_duplicates("run").set_index("run")
    recorded = set[str]()
    for run, manifest in Store(various).manifests():
        recorded |= set(manifest["metrics"])
        for name, value in manifest["metrics"].items():
            cell = frame.loc[run.id, name]
            assert cell == value or (value is None and pd.isna(cell)), name
    assert recorded | {"events", "event_instability", "settled_test_accuracy"} == set(METRICS)
    assert frame[list(METRICS)].notna().any().all(), "each of them has a number here"


def test_units_are_what_they_say(various: Path) -> None:
    frame = table.results(Store(various))
    for name, metric in METRICS.items():
        values = frame[name].dropna()
        assert metric.unit != "share" or values.between(0, 1).all(), name
        assert metric.unit != "count" or (values == values.round().abs()).all(), name
        assert metric.unit != "loss" or (values > 0).all(), name


def test_width_and_parameters_are_those_of_the_dense_network(various: Path) -> None:
    frame = table.results(Store(various))
    assert set(frame["width"]) == {16} and set(frame["parameters"]) == {64 * 16 + 16 + 16 * 8 + 8 + 8 * 10 + 10}


def test_a_number_of_an_analysis_has_the_unit_that_its_file_says(measured: Path) -> None:
    assert metric_of("after_pruning_accuracy") == ("share", "after pruning", 0)
    assert metric_of("learning_distance") == ("number", "learning distance", 0)
    made = {name for each in members("analyses") for name in pd.read_csv(measured / "measures" / f"{each}.csv")}
    shares = {name for name in made if metric_of(name).unit == "share"}
    assert shares == {name for name in made if name.endswith(("_accuracy", "_signs")) or "label_noise" in name}


def test_columns_of_a_report_are_in_the_order_of_their_places(sdd: Sdd, various: Path, tmp_path: Path) -> None:
    assert sdd("report", various, "-o", tmp_path / "a.html").code == 0
    page = (tmp_path / "a.html").read_text()
    ordered = sorted((metric for metric in METRICS.values() if metric.order), key=lambda metric: metric.order)
    heads = [f'<th scope="col">{metric.label}</th>' for metric in ordered]
    assert [head for head in heads if head not in page] == []
    places = [page.index(head) for head in heads]
    assert places == sorted(places) and len(set(heads)) == len(heads)
