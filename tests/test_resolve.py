"""Resolve: precedence, ranges and lists, errors of one line."""

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sddcli.core.words import UsageError, unknown
from sddcli.resolve import PLURALS, assignment, child, parse, plan, runs
from sddcli.spec import FIELDS, KINDS, Run, unfold


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def test_the_default_sweep_is_the_digits() -> None:
    found = runs({})
    assert {(run.dataset, run.model, run.noise) for run in found} == {("digits", "lenet-300-100", 0.4)}
    assert len({run.seed for run in found}) >= 3 and {run.level for run in found} >= set(range(31))
    assert {run.criterion for run in found if run.level} == {"magnitude"}


def test_precedence(tmp_path: Path) -> None:
    """Run's defaults < protocol < TOML < --set < flags."""
    toml = write(tmp_path, "epochs = 7\nlr = 0.3\nmomentum = 0.5\nlevel = 1\nseed = [1, 2]\n")
    (first, second) = runs({"lr": "0.5"}, ["momentum=0.6", "lr=0.4"], toml)
    assert (first.lr, first.momentum, first.epochs, first.batch_size, first.weight_decay) == (0.5, 0.6, 7, 64, 0.0)
    assert (first.seed, second.seed) == (1, 2)


def test_words_of_toml(tmp_path: Path) -> None:
    toml = write(tmp_path, 'level = "0-2"\nseed = "0,5"\nnoise = [0, 0.5]\nmilestones = "2/3"\n')
    found = runs({}, [], toml)
    assert len(found) == 3 * 2 * 2 and found[0].milestones == "2/3"


def test_toml_takes_the_names_and_ranges_of_the_command_line(tmp_path: Path) -> None:
    toml = write(tmp_path, 'levels = ["0-2", 5]\nseeds = 1\nbatch-size = 32\n')
    found = runs({}, [], toml)
    assert {run.level for run in found} == {0, 1, 2, 5} and {(run.seed, run.batch_size) for run in found} == {(1, 32)}


