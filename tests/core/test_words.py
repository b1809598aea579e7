"""Words: names of table members, their parameters, the nearest name."""

import os
from typing import Any

import pytest

from sddcli.core.words import in_words, pick, printable, unknown


def plain(net: object) -> str:
    return "plain"


def tuned(net: object, *, batches: int = 1, scale: float = 1.0) -> tuple[int, float]:
    return batches, scale


TABLE: dict[str, Any] = {"plain": plain, "tuned": tuned}


def test_a_word_is_a_member() -> None:
    assert pick("criterion", "plain", TABLE)(None) == "plain"


def test_parameters_are_bound_in_the_type_of_their_default() -> None:
    assert pick("criterion", "tuned:batches=3:scale=0.5", TABLE)(None) == (3, 0.5)
    assert pick("criterion", "tuned", TABLE)(None) == (1, 1.0)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("plian", "unknown criterion 'plian'; did you mean 'plain'? known: plain, tuned"),
        ("zzz", "unknown criterion 'zzz'; known: plain, tuned"),
        ("plain:batches=1", "criterion 'plain' takes no parameters, got 'batches=1'"),
        ("tuned:batch=1", "did you mean 'batches'?"),
        ("tuned:batches=x", "criterion 'tuned' cannot read 'batches=x'"),
        ("", "known: plain, tuned"),
    ],
)
def test_errors_say_what_came_and_what_could_come(word: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        pick("criterion", word, TABLE)
    assert message in str(error.value)


def test_unknown_suggests_the_nearest() -> None:
    assert "did you mean 'epochs'?" in str(unknown("key", "epoch", ["epochs", "level"]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"caf\xe9/\xc3\xa9", "caf\\xe9/\u00e9"),
        (b"\xff\x80", r"\xff\x80"),
        ("a b, \u2192".encode(), "a b, \u2192"),
    ],
)
def test_names_of_files_as_text_that_can_be_written(name: bytes, text: str) -> None:
    assert printable(os.fsdecode(name)) == text == printable(text)
    assert printable("a\ud800b") == r"a\ud800b", "as JSON may have it"


def test_settings_in_words_leave_out_what_has_no_value() -> None:
    fields = {"weight_decay": 0.001, "criterion": "", "rewind": None, "noise": 0.0, "retraining": "ticket:order_seed=0"}
    assert in_words(fields) == "weight decay 0.001, noise 0.0, retraining ticket:order_seed=0"
