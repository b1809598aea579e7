"""The command that writes what a folder of runs holds onto one page: report."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from sddcli.cli import page, screen
from sddcli.cli.kinds import View, module_of, summarized, verdicts, viewed
from sddcli.cli.options import DEFAULT_RUNS, Debug, Folder, Where, leaving_out, where_of
from sddcli.cli.page import Html, Section, tag
from sddcli.cli.progress import spoken_time
from sddcli.cli.seeing import drawn
from sddcli.core.words import UsageError
from sddcli.families import members
from sddcli.metrics import FOLDERS, METRICS, metric_of
from sddcli.spec import Run, differing, named
from sddcli.store import Store, StoreError

if TYPE_CHECKING:
    import pandas as pd

Output = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="File of the page: .html.")]
RESULTS = sorted((name for name in METRICS if METRICS[name].order), key=lambda name: METRICS[name].order)
VERDICTS = FOLDERS["curve"]
RISKS = ("risk", "theory_risk")
COUNTED = ("run", "chain", "seed")
WIDTH = 6  # numbers with their spreads fit beside each other on paper


def report(
    runs: Folder = DEFAULT_RUNS, where: Where = [], output: Output = Path("report.html"), debug: Debug = False
) -> None:
    """Write verdicts, figures and tables to one HTML page.

    The page also says how and where the runs were made. It is one file and needs no network.

    Example: sdd report runs/ -o report.html
    """
    if output.suffix != ".html":
        raise UsageError(f"cannot write {output}: a report ends in .html")
    from sddcli import table
    from sddcli.files import write

    store = Store(runs)
    with leaving_out() as damaged:
        frame = table.grown(table.select(table.results(store, damaged=damaged), where_of(where)))
        plans = store.plans(damaged)
        write(output, _page(store, frame, where, plans, damaged, output).encode(errors="backslashreplace"))
        print(output)


def _page(
    store: Store,
    frame: "pd.DataFrame",
    where: Sequence[str],
    plans: Sequence[Mapping[str, Any]],
    damaged: Sequence[StoreError],
    to: Path,
) -> str:
    from sddcli import table

    summary, ids = summarized(frame), set(frame["run"])
    manifests = {run: manifest for run, manifest in _manifests(store) if manifest["stage"] == "trained"}
    low, high = int(frame["level"].min()), int(frame["level"].max())
    levels = f"level {low}" if low == high else f"levels {low} to {high}"
    counts = len(ids), frame["chain"].nunique(), frame["seed"].nunique()
    runs, chains, seeds = (f"{n} {noun}{'s' * (n != 1)}" for n, noun in zip(counts, COUNTED, strict=True))
    lead = f"{runs} in {chains}, {levels}, {seeds}"
    lead += f"; only those with {', '.join(where)}" if where else ""
    related, of = list(_correlations(frame)), (store.root, frame, summary)
    drawings, answers = members("plots"), members(VERDICTS)
    wrong = [tag("p", "These could not be read:"), page.bullets(map(str, damaged))]
    sections = [
        *([Section("damaged", "Left out", [tag("div", *wrong, class_="wrong")])] if damaged else []),
        *(
            Section(name, module_of(VERDICTS, name).QUESTION, [*_verdicts(frame, name), *_figures(*of, [name])])
            for name in sorted(answers, key=lambda name: (name not in drawings, name))
        ),
        Section("figures", "More figures", list(_figures(*of, [name for name in drawings if name not in answers]))),
        Section("results", "Results by level", list(_tables(frame, summary))),
        *([Section("theory", "Theory of regression", studies)] if (studies := list(_studies(store.root))) else []),
        *([Section("correlations", "Correlation with test accuracy", related)] if related else []),
        Section("plan", "Sweeps", list(_plan(store, plans, manifests))),
        Section("origin", "Machines and versions", list(_origin([m for run, m in manifests.items() if run.id in ids]))),
        Section("files", "Files", list(_files(store.root, to.parent))),
    ]
    return page.page(f"Sparse double descent: {table.title(frame)}", lead, sections, "Made by sdd report.")


def _manifests(store: Store) -> Iterator[tuple[Run, dict[str, Any]]]:
    for _, run in store.survey():
        if not isinstance(run, StoreError):
            yield run


def _verdicts(frame: "pd.DataFrame", name: str) -> Iterator[Html]:
    """What a verdict says of the curves of each setting, in its words."""
    from sddcli import table

    varied, verdict = table.varied(frame), module_of(VERDICTS, name)
    for _, row in verdicts(frame, name).iterrows():
        if varied:
            yield tag("h3", _label(row, varied))
        yield page.bullets(verdict.sentences(row.to_dict()))
    yield tag("p", verdict.NOTE)


def _label(row: "Mapping[str, Any] | pd.Series[Any]", varied: Sequence[str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {row[name]}" for name in varied if row[name] != "")


def _figures(root: Path, frame: "pd.DataFrame", summary: "pd.DataFrame", names: Sequence[str]) -> Iterator[Html]:
    """The figures of these names that these runs allow, then why they do not allow others.

    A name that is no figure's, as of a verdict without one, is passed over.
    """
    from sddcli import table
    from sddcli.plots import style

    shown, missing = list[Html](), list[str]()
    evidence = {"runs": list(frame["run"].unique())}
    of_what, varied = f"{table.title(frame)}; {style.replicates(summary)}.", table.varied(frame)
    for name in (name for name in names if name in members("plots")):
        module = module_of("plots", name)
        if unknown := [need for need in module.NEEDS if need in summary and summary[need].isna().all()]:
            missing.append(f"{name}: no run here has a number for {unknown[0].replace('_', ' ')}")
            continue
        if (field := getattr(module, "COMPARES", None)) is not None and not (field in varied if field else varied):
            missing.append(f"{name}: all runs here have the same {field.replace('_', ' ') or 'settings'}")
            continue
        try:
            picture = style.rendered(drawn(root, frame, summary, name), ".svg", evidence)
        except (StoreError, UsageError) as error:  # it says what it lacks, and what makes that
            missing.append(f"{name}: {error}")
            continue
        about, lines = (getdoc(module) or "").split("\n")[0], (getdoc(module.draw) or "").split("\n\n")[1:]
        shown.append(page.figure(picture, f"{about} {of_what}", " ".join([about, *lines])))
    if shown:
        yield tag("div", *shown, class_="figures")
    if missing:
        yield tag("p", "Not drawn:")
        yield page.bullets(missing)


def _tables(frame: "pd.DataFrame", summary: "pd.DataFrame") -> Iterator[Html]:
    """Means and spreads over seeds by level, a table for each setting, then the numbers of analyses, some at a time."""
    from sddcli import table

    varied = table.varied(frame)
    measured = [name for name in table.further(frame) if summary[name].notna().any()]
    kinds = [
        ("results", [name for name in RESULTS if summary[name].notna().any()]),
        *(("analyses", measured[first : first + WIDTH]) for first in range(0, len(measured), WIDTH)),
    ]
    for number, (values, curve) in enumerate(summary.groupby(varied, sort=True) if varied else [((), summary)]):
        label = _label(dict(zip(varied, values, strict=True)), varied)
        if label:
            yield tag("h3", label)
        for part, (kind, names) in enumerate(kinds):
            about = "Accuracies in %, losses" if kind == "results" else "Analyses"
            caption = f"{about}: mean ± standard deviation over n seeds"
            yield page.table(
                f"table-{number}-{part}", f"{label}. {caption}" if label else caption, *_rows(curve, names)
            )


def _rows(curve: "pd.DataFrame", names: Sequence[str], column: str = "level") -> tuple[list[str], list[list[str]]]:
    """The columns and cells of a curve's table; column: that along which it runs."""
    heads = [metric_of(name).label for name in names]
    rows = []
    for _, row in curve.sort_values(column).iterrows():
        cells = [screen.cell(row[name], row[f"{name}_std"], metric_of(name).unit) for name in names]
        rows.append([*screen.at_cells(row, column), *cells, f"{row['n']:.0f}"])
    return [*screen.at_heads(column), *heads, "n"], rows


