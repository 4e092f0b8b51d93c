"""The documents of the page, and the policy under which a browser shows them."""

import gzip
import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files


class Page:
    """The documents, and the policy under which a browser shows them: their own style and script, and nothing else."""

    def __init__(self) -> None:
        """Read them."""
        text = files("hostkit.ext.dashboard").joinpath("page.html").read_text(encoding="utf-8")
        style, script = _between(text, "style"), _between(text, "script")
        self.document = text.encode()
        self.compressed = gzip.compress(self.document, mtime=0)
        self.etag = f'"{sha256(self.document).hexdigest()[:16]}"'
        self.policy = (
            f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; connect-src 'self'; "
            "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'"
        )
        self._sign_in = files("hostkit.ext.dashboard").joinpath("sign_in.html").read_text(encoding="utf-8")
        self._style = style

    def sign_in(self, application: str, wrong: str) -> str:
        """Return the form for the token; *wrong* says what was wrong with the last one."""
        blanks = {"style": self._style, "application": escape(application), "wrong": escape(wrong)}
        return re.sub(r"\{\{(\w+)\}\}", lambda found: blanks[found[1]], self._sign_in)


def _between(text: str, tag: str) -> str:
    """Return what stands in the one element *tag* of a document."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    assert len(found) == 1, tag
    return str(found[0])


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
