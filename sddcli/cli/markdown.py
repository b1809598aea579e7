"""The pages of all claims and of all figures, in Markdown: pictures, numbers, verdicts, and their commands."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sddcli.claims.deciding.terms import Finding, Verdict, sentences
from sddcli.cli import targets
from sddcli.cli.reproducing import Result, draw, panels_of
from sddcli.cli.targets import Target
from sddcli.files import StoreError, write
from sddcli.launchers import machine

if TYPE_CHECKING:
    import pandas as pd

    from sddcli.records import Origin


def write_claims(path: Path, results: Sequence[Result], scale: str, root: Path) -> None:
    """Writes the page of the claims that `results` decide, and their pictures into a folder beside it of its name."""
    pictures = _pictures(path, results, scale, root)
    parts = ["\n".join(_section(result, pictures[_drawn_from(result)])) for result in results]
    write(path, "\n".join([*_head(results, scale), *parts, *_missing(targets.claims(), results, scale)]).encode())


def write_figures(path: Path, results: Sequence[Result], scale: str, root: Path) -> None:
    """Writes the page of the paper's figures, those that are one picture at this scale together."""
    pictures = _pictures(path, results, scale, root)
    shared = dict[str, list[Result]]()
    for result in results:
        shared.setdefault(pictures[_drawn_from(result)], []).append(result)
    parts = ["\n".join(_picture(picture, group)) for picture, group in shared.items()]
    write(path, "\n".join([*_head_of_figures(scale), *parts, *_missing(targets.figures(), results, scale)]).encode())


def _drawn_from(result: Result) -> tuple[str, ...]:
    """What a picture shows: targets of the same share one."""
    return (result.target.plot, panels_of(result), *sorted(set(result.rows["run"])))


def _pictures(path: Path, results: Sequence[Result], scale: str, root: Path) -> dict[tuple[str, ...], str]:
    """Draws what these targets show, each picture once: what it shows -> its path from the page, or ""."""
    from sddcli.plots.style import with_palette

    folder, pictures = path.with_suffix(""), dict[tuple[str, ...], str]()
    for result in results:
        if (what := _drawn_from(result)) in pictures:
            continue
        picture = folder / f"{result.target.name.lower()}-{scale}.png"
        pictures[what] = f"{folder.name}/{picture.name}"
        try:
            draw(result, root, picture)
            write(picture, with_palette(picture.read_bytes()))
        except StoreError:  # it takes more than the results, which recorded ones do not have
            pictures[what] = ""
    return pictures


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
    rows = table.select(result.rows, target.shown)
    rows = table.along(rows, target.along)[0] if target.along else table.grown(rows)
    yield f"## {target.name}\n"
    yield f"{target.about} *({target.source})*\n"
    yield f"**{verdict.word[0].upper()}{verdict.word[1:]}.** {_setting(rows, verdict)}\n"
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
    data = "; ".join(f"{d}{f' ({n} examples)' if n else ''}, {m}" for d, m, n in pairs)
    *_, last = sentences(verdict)
    return f"{data}; levels {frame['level'].min()} to {frame['level'].max()}; {last}."


def _row(finding: Finding) -> str:
    answer = {True: "yes", False: "no", None: "open"}[finding.holds]
    value, low, high = finding.shown
    unit = f" {finding.unit}" if finding.unit else ""
    return f"| {finding.text} | {answer} | {value}{unit} | [{low}, {high}] |"


def _origin(origin: "Origin") -> str:
    """Where numbers are from, and whether the engine that trained any of these networks has changed since."""
    from sddcli import records

    file, date, commit = (origin.get(name, "unknown") for name in ("file", "date", "commit"))
    line = f"From {file}, made on {date} at commit {commit}."
    if all(machine.of_today(engine, model) for engine, model in records.trained(origin)):
        return line
    return f"{line} **Older engine:** the code that trains has changed since."


def _missing(known: Mapping[str, Target], results: Sequence[Result], scale: str) -> Iterator[str]:
    """The commands of those that are not among the results."""
    shown = {result.target.name for result in results}
    if left := [target for target in known.values() if target.name not in shown]:
        yield "## Not here\n"
        yield f"Of these there are no results at scale {scale}; where a command follows, it makes them.\n"
        for target in left:
            command = shlex.join(["sdd", "reproduce", target.name, "--scale", scale])
            made_by = f"`{command}`" if scale in target.sweeps else f"(It has no scale {scale}.)"
            yield f"- {target.name}: {target.about} {made_by}"
        yield ""


def _head_of_figures(scale: str) -> Iterator[str]:
    yield "# The figures of the paper\n"
    yield f"Written by `sdd reproduce` at the scale `{scale}`; no line of it by hand. Each figure of He et al. 2022"
    yield "is made by one command at three scales, `laptop`, `standard` and `paper`, as in"
    yield "`sdd reproduce figure-4 --scale paper`. At the scale of this page data and networks are small, and several"
    yield "figures of the paper are one picture. Below each picture: how it differs from what the paper shows, and the"
    yield "test for double descent of each curve.\n"


def _picture(picture: str, results: Sequence[Result]) -> Iterator[str]:
    """The figures that are one picture at this scale: what each shows, the picture, verdicts, and the command."""
    first = results[0]
    numbers = [result.target.name.removeprefix("figure-") for result in results]
    yield f"## Figure{'s' * (len(numbers) > 1)} {', '.join(numbers)}\n"
    for about in dict.fromkeys(result.target.about for result in results if not result.target.about.startswith("as ")):
        yield f"- {about}"
    if picture:
        yield f"\n![{first.target.about}]({picture})\n"
    for beside in dict.fromkeys(result.target.beside for result in results if result.target.beside):
        yield f"**Beside the paper's:** {beside}\n"
    if first.verdict:
        yield "| curve | | dip | 95 % interval |\n|---|---|---|---|"
        yield from map(_row, first.verdict.findings)
        yield ""
    yield f"`sdd reproduce {first.target.name} --scale {first.scale}`, drawn by {_drawing(first.target)}.\n"


def _drawing(target: Target) -> str:
    return f"`sdd plot {target.plot}{f' --panels {target.panels}' if target.panels else ''}`"
