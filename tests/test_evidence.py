"""Evidence: each claim follows from its recorded CSV, as the pages say, and can be made again."""

import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sddcli import judging, table
from sddcli.claims import c1a, c1b, c8a, c19a
from sddcli.claims.deciding.terms import HOLDS, IN_PART, NOT, UNDECIDED, interval, on_each_dataset
from sddcli.cli.kinds import summarized
from sddcli.cli.reproducing import Result, from_records
from sddcli.cli.seeing import drawn
from sddcli.cli.targets import claims
from sddcli.core.words import in_words
from sddcli.verdicts.double_descent import INDICES, judge

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "evidence"
PAGES = {
    "laptop": (ROOT / "docs" / "claims.md").read_text(encoding="utf-8"),
    "standard": (ROOT / "docs" / "claims-standard.md").read_text(encoding="utf-8"),
}


def _decided(page: str) -> dict[str, str]:
    """The verdict of each claim of a page, from the table that it begins with."""
    return dict(re.findall(r"^\| \[(\w+)\]\(#\w+\) \|.*\| \*\*(.+)\*\* \| \d+ \|$", page, re.MULTILINE))


DECIDED = {scale: _decided(page) for scale, page in PAGES.items()}


@pytest.fixture(scope="module", name="results")
def fixture_results() -> dict[str, dict[str, Result]]:
    """What the command makes of the records at each scale, claim by claim."""
    return {
        scale: {
            result.target.name: result
            for result in from_records(
                RECORDS, [each for each in claims().values() if scale in each.sweeps], scale, leave_out=True
            )
        }
        for scale in PAGES
    }


@pytest.mark.parametrize(("scale", "least"), [("laptop", 20), ("standard", 6)])
def test_the_page_has_every_claim_that_the_records_decide(
    scale: str, least: int, results: dict[str, dict[str, Result]]
) -> None:
    words = {name: result.verdict.word for name, result in results[scale].items() if result.verdict}
    assert words == DECIDED[scale] and len(words) >= least
    assert "nan" not in re.findall(r"\w+", PAGES[scale]), "a setting of a claim has no level that its rule looks at"


def test_not_every_claim_holds() -> None:
    assert set(DECIDED["laptop"].values()) & {NOT, UNDECIDED}


def test_the_readme_counts_the_verdicts() -> None:
    decided = DECIDED["laptop"]
    counts = Counter(decided.values())
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    words = f"Of {len(decided)}, {counts[HOLDS]} hold at this scale, {counts[IN_PART]} hold in part, "
    assert f"{words}and {counts[UNDECIDED]} are undecided." in text and not counts[NOT]


@pytest.mark.parametrize(("scale", "name"), [(scale, name) for scale, words in DECIDED.items() for name in words])
def test_the_numbers_of_the_page_follow_from_the_record(
    scale: str, name: str, results: dict[str, dict[str, Result]]
) -> None:
    section = PAGES[scale].split(f"\n## {name}\n")[1].split("\n## ")[0]
    result = results[scale][name]
    assert result.verdict and result.target.about in section and result.target.source in section
    for finding in result.verdict.findings:
        answer = {True: "yes", False: "no", None: "open"}[finding.holds]
        value, low, high = finding.shown
        unit = f" {finding.unit}" if finding.unit else ""
        assert f"| {finding.text} | {answer} | {value}{unit} | [{low}, {high}] |" in section
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", section):
        assert (ROOT / "docs" / picture).stat().st_size > 10_000


@pytest.mark.evidence
def test_claims_made_again_contradict_no_record(tmp_path: Path) -> None:
    """Other bits may leave open what a record decides, and no more."""
    command = [sys.executable, "-m", "sddcli", "reproduce", "all", "--runs", str(tmp_path / "runs")]
    subprocess.run([*command, "-o", str(tmp_path / "claims.md")], check=True)
    again = _decided((tmp_path / "claims.md").read_text(encoding="utf-8"))
    assert not [name for name, word in DECIDED["laptop"].items() if {word, again[name]} == {HOLDS, NOT}]


