"""Reproducing: figures and claims by name, from nothing to the picture and its verdict, and what cannot be."""

import json
import shutil
from pathlib import Path
from urllib.error import URLError

import pandas as pd
import pytest

from sddcli import records
from sddcli.claims.deciding.terms import Verdict
from sddcli.cli import reproducing, targets
from sddcli.cli.launching import How
from sddcli.cli.pricing import price
from sddcli.cli.targets import claims, figures, plan
from sddcli.families import members
from sddcli.figures import FIGURES, SCALES, Study, Sweep, Sweeps
from sddcli.pairs import PAIRS
from sddcli.recipes import planning
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
    monkeypatch.setattr(planning, "disk", lambda todo: 0)  # asked of every run, that takes minutes for all
    priced = set[str]()
    for target in (claims() | figures()).values():
        if scale not in target.sweeps or str(target.sweeps[scale]) in priced or not plan([target], scale):
            continue
        priced.add(str(target.sweeps[scale]))
        price(Store(tmp_path / "runs"), plan([target], scale), How("cpu", 1), True, [])
        said = json.loads(capsys.readouterr().out)
        assert said["to do"] == said["runs"] >= 20 and said["epochs"] > 1000, target.name


def test_a_figure_from_nothing_to_its_picture_and_again_in_no_time(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    claims()  # which take sweeps of figures over when they are first loaded
    monkeypatch.setitem(FIGURES, "figure-4", FIGURES["figure-4"]._replace(sweeps={"laptop": (TINY,)}))
    first = sdd("reproduce", "figure-4", "--workers", 1)
    assert first.code == 0 and first.out.splitlines()[-1] == "figure-4.png"
    assert "noise 0.2: double descent" not in first.out  # five levels make no curve
    assert (tmp_path / "figure-4.png").stat().st_size > 10_000
    manifests = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("manifest.json")}
    assert len(manifests) == 20
    again = sdd("reproduce", "Figure-4", "-o", "again.svg")
    assert (again.code, again.err) == (0, "") and (tmp_path / "again.svg").exists()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("manifest.json")} == manifests


