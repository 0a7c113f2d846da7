"""Threads and lanes: performs effects, feeds inputs, runs activities, holds what is deployed. No SQL, no routes."""

from obelisk.runtime.changes import ShuttingDown, Subscription
from obelisk.runtime.components import DeploymentRefused
from obelisk.runtime.runtime import Failure, Runtime, start

__all__ = ["DeploymentRefused", "Failure", "Runtime", "ShuttingDown", "Subscription", "start"]
