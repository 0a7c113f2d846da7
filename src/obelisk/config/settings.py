"""The resolved configuration: plain data with absolute paths and nothing left to look up."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from obelisk.core.egress import AllowedHost
from obelisk.core.ids import Digest
from obelisk.core.policy import CLOSED, AllowedPrograms, ExecutionPolicy, Limits, ProgramLimits, Sandbox
from obelisk.core.ports import FunctionKind
from obelisk.wit.declared import Declared

MEMORY_MAX_BYTES_DEFAULT: Final = 256 << 20
"""Linear memory that one instance of a component may use, unless its table says otherwise."""
SUFFIX: Final = ".../"
"""What a key of `backtrace.sources` begins with that stands for the end of a path."""


class Address(msgspec.Struct, frozen=True):
    """Where a door listens."""

    host: str
    """A name, an IPv4 address, or an IPv6 address without brackets."""
    port: int
    """0: the system chooses one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Api(msgspec.Struct, frozen=True):
    """The gRPC door."""

    listening_addr: Address


class Sqlite(msgspec.Struct, frozen=True):
    """The durable store."""

    directory: Path
    pragma: dict[str, str]
    """Settings of SQLite that replace the store's own."""


class Allocator(StrEnum):
    """How memory for guests is reserved."""

    AUTO = "auto"
    """Pooling where it works, else on demand."""
    ON_DEMAND = "on_demand"
    POOLING = "pooling"


class Wasm(msgspec.Struct, frozen=True):
    """Guests of all components."""

    allocator_config: Allocator
    fuel: int | None
    """Instructions that a run may execute; None is unlimited."""
    parallel_compilation: bool
    backtrace_persist: bool = True
    """Whether backtraces are kept once they were looked at."""


class CodegenCache(msgspec.Struct, frozen=True):
    """Compiled components on disk."""

    enabled: bool
    directory: Path


class LogStyle(StrEnum):
    """How a line of the server's log looks."""

    PLAIN = "plain"
    PLAIN_COMPACT = "plain_compact"
    JSON = "json"


class LogWriter(StrEnum):
    """Where the server's log goes."""

    STDERR = "stderr"
    STDOUT = "stdout"


class LogFilter(msgspec.Struct, frozen=True):
    """Which lines of the log are shown. Levels are trace, debug, info, warn, error and off."""

    default: str
    targets: dict[str, str]
    """Level by logger name, for it and those below it; the longest name wins."""

    def level_of(self, target: str) -> str:
        """The level of one logger."""
        while target:
            if target in self.targets:
                return self.targets[target]
            target = target.rpartition(".")[0]
        return self.default


class Console(msgspec.Struct, frozen=True):
    """The server's log on its terminal."""

    enabled: bool
    level: LogFilter
    style: LogStyle
    target: bool
    """Whether a line names its logger."""
    writer: LogWriter


class Otlp(msgspec.Struct, frozen=True):
    """What is sent to a collector of OpenTelemetry."""

    enabled: bool
    level: LogFilter
    """Of the logger `app`: which lines of components; of any other one: spans, from `info` on."""
    service_name: str
    endpoint: str
    """URL of a collector that takes OTLP over gRPC."""


class ExecutionDirectories(msgspec.Struct, frozen=True):
    """The directories that executions of activities have for their own."""

    enabled: bool
    """Whether there are any; if not, no component may ask for them."""
    parent_directory: Path
    bytes_max: int | None
    """Bytes of the files in one; None: unlimited."""
    entries_max: int | None
    """Files, directories and links in one; None: unlimited."""
    cleanup_enabled: bool
    """Whether those of executions that have finished are removed …"""
    cleanup_run_every_us: int
    cleanup_older_than_us: int
    """… this long after their end."""


class ProgramConfig(msgspec.Struct, frozen=True):
    """The program of an `[[activity_exec]]`."""

    path: Path
    params_via_stdin: bool
    max_output_bytes: int


class ComponentConfig(msgspec.Struct, frozen=True):
    """One `[[workflow]]`, `[[activity_wasm]]`, `[[activity_exec]]` or `[[activity_stub]]`."""

    kind: FunctionKind
    name: str
    """Unique in a configuration; ASCII letters, digits and `_`."""
    source: Path | Declared
    """The component's file; of a stub also a file or folder of WIT, or what the configuration itself declares. A path
    existed when the configuration was read.
    """
    content_digest: Digest | None
    """What the source's digest must be (that of the program, where there is one); None: whatever it is."""
    policy: ExecutionPolicy = ExecutionPolicy()
    memory_max_bytes: int | None = None
    """Linear memory that one instance may use; None is unlimited. Of a stub there are no instances."""
    sandbox: Sandbox = CLOSED
    backtrace_sources: dict[str, Path] = {}
    """Source files by the path that they have in the component's debug information; or, after `SUFFIX`, its end."""
    program: ProgramConfig | None = None
    """What carries out the function that `source` declares; None: what runs, if anything, is at `source`."""

    @property
    def title(self) -> str:
        """What it is called in messages: `workflow myworkflow`."""
        return f"{self.kind} {self.name}"


class Config(msgspec.Struct, frozen=True):
    """Everything that the operator decided, defaults filled in."""

    file: Path | None
    """Where it came from; None: from defaults and environment only."""
    api: Api
    sqlite: Sqlite
    wasm: Wasm
    codegen_cache: CodegenCache
    console: Console
    otlp: Otlp
    allowed_programs: AllowedPrograms
    programs: ProgramLimits
    limits: Limits
    directories: ExecutionDirectories
    components: tuple[ComponentConfig, ...]
    """In the order of the file."""
    outbound_http: tuple[AllowedHost, ...] | None = None
    """What any component may send at most; None: whatever its own entries say."""

    @property
    def digest(self) -> Digest:
        """Of everything above but `file`: two files that say the same are one deployment. What the components' files
        contain is not in it.
        """
        content = {name: getattr(self, name) for name in self.__struct_fields__ if name != "file"}
        encoded = msgspec.json.encode(content, enc_hook=str, order="deterministic")
        return Digest(f"sha256:{hashlib.sha256(encoded).hexdigest()}")