def _studies(root: Path) -> Iterator[Html]:
    """Of each study that `sdd theory` left in this folder its figure, and its table of each setting."""
    from sddcli import table
    from sddcli.plots import style

    for path in sorted(root.glob("theory*.csv")):
        frame = table.read(path)
        view = viewed(frame, "ratio") if frame["parameters"].nunique() > 1 else View(frame)
        curves, varied = view.curves, view.varied
        panels = "dataset" if "dataset" in varied else ""
        summary = table.summary(curves, column=view.column)
        picture = drawn(path, curves, summary, "risk", view.axis, view.column, panels)
        about = f"{path.name}: {view.title}; {style.replicates(summary)}."
        yield page.figure(style.rendered(picture, ".svg", {"runs": list(curves["run"].unique())}), about, about)
        for number, (fields, curve) in enumerate(table.by_setting(summary, varied)):
            shown = page.table(f"{path.stem}-{number}", _label(fields, varied), *_rows(curve, RISKS, view.column))
            yield shown


def _correlations(frame: "pd.DataFrame") -> Iterator[Html]:
    """How the numbers of analyses go with test accuracy along chains."""
    from sddcli import table

    names, varied = table.further(frame), table.varied(frame)
    related = table.correlations(frame, frame[["run", "level", *names]].drop_duplicates())
    rows = [
        [
            row["measure"].replace("_", " "),
            *(str(row[name]) for name in varied),
            screen.correlation(row),
            f"{row['n']:.0f}",
        ]
        for _, row in related.iterrows()
    ]
    if rows:
        caption = "Spearman's rank correlation along a chain: mean ± standard deviation over n chains"
        columns = ["number", *(name.replace("_", " ") for name in varied), "correlation", "n"]
        yield page.table("table-correlations", caption, columns, rows)


