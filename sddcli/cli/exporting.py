"""Commands that hand runs to others, and take theirs: export, import."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sddcli import sources
from sddcli.cli.completing import among, of_runs
from sddcli.cli.options import Debug, Trust
from sddcli.core.words import UsageError, unknown
from sddcli.files import write
from sddcli.store import Store

ENDINGS = {"torch": ".pt2", "safetensors": ".safetensors", "onnx": ".onnx", "seed+mask": ".ticket.safetensors"}
"""What a run can be exported to, and how such files end."""


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a run: runs/CHAIN or runs/CHAIN/level-07.", autocompletion=of_runs
        ),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="|".join(ENDINGS), help="Kind of file.", autocompletion=among(ENDINGS))
    ] = "torch",
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Name of the file.")] = None,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Export a trained network to a file that needs no sdd.

    torch: a program that torch.export.load(FILE).module() runs, without neurons and filters that do nothing. onnx:
    the same for other programs. safetensors: its weights by name, pruned ones 0. seed+mask: its settings and masks
    alone, from which sddcli.ticket(FILE) draws the initial weights again.

    Example: sdd export runs/RUN/level-07 --to torch -o network.pt2
    """
    if to not in ENDINGS:
        raise unknown("kind of file", to, ENDINGS)
    from sddcli.launchers import machine
    from sddcli.recipes import exporting

    store, which = Store.holding(run)
    if trust:
        sources.trust(store)
    sources.must_run([which])
    machine.one_thread()
    content, about = exporting.exported(store, which, to)
    path = output or Path(f"{which.id}{ENDINGS[to]}")
    write(path, content)
    print(path)
    print(f"{about}; {len(content) / 1e6:.2f} MB", file=sys.stderr)


def import_runs(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder of OpenLTH or of He et al.'s code, or one experiment of it."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Table to write: .csv.")] = Path(
        "imported.csv"
    ),
    debug: Debug = False,
) -> None:
    """Import a table of results of OpenLTH or the paper's code.

    The table can be plotted, listed, and drawn beside runs of sdd (sdd plot --beside). It is read from texts: nothing
    of the folder is run, and its weights are left alone.

    Example: sdd import open_lth_data/ -o openlth.csv
    """
    if output.suffix != ".csv":
        raise UsageError(f"cannot write {output}: a table ends in .csv")
    from sddcli.packing import rows_to_csv
    from sddcli.recipes import importing

    rows, left_out = importing.open_lth(folder)
    for each in left_out:
        print(f"sdd: left out, not finished: {each}", file=sys.stderr)
    names = dict.fromkeys(name for row in rows for name in row)
    write(output, rows_to_csv([{name: row.get(name, "") for name in names} for row in rows]))
    print(output)