@pytest.mark.slow
def test_a_figure_says_of_each_curve_whether_it_descends_twice_and_figures_are_a_page(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sweeps = {"laptop": (TINY._replace(words={**TINY.words, "level": "0-10"}),)}
    both = {
        name: figure._replace(sweeps=sweeps) for name, figure in figures().items() if name in ("figure-4", "figure-5")
    }
    monkeypatch.setattr(targets, "claims", dict)
    monkeypatch.setattr(targets, "figures", lambda: {k: v._replace(panels="noise", beside="") for k, v in both.items()})
    out = sdd("reproduce", "figure-4", "--workers", 1).out
    for noise in (0.2, 0.8):
        assert f"noise {noise}: double descent, by its dip (p = " in out
    page = sdd("reproduce", "figures")
    text = (tmp_path / "figures.md").read_text()
    assert page.code == 0 and page.out == "figures.md\n" and "## Figures 4, 5\n" in text
    assert text.count("| noise 0.2: double descent") == 1 and text.count("![") == 1
    assert (tmp_path / "figures" / "figure-4-laptop.png").stat().st_size > 10_000


def test_a_claim_says_its_verdict_and_is_recorded_with_where_it_is_from(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny = claims()["C3"]._replace(sweeps={"laptop": (TINY,)})
    monkeypatch.setattr(targets, "claims", lambda: {"C3": tiny})
    said = sdd("reproduce", "C3", "--workers", 1, "--json", "--record", "kept/tiny.csv")
    assert "recorded in kept/tiny.csv" in said.err
    assert said.code == 0 and said.json["name"] == "C3" and len(said.json["findings"]) == 5
    kept = sdd("reproduce", "C3", "--recorded", "kept", "--json")
    assert kept.code == 0 and kept.json == said.json
    origin = json.loads((tmp_path / "kept" / "origins.json").read_text())["tiny.csv"]
    assert origin["command"] == "sdd reproduce C3 --scale laptop" and origin["engine"] and origin["date"]
    page = sdd("reproduce", "all", "--recorded", "kept")
    text = (tmp_path / "claims.md").read_text()
    assert page.code == 0 and "From tiny.csv" in text and "Older engine" not in text


def test_sweeps_of_some_seeds_each_add_to_a_record_that_decides_of_all(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where each of several machines makes some of the seeds."""
    tiny = claims()["C3"]._replace(sweeps={"laptop": (TINY,)})
    monkeypatch.setattr(targets, "claims", lambda: {"C3": tiny})
    for seed in (0, 1):
        words = TINY._replace(words={**TINY.words, "seed": str(seed)}).command().split()[1:]
        here = ["--runs", f"of-{seed}", "--workers", 1, "--record", "kept/tiny.csv"]
        swept = sdd(*words, *here)
        assert swept.code == 0 and "recorded in kept/tiny.csv" in swept.err
        ended = sdd("reproduce", "C3", "--recorded", "kept", "--json")
        assert (ended.code == 0) == seed, ended.err
    for run in (tmp_path / "of-1").glob("digits-*"):
        shutil.copytree(run, tmp_path / "of-0" / run.name)
    assert ended.json == sdd("reproduce", "C3", "--runs", "of-0", "--workers", 1, "--json").json
    origin = json.loads((tmp_path / "kept" / "origins.json").read_text())["tiny.csv"]
    usual = "sdd sweep --dataset digits --noise 0.2,0.8 --rate 0.5 --level 0-4 --epochs 2 --seed {}"
    assert origin["command"] == f"{usual.format(0)}, {usual.format(1)}" and "," not in origin["engine"]
    refused = sdd(*words, "--record", "tiny.txt")
    assert refused.code == 2 and "a record ends in .csv" in refused.err


def test_a_claim_about_a_study_trains_nothing_and_is_recorded_alike(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = {"ratio": "0.5,2", "seed": "0-1", "repetitions": "1", "examples": "50", "kept": "5"}
    tiny = claims()["C20b"]._replace(sweeps={"laptop": (Study(few),)})
    monkeypatch.setattr(targets, "claims", lambda: {"C20b": tiny})
    said = sdd("reproduce", "C20b", "--json", "--record", "kept/study.csv")
    assert said.code == 0 and len(said.json["findings"]) == 5 and not (tmp_path / "runs").exists()
    kept = sdd("reproduce", "C20b", "--recorded", "kept", "--json")
    assert kept.code == 0 and kept.json == said.json
    other = claims()["C20b"]._replace(sweeps={"laptop": (Study({**few, "kept": "6"}),)})
    monkeypatch.setattr(targets, "claims", lambda: {"C20b": other})
    lacks = sdd("reproduce", "C20b", "--recorded", "kept")
    assert lacks.code == 4 and "lacks 60 of 72 estimates of a study" in lacks.err
    drawn = sdd("reproduce", "C20b")
    assert drawn.code == 0 and (tmp_path / "C20b.png").stat().st_size > 10_000


def test_a_changed_number_in_a_record_changes_the_verdict(sdd: Sdd, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    shutil.copy(RECORDS / "digits.csv", tmp_path / "kept")  # other records have some of the same runs
    before = sdd("reproduce", "C1c", "--recorded", "kept", "--json").json
    path = tmp_path / "kept" / "digits.csv"
    lines = path.read_text().splitlines()
    names = lines[0].split(",")
    wanted = {"model": "lenet-300-100", "noise": "0.4", "criterion": "magnitude", "retraining": "lottery"}
    wanted |= {"pruning": "iterative", "epochs": "60", "level": "27", "seed": "0"}
    (row,) = (
        k for k, line in enumerate(lines) if wanted.items() <= dict(zip(names, line.split(","), strict=True)).items()
    )
    cells = lines[row].split(",")
    cells[names.index("memorized")] = "0.9"
    path.write_text("\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]) + "\n")
    after = sdd("reproduce", "C1c", "--recorded", "kept", "--json").json
    assert before["verdict"] == "holds" and after["verdict"] == "undecided"


def first_levels(sweeps: Sweeps) -> tuple[Sweep, ...]:
    """The sweeps of a laptop twin, at their first two levels, with one seed and two epochs."""
    few = {"level": "0-1", "seed": "0", "epochs": "2", "eval_every": "1", "train_size": "200"}
    return tuple(sweep._replace(words={**sweep.words, **few}) for sweep in sweeps["laptop"])


@pytest.fixture(scope="module", name="shared")
def fixture_shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: the twins share many."""
    return tmp_path_factory.mktemp("twins") / "runs"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, figure in FIGURES.items() if figure.plot])
def test_the_first_levels_of_every_laptop_twin_are_made_and_drawn(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared: Path, name: str
) -> None:
    monkeypatch.setattr(targets, "claims", dict)
    small = FIGURES[name]._replace(sweeps={"laptop": first_levels(FIGURES[name].sweeps)})
    monkeypatch.setitem(FIGURES, name, small)
    said = sdd("reproduce", name, "--workers", 1, "--runs", shared)
    assert said.code == 0 and said.out.splitlines()[-1] == f"{name}.png", said.err
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_without_a_name_there_is_a_line_for_each(sdd: Sdd) -> None:
    said = sdd("reproduce")
    names = {line.split()[0] for line in said.out.splitlines() if line[:2] != "  " and line.split()}
    assert said.code == 0 and names >= {*claims(), *FIGURES}
    assert all(len(line) <= 80 for line in said.out.splitlines())


def test_the_list_says_what_is_made_and_what_records_decide(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny = claims()["C3"]._replace(sweeps={"laptop": (TINY,)})
    monkeypatch.setattr(targets, "claims", lambda: {"C3": tiny})
    monkeypatch.setattr(targets, "figures", dict)

    def line(*words: object) -> str:
        return sdd("reproduce", *words).out.splitlines()[1]

    assert line().split()[:5] == ["C3", "to", "make", "40", "epochs"]
    half = TINY._replace(words={**TINY.words, "seed": "0"})
    assert sdd(*half.command().split()[1:], "--workers", 1).code == 0
    assert " 10 of 20 runs " in line()
    word = sdd("reproduce", "C3", "--workers", 1, "--json", "--record", "kept/tiny.csv").json["verdict"]
    assert line().split()[:3] == ["C3", "made", "-"] and f" {word} " in line("--recorded", "kept")
    assert line("--scale", "paper").split()[1:5] == ["not", "at", "this", "scale"]


@pytest.mark.parametrize("words", [["figure-4", "-o", "a.txt"], ["C3", "--record", "a.txt"]])
def test_a_file_that_cannot_be_written_is_named_before_anything_is_trained(
    sdd: Sdd, tmp_path: Path, words: list[str]
) -> None:
    said = sdd("reproduce", *words)
    assert said.code == 2 and "a.txt" in said.err and said.err.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_data_that_are_not_there_are_named_with_what_to_do(
    sdd: Sdd, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("sddcli.datasets.reading.files.ATTEMPTS", 1)
    said = sdd("reproduce", "figure-4", "--scale", "paper", "--workers", 1)
    assert said.code == 4 and said.err.count("\n") == 1
    assert "cannot download cifar-10-python.tar.gz" in said.err and f"into {root}" in said.err


@pytest.mark.parametrize("name", claims())
def test_a_claim_says_all_that_it_is(name: str) -> None:
    claim = claims()[name]
    assert claim.about.endswith(".") and "\n" not in claim.about and claim.source and claim.decide
    assert set(claim.sweeps) <= set(SCALES) and "laptop" in claim.sweeps and claim.plot in members("plots")
    assert not claim.pairs or (claim.pairs in PAIRS and claim.analyses == ("interpolation",))
    assert bool(claim.needs) >= bool(claim.analyses)


def test_a_record_without_what_a_claim_needs_is_named_and_a_wrong_column_is_a_bug(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wrong(results: pd.DataFrame) -> Verdict:
        raise KeyError("no_such_column")

    tiny = claims()["C29"]._replace(sweeps={"laptop": (TINY,)}, analyses=("signs",))
    monkeypatch.setattr(
        targets, "claims", lambda: {"C3": tiny._replace(name="C3", needs=(), decide=claims()["C3"].decide)}
    )
    assert sdd("reproduce", "C3", "--workers", 1, "--record", "kept/tiny.csv").code == 0
    rows = pd.read_csv("kept/tiny.csv", dtype=str, keep_default_na=False)
    rows.drop(columns="same_signs").to_csv("kept/tiny.csv", index=False)
    monkeypatch.setattr(targets, "claims", lambda: {"C29": tiny})
    said = sdd("reproduce", "C29", "--recorded", "kept")
    assert said.code == 4 and "20 of 20 rows lack same_signs, which signs measures; to make those of C29" in said.err
    rows.assign(same_signs=["0.5", *[""] * 19]).to_csv("kept/tiny.csv", index=False)
    said = sdd("reproduce", "C29", "--recorded", "kept")
    assert said.code == 4 and "tiny.csv in kept has all runs, but 19 of 20 rows lack same_signs" in said.err
    monkeypatch.setattr(targets, "claims", lambda: {"C29": tiny._replace(needs=(), decide=wrong)})
    said = sdd("reproduce", "C29", "--recorded", "kept")
    assert said.code == 1 and "no_such_column" in said.err and "this is a bug in sdd" in said.err


def test_a_number_that_cannot_be_measured_of_all_runs_is_named_and_decides_nothing(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    claim = claims()["C15b"]._replace(sweeps={"laptop": (TINY._replace(words={**TINY.words, "noise": "0.2"}),)})
    monkeypatch.setattr(targets, "claims", lambda: {"C15b": claim})
    first = sdd("reproduce", "C15b", "--workers", 1, "--record", "kept/tiny.csv")
    assert first.code == 0, first.err
    measures = sorted((tmp_path / "runs").rglob("calibration.json"))
    for path in measures[:3]:
        path.write_text(path.read_text().replace('"test_ece": 0.', '"test_ece": null, "was": 0.'))
    said = sdd("reproduce", "C15b", "--workers", 1)
    assert len(measures) == 10 and said.code == 4 and said.err.count("\n") == 1 and not said.out
    assert "3 of 10 rows lack test_ece, which calibration measures, and C15b is decided by all of them" in said.err
    page = sdd("reproduce", "all", "--workers", 1)
    text = (tmp_path / "claims.md").read_text()
    assert page.code == 3 and "C15b is left out" in page.err
    assert text.startswith("# What the claims come to") and "## Not here" in text and "- C15b: " in text


@pytest.mark.parametrize(
    ("name", "number", "wanted"),
    [("C19a", "event_instability", 120), ("C10b", "train_loss_rise", 60), ("C11", "flatness_train_loss_rise", 105)],
)
def test_a_number_is_wanted_of_the_runs_that_it_is_measured_of(name: str, number: str, wanted: int) -> None:
    """Of the pruned runs, of the second run of each pair, of all runs; any one of them lacking is said."""
    claim, kept = claims()[name], records.read(RECORDS)
    asked = claim.asked("laptop")
    frame, _ = records.rows(kept, asked, claim.needs)
    assert reproducing.unmeasured(claim, asked, frame) == "" and frame[number].notna().sum() == wanted
    lost = frame.assign(**{number: frame[number].where(frame["level"] != frame["level"].max())})
    assert f"of {wanted} rows lack {number}, which " in reproducing.unmeasured(claim, asked, lost)


@pytest.mark.slow
def test_several_claims_are_one_document_of_json(sdd: Sdd) -> None:
    rows = sdd("reproduce", "C1", "--recorded", RECORDS, "--json").json
    assert [row["name"] for row in rows] == ["C1a", "C1b", "C1c"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["figure-400"], 2, "did you mean 'figure-40'?"),
        (["c99"], 2, "did you mean 'C9'?"),
        (["C3,c99"], 2, "did you mean 'C9'?"),
        (["C3", "--scale", "labtop"], 2, "did you mean 'laptop'?"),
        (["C3", "--recorded", "nowhere"], 4, "no recorded results in nowhere"),
        (["C3", "--recorded", RECORDS, "--scale", "paper"], 4, "to make those of C3: sdd reproduce C3 --scale paper"),
        (["all", "--recorded", RECORDS, "-o", "page.html"], 2, "ends in .md"),
        (["figures", "-o", "page.html"], 2, "ends in .md"),
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
    monkeypatch.setattr(targets, "claims", lambda: {"C3": small})
    outcome = sdd("reproduce", "C3", "--scale", "paper")
    assert outcome.code == 2 and "C3 has no scale paper; it has: laptop" in outcome.err


def test_an_analysis_with_parameters_of_its_own_says_its_numbers_instead_of_the_usual_one() -> None:
    frame = pd.DataFrame({"run": ["a", "b"], "level": [0, 1], "n_eff": [3.0, 4.0]})
    values = pd.DataFrame({"run": ["b", "a"], "level": [1, 0], "n_eff": [40.0, 30.0], "n_eff_error": [2.0, 1.0]})
    usual = reproducing._beside(frame, "effective-parameters", values)
    assert list(usual["n_eff"]) == [3, 4] and list(usual["n_eff_error"]) == [1, 2]
    other = reproducing._beside(frame, "effective-parameters:alpha=0.01", values)
    assert list(other["n_eff"]) == [30, 40] and list(other["n_eff_error"]) == [1, 2]