def _plan(
    store: Store, plans: Sequence[Mapping[str, Any]], manifests: Mapping[Run, Mapping[str, Any]]
) -> Iterator[Html]:
    """The sweeps that were asked for, and how many of their runs are done."""
    from sddcli import sweeps

    rows, failures = [], dict[Run, str]()
    for plan in plans:
        sweep = sweeps.progress(store, plan["tables"], finished=manifests)
        runs, left, failed = len(sweep.runs), len(sweep.left), len(sweep.failed)
        rows.append([tag("code", plan["command"]), *map(str, (runs, runs - left, failed, left - failed))])
        failures |= {run: failure["reason"] for run, failure in sweep.failed.items()}
    columns = ["sweep", "runs, with those they are pruned from", "done", "failed", "to do"]
    if rows:
        yield tag("div", page.table("sweeps", "Sweeps of this folder", columns, rows), class_="words")
    else:
        yield tag("p", f"No sweep is recorded; {len(manifests)} runs were made one by one.")
    if failures:
        names = differing([*manifests, *failures])
        yield tag("p", "Failed:")
        yield page.bullets(f"{named(run, names)}: {reason}" for run, reason in failures.items())


def _origin(manifests: Sequence[Mapping[str, Any]]) -> Iterator[Html]:
    """Versions, commits, machines and devices, and how long training took there; the data and their hashes."""
    runs, seconds, data = Counter[tuple[str, ...]](), Counter[tuple[str, ...]](), Counter[tuple[str, str]]()
    for manifest in manifests:
        versions = manifest.get("versions") or {}
        of_code = [versions.get("sdd"), (manifest.get("commit") or "unknown")[:12]]
        libraries = [versions.get(name) for name in ("python", "torch", "numpy")]
        machine = [manifest.get(name) for name in ("machine", "processor", "device")]
        origin = tuple(str(each or "unknown") for each in (*machine, *of_code, *libraries))
        runs[origin] += 1
        seconds[origin] += manifest["seconds"]
        data[str(manifest["data"].get("name")), manifest["data"]["sha256"]] += 1
    columns = [
        "machine",
        "processor",
        "device",
        "sdd",
        "commit",
        "python",
        "torch",
        "numpy",
        "runs",
        "training, added up",
    ]
    rows = [[*origin, str(runs[origin]), spoken_time(seconds[origin])] for origin in sorted(runs)]
    yield tag("div", page.table("machines", "Machines, devices and versions", columns, rows), class_="words")
    rows = [[*which, str(data[which])] for which in sorted(data)]
    yield tag("div", page.table("data", "Data", ["data set", "SHA-256 of its content", "runs"], rows), class_="words")


def _files(root: Path, beside: Path) -> Iterator[Html]:
    """Links to the tables that lie in the folder of runs."""
    tables = [path for path in (root / "results.csv", root / "history.csv") if path.exists()]
    tables += sorted((root / "measures").glob("*.csv"))
    links = [
        tag("a", path.relative_to(root).as_posix(), href=quote(os.fsencode(os.path.relpath(path, beside))))
        for path in tables
    ]
    yield page.bullets(links) if links else tag("p", "There are no tables beside the runs.")
