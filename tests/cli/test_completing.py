"""Completing: what a shell is told when a word is begun, asked as shells ask."""

import subprocess
import sys
from pathlib import Path

import pytest

from sddcli.cli import completing
from sddcli.cli.targets import claims, figures
from sddcli.store import Store
from tests.conftest import Sdd


def offered(sdd: Sdd, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What bash gets for the last word of a line."""
    monkeypatch.setenv("_SDD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    return sdd().out.split()


@pytest.mark.parametrize(
    "line, names",
    [
        ("sdd pru", ["prune"]),
        ("sdd plot double", ["double-descent"]),
        ("sdd analyze learning-", ["learning-distance", "learning-speed"]),
        ("sdd analyze signs,mov", ["signs,movement"]),
        ("sdd sweep --criterion magnitude,magn", ["magnitude,magnitude-increase"]),
        ("sdd sweep --dataset mnist", ["mnist", "mnist1d"]),
        ("sdd sweep --protocol ren", ["renda"]),
        ("sdd sweep --model net", []),  # a file may be meant, and shells offer files
        ("sdd plot plane --where noise_", ["noise_kind=", "noise_seed="]),
        ("sdd sweep --set scope=uni", ["scope=uniform", "scope=uniform-plus"]),
        ("sdd reproduce figure-4", ["figure-4", "figure-40", "figure-41", "figure-42"]),
        ("sdd reproduce C1,C19", ["C1,C19a", "C1,C19b"]),
        ("sdd export x --to saf", ["safetensors"]),
        ("sdd analyze flatness --along wi", ["width"]),
    ],
)
def test_names_are_offered(sdd: Sdd, monkeypatch: pytest.MonkeyPatch, line: str, names: list[str]) -> None:
    found = offered(sdd, monkeypatch, line)
    assert set(names) <= set(found) if names else not found
    assert all(name.startswith(line.split(" ")[-1]) for name in found)


def test_all_that_can_be_reproduced_is_offered() -> None:
    assert set(completing.of_targets("")) == {*claims(), *figures(), "all", "figures"}


def test_runs_are_offered_chain_by_chain_and_then_their_levels(
    trained: Path, sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "runs").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    folders = {str(Store("runs").folder(run)) for run, _ in Store("runs").manifests()}
    chains = {"/".join(folder.split("/")[:2]) for folder in folders}
    chain = next(each for each in sorted(chains) if "dense" not in each)
    for begun in ("", "ru", "runs/"):
        assert set(offered(sdd, monkeypatch, f"sdd logs {begun}")) == chains
    assert offered(sdd, monkeypatch, f"sdd logs {chain[:-2]}") == [chain]
    assert set(offered(sdd, monkeypatch, f"sdd export {chain}/")) == {each for each in folders if chain in each}
    assert offered(sdd, monkeypatch, f"sdd compare {chain}/level-03 {chain}/level-0") != []
    assert offered(sdd, monkeypatch, "sdd logs nowhere/") == []


def test_no_library_that_computes_is_loaded_for_it() -> None:
    code = """
import os, sys
os.environ |= {"_SDD_COMPLETE": "complete_bash", "COMP_WORDS": "sdd sweep --criterion mag", "COMP_CWORD": "3"}
sys.argv = ["sdd"]
from sddcli.cli.app import main
try:
    main()
finally:
    print("slow:", [name for name in ("numpy", "torch", "pandas", "matplotlib") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()
    assert said[0] == "magnitude" and said[-1] == "slow: []"
