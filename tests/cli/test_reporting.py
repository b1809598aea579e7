"""The report: one page, whole by itself, the same for the same runs, and harmless whatever runs are called."""

import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise, product
from pathlib import Path

import pytest
from PIL import Image

from sddcli.families import members
from sddcli.store import Store
from tests.cli.browser import Browser
from tests.conftest import Sdd

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>alert(1)<b>\"'&amp;$^$"  # a folder's name has no slash


class Outline(HTMLParser):
    """What a page is made of: (element, attributes) in order, and the text outside its style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "link", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements are closed in the order that they were opened in"

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self.open else ""

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def page(sdd: Sdd, trained: Path, tmp_path: Path) -> Path:
    assert sdd("report", trained, "-o", tmp_path / "report.html") == (0, f"{tmp_path / 'report.html'}\n", "")
    return tmp_path / "report.html"


def test_it_says_what_there_is(page: Path, trained: Path) -> None:
    found = Outline(page.read_text())
    assert not found.open
    assert "digits, lenet-300-100, 40% symmetric noise, magnitude, lottery" in found.text
    assert (
        "12 runs in 3 chains, levels 0 to 3, 3 seeds" in found.text
        and "train accuracy is below 99% at every level" in found.text
    )
    whole = page.read_text()
    answer, rest = whole.index('id="double-descent"'), whole.index('id="stopping"')
    assert answer < whole.index("<img", answer) < rest, "the answer comes first, then its picture, then the rest"
    assert "sweep --levels 0-3 --seeds 0-2" in found.text
    manifest = next(manifest for _, manifest in Store(trained).manifests())
    assert manifest["data"]["sha256"] in found.text and manifest["versions"]["torch"] in found.text


def test_accessible(page: Path) -> None:
    found = Outline(page.read_text())
    headings = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    assert found.all("html") == [{"lang": "en"}]
    assert len(found.all("main")) == len(found.all("header")) == len(found.all("nav")) == 1
    assert len(found.all("table")) == len(found.all("caption")) > 2
    assert all(cell["scope"] in ("row", "col") for cell in found.all("th"))
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes["aria-labelledby"] for _, attributes in found.tags if "aria-labelledby" in attributes]
    assert set(named) <= set(ids)
    assert all(link["href"][1:] in ids for link in found.all("a") if (link["href"] or "").startswith("#"))
    assert all(len(image["alt"] or "") > 60 for image in found.all("img"))


@pytest.mark.slow
def test_every_figure_is_drawn_or_named_with_its_command(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    for path in root.rglob("measures"):
        shutil.rmtree(path)
    assert sdd("report", root, "-o", tmp_path / "a.html").code == 0
    bare = Outline((tmp_path / "a.html").read_text())
    assert f"first: sdd analyze learning-distance {root}" in bare.text
    assert sdd("analyze", "all", root).code == 0
    assert sdd("report", root, "-o", tmp_path / "b.html").code == 0
    full = Outline((tmp_path / "b.html").read_text())
    lacking = len(members("verdicts/sizes"))  # which take runs on several training sets
    # Of runs with events, of several criteria, remedies or widths, and of what `sdd theory` computes.
    others = ("event-stability", "criteria", "antidotes", "plane", "risk")
    assert len(full.all("img")) == len(members("plots")) - lacking - len(others) > len(bare.all("img"))
    assert "criteria: all runs here have the same criterion" in full.text
    assert full.text.count("needs runs that differ in train_size") == lacking
    assert "first: sdd analyze" not in full.text and "Correlation with test accuracy" in full.text


def test_the_same_runs_are_the_same_bytes_and_links_lead_to_the_tables(
    sdd: Sdd, trained: Path, tmp_path: Path, page: Path
) -> None:
    assert sdd("report", trained, "-o", tmp_path / "again.html").code == 0
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    links = [link["href"] or "" for link in Outline(page.read_text()).all("a")]
    tables = [tmp_path / link for link in links if link.endswith(".csv")]
    assert len(tables) >= 3 and all(path.exists() for path in tables) and tables[0].samefile(trained / "results.csv")


def test_a_damaged_run_is_named_and_the_rest_reported(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    torn, wrong = sorted(root.rglob("level-02/manifest.json"))[:2]
    torn.write_text("{")
    (wrong.parent / "history.csv").write_text("epoch\n")
    said = sdd("report", root, "-o", tmp_path / "a.html")
    assert said.code == 4 and said.err.count("\n") == 2 and said.out == f"{tmp_path / 'a.html'}\n"
    text = Outline((tmp_path / "a.html").read_text()).text
    assert str(torn) in text and str(wrong.parent) in text and "10 runs in 3 chains" in text
    for path in root.rglob("manifest.json"):
        path.write_text("{")
    said = sdd("report", root, "-o", tmp_path / "b.html")
    lines = said.err.splitlines()
    assert said.code == 4 and len(lines) == 13 and all("damaged" in line for line in lines[:12])
    assert lines[12] == f"sdd: no finished runs in {root} that can be read"
    assert not (tmp_path / "b.html").exists()


def test_what_failed_and_what_is_left_to_do_is_said(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    store = Store(root)
    last = [run for run, _ in store.manifests() if run.level == 3]
    for run in last[:2]:
        shutil.rmtree(store.folder(run))
    store.save_failure(last[0], "it diverged at step 3 < 4", "")
    assert sdd("report", root, "-o", tmp_path / "a.html").code == 0
    found = Outline((tmp_path / "a.html").read_text())
    assert "it diverged at step 3 < 4" in found.text and "121011" in found.text  # asked, done; failed, to do
    shutil.rmtree(root / "sweeps")
    assert sdd("report", root, "-o", tmp_path / "a.html", "--where", "seed=2").code == 0
    text = Outline((tmp_path / "a.html").read_text()).text
    assert (
        "No sweep is recorded; 10 runs" in text
        and "4 runs in 1 chain, levels 0 to 3, 1 seed;" in text
        and "only those with seed=2" in text
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("report none", 4, "no runs folder at none"),
        ("report .", 4, "no finished runs in ."),
        ("report . -o report.pdf", 2, "ends in .html"),
        ("report RUNS --where seed=9", 2, "no run has seed 9"),
    ],
)
def test_errors_are_one_line(
    sdd: Sdd, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = sdd(*(str(trained) if word == "RUNS" else word for word in words.split()))
    assert said.code == code and message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="session")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on a folder of images whose name is HTML, kept in a folder of such a name."""
    import subprocess
    import sys

    root = tmp_path_factory.mktemp("evil") / EVIL
    for split, n in (("train", 4), ("test", 2)):
        for shade, name in enumerate(("<i>", "b")):
            folder = root / "data" / EVIL / split / name
            folder.mkdir(parents=True)
            for k in range(n):
                Image.new("RGB", (8, 8), (90 * shade, 40 * k, 0)).save(folder / f"{k}.png")
    words = ["--model", "lenet-4", "--levels", "0-1", "--seeds", "0-1", "--epochs", "1", "--lr", "0.1", "--noise", "0"]
    words += [
        "--dataset",
        f"folder:{root / 'data' / EVIL}",
        "--runs",
        str(root / "runs"),
        "--batch-size",
        "4",
        "--rewind",
        "0it",
    ]
    subprocess.run([sys.executable, "-m", "sddcli", "sweep", *words], check=True)
    return root