def test_a_byte_order_mark_is_no_part_of_toml(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_bytes(b'\xef\xbb\xbfnoise = 0.1\r\nseeds = "0-1"\r\nlevel = 0\r\n')
    assert [(run.noise, run.seed) for run in runs({}, [], path)] == [(0.1, 0), (0.1, 1)]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_given_twice_in_one_source_is_refused(tmp_path: Path, name: str) -> None:
    """Under any two of its spellings, in a file and in --set; one source still overrides the other."""
    hyphens = name.replace("_", "-")
    spellings = [name, *({hyphens} - {name}), *(plural for plural, field in PLURALS.items() if field == name)]
    value = '"a"' if KINDS[name] is str else "1"
    for first, second in combinations(spellings, 2):
        with pytest.raises(UsageError, match=f"{name} is given twice, the second time as {second}"):
            plan({}, [], write(tmp_path, f"{first} = {value}\n{second} = {value}\n"))
    for second in spellings:
        with pytest.raises(UsageError, match=f"--set gives {name} twice"):
            plan({}, [f"{name}=1", f"{second}=2"])


@pytest.mark.parametrize(
    ("examples", "words", "rewinds"),
    [
        (2000, {}, {"256it"}),  # 16 steps x 160 epochs
        (40, {}, {"16it"}),
        (40, {"epochs": "4"}, {"0it"}),
        (100_000, {}, {"1000it"}),
        (40, {"rewind": "1000it"}, {"1000it"}),  # the user's own words stay, to be refused
        (40, {"epochs": "160,4"}, {"16it", "0it"}),
        (40, {"batch_size": "8", "epochs": "100,200"}, {"50it", "100it"}),
        (40, {"level": "0"}, {"0it"}),
        (40, {"retraining": "scratch"}, {"0it"}),
    ],
)
@pytest.mark.parametrize("levels", ["0-2", "auto"])
def test_a_protocols_rewinding_point_fits_the_data(
    examples: int, words: dict[str, str], rewinds: set[str], levels: str
) -> None:
    heard: list[str] = []
    words = {"dataset": "folder:x", "model": "resnet18", "level": levels, **words}
    found = plan(words, count=lambda *_: examples, hear=heard.append)
    every = [run for table in found for run in unfold(table | ({} if levels == "0-2" else {"level": [0, 1]}))]
    if words["level"] != "0":
        assert {run.rewind for run in every if run.level} == rewinds
        seen = {(run.epochs, run.rewind) for run in every if run.level}
        assert len(seen) == len(rewinds), "each length has its own"
    shorter = rewinds - {"1000it"} if words.get("retraining") != "scratch" and words["level"] != "0" else set()
    assert len(heard) == len(shorter) and all("the 1000it of the protocol is more" in line for line in heard)


@pytest.mark.parametrize(("dataset", "size"), [("cifar10", 50_000), ("cifar100", 50_000), ("tiny-imagenet", 100_000)])
@pytest.mark.parametrize("protocol", ["paper", "quick"])
def test_on_whole_data_sets_the_protocols_rewinding_point_is_the_papers(dataset: str, size: int, protocol: str) -> None:
    heard: list[str] = []
    assert plan({"dataset": dataset}, (), None, protocol, lambda *_: size, heard.append) == plan(
        {"dataset": dataset}, (), None, protocol
    )
    assert heard == []


def test_a_size_asked_for_with_others_has_the_runs_that_it_has_alone() -> None:
    def sized(text: str) -> set[Run]:
        words = {"dataset": "folder:x", "model": "resnet18", "train_size": text, "level": "0-1", "seed": "0"}
        found = plan(words, count=lambda _, size, share: size or 50_000)
        return {run for table in found for run in unfold(table)}

    assert sized("0,400,5000") == sized("0") | sized("400") | sized("5000")


def test_pruning_by_hand_fits_as_the_sweep_does() -> None:
    heard: list[str] = []
    (dense, level) = runs({"dataset": "folder:x", "model": "resnet18", "level": "0-1", "seed": "0", "rewind": "16it"})
    assert child(dense, {}, (), lambda *_: 40, heard.append) == level and len(heard) == 1
    assert child(dense, {"rewind": "3it"}, (), lambda *_: 40, heard.append).rewind == "3it" and len(heard) == 1


def test_home_is_where_no_shell_has_expanded_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    whole = f"folder:{tmp_path}/imgs"
    assert parse("dataset", "folder:~/imgs,digits") == [whole, "digits"]
    assert plan({}, [], write(tmp_path, 'dataset = "folder:~/imgs"'))[0]["dataset"] == [whole]
    assert plan({}, [], write(tmp_path, 'dataset = ["folder:~/imgs:size=8"]'))[0]["dataset"] == [f"{whole}:size=8"]
    assert parse("dataset", "folder:a~b/~") == ["folder:a~b/~"]


def test_a_comma_in_a_path_is_quoted(tmp_path: Path) -> None:
    assert parse("dataset", 'folder:"a,b"/c,digits') == ["folder:a,b/c", "digits"]
    assert parse("dataset", '"folder:a,b"') == ["folder:a,b"] and parse("dataset", 'folder:a"b') == ['folder:a"b']
    assert parse("dataset", 'folder:a"b/c"d,folder:"e,f":size=8') == ['folder:a"b/c"d', "folder:e,f:size=8"]
    assert plan({}, [], write(tmp_path, 'dataset = "folder:a,b"'))[0]["dataset"] == ["folder:a,b"]

    def missing(*_: object) -> int:
        raise FileNotFoundError("no folder of images at a")

    for count in (None, missing):  # before it is looked whether there is such a folder
        with pytest.raises(UsageError, match="unknown data set 'b'.*a comma in a path is quoted: 'folder:\"a,b\"'"):
            plan({"dataset": "folder:a,b", "model": "resnet18"}, count=count)
    with pytest.raises(UsageError) as error:
        plan({"dataset": "tiny-imagenet:size=32,b"})
    assert "comma" not in str(error.value)


@pytest.mark.parametrize("text", ['folder:"a"b', '"folder:a" b', 'folder:"a,b"c,digits', 'digits,folder:"a""b"'])
def test_a_name_that_goes_on_behind_its_quotes(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="ends with its second quote and '.*' follows: quote all of the name"):
        parse("dataset", text)
    assert plan({}, [], write(tmp_path, "dataset = 'folder:\"a\"b'"))[0]["dataset"] == ['folder:"a"b'], (
        "TOML has quotes"
    )


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind is float])
def test_a_decimal_written_with_a_comma_is_told(name: str) -> None:
    """Refused with that reason where it is no list of the field's values; else it is said what it was read as."""
    for text in ("0,4", "0,05", "0,2,0,4", "0,2;0,4", "1e-3,0,5e"):
        heard: list[str] = []
        try:
            plan({name: text}, hear=heard.append)
        except UsageError as error:
            assert "a comma separates values, and a decimal number is written 0.4" in str(error)
        else:
            assert text in ("0,4", "0,2,0,4") and name in ("weight_decay",), text
            told = f"{name} 0,4 is two values, 0 and 4; one decimal number is written 0.4"
            assert heard == [told] * (text == "0,4")


