"""Options: those that commands share, and one for each field of Run."""

import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sddcli.cli.completing import among, of_field, of_settings
from sddcli.core.words import UsageError, expanded, printable
from sddcli.families import members, names_in
from sddcli.launchers import machine
from sddcli.resolve import PLURALS, PROTOCOLS, assignment, parse
from sddcli.spec import FIELDS, Value
from sddcli.store import StoreError, Unwritable

Debug = Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Reads = Annotated[Path, typer.Argument(metavar="RUNS", help="Folder of runs, or a results.csv.")]
Folder = Annotated[Path, typer.Argument(metavar="RUNS", help="Folder of runs.")]
Writes = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder to save the runs in.")]
Where = Annotated[
    list[str],
    typer.Option(
        "--where",
        metavar="KEY=LIST",
        help="Only runs with this value, or with one of these.",
        autocompletion=of_settings,
    ),
]
Sets = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=LIST",
        help="Any setting by its name: --set lr=0.1 is --lr 0.1.",
        autocompletion=of_settings,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=256, metavar="N", help="Worker processes; by default one per core, or one per GPU."),
]
Threads = Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Threads of each worker.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", envvar="SDD_DATA", help="Folder for downloaded data sets."),
]
Device = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda", help="Device; auto is a GPU if there is one.")
]
Devices = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        help="Devices: cuda is all GPUs, cuda:0,2 these two; auto is all GPUs if there are any, else cpu.",
    ),
]
Protocol = Annotated[
    str,
    typer.Option(
        "--protocol",
        metavar="|".join(PROTOCOLS),
        help="Default settings: as in the paper, for a quick look, or those of another paper, see docs/protocols.md.",
        autocompletion=among(PROTOCOLS),
    ),
]
Checkpoints = Annotated[
    float,
    typer.Option("--checkpoint-every", metavar="SECONDS", min=0, help="How often unfinished training is saved."),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Run code that others may have written: what a TOML file names, or RUNS/code. Read it first."
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Retry runs that failed before.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")]
Track = Annotated[
    str,
    typer.Option(
        "--track",
        metavar="TRACKER",
        help="Write finished runs for a tracker too: tensorboard or wandb.",
        autocompletion=among(members("trackers")),
    ),
]
SkipBusy = Annotated[
    bool, typer.Option("--skip-busy", help="Skip runs that another process is working on, instead of waiting.")
]
Keep = Annotated[
    str,
    typer.Option(
        "--keep",
        metavar="all|masks|last",
        help="Files to keep of levels that have been pruned further: all, only masks, or none (last).",
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="FILE.csv",
        help="Also add the results, and where they are from, to this file, which sdd reproduce --recorded reads.",
    ),
]
On = Annotated[
    str,
    typer.Option(
        "--on", metavar="ray|slurm", help="Train on a cluster; by default on this machine. See docs/scale.md."
    ),
]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="With --on ray: head of a running cluster, or auto for one that runs here; by default one is started.",
    ),
]
GpusPerTask = Annotated[
    float | None,
    typer.Option(min=0, metavar="N", help="GPUs of each worker of a cluster; 0.5 is half of one. By default 1 if any."),
]
Partition = Annotated[
    str, typer.Option("--partition", metavar="NAME", help="With --on slurm: where jobs run; by default Slurm decides.")
]
Time = Annotated[
    str,
    typer.Option(
        "--time",
        metavar="TIME",
        help="With --on slurm: limit of a job, after which it saves and queues again: minutes, or as in 1-12:00.",
    ),
]
DEFAULT_RUNS = Path("runs")


def with_fields(
    names: Collection[str] = FIELDS, metavar: str = "LIST"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a command: an option for each of these fields of Run replaces its argument `fields`: dict[str, str]."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        return _with_options(
            command, {name: _option(name, metavar) for name in FIELDS if name in names}, metavar == "LIST"
        )

    return decorated