@pytest.mark.parametrize("record", ["mnist", "mnist-2000", "cifar-images"])
def test_other_data_show_it_at_the_threshold(record: str) -> None:
    """By the same rules: these records are of data sets that the claims' own sweeps at this scale do not have."""
    frame = table.read(RECORDS / f"{record}.csv")
    assert c1a.decide(frame).word in (HOLDS, IN_PART) and c1a.decide(frame).findings[0].holds
    assert c1b.decide(frame).word == HOLDS
    assert record == "cifar-images" or c8a.decide(frame).word == HOLDS


def test_what_all_of_mnist_shows_is_in_its_record() -> None:
    """The peak is above the dense network, for good; what the page says of accuracies, seed means of the record."""
    frame = table.read(RECORDS / "mnist.csv")
    assert c1a.decide(frame).word == HOLDS and set(frame["level"]) == set(range(26))
    (verdict,) = judging.judged(frame, judge, INDICES).to_dict(orient="records")
    assert verdict["gain_low"] > 0 and verdict["n"] == frame["seed"].nunique()
    means = frame.groupby("level")[["test_accuracy", "best_test_accuracy", "memorized", "weights"]].mean()
    page = (RECORDS / "README.md").read_text(encoding="utf-8").split("## MNIST, whole")[1].split("\n## ")[0]
    text = page.replace("\n", " ")
    last, best = 100 * means["test_accuracy"], 100 * means["best_test_accuracy"]
    for words in (
        f"{last[0]:.1f} % dense, {last[verdict['valley']]:.1f} % where the labels stop being fitted",
        f"{last[verdict['peak']]:.1f} % at the peak",
        f"{means['memorized'][verdict['peak']]:.0%}".replace("%", " % of the wrong labels"),
        f"are left, {last[25]:.1f} %",
        f"{best[0]:.1f} % dense, lowest {best[:20].min():.1f} % (level {best[:20].idxmin()})",
        f"{best.max():.1f} % at level {best.idxmax()}",
        _own_dip_of_the_best_epoch(frame, verdict),
    ):
        assert words in text, words


def _own_dip_of_the_best_epoch(frame: pd.DataFrame, last: dict[str, Any]) -> str:
    """As the page has it, of MNIST whose last epoch has the verdict `last`."""
    best = frame.assign(test_accuracy=frame["best_test_accuracy"])
    (own,) = judging.judged(best, judge, INDICES).to_dict(orient="records")
    dip = "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * own[f"dip{end}"] for end in ("", "_low", "_high")))
    assert own["double_descent"] and last["valley"] - own["valley"] == 5
    return f"of {dip} points (p = {own['p']:.3f}), five levels before"


def test_a_rule_on_each_of_several_data_sets_says_of_which_its_findings_are() -> None:
    frame = table.read(RECORDS / "mnist-2000.csv")
    alone, rule = c1b.decide(frame).findings, on_each_dataset(c1b.decide)
    assert rule(frame).findings == alone and rule.__doc__ == c1b.decide.__doc__
    both = rule(pd.concat([frame, frame.assign(dataset="digits")]))
    assert [each.text for each in both.findings] == [f"{name}: {f.text}" for name in ("digits", "mnist") for f in alone]
    assert [each[1:] for each in both.findings] == 2 * [each[1:] for each in alone] and len(both.settings) == 2


def test_the_tables_of_the_page_are_those_of_the_records() -> None:
    """Each line with a p of its own: levels and sizes with their intervals, p, verdict; no setting left out."""
    said = []
    for name in ("digits-convnet", "cifar-images", "mnist", "mnist-2000", "precision", "precision-convnet"):
        frame = table.read(ROOT / "docs" / "evidence" / f"{name}.csv")
        for row in judging.judged(frame, judge, INDICES).to_dict(orient="records"):
            levels = [f"{row[at]} [{row[f'{at}_low']:.0f}, {row[f'{at}_high']:.0f}]" for at in ("valley", "peak")]
            sizes = [[100 * row[f"{size}{end}"] for end in ("", "_low", "_high")] for size in ("dip", "rise", "gain")]
            numbers = ["{:.1f} [{:.1f}, {:.1f}]".format(*size) for size in sizes]
            answer = "yes" if row["double_descent"] else "no"
            said.append([f"{row['fitted']:.0f}", *levels, *numbers, f"{row['p']:.3f}", answer])
    page = (ROOT / "docs" / "evidence" / "README.md").read_text(encoding="utf-8")
    lines = [
        re.split(r" *\| *", line.strip("| ")) for line in page.splitlines() if line.endswith(("| yes |", "| no |"))
    ]
    assert sorted(line[-8:] for line in lines) == sorted(said)