def test_a_list_of_decimals_is_no_decimal_with_a_comma() -> None:
    heard: list[str] = []
    assert plan({"noise": "0,0.2,0.4"}, hear=heard.append)[0]["noise"] == [0, 0.2, 0.4] and not heard
    with pytest.raises(UsageError, match=r"noise 1.5 is outside \[0, 1\]$"):
        plan({"noise": "0.2,1.5"})


def test_ranges_and_lists() -> None:
    assert parse("level", "0-3,7, 9") == [0, 1, 2, 3, 7, 9]
    assert parse("noise", "0,0.2,2e-1") == [0.0, 0.2]
    assert parse("criterion", "magnitude,random") == ["magnitude", "random"]
    assert assignment("noise-kind=flip") == ("noise_kind", "flip") and assignment("seeds=3") == ("seed", "3")


@pytest.mark.parametrize(
    ("name", "text"),
    [("level", "3-1"), ("level", "0-99999999"), ("level", ""), ("level", "1,,2"), ("level", "-1"), ("noise", "x"),
     ("noise", "1.5"), ("noise", "nan"), ("epochs", "1.5"), ("epochs", "1e3"), ("lr", "inf"), ("seed", "0x3")],
)  # fmt: skip
def test_unreadable_values_are_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        parse(name, text)


@given(st.sampled_from(list(FIELDS)), st.text(max_size=12))
@example("dataset", "\x1b\n0")
def test_any_word_is_read_or_refused_in_one_line(name: str, text: str) -> None:
    try:
        values = parse(name, text)
    except ValueError as error:
        assert "\n" not in str(error).replace(repr(text), "").replace(text, "")
    else:
        assert values and all(type(value) is KINDS[name] for value in values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("epochs = 3.5", "epochs takes a whole number"),
        ("noise = 2", "noise 2 is outside"),
        ("noise = []", "noise is an empty list"),
        ("noise = [[0.1]]", "noise takes a number"),
        ("seed = true", "seed takes a whole number"),
        ("level = 2020-01-01", "level takes a whole number"),
        ("[table]\nx = 1", "unknown key 'table'"),
        ("epochs = ", "sweep.toml"),
        ('seed = "a-b"', "seed takes whole numbers"),
    ],
)
def test_errors_of_toml_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        runs({}, [], write(tmp_path, text))
    assert message in str(error.value) and "sweep.toml" in str(error.value)


# He et al. (2022), table of settings: epochs, batch, momentum, lr, drops, weight decay, rewinding, seeds.
@pytest.mark.parametrize(
    ("dataset", "model", "settings"),
    [
        ("mnist", "lenet-300-100", (200, 128, 0.0, 0.1, "", 0.0, "0it", 5)),
        ("cifar10", "resnet18", (160, 128, 0.9, 0.1, "0.5/0.75", 1e-4, "1000it", 3)),
        ("cifar100", "resnet18", (160, 128, 0.9, 0.1, "0.5/0.75", 1e-4, "1000it", 3)),
        ("cifar10", "vgg16", (160, 128, 0.9, 0.1, "0.5/0.75", 1e-4, "2000it", 3)),
        ("cifar100", "vgg16", (160, 128, 0.9, 0.1, "0.5/0.75", 1e-4, "2000it", 3)),
        ("tiny-imagenet", "resnet101", (200, 512, 0.9, 0.2, "0.5/0.75", 1e-4, "1000it", 3)),
    ],
)
def test_protocols_are_the_papers(dataset: str, model: str, settings: tuple[object, ...]) -> None:
    found = runs({"dataset": dataset} | ({} if model == "resnet18" else {"model": model}))
    run = max(found, key=lambda run: run.level)
    own = (run.epochs, run.batch_size, run.momentum, run.lr, run.milestones, run.weight_decay, run.rewind)
    assert (*own, len({run.seed for run in found})) == settings
    assert (run.model, run.criterion, run.retraining, run.rate, run.noise) == (model, "magnitude", "lottery", 0.2, 0.2)
    assert run.pruning == ("one-shot" if dataset == "tiny-imagenet" else "iterative")
    assert (run.augment == "none") == (dataset == "mnist") and run.precision == "fp32"


