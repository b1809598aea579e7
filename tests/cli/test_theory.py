"""Theory: the table, its figure, its section of a report, and the gap where the risk is infinite."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Sdd

FAST = ("--features", "isotropic,spiked", "--seed", "0-1", "--repetitions", 1, "--examples", 60, "--kept", 10)


@pytest.fixture(autouse=True)
def fixture_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_study_is_a_table_of_results_that_is_drawn_with_a_gap(sdd: Sdd) -> None:
    made = sdd("theory", *FAST, "--ratio", "0.5,1,2")
    assert made.code == 0 and made.err.splitlines() == [
        "sdd: 60 features from 60 examples: the expected risk is infinite; figures have a gap there"
    ]
    command = made.out.splitlines()[-1].partition("to plot it: sdd ")[2].split(" ")
    assert command == ["plot", "risk", "runs/theory.csv", "--panels", "dataset"]
    drawn = sdd(*command)
    assert (drawn.code, drawn.err) == (0, "") and Path("risk.png").stat().st_size > 10_000
    assert pd.read_csv("runs/theory.csv")["risk"].isna().any()


def test_the_figure_of_a_folder_is_that_of_its_table_along_the_ratio(sdd: Sdd) -> None:
    """Whatever else lies there; of a folder without the table, what makes it is said."""
    Path("runs").mkdir()
    none = sdd("plot", "risk")
    assert none.code == 4 and none.err.endswith("first: sdd theory -o runs/theory.csv\n")
    assert sdd("theory", *FAST, "--ratio", "0.5,1,2").code == 0
    pictures = [("risk",), ("risk", "runs/theory.csv", "--along", "ratio"), ("risk", "--along", "level")]
    assert [sdd("plot", *words, "-o", f"{k}.svg").code for k, words in enumerate(pictures)] == [0, 0, 0]
    folder, table, levels = (Path(f"{k}.svg").read_text().count("<path") for k in range(3))
    assert folder == table != levels


def test_one_ratio_and_json(sdd: Sdd) -> None:
    made = sdd("theory", *FAST, "--ratio", "2", "--json", "-o", "mine.csv")
    assert made.code == 0 and {row["parameters"] for row in made.json} == {120}
    assert sdd("plot", "risk", "mine.csv").code == 0


def test_the_report_of_a_folder_shows_its_studies(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, "runs", symlinks=True)
    assert sdd("theory", *FAST, "--ratio", "0.5,2").code == 0
    assert sdd("report", "runs").code == 0
    page = Path("report.html").read_text()
    assert "Theory of regression" in page and "theory risk" in page and "dataset spiked, level 0" in page


def test_what_cannot_be_written_or_studied_is_one_line(sdd: Sdd) -> None:
    for words, says in (
        (("-o", "theory.png"), "a table ends in .csv"),
        (("--ratio", "0.1"), "40 weights cannot be kept of 20"),
    ):
        said = sdd("theory", *words)
        assert said.code == 2 and says in said.err and said.err.count("\n") == 1
