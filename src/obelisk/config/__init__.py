"""obelisk.toml and environment to plain data, all errors at once. Runs nothing."""
