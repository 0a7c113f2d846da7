"""How the documentation is built: Sphinx with MyST, warnings are errors (see `make check`)."""

from obelisk import __version__

project = "Obelisk"
copyright = "the Obelisk contributors"
release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"Obelisk {release}"
html_show_sphinx = False
