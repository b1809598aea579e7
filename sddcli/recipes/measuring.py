"""Measuring: an analysis of one finished run, from the store and back to it."""

from importlib import import_module

from sddcli.core.types import Trained
from sddcli.spec import Run
from sddcli.store import Store


def measured(store: Store, measure: str, run: Run) -> dict[str, float]:
    """Lets analysis `measure` look at `run` and keeps what it found. Raises StoreError for missing files."""
    analysis = import_module(f"sddcli.analyses.{measure.replace('-', '_')}")
    final, masks = store.weights(run)
    values: dict[str, float] = analysis.measure(Trained(store.initial(run), final, masks))
    store.save_measure(run, measure, values)
    return values
