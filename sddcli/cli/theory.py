"""The command for what needs no network: theory."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sddcli.cli import screen
from sddcli.cli.options import Debug, Json
from sddcli.core.words import UsageError
from sddcli.families import names_in
from sddcli.metrics import metric_of

SHOWN = {name: metric_of(name) for name in ("risk", "theory_risk")}


def _option(help: str, metavar: str = "LIST") -> Any:
    return typer.Option(metavar=metavar, help=help, show_default=False)


def theory(
    features: Annotated[
        str, _option(f"Features: {', '.join(names_in('studies.regression.FEATURES'))}. Default: the first three.")
    ] = "",
    ratio: Annotated[str, _option("Features per training example, p/n. Default: 0.3,0.5,1.5,2,4.")] = "",
    rule: Annotated[
        str, _option(f"Which weights are kept: {', '.join(names_in('studies.regression.RULES'))}. Default: all.")
    ] = "",
    kept: Annotated[str, _option("How many weights are kept. Default: 40.", "N")] = "",
    sparsity: Annotated[str, _option("Instead: share of the weights to remove.", "SHARE")] = "",
    examples: Annotated[str, _option("Training examples, n. Default: 200.", "N")] = "",
    seed: Annotated[str, _option("Random seeds, each a draw of what is to be learned. Default: 0-4.")] = "",
    repetitions: Annotated[str, _option("Simulations of each seed. Default: 40.", "N")] = "",
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="File of the table: .csv, in a folder of runs.")
    ] = Path("runs/theory.csv"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare the theory of pruned regression with simulations.

    Least squares of p features from n examples, all of its weights or few of them, in seconds. The table is one of
    results: sdd plot draws it, and a report on its folder shows it.

    Example: sdd theory --features spiked --ratio 0.5,0.8,0.9,1,1.1,1.3,2,4
    """
    from sddcli.studies import regression

    if output.suffix != ".csv":
        raise UsageError(f"cannot write {output}: a table ends in .csv")
    given = {
        "features": features, "ratio": ratio, "rule": rule, "kept": kept, "sparsity": sparsity, "examples": examples,
        "seed": seed, "repetitions": repetitions,
    }  # fmt: skip
    study = regression.from_words({name: text for name, text in given.items() if text})
    import pandas as pd

    from sddcli import table
    from sddcli.cli.kinds import viewed
    from sddcli.files import write

    rows = pd.DataFrame(regression.rows(study))
    write(output, rows.to_csv(index=False, lineterminator="\n", float_format="%.7g").encode())
    for p in sorted(
        {p for ratio in study.ratio if regression.without_risk(p := study.sizes(ratio)[0], study.examples)}
    ):
        why = f"{p} features from {study.examples} examples: the expected risk is infinite; figures have a gap there"
        print(f"sdd: {why}", file=sys.stderr)
    if as_json:
        print(json.dumps(json.loads(rows.to_json(orient="records")), indent=1))
        return
    frame = table.read(output)
    view = viewed(frame, "ratio") if len(study.ratio) > 1 else None
    column = view.column if view else "level"
    curves = view.curves if view else frame
    screen.curves(
        table.summary(curves, column=column), table.varied(curves, column), table.title(curves, column), SHOWN, column
    )
    panels = ["--panels", "dataset"] * (len(study.features) > 1)
    print(f"\n{output}; to plot it: {shlex.join(['sdd', 'plot', 'risk', str(output), *panels])}")
