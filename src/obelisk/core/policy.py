"""Policies: what an operator may decide about how functions are run, and the engine's named limits.

Plain data with the documented defaults. `obelisk.config` makes these from `obelisk.toml`; nothing here reads it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from obelisk.core.calls import Log, LogLevel, LogLine, StdStream
from obelisk.core.egress import EgressPolicy
from obelisk.core.ids import Digest
from obelisk.core.instants import MILLISECOND_US, SECOND_US
from obelisk.core.tcp import TcpTarget


class Blocking(StrEnum):
    """What happens to a workflow's instance when it blocks."""

    AWAIT = "await"
    """It stays in memory (up to the hot cap)."""
    INTERRUPT = "interrupt"
    """It is unloaded, and replayed at each wake-up."""


class OnTrap(StrEnum):
    """What happens to a workflow that traps."""

    FAIL = "fail"
    """It finishes as failed."""
    PARK = "park"
    """It is parked, to go on once its component is fixed."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often a failed or timed-out activity is tried again, and when."""

    max_retries: int = 5
    exp_backoff_us: int = 100 * MILLISECOND_US
    """The n-th retry waits exp_backoff_us * 2**(n-1) …"""
    retry_on_err: bool = True
    """Whether a returned `err` is retried too (an error that its name or its WIT calls permanent never is)."""
    backoff_max_us: int | None = None
    """… but not longer than this …"""
    jitter: float = 0.0
    """… and up to this share of it (0 to 1) sooner or later, so that what failed together is not retried together."""


class Forward(StrEnum):
    """Where what a component writes to a stream goes."""

    NONE = "none"
    """Nowhere."""
    STDOUT = "stdout"
    """To the server's own output."""
    STDERR = "stderr"
    DB = "db"
    """To the log of the execution, in the store."""


class LogPolicy(msgspec.Struct, frozen=True):
    """What becomes of what a component logs."""

    store_min_level: LogLevel | None = LogLevel.DEBUG
    """Lines of `obelisk:log` below this one are not stored; None: none are."""
    stdout: Forward = Forward.DB
    stderr: Forward = Forward.DB

    def stores(self, line: LogLine) -> bool:
        """Whether the line goes to the log of its execution."""
        if isinstance(line, Log):
            return line.level.is_at_least(self.store_min_level)
        return self.forward_of(line.stream) is Forward.DB

    def forward_of(self, stream: StdStream) -> Forward:
        """Where a stream goes."""
        return self.stdout if stream is StdStream.STDOUT else self.stderr

    def drops(self, line: LogLine) -> bool:
        """Whether nobody wants the line; one of `obelisk:log` always goes to the server's log."""
        return not isinstance(line, Log) and self.forward_of(line.stream) is Forward.NONE


class ExecutionPolicy(msgspec.Struct, frozen=True):
    """How the functions of one component are run."""

    lock_expiry_us: int = SECOND_US
    """An activity's run deadline; for a workflow, how long one `locked` stands."""
    retry: RetryPolicy = RetryPolicy()
    """Of activities; workflows are not retried."""
    blocking: Blocking = Blocking.AWAIT
    """Of workflows."""
    on_trap: OnTrap = OnTrap.FAIL
    """Of workflows."""
    cpu_budget_us: int = 10 * SECOND_US
    """Of workflows: CPU time between two host calls after which the run ends as out of fuel."""
    logs: LogPolicy = LogPolicy()


class MappedDirectory(msgspec.Struct, frozen=True):
    """A directory of the host that the functions of a component are given."""

    host: str
    """Absolute."""
    guest: str
    """What they call it; absolute."""
    read_only: bool = True


class DirectoryPolicy(msgspec.Struct, frozen=True):
    """Which directories the functions of one activity component are given; by default none."""

    own: bool = False
    """One for each execution, its working directory …"""
    reuse_on_retry: bool = False
    """… that a retry finds as the attempt before left it; else it is empty."""
    mapped: tuple[MappedDirectory, ...] = ()

    @property
    def gives_any(self) -> bool:
        """Whether there is a directory at all."""
        return self.own or bool(self.mapped)


