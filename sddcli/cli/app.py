"""sdd: what pruning does to generalization, from the command line. Words -> runs -> one call."""

import io
import re
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from sddcli.cli.help import Command
from sddcli.cli.inspection import gc, list_runs, logs, status, verify
from sddcli.cli.making import prune, retrain, sweep, train_dense
from sddcli.cli.reporting import report
from sddcli.cli.seeing import analyze, plot
from sddcli.core.words import UsageError, expanded
from sddcli.launchers import libraries, machine
from sddcli.store import StoreError

REPORT = "please report it to sdd's maintainers, with what the same command prints with --debug"

app = typer.Typer(
    name="sdd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Example: sdd sweep && sdd plot double-descent",
)


def _version(asked: bool) -> None:
    if asked:
        print(machine.release())
        raise SystemExit(0)


@app.callback()
def sdd(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Study how pruning changes the generalization of neural networks.

    A sweep trains networks on noisy labels, prunes them level by level, retrains and measures each level.
    """
    machine.use_spare_cache()


COMMANDS: dict[str, Callable[..., None]] = {
    "sweep": sweep,
    "plot": plot,
    "analyze": analyze,
    "report": report,
    "list": list_runs,
    "status": status,
    "logs": logs,
    "train-dense": train_dense,
    "prune": prune,
    "retrain": retrain,
    "verify": verify,
    "gc": gc,
}
for name, command in COMMANDS.items():
    app.command(name, cls=Command)(command)


def main() -> NoReturn:
    """Runs sdd with this process's arguments; ends with its exit code (0, 1, 2, 3, 4, 130, 143)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no ± shall not lose a table
    libraries.say_warnings(whole="--debug" in sys.argv)
    try:
        code = app([_at_home(word) for word in sys.argv[1:]], standalone_mode=False)
    except BaseException as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        code, line = _explained(error)
        if line:
            print(f"sdd: {line}", file=sys.stderr)
    sys.exit(code)


def _at_home(word: str) -> str:
    """A word of the command line with ~ as the user's home where the shell left it: quoted, or after --option=."""
    option, path = re.fullmatch(r"(--[a-z-]+=|)(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
    return option + (expanded(path) if path.startswith("~") else path)


def _explained(error: BaseException) -> tuple[int, str]:
    """The exit code and the one line of an error."""
    message: Any = getattr(error, "format_message", None)  # a usage error of Typer's own Click
    if message:
        said = " ".join(message().split())
        return 2, f"{said} (see: sdd --help)" if said else ""  # no words at all: help was printed
    if isinstance(error, SystemExit):
        return int(error.code or 0), ""
    line = " ".join(str(error).split())
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return 130, "interrupted"
    if isinstance(error, UsageError):
        return 2, line
    if isinstance(error, StoreError):
        return 4, line
    if isinstance(error, OSError):
        return 4, f"{error.filename}: {error.strerror}" if error.filename else line
    return 1, f"{type(error).__name__}: {line}; this is a bug in sdd, not in what you wrote: {REPORT}"