def test_a_protocol_may_be_of_a_data_set_with_its_parameters() -> None:
    words = {"dataset": "tiny-imagenet:size=32,tiny-imagenet", "seed": "0", "level": "0"}
    assert [run.augment for run in runs(words)] == ["resized-crop-flip", "crop-flip"]
    assert {run.augment for run in runs(words, protocol="quick")} == {"none"}
    assert {run.augment for run in runs(words | {"augment": "crop-flip"})} == {"crop-flip"}


@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10", "cifar100", "tiny-imagenet", "folder:some/where"])
def test_quick_is_a_tenth_of_the_paper(dataset: str) -> None:
    def cost(found: tuple[Run, ...]) -> float:
        whole = {"mnist": 60_000}.get(dataset, 1)
        return sum(run.epochs * (run.train_size or whole) for run in found)

    paper, quick = (runs({"dataset": dataset}, protocol=protocol) for protocol in ("paper", "quick"))
    assert cost(quick) == pytest.approx(cost(paper) / 10)
    assert {run.level for run in quick} == {run.level for run in paper}


def test_parameters_of_data_and_models_change_no_protocol(tmp_path: Path) -> None:
    plain, narrow = (
        runs({"dataset": "cifar10", "model": word, "level": "3"})[0] for word in ("vgg16", "vgg16:width=8")
    )
    assert (narrow.rewind, narrow.epochs) == (plain.rewind, plain.epochs) == ("2000it", 160)
    (run,) = runs({"dataset": "folder:a:b/c/", "level": "0", "seed": "0"}, protocol="quick")
    assert run.dataset == "folder:a:b/c" and run.slug.startswith("folder_c-convnet-") and run.epochs == 18
    with pytest.raises(ValueError, match="unknown protocol 'quik'; did you mean 'quick'"):
        runs({}, protocol="quik")


def test_unknown_data_sets_and_keys() -> None:
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        runs({"dataset": "digitz"})
    with pytest.raises(ValueError, match="unknown data set 'cifar'; did you mean 'cifar10'"):
        runs({"dataset": "cifar"})
    with pytest.raises(ValueError, match="is not key=value"):
        runs({}, ["epochs"])
    with pytest.raises(ValueError, match=str(unknown("key", "epoch", FIELDS))[:20]):
        runs({}, ["epoch=3"])


def test_a_level_makes_a_run() -> None:
    (run,) = runs({"level": "0", "seed": "3"})
    assert isinstance(run, Run) and run.criterion == ""


def test_levels_auto_reach_as_far_as_the_protocols(tmp_path: Path) -> None:
    (path := tmp_path / "sweep.toml").write_text('level = "auto"')
    for found in (plan({"level": "auto"})[0], plan({}, path=path)[0]):
        assert found["level"] == ["auto:last=32"]
    assert plan({"level": "auto:last=20", "seed": "3", "pruning": "one-shot"})[0]["level"] == ["auto:last=20"]
    for wrong, message in (
        ({"level": "auto,3"}, "level takes auto"),
        ({"level": "auto:first=3"}, "level takes auto"),
        ({"level": "auto:last=5"}, "up to level 8 to 1000"),
        ({"level": "auto", "seed": "0-1"}, "take 3 seeds or more, got 2"),
        ({"level": "auto", "seed": "0-1", "pruning": "one-shot,iterative"}, "take 3 seeds or more, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            plan(wrong)
    with pytest.raises(ValueError, match="level takes a whole number"):
        runs({"level": "auto"})


@pytest.mark.parametrize("name", ["seed", "train_size"])
def test_numbers_that_no_table_holds_are_refused_when_given(name: str, tmp_path: Path) -> None:
    assert plan({name: str(2**63 - 1)})[0][name] == [2**63 - 1]
    for words in (({name: str(2**63)},), ({}, [f"{name}={2**64}"]), ({}, [], write(tmp_path, f"{name} = {2**63}"))):
        with pytest.raises(UsageError, match=rf"{name} .* is too large: whole numbers up to {2**63 - 1}"):
            plan(*words)
