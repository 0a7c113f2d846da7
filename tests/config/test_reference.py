"""The documented keys are the keys."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from obelisk.config.keys import (
    ACTIVITY,
    ACTIVITY_LATER,
    EXEC,
    EXEC_LATER,
    ROOT,
    ROOT_LATER,
    STUB,
    WORKFLOW,
    WORKFLOW_LATER,
    Key,
    Later,
)
from obelisk.config.kinds import Duration
from obelisk.config.loading import _defaults, load
from obelisk.config.places import Places
from obelisk.core.policy import AllowedPrograms, ExecutionPolicy, Limits, LogPolicy, ProgramLimits, RetryPolicy

REFERENCE = Path(__file__).parents[2] / "docs/reference/configuration.md"

SECTIONS = {
    "root": (ROOT, ROOT_LATER),
    "workflow": (WORKFLOW, WORKFLOW_LATER),
    "activity_wasm": (ACTIVITY, ACTIVITY_LATER),
    "activity_exec": (EXEC, EXEC_LATER),
    "activity_stub": (STUB, ()),
}


def toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }" if value else "{}"
        case str():
            return f'"{value}"'
        case _:
            return str(value)


def row(key: Key) -> str:
    kind = "a duration above 0" if key.kind == Duration(positive=True) else "a duration"
    expected = kind if isinstance(key.kind, Duration) else key.kind.expected
    default = "required" if key.required else "–" if key.default is None else f"`{toml(key.default)}`"
    meaning = key.meaning if key.effect else f"*No effect.* {key.meaning}"
    also = f" Also {', '.join(f'`{alias}`' for alias in key.aliases)}." if key.aliases else ""
    return f"| `{key.path}` | {expected} | {default} | {meaning}{also} |"


def table(keys: Iterable[Key]) -> str:
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *map(row, keys)])


def later(keys: Iterable[Later]) -> str:
    return ", ".join(f"`{key.path}`" for key in keys) + "."


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_with_its_default(section: str):
    keys, known = SECTIONS[section]
    text = REFERENCE.read_text(encoding="utf-8")
    assert table(keys) in text
    assert later(known) in text


def test_defaults_are_those_of_the_policies(tmp_path: Path):
    assert load(None, {"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path).limits == Limits()
    places = Places.of({}, tmp_path)
    activity, workflow = _defaults(ACTIVITY, places), _defaults(WORKFLOW, places)
    assert RetryPolicy() == RetryPolicy(
        max_retries=activity["max_retries"],
        exp_backoff_us=activity["retry_exp_backoff"],
        retry_on_err=activity["retry_on_err"],
        backoff_max_us=activity["retry_backoff_max"],
        jitter=activity["retry_jitter"],
    )
    policy = ExecutionPolicy()
    assert activity["exec.lock_expiry"] == workflow["exec.lock_expiry"] == policy.lock_expiry_us
    assert (workflow["blocking_strategy"], workflow["exec.cpu_budget"]) == (policy.blocking, policy.cpu_budget_us)
    assert workflow["on_trap"] == policy.on_trap
    for each in (activity, workflow):
        assert LogPolicy() == LogPolicy(each["logs_store_min_level"], each["forward_stdout"], each["forward_stderr"])


def test_every_limit_of_the_engine_is_a_key():
    names = {f"limits.{field.name}" for field in msgspec.structs.fields(Limits)}
    assert {key.path for key in ROOT if key.path.startswith("limits.")} == names


def test_limits_of_programs_are_those_of_the_policy(tmp_path: Path):
    config = load(None, {"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)
    assert (config.programs, config.allowed_programs) == (ProgramLimits(), AllowedPrograms())
