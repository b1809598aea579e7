"""Pictures of what users see: terminal, figure, report and site, light and dark, wide and on a phone.

    uv run python docs/screenshots.py RUNS -o FOLDER

RUNS is a folder of finished runs; the site is shown where `make docs` has made it. Needs Chromium.
"""

import argparse
import base64
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.cli.browser import Browser

TERMINAL = {
    "help": "--help",
    "help-of-sweep": "sweep --help",
    "list": "list RUNS",
    "analyze": "analyze double-descent,learning-distance RUNS",
}
SITE = {"start": "index.html", "why": "phenomenon/index.html", "commands": "commands/index.html"}
WIDE, PHONE = (1100, 800), (390, 800)
THEMES = {"light": DEFAULT_TERMINAL_THEME, "dark": MONOKAI}


def printed(words: list[str]) -> Text:
    """What sdd prints on a terminal of 80 columns that has colours."""
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "sddcli", *words]
    return Text.from_ansi(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def taken(browser: Browser, page: Path, picture: Path, size: tuple[int, int], dark: bool) -> None:
    """Saves what a window of this size shows of a page."""
    browser.show(page, *size, dark=dark)
    picture.write_bytes(base64.b64decode(browser.call("Page.captureScreenshot")["data"]))
    print(picture)


def main() -> None:
    """Takes all pictures; prints their names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", help="folder of finished runs")
    parser.add_argument("-o", "--output", type=Path, default=Path("screenshots"), help="folder of the pictures")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium here")
    with tempfile.TemporaryDirectory() as temporary, Browser(program) as browser:
        page = Path(temporary, "page.html")
        for name, line in TERMINAL.items():
            text = printed([given.runs if word == "RUNS" else word for word in line.split()])
            for scheme, theme in THEMES.items():
                console = Console(record=True, width=80, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
                console.print(text)
                page.write_text(console.export_html(theme=theme))
                size = (830, min(60 + 20 * (text.plain.count("\n") + 1), 1400))
                taken(browser, page, given.output / f"terminal-{name}-{scheme}.png", size, scheme == "dark")
        printed(["plot", "double-descent", given.runs, "-o", str(given.output / "figure.png")])
        printed(["report", given.runs, "-o", str(Path(temporary, "report.html"))])
        pages = {"report": Path(temporary, "report.html")}
        pages |= {f"site-{name}": path for name, of in SITE.items() if (path := Path("dist/site", of)).exists()}
        for name, path in pages.items():
            for scheme in THEMES:
                taken(browser, path, given.output / f"{name}-{scheme}.png", WIDE, scheme == "dark")
            taken(browser, path, given.output / f"{name}-phone.png", PHONE, False)


if __name__ == "__main__":
    main()
