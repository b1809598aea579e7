"""Epochs: four levels of each setting; re-dense epochs go on where the sparse ones end."""

import pandas as pd
import pytest

from sddcli.plots import epochs

SPARSITY = [0.0, 0.5, 0.9, 0.99, 0.999]


def tables(*retrainings: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means of two seeds, five levels, six epochs; re-dense networks at levels 0, 2 and 4, the former dense."""
    rows = []
    for retraining in retrainings:
        for level in (0, 2, 4) if retraining.startswith("redense") else range(5):
            row = {"retraining": retraining, "level": level, "sparsity": SPARSITY[level], "n": 2}
            for split in ("test", "train"):
                row |= {f"{split}_accuracy": 0.5 + level / 20, f"{split}_accuracy_std": 0.01}
            rows += [row | {"epoch": epoch, "test_accuracy": epoch / 10} for epoch in (2, 4, 6)]
    details = pd.DataFrame(rows)
    return details[details["epoch"] == 6].drop(columns="epoch"), details


def test_redense_epochs_go_on_where_the_sparse_ones_of_the_same_level_end() -> None:
    _, details = tables("lottery", "redense", "redense:lr=0.1")
    rows, release = epochs.continued(details)
    assert release == 6 and set(rows["retraining"]) == {"redense", "redense:lr=0.1"}
    for (_, level), run in rows.groupby(["retraining", "level"]):
        assert list(run["epoch"]) == [2, 4, 6, *([8, 10, 12] if level else [])]
        assert list(run["test_accuracy"]) == [0.2, 0.4, 0.6] * (2 if level else 1)
    assert set(rows["level"]) == {0, 2, 4}, "the levels that have both"


@pytest.mark.parametrize("retrainings", [("lottery", "finetune"), ("redense",)])
def test_without_both_there_is_nothing_to_go_on(retrainings: tuple[str, ...]) -> None:
    _, details = tables(*retrainings)
    rows, release = epochs.continued(details)
    assert release is None and rows is details
    assert epochs.continued(details.drop(columns="retraining"))[1] is None


def test_each_setting_has_two_panels_and_its_four_levels_in_colours_and_styles() -> None:
    summary, details = tables("lottery", "finetune")
    figure = epochs.draw(summary, ["retraining"], "a title", details=details)
    tops = [ax for ax in figure.axes if ax.get_title().startswith("retraining")]
    assert [ax.get_title() for ax in tops] == ["retraining finetune", "retraining lottery"] and len(figure.axes) == 4
    for ax in figure.axes:
        assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 4
        assert len({line.get_linestyle() for line in ax.lines}) == 4, "apart in print too"
    assert list(tops[0].lines[0].get_xdata()) == [2, 4, 6]


def test_the_return_of_weights_is_marked_in_both_panels() -> None:
    summary, details = tables("lottery", "redense")
    figure = epochs.draw(summary, ["retraining"], "a title", details=details)
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == [" pruned weights return"]
    for ax in figure.axes:
        assert [6, 6] in [list(line.get_xdata()) for line in ax.lines]
        assert max(line.get_xdata()[-1] for line in ax.lines) == 12
