"""Machine: a core for each worker, one worker for a GPU, which takes more models at once."""

import pytest

from sddcli.launchers import machine


@pytest.mark.parametrize("gpu", [True, False])
def test_workers_and_models_at_once(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cuda", lambda: gpu)
    monkeypatch.setattr(machine, "cores", lambda: 7)
    assert machine.crew("cpu") == 7 and machine.crew("cuda:1") == 1
    assert machine.crew("auto") == (1 if gpu else 7)
    found = [machine.most_side_by_side(device) for device in ("cpu", "auto", "cuda")]
    assert found == sorted(found) and found[0] < found[2] and found[1] == found[2 if gpu else 0]