def test_the_table_of_remedies_follows_from_their_records() -> None:
    chains = {"noise": 0.4, "lr": 0.1, "rate": 0.2}
    frames = [table.read(RECORDS / f"{name}.csv") for name in ("antidotes", "teachers", "remedies")]
    frame = pd.concat([each.loc[(each[list(chains)] == pd.Series(chains)).all(axis=1)] for each in frames])
    frame = frame.drop_duplicates(["chain", "level"])
    whole = frame.groupby("chain")["level"].transform("size") == 33
    fields = ["loss", "dropout", "regularization", "weight_decay"]
    usual = frame[fields].mode().iloc[0]
    lines = []
    for row in judging.judged(frame[whole], judge, INDICES).sort_values("dip").to_dict("records"):
        own = {name: row[name] for name in fields if name in row and row[name] != usual[name]}
        of_row = frame[whole & (frame[fields] == pd.Series(usual.to_dict() | own)).all(axis=1)]
        means = of_row.groupby("level")[["test_accuracy", "sparsity"]].mean().sort_values("test_accuracy")
        dip = "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * row[f"dip{end}"] for end in ("", "_low", "_high")))
        best, there = means.iloc[-1]
        cells = in_words(own) or "none", dip, f"{row['p']:.3f}", "yes" if row["double_descent"] else "no"
        lines.append(f"| {' | '.join(cells)} | {best:.1%} | {there:.1%} |")
    assert len(lines) == 8 and "\n".join(lines) in (RECORDS / "README.md").read_text(encoding="utf-8")


def test_what_filter_events_do_on_photographs_is_in_their_record() -> None:
    frame = table.read(RECORDS / "events-photographs.csv")
    dense = frame[frame["level"] == 0].drop_duplicates("seed").set_index("seed")["best_test_accuracy"]
    words = frame["retraining"].str.extract(
        r"target=(?P<target>\w+):period=(?P<period>\d+)ep.*?(?:batches=(?P<back>\d+))?$"
    )
    pruned = frame.join(words.fillna("")).query("level == 1")
    for_good = pruned[pruned["back"] == ""].groupby(["criterion", "target", "period"])
    means = for_good[["event_instability", "settled_test_accuracy"]].mean()
    assert len(means) == 12
    numbers = [c19a.correlation(list(1 - means["event_instability"]), list(means["settled_test_accuracy"]))]
    page = (RECORDS / "README.md").read_text(encoding="utf-8").split("## Filter events")[1].split("\n## ")[0]
    assert "by {:.2f} [{:.2f}, {:.2f}]".format(*numbers[0]) in page.replace("\n", " ")
    best = {
        key: rows.set_index("seed")["settled_test_accuracy"]
        for key, rows in pruned[pruned["target"] == "largest"].groupby(["period", "back"])
    }
    for period in ("4", "8"):
        gains = [interval(best[period, back] - best[period, ""]) for back in ("32", "96")]
        assert all(low > 0 for _, low, _ in gains)
        cells = ["{:.1f} [{:.1f}, {:.1f}]".format(*(100 * number for number in gain)) for gain in gains]
        assert f"| every {period} epochs | {cells[0]} | {cells[1]} |" in page
    above = (100 * number for number in interval(best["4", "96"] - dense))
    assert "by {:.1f} [{:.1f}, {:.1f}]".format(*above) in page.replace("\n", " ")


@pytest.mark.parametrize(
    ("record", "seeds", "levels", "other_accuracy", "other_memory", "most"),
    [("precision", 10, 33, 1, 2, 0.0185), ("precision-convnet", 5, 31, 2, 0, 0.0325)],
)
def test_products_in_bf16_leave_the_curve_where_it_is(
    record: str, seeds: int, levels: int, other_accuracy: int, other_memory: int, most: float
) -> None:
    """As the page has it. other_accuracy, other_memory: at how many levels the differences' interval excludes zero."""
    frame = table.read(ROOT / "docs" / "evidence" / f"{record}.csv")
    verdicts = judging.judged(frame, judge, INDICES).set_index("precision")
    assert list(verdicts.index) == ["bf16", "fp32"] and (verdicts["n"] == seeds).all()
    assert verdicts["double_descent"].all()
    assert all(verdicts[place].max() - verdicts[place].min() <= 1 for place in ("fitted", "valley", "peak"))
    pairs = table.compared(frame)
    beside = {name: (pairs[f"{name}_low"] > 0) | (pairs[f"{name}_high"] < 0) for name in ("test_accuracy", "memorized")}
    assert [each.sum() for each in beside.values()] == [other_accuracy, other_memory] and len(pairs) == levels
    whole = pairs[pairs["level"] <= 20] if record == "precision-convnet" else pairs
    assert whole["test_accuracy_difference"].abs().max() < most