def test_names_are_harmless(sdd: Sdd, evil: Path) -> None:
    assert sdd("report", evil / "runs", "-o", evil / "report.html").code == 0
    page = (evil / "report.html").read_text()
    found = Outline(page)
    assert not found.all("script") and not found.all("b") and not found.all("i")
    assert f"folder:{evil / 'data' / EVIL}" in found.text, "shown as it is called"
    assert "memorization: no run here has a number for memorized" in found.text
    assert len(found.all("img")) == 6, "nor is it taken for a formula"


def test_text_is_readable_in_light_and_dark_and_print() -> None:
    """Contrast of at least 4.5 to 1 with each ground (WCAG 2, 1.4.3)."""
    style = (files("sddcli.cli") / "page.css").read_text()
    schemes = [dict(re.findall(r"--(\w+): #(\w+)", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)]
    assert len(schemes) == 3
    for colours in schemes:
        for text, ground in product(("text", "soft", "link"), ("ground", "tint")):
            low, high = sorted(map(luminance, (colours[text], colours[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


def luminance(colour: str) -> float:
    whole = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    parts = [int(whole[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("needs Chromium")
    assert CHROMIUM, "CI installs Chromium"
    with Browser(CHROMIUM) as found:
        yield found


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (375, False), (375, True)])
def test_in_a_browser(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.show(page, width, dark=dark)
    assert browser.value("document.title").startswith("Sparse double descent: digits")
    assert browser.complaints() == []
    assert browser.value("document.documentElement.scrollWidth") <= width, "nothing is wider than the window"
    assert browser.value("[...document.images].every(image => image.complete && image.naturalWidth > 100)")


def test_names_are_harmless_in_a_browser(sdd: Sdd, evil: Path, browser: Browser) -> None:
    assert sdd("report", evil / "runs", "-o", evil / "report.html").code == 0
    browser.show(evil / "report.html", 375)
    assert browser.complaints() == [] and EVIL in browser.value("document.title + document.body.innerText")
    assert browser.value("document.querySelectorAll('script, b, i').length") == 0
    assert browser.value("document.documentElement.scrollWidth") <= 375
    links = browser.value("[...document.links].map(link => link.href).filter(href => href.endsWith('.csv'))")
    browser.show(evil / "report.html")
    assert links and (evil / "runs" / "results.csv").absolute().as_uri() in links
