"""How Sphinx makes the site: ``nox -s docs``."""

from importlib.metadata import version as version_of

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
# Attributes as fields of their class: by themselves they would stand there twice.
napoleon_use_ivar = True
napoleon_custom_sections = [("Stopping", "notes_style"), ("Failures", "notes_style")]
# Single backticks in docstrings name something of hostkit's, where there is such a name.
default_role = "any"
suppress_warnings = ["ref.any"]

html_theme = "furo"
html_title = f"hostkit {release}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
