"""Screenshots of a page in both color schemes at two widths, by a headless Chromium; `make look` runs it.

    python -m docs.look PAGE [-o FOLDER] [--browser CHROMIUM]

It fails if the browser writes anything to the console, as it does where a security policy forbids what the page has.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTHS = (400, 1400)
SCHEMES = {"light": 1, "dark": 0}
"""Color schemes by their number in Chromium's settings."""
TALLEST = 16_000
"""Pixels of a screenshot; longer pages are cut off."""
SECONDS = 120
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
"""Names of Chromium on different systems."""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("look"), help="folder of the screenshots")
    parser.add_argument("--browser", help=f"default: the first that is installed of {', '.join(BROWSERS)}")
    asked = parser.parse_args()
    browser = next(filter(None, map(shutil.which, [asked.browser] if asked.browser else BROWSERS)), None)
    if browser is None:
        parser.error("no Chromium is installed; install it (Debian: apt install chromium) or name it with --browser")
    if not asked.page.is_file():
        parser.error(f"there is no page {asked.page}; write one with autorec report, which needs the extra `report`")
    asked.output.mkdir(exist_ok=True)
    messages: list[str] = []
    for scheme in SCHEMES:
        for width in WIDTHS:
            file = asked.output / f"{asked.page.stem}-{scheme}-{width}.png"
            messages += take(asked.page, file, width, scheme, browser)
            print(file)
    for message in messages:
        print(f"console: {message}", file=sys.stderr)
    return 1 if messages else 0


def take(page: Path, file: Path, width: int, scheme: str, browser: str) -> list[str]:
    """Take one screenshot; returns the messages on the browser's console.

    Windows of Chromium are at least 500 pixels wide, so narrow pages are shown in a frame.
    """
    with tempfile.TemporaryDirectory() as profile:
        frame = Path(profile) / "frame.html"
        frame.write_text(
            f"<meta name=color-scheme content='light dark'><style>*{{margin:0;border:0}}</style>"
            f"<iframe src='{page.resolve().as_uri()}' width={width} height={TALLEST}></iframe>"
        )
        options = {
            "user-data-dir": profile,
            "blink-settings": f"preferredColorScheme={SCHEMES[scheme]}",
            "window-size": f"{max(width, 500)},{TALLEST}",
            "enable-logging": "stderr",
            "screenshot": file.resolve(),
        }
        finished = subprocess.run(
            [browser, *FLAGS, *(f"--{name}={value}" for name, value in options.items()), frame.as_uri()],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    _crop(file, width)
    return re.findall(r"CONSOLE[^\]]*\] (.*)", finished.stderr)


def _crop(file: Path, width: int) -> None:
    """Cut off what is beside and below the page."""
    from PIL import Image, ImageChops

    with Image.open(file) as image:
        page = image.convert("RGB").crop((0, 0, width, image.height))
    background = Image.new("RGB", page.size, page.getpixel((0, page.height - 1)))
    content = ImageChops.difference(page, background).getbbox()
    page.crop((0, 0, width, content[3] if content else page.height)).save(file)


if __name__ == "__main__":
    sys.exit(main())
