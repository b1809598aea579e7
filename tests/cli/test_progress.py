"""Progress: alive on a terminal, plain lines elsewhere."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from sddcli.cli import progress
from sddcli.cli.progress import Display, spoken_time
from sddcli.events import Advanced, Failed, Noted, Reading, Saved
from sddcli.resolve import runs
from sddcli.spec import Run

RUNS = runs({"level": "0-1", "seed": "0,1", "epochs": "4"})
METRICS = [{"train_accuracy": 0.5, "test_accuracy": 0.75}, {"train_accuracy": 0.7, "test_accuracy": 0.85}]


def feed(display: Display, pair: list[Run]) -> None:
    for epoch in range(1, 5):
        display(Advanced(pair, epoch, 4, METRICS if epoch > 1 else None))


@pytest.fixture
def pair() -> list[Run]:
    return [run for run in RUNS if run.level == 0]


def test_a_terminal_sees_chain_level_epoch_accuracy_and_time_left(pair: list[Run]) -> None:
    console = Console(file=StringIO(), force_terminal=True, width=80)
    display = Display(RUNS, console)
    with display:
        feed(display, pair)
        with console.capture() as seen:
            console.print(display._view())
        display(Saved(pair[0]))
        display(Saved(pair[1]))
        with console.capture() as after:
            console.print(display._view())
    for word in ("seed 0,1", "dense", "epoch 4/4", "train 60.0%", "test 80.0%", "0/4 runs", "left"):
        assert word in seen.get(), word
    assert "2/4 runs" in after.get() and "epoch" not in after.get()
    assert all(len(line) < 120 for line in seen.get().splitlines())  # with colour codes


def test_elsewhere_a_plain_line_now_and_then(pair: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    out = StringIO()
    display = Display(RUNS, Console(file=out, width=80))
    with display:
        feed(display, pair)
        display(Saved(pair[0]))
        assert out.getvalue() == ""
        monkeypatch.setattr(progress, "PLAIN_SECONDS", 0)
        display(Saved(pair[1]))
    assert out.getvalue().count("\n") == 1 and "\x1b" not in out.getvalue()
    assert out.getvalue().startswith("2/4 runs, ") and "seed1 level 0" in out.getvalue()
    assert "train 70.0%  test 85.0%" in out.getvalue()


def test_a_line_names_what_differs_in_the_sweep_finished_runs_included(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0)
    out, family = StringIO(), runs({"level": "0", "seed": "0", "epochs": "4", "lr": "0.1,0.2"})
    display = Display(family[1:], Console(file=out, width=80), family=family)
    display(Saved(family[1]))
    assert "seed0 level 0 (lr 0.2):" in out.getvalue() and display.named(family[0]).endswith("level 0 (lr 0.1)")


def test_reading_data_is_told_on_a_terminal_and_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=StringIO(), force_terminal=True, width=80)
    with Display(RUNS, console) as display, console.capture() as seen:
        display(Reading("downloading cifar-10-python.tar.gz", 17, 170))
        console.print(display._view())
    assert "downloading cifar-10-python.tar.gz: 10%" in seen.get()
    out = StringIO()
    with Display(RUNS, Console(file=out, width=80)) as display:
        for done in range(11):
            display(Reading("reading train images", done, 10))
    assert out.getvalue() == "reading train images: 100%\n"


def test_time_left_is_by_the_pace_of_this_sweep_not_by_what_was_trained_before(
    pair: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    display = Display(RUNS, Console(file=StringIO()))
    monkeypatch.setattr(progress, "monotonic", lambda: display._began + 100)
    display(Advanced(pair, 3, 4, None))  # two of four epochs of both were saved: two here, of ten that are left
    assert display._left() == spoken_time(500)
    display(Advanced(pair, 4, 4, None))
    assert display._left() == spoken_time(200)


def test_what_a_run_is_rewound_by_is_not_left_to_do(pair: list[Run]) -> None:
    display = Display(pair, Console(file=StringIO()))
    display(Advanced(pair, 4, 4, METRICS))
    display(Saved(pair[0]))
    display(Saved(pair[1]))
    assert display._left() == "0 s"


def test_failures_are_kept_and_no_longer_awaited(pair: list[Run]) -> None:
    display = Display(RUNS, Console(file=StringIO()))
    display(Failed(replace(pair[0], seed=5), "why"))
    assert [failure.reason for failure in display.failures] == ["why"]


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (9000, "2 h 30 min")])
def test_time_as_people_say_it(seconds: float, said: str) -> None:
    assert spoken_time(seconds) == said


@pytest.mark.parametrize("terminal", [True, False])
def test_a_notice_is_told_once_however_many_workers_send_it(terminal: bool) -> None:
    out = StringIO()
    with Display(RUNS, Console(file=out, width=80, force_terminal=terminal)) as display:
        for _ in range(3):
            display(Noted("bits depend on the company here"))
    assert out.getvalue().count("bits depend on the company here") == 1
