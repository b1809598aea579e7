"""Options: those that commands share, and one for each field of Run."""

import ast
import inspect
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from sddcli.resolve import PLURALS, assignment, parse
from sddcli.spec import FIELDS, Value

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Reads = Annotated[Path, typer.Argument(metavar="[RUNS]", help="Folder of runs, or a results.csv.")]
Writes = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of runs.")]
Where = Annotated[
    list[str], typer.Option("--where", metavar="KEY=VALUE", help="Only runs with this value, or one of a list.")
]
Sets = Annotated[list[str], typer.Option("--set", metavar="KEY=LIST", help="Set a field by name.")]
Workers = Annotated[int | None, typer.Option(min=1, max=256, help="Worker processes; one a core.")]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads of each worker.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", envvar="SDD_DATA", help="Where downloaded data sets are."),
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to train; auto: CUDA if there.")]
Protocol = Annotated[
    str, typer.Option("--protocol", metavar="paper|quick", help="Where settings come from that are not said.")
]
Checkpoints = Annotated[
    float, typer.Option("--checkpoint-every", metavar="SECONDS", min=0, help="How often runs in training are saved.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try runs again that failed before.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")]
SkipBusy = Annotated[
    bool, typer.Option("--skip-busy", help="Leave out, instead of waiting for, runs that another process works on.")
]
Keep = Annotated[
    str, typer.Option("--keep", metavar="all|masks|last", help="What stays of levels that were pruned further.")
]
DEFAULT_RUNS = Path("runs")


def with_fields(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for each field of Run in place of its argument `fields`: dict[str, str]."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "fields"]
    singular = {field: plural for plural, field in PLURALS.items()}
    options = []
    for name, field in FIELDS.items():
        flags = [f"--{word.replace('_', '-')}" for word in (name, singular.get(name)) if word]
        said = field.metadata["help"]
        if table := field.metadata["table"]:
            said += f": {', '.join(names_in(table))}"
        option = typer.Option(*flags, metavar="LIST", help=f"{said}.", rich_help_panel="Experiment")
        kind = inspect.Parameter.KEYWORD_ONLY
        options.append(inspect.Parameter(name, kind, default=None, annotation=Annotated[str | None, option]))

    def call(**given: Any) -> None:
        fields = {name: text for name in FIELDS if (text := given.pop(name)) is not None}
        command(fields=fields, **given)

    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    call.__signature__ = inspect.Signature(keyword + options)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in keyword + options}
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call


def data_in(folder: Path | None) -> None:
    """Has data sets looked for in `folder`: by the environment, which workers inherit, as it is no part of a run."""
    if folder is not None:
        os.environ["SDD_DATA"] = str(folder.absolute())


def where_of(words: list[str]) -> dict[str, list[Value]]:
    """Field -> the values that --where asks for. Raises UsageError for unknown fields and unreadable values."""
    asked: dict[str, list[Value]] = {}
    for name, text in map(assignment, words):
        asked.setdefault(name, []).extend(parse(name, text))
    return asked


def names_in(table: str) -> list[str]:
    """The names in a visible table of the package, "core.criteria.CRITERIA", read from its source: no torch."""
    *modules, variable = table.split(".")
    tree = ast.parse(files("sddcli").joinpath("/".join(modules) + ".py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == variable:
                return [str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)]
    raise KeyError(table)


def members(folder: str) -> list[str]:
    """The names that the files of a folder of the package are: learning_distance.py is learning-distance."""
    stems = (
        Path(entry.name).stem for entry in files("sddcli").joinpath(folder).iterdir() if entry.name.endswith(".py")
    )
    return sorted(stem.replace("_", "-") for stem in stems if not stem.startswith("_") and stem != "style")