def _option(name: str, metavar: str) -> Any:
    """The option of a field: its name, its plural too, and the members of its table in its help."""
    plural = {field: plural for plural, field in PLURALS.items()}.get(name)
    flags = [f"--{word.replace('_', '-')}" for word in (name, plural) if word]
    text, table = FIELDS[name].metadata["help"], FIELDS[name].metadata["table"]
    if table:
        what, semicolon, note = text.partition(";")
        text = f"{what}: {', '.join(names_in(table))}{semicolon}{note}"
    return typer.Option(*flags, metavar=metavar, help=f"{text}.", autocompletion=of_field(name))


def _with_options(command: Callable[..., None], options: dict[str, Any], lists: bool) -> Callable[..., None]:
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [p.replace(kind=keyword) for p in inspect.signature(command).parameters.values() if p.name != "fields"]
    added = [
        inspect.Parameter(name, keyword, default=None, annotation=Annotated[list[str] | None, option])
        for name, option in options.items()
    ]

    def call(**given: Any) -> None:
        values = {name: texts for name in options if (texts := given.pop(name))}
        command(fields={name: _last(name, texts, lists) for name, texts in values.items()}, **given)

    call.__signature__ = inspect.Signature(own + added)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in own + added}
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call


def _last(name: str, texts: list[str], lists: bool) -> str:
    """The value of an option that may stand there more than once: as everywhere the last one counts, and that is said.

    lists: whether several values could have been meant, which are written with commas.
    """
    if len(texts) > 1:
        option = f"--{name.replace('_', '-')}"
        several = f"; several values are written as a list: {option} {','.join(texts)}" if lists else ""
        print(f"sdd: {option} is given {len(texts)} times: the last one counts, {texts[-1]}{several}", file=sys.stderr)
    return texts[-1]


MOST_NAMED = 20  # folders that cannot be read; sdd verify names all


@contextmanager
def leaving_out() -> Iterator[list[StoreError]]:
    """A list for what cannot be read: when the rest is done its messages are printed.

    Then raises SystemExit with code 4. What could not be saved, for want of the right to, is printed too, and is no
    failure.
    """
    damaged: list[StoreError] = []
    try:
        yield damaged
    finally:
        unsaved = [error for error in damaged if isinstance(error, Unwritable)]
        lines = list(dict.fromkeys(str(error) for error in damaged if error not in unsaved))
        for line in [*lines[:MOST_NAMED], *(f"{error}; what is above is not saved" for error in unsaved[:1])]:
            print(f"sdd: {line}", file=sys.stderr)
        if len(lines) > MOST_NAMED:
            print(f"sdd: and {len(lines) - MOST_NAMED} more: sdd verify names all", file=sys.stderr)
    if lines:
        raise SystemExit(4)


def data_in(folder: Path | None) -> None:
    """Has data sets looked for in `folder`: by the environment, which workers inherit, as it is no part of a run."""
    if folder is not None:
        os.environ["SDD_DATA"] = str(Path(expanded(str(folder))).absolute())
    elif not os.environ.get("SDD_DATA") and (spare := machine.spare_cache()):
        os.environ["SDD_DATA"] = str(spare / "data")
        kept = f"data sets are kept in {spare / 'data'}; --data-dir DIR keeps them elsewhere"
        print(f"sdd: no home folder that can be written to: {kept}", file=sys.stderr)


def must_be_record(file: Path | None) -> None:
    """Raises UsageError for a file of results whose name does not end in .csv."""
    if file and file.suffix != ".csv":
        raise UsageError(f"cannot record in {file}: a record ends in .csv")


def where_of(words: list[str]) -> dict[str, list[Value]]:
    """Field -> the values that --where asks for, as tables hold them.

    Raises UsageError for unknown fields and unreadable values.
    """
    asked: dict[str, list[Value]] = {}
    for name, text in map(assignment, words):
        values = (printable(value) if isinstance(value, str) else value for value in parse(name, text))
        asked.setdefault(name, []).extend(values)
    return asked
