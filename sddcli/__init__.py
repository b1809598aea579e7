"""sdd in a notebook: sddcli.load("runs/RUN/level-07") is one run, sddcli.table("runs/") has a row for each."""

import os

# Unless asked for reproducible products, MKL may add in another order where a matrix lies elsewhere in memory, and a
# model's bits then depend on which models are trained beside it. MKL reads this at its first product. It stands here
# because every process that computes for sdd imports this file before anything else of sdd. A user's value counts.
os.environ.setdefault("MKL_CBWR", "AUTO")

TYPE_CHECKING = False  # as type checkers read it; typing itself would be loaded for nothing
if TYPE_CHECKING:
    from sddcli.notebook import load as load
    from sddcli.notebook import ticket as ticket
else:

    def __getattr__(name: str) -> object:
        # Only when asked for: every room waits for what is imported here.
        from importlib import import_module

        if name in ("load", "ticket"):
            return getattr(import_module("sddcli.notebook"), name)
        if name == "table":
            return import_module("sddcli.table")
        raise AttributeError(f"module 'sddcli' has no attribute {name!r}")
