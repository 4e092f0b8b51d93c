"""How Sphinx makes the site: ``nox -s docs``."""

from importlib import import_module
from importlib.metadata import version as version_of
from inspect import isclass
from pkgutil import iter_modules

from sphinx.application import Sphinx

import hostkit.ext

project = "hostkit"
author = "hostkit contributors"
copyright = "hostkit contributors"  # noqa: A001  # Sphinx's name for it
version = release = version_of("hostkit-py")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of data classes are members as well, and would stand there twice
napoleon_custom_sections = [("Stopping", "notes_style"), ("Failures", "notes_style")]
# Single backticks in docstrings name something of hostkit's, where there is such a name.
default_role = "any"
suppress_warnings = ["ref.any"]

html_theme = "furo"
pygments_dark_style = "a11y-high-contrast-dark"
html_title = f"hostkit {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False


def add_extensions(_app: Sphinx, page: str, source: list[str]) -> None:
    """Put every public module of hostkit.ext on its page, also names that are loaded when they are asked for."""
    if page != "reference/ext":
        return
    for found in (each for each in iter_modules(hostkit.ext.__path__) if not each.name.startswith("_")):
        module = import_module(f"hostkit.ext.{found.name}")
        kinds = {name: "class" if isclass(getattr(module, name)) else "function" for name in module.__all__}
        names = "\n".join(f".. auto{kind}:: {module.__name__}.{name}" for name, kind in kinds.items())
        lines = f".. automodule:: {module.__name__}\n   :no-members:\n\n{names}"
        source[0] += f"## {module.__name__}\n\n```{{eval-rst}}\n{lines}\n```\n\n"


def setup(app: Sphinx) -> None:
    """Register."""
    app.connect("source-read", add_extensions)
