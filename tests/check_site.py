"""Looks over the built site: ``python tests/check_site.py build/site``, which ``nox -s docs`` does.

Every public name is in it, every link inside it leads somewhere, and nothing in it is fetched from elsewhere.
"""

import re
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from urllib.parse import unquote, urlsplit

import hostkit.ext

MODULES = ["hostkit", *(f"hostkit.{name}" for name in ("cli", "events", "jobs", "scheduling", "testing"))]
# What a browser fetches by itself; a plain link is followed by a person.
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
NOT_FETCHED = {"canonical", "index", "search", "next", "prev", "author", "license"}


class Page(HTMLParser):
    """The links, the anchors and the resources of one page."""

    def __init__(self, path: Path) -> None:
        """Read the page."""
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.resources: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what is of interest."""
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if FETCHED.get(tag) in values and values.get("rel") not in NOT_FETCHED:
            self.resources.append(values[FETCHED[tag]])


def missing_names(site: Path) -> Iterator[str]:
    """Yield each public name that the site's inventory lacks."""
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    known = {line.split(" ", 1)[0] for line in zlib.decompress(inventory).decode().splitlines()}
    extensions = [f"hostkit.ext.{module.name}" for module in iter_modules(hostkit.ext.__path__)]
    for module in [*MODULES, *(name for name in extensions if "._" not in name)]:
        for name in import_module(module).__all__:
            if f"{module}.{name}" not in known:
                yield f"{module}.{name} is not in the reference; docs/reference/ wants a line for it"


def broken_links(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Yield each link inside the site that leads nowhere."""
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{path.relative_to(site)}: {link} leads nowhere"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(site)}: {link} has no such anchor"


def strangers(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Yield each resource that is fetched from elsewhere."""
    for path, page in pages.items():
        outside = [url for url in page.resources if re.match(r"(\w+:)?//", url)]
        yield from (f"{path.relative_to(site)}: fetches {url}" for url in outside)
    for path in site.rglob("*.css"):
        style = path.read_text(encoding="utf-8")
        for url in re.findall(r"(?:url\(|@import\s)\s*['\"]?((?:\w+:)?//[^'\")\s]+)", style):
            yield f"{path.relative_to(site)}: fetches {url}"


def main(site: Path) -> None:
    """Print what is wrong, and how much was looked at.

    Raises:
        SystemExit: Something is wrong.
    """
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    site = site.resolve()
    problems = [*missing_names(site), *broken_links(site, pages), *strangers(site, pages)]
    links = sum(len(page.links) for page in pages.values())
    print(*problems, f"{len(pages)} pages, {links} links, {len(problems)} problems", sep="\n")  # noqa: T201
    sys.exit(bool(problems) or not links)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
