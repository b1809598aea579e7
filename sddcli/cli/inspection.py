"""Commands that tell what there is: list."""

from sddcli.cli import screen
from sddcli.cli.options import DEFAULT_RUNS, Debug, Json, Reads, Where, where_of


def list_runs(runs: Reads = DEFAULT_RUNS, where: Where = [], as_json: Json = False, debug: Debug = False) -> None:
    """List the chains of a folder: how many levels are finished, and how accurate they are.

    Example: sdd list runs/ --where seed=0
    """
    from sddcli import table

    frame = table.select(table.read(runs), where_of(where))
    chains = table.chains(frame)
    if as_json:
        print(chains.to_json(orient="records", indent=1))
        return
    screen.listing(chains, table.varied(frame), table.title(frame))
