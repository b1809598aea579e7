"""sdd: what pruning does to generalization, from the command line. Words -> runs -> one call."""

import codecs
import io
import os
import re
import select
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from sddcli.cli.checking import compare, doctor
from sddcli.cli.exporting import export, import_runs
from sddcli.cli.help import Command
from sddcli.cli.inspection import gc, list_runs, logs, status, verify
from sddcli.cli.launching import cancel
from sddcli.cli.making import prune, retrain, sweep, train_dense
from sddcli.cli.reporting import report
from sddcli.cli.reproducing import reproduce
from sddcli.cli.seeing import analyze, plot
from sddcli.cli.theory import theory
from sddcli.cli.tracking import track
from sddcli.core.words import UsageError, expanded
from sddcli.launchers import libraries, machine
from sddcli.store import StoreError

REPORT = "to report it, run the command again with --debug and send all that it prints, with what sdd --version prints"

app = typer.Typer(
    name="sdd",
    no_args_is_help=True,
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
    "reproduce": reproduce,
    "theory": theory,
    "list": list_runs,
    "status": status,
    "logs": logs,
    "train-dense": train_dense,
    "prune": prune,
    "retrain": retrain,
    "compare": compare,
    "export": export,
    "import": import_runs,
    "track": track,
    "verify": verify,
    "cancel": cancel,
    "gc": gc,
    "doctor": doctor,
}
for name, command in COMMANDS.items():
    app.command(name, cls=Command)(command)


def main() -> NoReturn:
    """Runs sdd with this process's arguments; ends with its exit code (0, 1, 2, 3, 4, 130, 143)."""
    _open_streams()
    libraries.say_warnings(whole="--debug" in sys.argv)
    try:
        words = [_at_home(word) for word in sys.argv[1:]]
        code = app(words, prog_name="sdd", standalone_mode=False)
    except BaseException as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        code, line = _explained(error)
        if line:
            with suppress(BrokenPipeError):
                print(f"sdd: {line}", file=sys.stderr)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with suppress(BrokenPipeError):
            stream.flush()
        if _unread(number):  # what is left in the stream goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    sys.exit(code)


def _at_home(word: str) -> str:
    """A word of the command line with ~ as the user's home where the shell left it: quoted, or after --option=."""
    option, path = re.fullmatch(r"(--[a-z-]+=|)(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
    return option + (expanded(path) if path.startswith("~") else path)


def _open_streams() -> None:
    """Has stdout and stderr take any word, and go nowhere where they are closed: files would get their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115, for as long as sdd runs
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    codecs.register_error("sdd", _as_bytes_or_question_mark)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="sdd")


def _as_bytes_or_question_mark(error: UnicodeError) -> tuple[str | bytes, int]:
    """What a stream cannot encode: bytes of a file's name as they are, so that other commands take it, else "?".

    A terminal that has no ± shall not lose a table.
    """
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("replace")(error)


def _unread(*numbers: int) -> bool:
    """Whether nobody reads stdout or stderr any more: of | head, who has seen enough. A worker's pipe is another."""
    looks = select.poll()
    for number in numbers or (1, 2):
        looks.register(number, 0)
    return any(event & select.POLLERR for _, event in looks.poll(0))


def _explained(error: BaseException) -> tuple[int, str]:
    """The exit code and the one line of an error."""
    if isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError) and _unread():
        return 0, ""  # Typer makes an exit code 1 of it
    message: Any = getattr(error, "format_message", None)  # a usage error of Typer's own Click
    if message:
        line = " ".join(message().split())
        return 2, f"{line} (see: sdd --help)" if line else ""  # no words at all: help was printed
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
