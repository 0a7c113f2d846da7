"""The test world, shipped: a workflow runs in simulated time, under faults, and must not notice.

`Simulation` is what users start with; see the guide on testing. The rest of the folder is the world itself, which the
engine's own tests use too.
"""

from obelisk.core.policy import ExecutionPolicy, RetryPolicy
from obelisk.testing.context import Context, Joined, JoinSet
from obelisk.testing.errors import (
    AllProcessed,
    CallRefused,
    Conflict,
    DelayCancelled,
    ExecutionFailed,
    ExecutionNotFound,
    FunctionMismatch,
    FunctionNotFound,
    InvalidName,
    NotProcessed,
    ReturnedErr,
    TypeCheckError,
)
from obelisk.testing.functions import Attempt
from obelisk.testing.invariants import Violation
from obelisk.testing.simulation import ConfigRefused, Report, ResultChanged, Simulation, SimulationFailed

__all__ = [
    "AllProcessed",
    "Attempt",
    "CallRefused",
    "ConfigRefused",
    "Conflict",
    "Context",
    "DelayCancelled",
    "ExecutionFailed",
    "ExecutionNotFound",
    "ExecutionPolicy",
    "FunctionMismatch",
    "FunctionNotFound",
    "InvalidName",
    "JoinSet",
    "Joined",
    "NotProcessed",
    "Report",
    "ResultChanged",
    "RetryPolicy",
    "ReturnedErr",
    "Simulation",
    "SimulationFailed",
    "TypeCheckError",
    "Violation",
]
