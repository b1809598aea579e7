from sddcli.records import joined


def test_an_origin_of_several_says_each_fact_once() -> None:
    one = {"commit": "a, b", "date": "2026-11-28", "command": "sdd reproduce C1a, sdd reproduce C2"}
    two = {"commit": "b, c, a", "date": "2026-11-28"}
    assert joined([one, two]) == {
        "commit": "a, b, c",
        "date": "2026-11-28",
        "command": "sdd reproduce C1a, sdd reproduce C2, unknown",
    }
