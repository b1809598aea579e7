"""The page of all claims, in Markdown: each with its numbers, verdict, picture, command, and where they are from."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sddcli.claims.deciding.terms import Finding, Verdict, sentences
from sddcli.cli.reproducing import Result, draw
from sddcli.cli.targets import Target, claims
from sddcli.launchers import machine
from sddcli.store import StoreError, write

if TYPE_CHECKING:
    import pandas as pd

NUMBER = {"points": (100, ".1f"), "levels": (1, ".1f"), "": (1, ".3f")}


def write_page(path: Path, results: Sequence[Result], figures: Mapping[str, Target], scale: str, root: Path) -> None:
    """Writes the page, and its pictures into a folder beside it that has its name."""
    folder, parts = path.with_suffix(""), []
    pictures = dict[tuple[str, ...], str]()  # what several claims stand on is drawn once
    for result in results:
        what = (result.target.plot, *sorted(set(result.rows["run"])))
        if what not in pictures:
            picture = folder / f"{result.target.name.lower()}-{scale}.png"
            pictures[what] = f"{folder.name}/{picture.name}"
            try:
                draw(result, root, picture)
            except StoreError:  # it takes more than the results, which recorded ones do not have
                pictures[what] = ""
        parts.append("\n".join(_section(result, pictures[what])))
    undecided = [each for each in claims().values() if each.name not in {result.target.name for result in results}]
    text = "\n".join([*_head(results, scale), *parts, *_missing(undecided, scale), *_figures(figures)])
    write(path, text.encode())


def _head(results: Sequence[Result], scale: str) -> Iterator[str]:
    yield "# What the claims come to\n"
    yield f"Written by `sdd reproduce all --scale {scale}`; no line of it by hand. A verdict follows from the results"
    yield "by the rule in the claim's file in `sddcli/claims`. A finding is *yes* or *no* where its whole 95 % interval"
    yield "over seeds says so, and *open* otherwise. All yes: the claim holds; all no: it does not; both: in part; else"
    yield "it is undecided. Intervals are of these seeds, on data and networks as small as each section says.\n"
    yield "| claim | | verdict | seeds |\n|---|---|---|---|"
    for result in results:
        if result.verdict:
            about = result.target.about.replace("|", r"\|")
            link = f"[{result.target.name}](#{result.target.name.lower()})"
            yield f"| {link} | {about} | **{result.verdict.word}** | {result.verdict.seeds} |"
    yield ""


def _section(result: Result, picture: str) -> Iterator[str]:
    from sddcli import table

    target, verdict = result.target, result.verdict
    assert verdict is not None, "figures have no section"
    yield f"## {target.name}\n"
    yield f"{target.about} *({target.source})*\n"
    yield f"**{verdict.word[0].upper()}{verdict.word[1:]}.** {_setting(table.grown(result.rows), verdict)}\n"
    yield "| finding | | value | 95 % interval |\n|---|---|---|---|"
    yield from map(_row, verdict.findings)
    if picture:
        yield f"\n![{target.about}]({picture})"
    yield f"\n`sdd reproduce {target.name} --scale {result.scale}`, which runs\n\n```"
    yield from (sweep.command() for sweep in target.sweeps[result.scale])
    yield f"```\n\n{_origin(result.origin)}\n"


def _setting(frame: "pd.DataFrame", verdict: Verdict) -> str:
    """Data, network, seeds and levels in words, and which dip could have been seen."""
    pairs = frame[["dataset", "model", "train_size"]].drop_duplicates().itertuples(index=False)
    data = "; ".join(f"{d}{f' ({n} images)' if n else ''}, {m}" for d, m, n in pairs)
    *_, last = sentences(verdict)
    return f"{data}; levels {frame['level'].min()} to {frame['level'].max()}; {last}."


def _row(finding: Finding) -> str:
    answer = {True: "yes", False: "no", None: "open"}[finding.holds]
    times, form = NUMBER[finding.unit]
    value, low, high = (
        "" if each is None else f"{times * each:{form}}" for each in (finding.value, finding.low, finding.high)
    )
    unit = f" {finding.unit}" if finding.unit else ""
    return f"| {finding.text} | {answer} | {value}{unit} | [{low}, {high}] |"


def _origin(origin: Mapping[str, str]) -> str:
    """Where the numbers are from, and whether the engine has changed since."""
    file, date, commit = (origin.get(name, "unknown") for name in ("file", "date", "commit"))
    line = f"From {file}, made on {date} at commit {commit}."
    if machine.of_today(origin.get("engine", "unknown").split(", ")):
        return line
    return f"{line} **Older engine:** the code that trains has changed since."


def _missing(targets: Sequence[Target], scale: str) -> Iterator[str]:
    if targets:
        yield "## Not decided here\n"
        yield f"No results are recorded for these at scale {scale}; each command makes them.\n"
        for target in targets:
            command = shlex.join(["sdd", "reproduce", target.name, "--scale", scale])
            yield (
                f"- {target.name}: {target.about} `{command}`"
                if scale in target.sweeps
                else f"- {target.name}: {target.about}"
            )
        yield ""


def _figures(figures: Mapping[str, Target]) -> Iterator[str]:
    """The figures of the paper, and the command that draws each from its runs."""
    yield "## Figures of the paper\n"
    yield "`sdd reproduce figure-4` makes one, each at the scales `laptop`, `standard` and `paper`.\n"
    yield "| figure | shows | drawn by |\n|---|---|---|"
    for target in figures.values():
        panels = f" --panels {target.panels}" if target.panels else ""
        yield f"| {target.name} | {target.about} | `sdd plot {target.plot}{panels}` |"
    yield ""
