"""Functions that can be executions: their names, and their JSON on both sides.

Decides which functions of a component those are. What runs them, if anything does, is not known here.
"""

from __future__ import annotations

from obelisk.core.names import FunctionName
from obelisk.wit.codec import ParamsCodec
from obelisk.wit.component import ComponentWit, Function, Interface
from obelisk.wit.outcomes import OutcomeCodec, err_form, outcome_codec


class Executable:
    """A function that can be an execution."""

    __slots__ = ("ffqn", "outcomes", "params")

    def __init__(self, ffqn: FunctionName, params: ParamsCodec, outcomes: OutcomeCodec) -> None:
        self.ffqn = ffqn
        self.params = params
        self.outcomes = outcomes


def executable(interface: Interface, function: Function) -> Executable | None:
    """The function of `interface`, or None when it cannot be an execution."""
    if err_form(function.signature) is None:
        return None
    signature = function.signature
    return Executable(
        interface.ffqn(function), ParamsCodec(signature), outcome_codec(signature.result, function.permanent)
    )


def executables(wit: ComponentWit) -> dict[FunctionName, Executable]:
    """All exported functions that can be executions."""
    found = (executable(interface, function) for interface in wit.exports for function in interface.functions)
    return {each.ffqn: each for each in found if each is not None}
