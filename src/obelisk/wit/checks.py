"""Whether a set of components can be deployed together.

Decides what is refused before anything runs: functions that cannot be executions, functions that two components export,
imports that nobody supplies, or supplies with another type. Finds all problems at once. Types are compared by structure;
names of parameters do not matter, the order of fields and cases does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final, NewType

import msgspec

from obelisk.core.names import STUB_SUFFIX, FunctionName, InterfaceName
from obelisk.core.ports import FunctionKind
from obelisk.wit import wasi
from obelisk.wit.component import ComponentWit, Function, Interface
from obelisk.wit.extensions import (
    SUFFIXES,
    ExtensionKind,
    classify,
    extension_function,
    package_suffix,
    suffixes,
)
from obelisk.wit.host import (
    BORROWED_JOIN_SET,
    BORROWED_JOIN_SET_5,
    LOG,
    PROCESS,
    HostInterface,
    host_interface,
    modern,
    versions,
)
from obelisk.wit.outcomes import err_form, has_handles
from obelisk.wit.text import signature_text
from obelisk.wit.types import Borrow, Signature, Type

Problem = NewType("Problem", str)
"""Why the deployment is refused, for the operator: which component, what, and what to do. May have several lines."""


_WRONG_KIND: Final = (
    "nothing runs a stub activity, so it cannot be scheduled; submit it in a join set, or deploy an activity",
    "only stub activities are given their results; make it a stub activity, or remove the import",
)
_ADD: Final = "add the component that exports it to the configuration, or remove the import"


class Component(msgspec.Struct, frozen=True):
    """An active component: its name in the configuration, what it is, what it imports and exports."""

    name: str
    kind: FunctionKind
    wit: ComponentWit

    @property
    def title(self) -> str:
        """`workflow myworkflow`."""
        return f"{self.kind} {self.name}"


Exports = dict[FunctionName, tuple[Component, Function]]
"""Every exported function with the component that exports it: the first one, when there are several."""


def check(components: Sequence[Component]) -> tuple[Problem, ...]:
    """Everything that keeps `components` from being deployed together; empty when nothing does."""
    exports: Exports = {}
    problems: list[str] = []
    for component in components:
        for interface in component.wit.exports:
            problems.extend(_check_export(component, interface))
            for function in interface.functions:
                first, _ = exports.setdefault(interface.ffqn(function), (component, function))
                if first is not component:
                    problems.append(
                        f"{first.title} and {component.title} both export {interface.ffqn(function)}; one function can"
                        " be exported by one active component only: remove one of the two from the configuration"
                    )
    for component in components:
        problems.extend(_check_imports(component, exports))
    return tuple(map(Problem, problems))


def check_alone(component: Component) -> tuple[Problem, ...]:
    """What keeps the component from being deployed, whatever else is: what it exports, and what it imports of the host. What
    it imports of other components is not looked at.
    """
    problems = [problem for interface in component.wit.exports for problem in _check_export(component, interface)]
    problems += _check_imports(component, None)
    return tuple(map(Problem, problems))


# --- exports ---------------------------------------------------------------------------------------------------------


def _check_export(component: Component, interface: Interface) -> Iterator[str]:
    exports = f"{component.title} exports {interface.name}"
    suffix = package_suffix(interface.name)
    if suffix is not None:
        yield f"{exports}; package names that end in {suffix} are reserved for generated interfaces: rename the package"
        return
    if interface.resources:
        yield (
            f"{exports}, which defines the resource {interface.resources[0]}; resources cannot be stored between"
            " executions: use records or ids instead"
        )
    for name, reason in interface.unsupported:
        yield f"{exports}.{name}, which cannot be an execution: {reason}"
    for function in interface.functions:
        if function.name.startswith("["):
            continue  # a method of a resource, which has been refused above
        if has_handles(function.signature):
            yield (
                f"{exports}.{function.name}: {function.text}, which cannot be an execution: parameters and results"
                " must not contain resources"
            )
        elif err_form(function.signature) is None:
            yield (
                f"{exports}.{function.name}: {function.text}, which cannot be an execution: it must return a result"
                " whose error is nothing, string, or a variant with the case execution-failed without payload"
            )


# --- imports ---------------------------------------------------------------------------------------------------------


def _check_imports(component: Component, exports: Exports | None) -> Iterator[str]:
    """`exports`: of all components; None: they are not known."""
    if component.kind is FunctionKind.STUB:
        return  # nothing of it runs, so nothing has to be supplied
    for name in component.wit.root_imports:
        yield (
            f"{component.title} imports {name} at its root; only interfaces with a full name (namespace:package/interface)"
            " can be supplied: move it into one"
        )
    of_wasi: list[InterfaceName] = []
    for interface in component.wit.imports:
        if not (interface.functions or interface.resources or interface.unsupported):
            continue  # types only: nothing has to be supplied
        namespace = interface.name.partition(":")[0]
        if namespace == "wasi":
            of_wasi.append(interface.name)
        elif namespace == "obelisk":
            yield from _check_host_import(component, interface)
        else:
            yield from _check_deployed_import(component, interface, exports)
    for name, refusal in wasi.refusals(component.kind, of_wasi):
        yield f"{component.title} imports {name}; {refusal}"


def _check_host_import(component: Component, interface: Interface) -> Iterator[str]:
    imports = f"{component.title} imports {interface.name}"
    host = host_interface(interface.name)
    if host is None:
        known = versions(interface.name)
        if not known:
            yield f"{imports}, which is no interface of this host"
        else:
            supplied = " and ".join(f"{each.name} (and older versions {_major(each.name)}.x)" for each in known)
            yield f"{imports}; supplied are {supplied}: build the component against one of those"
        return
    if component.kind is FunctionKind.WORKFLOW and host.name == PROCESS:
        yield f"{imports}, which only activities may call, since no replay can repeat it: call an activity that does it"
        return
    if component.kind is not FunctionKind.WORKFLOW and host.name not in {LOG, PROCESS}:
        yield (
            f"{imports}, which only workflows may call: of the host's interfaces, an activity may import {LOG} and {PROCESS}"
        )
        return
    for name, reason in interface.unsupported:
        yield f"{imports}.{name} with another type than the host supplies: {reason}"
    for function in interface.functions:
        yield from _check_host_function(imports, function, host)


def _major(interface: str) -> str:
    return interface.partition("@")[2].partition(".")[0]


def _check_host_function(imports: str, function: Function, host: HostInterface) -> Iterator[str]:
    supplied = host.function(function.name)
    if supplied is None:
        yield f"{imports}.{function.name}, which is no function of {host.name}"
    elif _shape(function.signature) != _shape(supplied.signature):
        yield _mismatch(f"{imports}.{function.name} with another type than the host supplies", function, supplied)


def _check_deployed_import(component: Component, interface: Interface, exports: Exports | None) -> Iterator[str]:
    imports = f"{component.title} imports {interface.name}"
    if component.kind is not FunctionKind.WORKFLOW:
        yield f"{imports}; only workflows may call other functions: call it from a workflow, or make this one a workflow"
        return
    if interface.resources:
        yield f"{imports}, which defines the resource {interface.resources[0]}; no component can supply resources"
    for name, reason in interface.unsupported:
        yield f"{imports}.{name}, which nothing can supply: {reason}"
    suffix = package_suffix(interface.name)
    for function in interface.functions:
        if function.name.startswith("["):
            continue  # a method of a resource, which has been refused above
        if suffix is None:
            yield from _check_call(imports, function, interface.ffqn(function), exports)
        else:
            yield from _check_extension(imports, function, interface, suffix, exports)


def _check_call(imports: str, function: Function, target: FunctionName, exports: Exports | None) -> Iterator[str]:
    if exports is None:
        return
    found = exports.get(target)
    if found is None:
        yield f"{imports}.{function.name}, which no active component exports{_nearest(target, exports)}: {_ADD}"
        return
    exporter, exported = found
    if _shape(function.signature) != _shape(exported.signature):
        yield _mismatch(
            f"{imports}.{function.name} with another type than {exporter.title} exports", function, exported
        )


def _check_extension(
    imports: str, function: Function, interface: Interface, suffix: str, exports: Exports | None
) -> Iterator[str]:
    extension = classify(interface.name, function.name)
    if extension is None:
        endings = ", ".join(f"-{kind}" for kind in SUFFIXES[suffix])
        yield f"{imports}.{function.name}, which is no extension function: in a {suffix} package names end in {endings}"
        return
    if exports is None:
        return
    base, kind = extension
    found = exports.get(base)
    if found is None:
        yield f"{imports}.{function.name}, but no active component exports {base}{_nearest(base, exports)}: {_ADD}"
        return
    exporter, _ = found
    if suffix not in suffixes(exporter.kind):
        yield f"{imports}.{function.name}, but {exporter.title} exports {base}: {_WRONG_KIND[suffix == STUB_SUFFIX]}"
        return
    yield from _check_generated(imports, function, kind, found)


def _check_generated(
    imports: str, function: Function, kind: ExtensionKind, found: tuple[Component, Function]
) -> Iterator[str]:
    exporter, exported = found
    if err_form(exported.signature) is None:
        return  # refused as an export, with the reason
    generated = extension_function(exported, kind, join_set=_join_set_of(function.signature))
    if _shape(function.signature) != _shape(generated.signature):
        yield _mismatch(
            f"{imports}.{function.name} with another type than what {exporter.title} exports gives", function, generated
        )


def _join_set_of(signature: Signature) -> Borrow:
    """The join sets of the version of `obelisk:types` that an extension function was written against. Without any, all
    versions say the same.
    """
    later = BORROWED_JOIN_SET_5 in (type_ for _, type_ in modern(signature).params)
    return BORROWED_JOIN_SET_5 if later else BORROWED_JOIN_SET


def _nearest(target: FunctionName, exports: Exports) -> str:
    close = get_close_matches(target, exports, n=1, cutoff=0.8)
    return f" (the nearest is {close[0]})" if close else ""


def _shape(signature: Signature) -> tuple[tuple[Type, ...], Type | None]:
    """What two signatures must have in common to be interchangeable: everything but the names of parameters."""
    current = modern(signature)
    return tuple(type_ for _, type_ in current.params), current.result


def _mismatch(what: str, imported: Function, supplied: Function) -> str:
    texts = [signature_text(function.signature) for function in (imported, supplied)]
    if texts[0] == texts[1]:  # resources of one name
        texts = [signature_text(modern(function.signature), qualified=True) for function in (imported, supplied)]
    return f"{what}:\n  imported: {texts[0]}\n  supplied: {texts[1]}"