class ProcessProvider(StrEnum):
    """What spawns processes for the guests of a component."""

    NONE = "none"
    NATIVE = "native"
    """The system that the server runs on."""


class Sandbox(msgspec.Struct, frozen=True):
    """What the guests of one component may touch of the world around them; by default nothing. It is the operator's word of
    today: an execution that began before is held to it too.
    """

    environment: tuple[tuple[str, str], ...] = ()
    """Environment variables, by name."""
    http: EgressPolicy = EgressPolicy()
    """Which HTTP requests may be sent."""
    directories: DirectoryPolicy = DirectoryPolicy()
    tcp: tuple[TcpTarget, ...] = ()
    """Where connections may be opened to."""
    processes: ProcessProvider = ProcessProvider.NONE


CLOSED: Final = Sandbox()
"""The sandbox of a component that is not in the configuration any more."""


class AllowedPrograms(msgspec.Struct, frozen=True):
    """Which programs of the host may be run, by name and digest; by default none."""

    all: bool = False
    digests: dict[str, tuple[Digest, ...]] = {}
    """By the name of an exec activity, or the command that an activity spawns."""

    def refusal(self, name: str, digest: Digest) -> str | None:
        """Why a program may not be run under a name, and what would allow it; None when it may."""
        if self.all or digest in self.digests.get(name, ()):
            return None
        key = f"allow_exec_activities.{name}" if name.replace("_", "").isalnum() else f'allow_exec_activities."{name}"'
        others = self.digests.get(name)
        if others:
            return f"the program has the digest {digest}, but {key} allows {', '.join(others)}"
        return f'the program is not allowed to be run; what allows it is {key} = "{digest}"'


NO_PROGRAMS: Final = AllowedPrograms()


class ProgramLimits(msgspec.Struct, frozen=True):
    """What programs of the host may use."""

    running_max: int = 32
    """Programs that run at once; others wait, and their deadlines with them."""
    tasks_max: int = 512
    """Processes and threads of one program and all that it starts."""
    memory_max_bytes: int | None = None
    """Memory of one program and all that it starts, where a cgroup can hold it to that."""
    cgroup: str = "auto"
    """Below which cgroup programs get theirs: a path, `auto` for that of the server, or `none`."""


class Limits(msgspec.Struct, frozen=True):
    """The engine's limits. Reaching a limit of a tick never fails anything: the rest is done in the next tick."""

    tick_units_max: int = 2_000
    tick_rows_max: int = 20_000
    tick_bytes_max: int = 16 << 20
    tick_events_per_execution_max: int = 1_000
    tick_deciding_us_max: int = 5 * MILLISECOND_US
    inbox_max: int = 2_000
    """Client calls that may wait; more are refused with RESOURCE_EXHAUSTED. Completions are never refused."""
    start_window: int = 512
    """Attempts that may be locked with their first slice still due. One that is not locked as it is created costs a unit more."""
    start_window_shared: int = 64
    """The same of an engine that shares its store with others: what it does not take, they can."""
    hot_max: int = 4_000
    """Workflow instances kept in memory; the least recently used blocked one is evicted."""
    crash_max: int = 3
    """Crashes of the process during an execution's run after which it is not started again."""
    lease_us: int = 10 * SECOND_US
    """How long a lease lasts where several engines share a store; renewed at a third of it."""
    log_line_bytes_max: int = 16 << 10
    """Of one line that a component logs; what is longer is cut."""
    log_run_lines_max: int = 10_000
    """Lines that one attempt at an activity, or a workflow, may log; more are dropped."""
    log_run_bytes_max: int = 4 << 20
    """The same, in bytes."""
    log_buffer_lines_max: int = 20_000
    """Lines of all activities that may wait to be stored; more are dropped."""
    log_buffer_bytes_max: int = 16 << 20
    """The same, in bytes."""