def test_where_bf16_seemed_ahead_further_seeds_do_not_have_it() -> None:
    frame = table.read(ROOT / "docs" / "evidence" / "precision.csv").query("9 <= level <= 17")
    means = frame.groupby(["precision", "seed"])["test_accuracy"].mean().unstack("precision")
    ahead = means["bf16"] - means["fp32"]
    ranges = ["{:.1f} [{:.1f}, {:.1f}]".format(*(100 * n for n in interval(part))) for part in (ahead[:5], ahead[5:])]
    assert ranges == ["1.6 [1.0, 2.2]", "-0.2 [-1.8, 1.4]"]
    page = (RECORDS / "README.md").read_text(encoding="utf-8").split("## Products in bf16")[1]
    assert all(each in page for each in ranges)


def test_what_the_map_of_criteria_says_is_in_its_record() -> None:
    frame = table.grown(table.read(RECORDS / "digits-criteria.csv"))
    verdicts = judging.judged(frame, judge, INDICES).set_index("criterion")
    shown = verdicts[verdicts["double_descent"]]
    page = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    named = set(
        page.split("matter to the loss (")[1].split("`gradient` by")[0].replace("`", "").replace("\n ", "").split(", ")
    )
    assert len(verdicts) == 19 and set(shown.index) == {*named - {""}, "gradient", "gradient:batches=all"}
    assert len(shown) == 9 and shown["p"].max() < 0.0035 and verdicts.drop(shown.index)["p"].min() > 0.1
    assert (100 * shown["dip"].min()).round(1) == 4.6 and (100 * shown["dip"].max()).round(1) == 9.4
    late = shown.drop(["gradient", "gradient:batches=all"])
    assert late["fitted"].between(13, 15).all() and late["valley"].between(14, 15).all() and late["dip"].min() > 0.0775
    means = table.summary(frame)
    peaks = means.loc[means.groupby("criterion")["test_accuracy"].idxmax()].set_index("criterion")
    for name, low, high in (("train_accuracy", 0.6, 0.67), ("clean_accuracy", 0.91, 0.975), ("memorized", 0.04, 0.125)):
        assert peaks[name].between(low, high).all(), name
    others = peaks.drop(shown.index)
    assert others["test_accuracy"].between(0.844, 0.9).all() and others["level"].between(7, 20).all()


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
    (verdict,) = judging.judged(frame, judge, INDICES).to_dict(orient="records")
    assert verdict["double_descent"]
    assert f"up to level {verdict['fitted']}" in page and f"(p = {verdict['p']:.3f})" in page
    for place, size in (("valley", "dip"), ("peak", "rise")):
        interval = f"[{100 * verdict[f'{size}_low']:.1f}, {100 * verdict[f'{size}_high']:.1f}]"
        assert f"at level {verdict[place]}" in page and f"{100 * verdict[size]:.1f} points {interval}" in page


def test_the_figure_of_the_phenomenon_has_the_intervals_of_its_verdict() -> None:
    """From the record to the bars under the curve, through summary and phases as the command does it."""
    frame = table.grown(table.read(ROOT / "docs" / "phenomenon" / "results.csv"))
    (verdict,) = judging.judged(frame, judge, INDICES).to_dict(orient="records")
    picture = drawn(ROOT, frame, summarized(frame), "double-descent")
    sparsity = frame.groupby("level")["sparsity"].mean()
    for line, place in zip(picture.axes[0].lines[-2:], ("valley", "peak"), strict=True):
        ends = [-math.log(1 - sparsity[verdict[f"{place}_{end}"]]) for end in ("low", "high")]
        assert list(line.get_xdata()) == pytest.approx(ends)
