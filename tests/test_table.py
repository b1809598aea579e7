"""Table: rows, means over seeds, what tells curves apart."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from sddcli import table
from sddcli.spec import FIELDS, from_dict, to_dict
from sddcli.store import Store, StoreError


def test_columns_and_order(trained: Path) -> None:
    frame = table.results(Store(trained))
    assert list(frame.columns[: len(FIELDS) + 2]) == [*FIELDS, "chain", "run"]
    assert {*table.METRICS, "learning_distance", "masking_distance"} <= set(frame.columns)
    assert [tuple(row) for row in frame[["seed", "level"]].to_numpy()] == [(s, k) for s in range(3) for k in range(4)]
    assert (frame["density"] + frame["sparsity"] == 1).all()
    assert frame["chain"].nunique() == 3 and frame["run"].nunique() == 12


def test_a_csv_reads_back_as_it_was(trained: Path) -> None:
    frame = table.results(Store(trained))
    pd.testing.assert_frame_equal(table.read(trained / "results.csv"), frame, check_dtype=False)


def test_an_empty_criterion_survives_the_csv(trained: Path, tmp_path: Path) -> None:
    frame = table.results(Store(trained))
    alone = frame[frame["level"] == 0].assign(criterion="", retraining="", rate=0.0)
    alone.to_csv(tmp_path / "results.csv", index=False)
    assert (table.read(tmp_path / "results.csv")["criterion"] == "").all()


def test_means_spread_and_n() -> None:
    rows = [{**dict.fromkeys(FIELDS, 0), "seed": s, "level": k, "test_accuracy": a, "chain": s, "run": f"{s}{k}"}
            for s, k, a in [(0, 0, 0.5), (1, 0, 0.7), (0, 1, 0.4)]]  # fmt: skip
    found = table.summary(pd.DataFrame(rows))
    assert found["n"].tolist() == [2, 1]
    assert found["test_accuracy"].tolist() == pytest.approx([0.6, 0.4])
    assert found["test_accuracy_std"][0] == pytest.approx(math.sqrt(0.02)) and math.isnan(found["test_accuracy_std"][1])


def test_what_varies_tells_curves_apart_and_the_rest_is_the_title(trained: Path) -> None:
    frame = table.results(Store(trained))
    assert table.varied(frame) == []
    both = pd.concat([frame, frame.assign(noise=0.0, criterion="random")])
    assert table.varied(both) == ["noise", "criterion"]
    assert table.title(both) == "digits, lenet-300-100, lottery"
    assert table.title(frame.assign(noise=0.0)) == "digits, lenet-300-100, no label noise, magnitude, lottery"
    assert len(table.summary(both)) == 8


def test_only_the_runs_asked_for(trained: Path) -> None:
    store = Store(trained)
    frame = table.results(store)
    asked = [run for run, _ in store.manifests() if run.seed == 1]
    assert set(table.of_runs(frame, asked)["seed"]) == {1} and len(table.of_runs(frame, asked)) == 4
    other = pd.concat([frame, frame.assign(chain=frame["chain"] + "x")])  # dense rows under a second chain
    assert len(table.of_runs(other, asked)) == 4
    assert len(table.of_runs(other, [replace(asked[0], level=0)])) == 1


def test_a_dense_run_that_is_asked_for_alone_is_of_no_chain(trained: Path) -> None:
    """Whatever other sweeps grew from it in this folder: it makes curves with dense runs that nothing grew from."""
    store = Store(trained)
    dense = next(run for run, _ in store.manifests() if not run.level)
    (row,) = table.of_runs(table.results(store), [dense]).to_dict("records")
    assert (row["criterion"], row["retraining"], row["rate"], row["chain"]) == ("", "", 0, row["run"])


def test_ids_of_digits_alone_stay_words(trained: Path, tmp_path: Path) -> None:
    frame = table.results(Store(trained)).assign(run="053170115561", chain="05317e011556")
    frame.to_csv(tmp_path / "results.csv", index=False)
    assert set(table.read(tmp_path / "results.csv")["run"]) == {"053170115561"}
    assert set(table.read(tmp_path / "results.csv")["chain"]) == {"05317e011556"}


def test_dense_runs_without_chains_are_no_curve(trained: Path) -> None:
    frame = table.results(Store(trained))
    lonely = frame.iloc[:1].assign(criterion="", retraining="", rate=0.0, seed=9)
    both = pd.concat([frame, lonely])
    assert len(table.grown(both)) == len(frame) and len(table.grown(lonely)) == 1


def test_exports_are_in_the_order_of_chain_and_level(trained: Path) -> None:
    order = list(pd.read_csv(trained / "results.csv", dtype={"run": str}).sort_values(["level", "run"])["run"])
    for name in ("history.csv", "measures/learning-distance.csv"):
        rows = pd.read_csv(trained / name, dtype={"run": str})
        runs = rows[["run", "level"]].drop_duplicates()
        assert len(runs) == len(set(order)), f"{name}: each run's rows are together"
        levels = runs["level"].tolist()
        assert sorted(levels) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
        assert levels == [0] * 3 + [1, 2, 3] * 3, name


@pytest.mark.parametrize("damage", [("0.4,", "abc,"), ("digits,lenet-300-100,0.4", "digits,lenet-300-100,")])
def test_a_damaged_csv_is_named(trained: Path, tmp_path: Path, damage: tuple[str, str]) -> None:
    path = tmp_path / "results.csv"
    path.write_text((trained / "results.csv").read_text().replace(*damage))
    with pytest.raises(StoreError, match=r"results.csv is damaged: its noise"):
        table.read(path)
    path.write_text((trained / "results.csv").read_text().splitlines()[0] + "\n")
    with pytest.raises(StoreError, match="has no runs"):
        table.read(path)


def test_errors(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(ValueError, match="no run has noise 0.7; known: 0.4"):
        table.select(table.results(Store(trained)), {"noise": [0.7]})
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StoreError, match="is not a results.csv of this version: it lacks dataset"):
        table.read(tmp_path / "results.csv")
    with pytest.raises(StoreError, match="no finished runs"):
        table.results(Store(tmp_path))


def test_two_settings_are_compared_by_pairs_of_seeds() -> None:
    rows = [
        {**dict.fromkeys(FIELDS, 0), "noise": noise, "seed": seed, "level": level, "chain": f"{noise}{seed}"}
        | {"run": f"{noise}{seed}{level}", "sparsity": level / 10, "density": 1 - level / 10, "test_accuracy": accuracy}
        for noise, shift in ((0.2, 0.0), (0.4, 0.1))
        for level in (0, 1)
        for seed, accuracy in ((0, 0.5 + shift), (1, 0.8 + 2 * shift), (2 + 9 * int(noise * 5), 0.1))
    ]
    found = table.compared(pd.DataFrame(rows))
    assert found["noise"].tolist() == [0.4, 0.4] and found["level"].tolist() == [0, 1]
    assert found["pairs"].tolist() == [2, 2], "seeds that only one of them has are in no pair"
    ends = ttest_rel([0.6, 1.0], [0.5, 0.8]).confidence_interval(0.95)
    for _, row in found.iterrows():
        assert row["test_accuracy_difference"] == pytest.approx(0.15)
        assert (row["test_accuracy_low"], row["test_accuracy_high"]) == pytest.approx(tuple(ends))
    assert table.compared(pd.DataFrame(rows).query("noise == 0.2")).empty


def of_settings(first: dict[str, object], second: dict[str, object], n: int = 3) -> pd.DataFrame:
    """Two settings of `n` seeds at two levels, whose accuracy and measure grow with the seed."""
    rows = [
        {**dict.fromkeys(FIELDS, 0), "noise": 0.2, "seed": seed, "noise_seed": seed, "level": level, "sparsity": 0.5}
        | {
            "chain": f"{place}{seed}",
            "run": f"{place}{seed}{level}",
            "density": 0.5,
            "measure": seed + place * 0.1 * seed,
        }
        | {"test_accuracy": seed / 10, **fields}
        for place, fields in enumerate((first, second))
        for seed in range(n)
        for level in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_an_interval_is_of_as_many_pairs_as_have_the_number() -> None:
    frame = of_settings({"rate": 0.2}, {"rate": 0.3}, 4)
    frame.loc[(frame["seed"] == 1) & (frame["rate"] == 0.3), "measure"] = float("nan")
    ends = ttest_rel([0, 2.2, 3.3], [0, 2, 3]).confidence_interval(0.95)
    for _, row in table.compared(frame).iterrows():
        assert (row["measure_low"], row["measure_high"]) == pytest.approx(tuple(ends)) and row["pairs"] == 4


def test_networks_of_other_density_are_no_pair_also_where_both_have_next_to_no_weights() -> None:
    far = of_settings({"rate": 0.2, "density": 0.005}, {"rate": 0.5, "density": 0.001})
    near = of_settings({"rate": 0.2, "density": 0.005}, {"rate": 0.5, "density": 0.0051})
    assert table.compared(far).empty and table.compared(near)["pairs"].tolist() == [3, 3]


def test_without_noise_its_seed_tells_no_networks_apart() -> None:
    found = table.compared(of_settings({"noise": 0.0}, {"noise": 0.4, "noise_seed": 7}))
    assert found["pairs"].tolist() == [3, 3]
    assert table.compared(of_settings({"noise": 0.2}, {"noise": 0.4, "noise_seed": 7})).empty


def test_a_seed_pairs_no_networks_of_two_data_sets() -> None:
    assert table.compared(of_settings({"dataset": "digits"}, {"dataset": "mnist"})).empty


def test_rank_correlation_with_test_accuracy_along_chains(trained: Path) -> None:
    frame = table.results(Store(trained))
    values = frame[["run", "level"]].assign(up=frame["test_accuracy"] ** 3, down=-frame["test_accuracy"], same=1.0)
    found = table.correlations(frame, values).set_index("measure")
    assert found.loc["up", ["mean", "std", "n"]].tolist() == pytest.approx([1, 0, 3])
    assert found.loc["down", "mean"] == pytest.approx(-1) and "same" not in found.index


@pytest.mark.parametrize(("sign", "decimal"), [(";", ","), ("\t", ","), (",", ".")])
def test_a_table_that_a_spreadsheet_has_saved_is_read(trained: Path, tmp_path: Path, sign: str, decimal: str) -> None:
    frame = pd.read_csv(trained / "results.csv", dtype={"run": str, "chain": str})
    path = tmp_path / "saved.csv"
    frame.to_csv(path, sep=sign, decimal=decimal, index=False, encoding="utf-8-sig")
    pd.testing.assert_frame_equal(table.read(path), table.read(trained / "results.csv"))
    frame.assign(run="5,31E+13").to_csv(path, sep=sign, decimal=decimal, index=False)
    with pytest.raises(StoreError, match="a spreadsheet made numbers of some ids"):
        table.read(path)


@pytest.mark.parametrize("seed", [2**63 - 1, 2**63, 2**70])
def test_old_runs_of_seeds_that_are_refused_now_stay_readable(trained: Path, tmp_path: Path, seed: int) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    dense = next(root.glob("*dense-seed1*"))
    said = json.loads((dense / "manifest.json").read_text())
    run = from_dict(said["run"] | {"seed": seed})
    store = Store(root)
    (dense / "manifest.json").write_text(json.dumps(said | {"run": to_dict(run), "id": run.id}))
    for chain in root.glob("*lottery-seed1*"):
        shutil.rmtree(chain)
    dense.rename(store.folder(run))
    frame = table.results(store)
    assert [int(each) for each in frame["seed"] if int(each) > 2] == [seed]
    assert len(table.select(frame, {"seed": [0, 2]})) == len(frame) - 1


def test_the_network_that_a_ticket_of_other_settings_was_found_in_is_no_part_of_its_curve() -> None:
    """Its masks come from another optimizer. A dense network that learned by another loss alone is a curve's start."""
    frame = of_settings({"retraining": "lottery"}, {"retraining": "ticket"})
    ticket = frame["retraining"] == "ticket"
    frame["chain"] = frame["retraining"] + frame["seed"].astype(str)
    frame["optimizer"] = np.where(ticket & (frame["level"] == 0), "adam", "sgd")
    frame["loss"] = np.where(~ticket & (frame["level"] > 0), "distill", "cross-entropy")
    left = table.grown(frame)
    assert len(left) == len(frame) - 3 and not left["optimizer"].eq("adam").any()
    assert set(left.loc[left["level"] == 0, "retraining"]) == {"lottery"}
