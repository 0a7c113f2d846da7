"""obelisk.toml and environment to plain data, all errors at once. Runs nothing.

    load(path, environ, cwd) -> Config        raises ConfigError, which carries every Problem

The steps, one module each: `places` (folders and where the file is looked for), `sources` (the file and the environment
as trees), `keys` (every key there is), `kinds` (what a value must look like), `reading` (a tree against the keys),
`loading` (all of it together), `settings` (the result), `problems` (what is told to the operator).
"""

from obelisk.config.loading import load
from obelisk.config.problems import ConfigError, Problem
from obelisk.config.settings import ComponentConfig, Config

__all__ = ["ComponentConfig", "Config", "ConfigError", "Problem", "load"]
