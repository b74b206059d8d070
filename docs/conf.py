"""How Sphinx builds the documentation."""

from customers_async._version import __version__

project = "customers-async"
author = "The customers-async authors"
copyright = "the customers-async authors"  # noqa: A001  # Sphinx's name for it
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "explanation/quota.md", "howto/export-figures.md"]
html_theme = "furo"
html_title = f"customers-async {version}"

nitpicky = True
# Types of other projects, which cannot be looked up without the network, and one that only type checkers read.
nitpick_ignore_regex = [
    ("py:class", r"(aiohttp|collections|datetime|opentelemetry|os|pathlib|prometheus_client|sqlite3|ssl)\..*"),
    ("py:class", r"customers_async\.calls\.options\..*"),
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
maximum_signature_line_length = 100
default_role = "py:obj"
