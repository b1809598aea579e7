"""Reproducing: figures and claims by name, from nothing to the picture and its verdict, and what cannot be."""

import json
import shutil
from pathlib import Path

import pytest

from sddcli.cli import reproducing
from sddcli.cli.making import How, price
from sddcli.cli.reproducing import claims, figures, plan
from sddcli.figures import FIGURES, SCALES, Sweep
from sddcli.recipes import prune_retrain
from sddcli.store import Store
from tests.conftest import Sdd

RECORDS = Path(__file__).parent.parent.parent / "docs" / "evidence"
TINY = Sweep({"dataset": "digits", "noise": "0.2,0.8", "level": "0-4", "seed": "0-1", "epochs": "2", "rate": "0.5"})


@pytest.fixture(autouse=True)
def fixture_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("scale", SCALES)
def test_every_figure_and_claim_has_its_price_at_every_scale(
    scale: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune_retrain, "disk", lambda todo: 0)  # asked of every run, that takes minutes for all
    priced = set[str]()
    for target in (claims() | figures()).values():
        if scale not in target.sweeps or str(target.sweeps[scale]) in priced:
            continue
        priced.add(str(target.sweeps[scale]))
        price(Store(tmp_path / "runs"), plan([target], scale), How("cpu", 1), True, [])
        said = json.loads(capsys.readouterr().out)
        assert said["to do"] == said["runs"] > 20 and said["epochs"] > 1000, target.name


def test_a_figure_from_nothing_to_its_picture_and_again_in_no_time(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    claims()  # which take sweeps of figures over when they are first loaded
    monkeypatch.setitem(FIGURES, "figure-4", FIGURES["figure-4"]._replace(sweeps={"laptop": (TINY,)}))
    first = sdd("reproduce", "figure-4", "--workers", 1)
    assert first.code == 0 and first.out.splitlines()[-1] == "figure-4.png"
    assert (tmp_path / "figure-4.png").stat().st_size > 10_000
    manifests = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("manifest.json")}
    assert len(manifests) == 20
    again = sdd("reproduce", "Figure-4", "-o", "again.svg")
    assert (again.code, again.err) == (0, "") and (tmp_path / "again.svg").exists()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("manifest.json")} == manifests


def test_a_claim_says_its_verdict_and_is_recorded_with_where_it_is_from(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny = claims()["C3"]._replace(sweeps={"laptop": (TINY,)})
    monkeypatch.setattr(reproducing, "claims", lambda: {"C3": tiny})
    said = sdd("reproduce", "C3", "--workers", 1, "--json", "--record", "kept/tiny.csv")
    assert said.code == 0 and said.json["name"] == "C3" and len(said.json["findings"]) == 5
    kept = sdd("reproduce", "C3", "--recorded", "kept", "--json")
    assert kept.code == 0 and kept.json == said.json
    origin = json.loads((tmp_path / "kept" / "origins.json").read_text())["tiny.csv"]
    assert origin["command"] == "sdd reproduce C3 --scale laptop" and origin["engine"] and origin["date"]
    page = sdd("reproduce", "all", "--recorded", "kept")
    text = (tmp_path / "claims.md").read_text()
    assert page.code == 0 and "From tiny.csv" in text and "Older engine" not in text


def test_a_changed_number_in_a_record_changes_the_verdict(sdd: Sdd, tmp_path: Path) -> None:
    shutil.copytree(RECORDS, tmp_path / "kept", ignore=shutil.ignore_patterns("*.png", "precision.csv"))
    before = sdd("reproduce", "C1c", "--recorded", "kept", "--json").json
    path = tmp_path / "kept" / "digits.csv"
    lines = path.read_text().splitlines()
    names = lines[0].split(",")
    wanted = {"noise": "0.4", "noise_kind": "symmetric", "criterion": "magnitude", "retraining": "lottery"}
    wanted |= {"level": "27", "seed": "0"}
    (row,) = (
        k for k, line in enumerate(lines) if wanted.items() <= dict(zip(names, line.split(","), strict=True)).items()
    )
    cells = lines[row].split(",")
    cells[names.index("memorized")] = "0.9"
    path.write_text("\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]) + "\n")
    after = sdd("reproduce", "C1c", "--recorded", "kept", "--json").json
    assert before["verdict"] == "holds" and after["verdict"] == "undecided"


def test_without_a_name_there_is_a_line_for_each(sdd: Sdd) -> None:
    said = sdd("reproduce")
    names = {line.split()[0] for line in said.out.splitlines() if line[:2] != "  " and line.split()}
    assert said.code == 0 and names >= {*claims(), *FIGURES}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["figure-400"], 2, "did you mean 'figure-40'?"),
        (["c33"], 2, "did you mean 'C3'?"),
        (["C3", "--scale", "labtop"], 2, "did you mean 'laptop'?"),
        (["C3", "--recorded", "nowhere"], 4, "no recorded results in nowhere"),
        (["C3", "--recorded", RECORDS, "--scale", "paper"], 4, "to make them: sdd reproduce C3 --scale paper"),
        (["all", "--recorded", RECORDS, "-o", "page.html"], 2, "ends in .md"),
    ],
)
def test_what_cannot_be_is_one_line(sdd: Sdd, words: list[object], code: int, said: str) -> None:
    outcome = sdd("reproduce", *words)
    assert outcome.code == code and said in outcome.err and len(outcome.err.splitlines()) == 1, outcome


def test_results_of_another_protocol_are_named_as_such(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    shutil.copy(trained / "results.csv", tmp_path / "kept")
    outcome = sdd("reproduce", "C1a", "--recorded", "kept")
    assert outcome.code == 4 and "those of another protocol have epochs 3 and not 60" in outcome.err


def test_a_scale_that_a_claim_lacks_is_named(sdd: Sdd, monkeypatch: pytest.MonkeyPatch) -> None:
    small = claims()["C3"]._replace(sweeps={"laptop": (TINY,)})
    monkeypatch.setattr(reproducing, "claims", lambda: {"C3": small})
    outcome = sdd("reproduce", "C3", "--scale", "paper")
    assert outcome.code == 2 and "C3 has no scale paper; it has: laptop" in outcome.err
