"""Figures: all of the paper are there, at every scale; examples are their laptop twins."""

from pathlib import Path

import pytest

from sddcli import resolve
from sddcli.cli.targets import claims, figures
from sddcli.families import members
from sddcli.figures import FIGURES, SCALES, Sweep
from sddcli.spec import Run

EXAMPLES = Path(__file__).parent.parent / "examples"


def runs_of(sweeps: tuple[Sweep, ...]) -> set[Run]:
    return {run for sweep in sweeps for run in resolve.runs(sweep.words, protocol=sweep.protocol)}


def test_all_figures_of_the_paper_are_there_in_order_with_a_plot() -> None:
    assert list(FIGURES) == [f"figure-{k}" for k in range(1, 50)]
    assert {figure.plot for figure in FIGURES.values()} <= set(members("plots"))
    assert all(tuple(figure.sweeps) == SCALES for figure in FIGURES.values())
    assert all(figure.beside.endswith(".") for figure in FIGURES.values())


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_drawn_by_epoch_is_evaluated_at_ten_epochs_or_more(scale: str) -> None:
    by_epoch = [each for each in (claims() | figures()).values() if each.plot in ("epochs", "best-epoch")]
    assert {"C7a", "figure-11"} <= {each.name for each in by_epoch}
    for target in by_epoch:
        assert all(run.epochs / run.eval_every >= 10 for run in target.asked(scale)), target.name


@pytest.mark.parametrize("name", ["2", "4", "10"])
def test_an_example_asks_for_the_runs_of_its_laptop_twin(name: str) -> None:
    example = EXAMPLES / f"figure-{name}-digits.toml"
    assert set(resolve.runs({}, [], example)) == runs_of(FIGURES[f"figure-{name}"].sweeps["laptop"])


@pytest.mark.parametrize("name", ["3", "20", "21", "31"])
def test_an_example_shares_its_runs_with_its_laptop_twin(name: str) -> None:
    """These differ in what they are compared with, or in criteria."""
    example = set(resolve.runs({}, [], EXAMPLES / f"figure-{name}-digits.toml"))
    assert len(example & runs_of(FIGURES[f"figure-{name}"].sweeps["laptop"])) >= 150


def test_the_papers_scale_has_its_networks_data_and_seeds() -> None:
    runs = runs_of(FIGURES["figure-4"].sweeps["paper"])
    assert {(run.dataset, run.model, run.epochs, run.batch_size) for run in runs} == {("cifar10", "resnet18", 160, 128)}
    assert {run.noise for run in runs} == {0.2, 0.4, 0.8} and {run.seed for run in runs} == {0, 1, 2}
    assert {run.dataset for run in runs_of(FIGURES["figure-1"].sweeps["paper"])} == {"mnist", "cifar10", "cifar100"}


def test_a_sweep_is_its_command() -> None:
    sweep = Sweep({"dataset": "digits", "noise_kind": "pairflip"}, "quick")
    assert sweep.command() == "sdd sweep --dataset digits --noise-kind pairflip --protocol quick"
