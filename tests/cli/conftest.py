"""What several tests of commands need: a tracker that writes nothing."""

import sys
from pathlib import Path
from types import ModuleType

import pytest


class Written:
    """Stands in for what TensorBoard writes with."""

    rows: list[tuple[str, str, float, int]] = []

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.append((Path(self.folder).name, name, value, step))

    def close(self) -> None:
        pass


@pytest.fixture
def tensorboard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float, int]]:
    """The rows that are handed to TensorBoard, which need not be installed."""
    summary = ModuleType("tensorboard.summary")
    summary.Writer = Written  # type: ignore[attr-defined]
    package = ModuleType("tensorboard")
    package.summary = summary  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    monkeypatch.setitem(sys.modules, "tensorboard.summary", summary)
    monkeypatch.setattr(Written, "rows", [])
    return Written.rows
