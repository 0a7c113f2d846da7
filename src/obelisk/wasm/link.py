"""Components are joined to the host functions that they import.

Decides which imports of a component are supplied, for each kind of component. All functions of a workflow go through its
driver, `log` included, so that what it dropped before is heard before (see `fiber`). Must not decide what a call does: each
is given its meaning, a `Meaning` for the machine or a `WasiFunction`. Definitions carry the names that the component
imports; versions were checked by `obelisk.wit.checks`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from obelisk.core.names import FunctionName, InterfaceName
from obelisk.wasm import capi
from obelisk.wasm.calls import Meaning, UnknownImport, meaning_of
from obelisk.wasm.codec import FunctionCodec, resource_number
from obelisk.wasm.component import CompiledComponent, ComponentError, LoadedComponent
from obelisk.wasm.fiber import HostFunction, Program, destructor
from obelisk.wasm.wasi import tables
from obelisk.wasm.wasi.host import WasiFunction
from obelisk.wit.component import Function, Interface
from obelisk.wit.executable import Executable, executable

Meanings = Callable[[Interface, Function], object]
"""Gives the `meaning` of an import's `HostFunction`, or raises `UnknownImport`."""

_destroy: Final = destructor()


class EntryPoint:
    """An exported function that can be an execution, and how to call it."""

    __slots__ = ("_component", "_meanings", "function", "program")

    def __init__(self, function: Executable, program: Program, component: LoadedComponent, meanings: Meanings) -> None:
        self.function = function
        self.program = program
        self._component = component  # not what is linked, which holds this
        self._meanings = meanings

    def apart(self) -> tuple[EntryPoint, Path]:
        """The same function for one guest whose memory can be found: its mapping begins with this file. Takes a few
        milliseconds. `OSError`.
        """
        compiled = self._component.compiled.apart()
        assert compiled.code is not None
        linked = LinkedComponent(replace(self._component, compiled=compiled), self._meanings)
        return linked.entries[self.function.ffqn], compiled.code


class LinkedComponent:
    """A component with its imports supplied; `entries`: its functions that can be executions."""

    def __init__(self, component: LoadedComponent, meanings: Meanings) -> None:
        self.component = component
        self._native = _Linker(component.compiled)
        try:
            for interface in component.wit.imports:
                self._native.define(interface, meanings)
        except (UnknownImport, ValueError) as problem:
            raise ComponentError(component.path, f"it cannot be linked: {problem}") from problem
        self.entries: dict[FunctionName, EntryPoint] = {}
        for interface in component.wit.exports:
            for function in interface.functions:
                found = executable(interface, function)
                if found is not None:
                    self.entries[found.ffqn] = EntryPoint(
                        found, self.program(interface.name, function.name), component, meanings
                    )

    def program(self, interface: InterfaceName, function: str) -> Program:
        """An exported function, ready to be called with values. `KeyError` when the component's WIT has none."""
        exported = next((each for each in self.component.wit.exports if each.name == interface), None)
        found = None if exported is None else exported.function(function)
        if found is None:
            raise KeyError(f"{interface}.{function}")
        native = self._native
        return Program(
            native,
            native.component.compiler,
            native.component.address,
            native.address,
            native.export_index(interface, function),
            FunctionCodec(found.signature, exported=True),
        )


def link_workflow(component: LoadedComponent) -> LinkedComponent:
    """Links a workflow. `ComponentError` when it imports what workflows are not supplied with."""
    return LinkedComponent(component, partial(_workflow_meaning, imports=component.wit.imports))


def link_activity(component: LoadedComponent) -> LinkedComponent:
    """Links an activity. `ComponentError` when it imports what activities are not supplied with."""
    return LinkedComponent(component, _activity_meaning)


def _workflow_meaning(interface: Interface, function: Function, imports: Sequence[Interface]) -> Meaning | WasiFunction:
    if interface.name.startswith("wasi:"):
        return _supplied(tables.WORKFLOW, interface, function, "workflows")
    return meaning_of(interface, function, imports)


def _activity_meaning(interface: Interface, function: Function) -> WasiFunction:
    return _supplied(tables.ACTIVITY, interface, function, "activities")


def _supplied(table: tables.Table, interface: Interface, function: Function, whom: str) -> WasiFunction:
    found = tables.function_of(table, interface.name, function.name)
    if found is None:
        raise UnknownImport(f"{interface.name}.{function.name} is not supplied to {whom} in this version")
    return found


class _Linker:
    """wasmtime's linker for one component, and everything whose address it holds. Freed with the last reference."""

    __slots__ = ("_functions", "_indices", "_resources", "address", "component")

    def __init__(self, component: CompiledComponent) -> None:
        self.component = component
        self.address: int = capi.linker_new(component.compiler.native_address)
        self._functions: list[HostFunction] = []
        self._resources: list[int] = []
        self._indices: list[int] = []

    def define(self, interface: Interface, meanings: Meanings) -> None:
        """Supplies an imported interface. One that only has types needs no definition."""
        if interface.unsupported:
            raise UnknownImport(f"{interface.name}.{interface.unsupported[0][0]}: {interface.unsupported[0][1]}")
        if not interface.functions and not interface.resources:
            return
        functions = [
            HostFunction(
                f"{interface.name}.{function.name}",
                FunctionCodec(function.signature, exported=False, raw=interface.name.startswith("wasi:")),
                meanings(interface, function),
            )
            for function in interface.functions
        ]
        self._functions += functions
        root = capi.linker_root(self.address)
        try:
            instance = self._instance(root, interface.name)
            try:
                for resource in interface.resources:
                    self._add_resource(instance, f"{interface.name}.{resource}", resource)
                for imported, function in zip(interface.functions, functions, strict=True):
                    name = imported.name.encode()
                    _raise_on(
                        capi.linker_instance_add_func_async(instance, name, len(name), function.callback, None, None)
                    )
            finally:
                capi.linker_instance_delete(instance)
        finally:
            capi.linker_instance_delete(root)

    def export_index(self, interface: str, function: str) -> int:
        """Where wasmtime finds an exported function in each instance."""
        outer = self._index(0, interface)
        return self._index(outer, function)

    def _index(self, within: int, name: str) -> int:
        encoded = name.encode()
        index = capi.component_get_export_index(self.component.address, within or None, encoded, len(encoded))
        if not index:
            raise ValueError(f"the compiled component does not export {name}")
        self._indices.append(index)
        return int(index)

    def _instance(self, root: int, name: str) -> int:
        out = ctypes.c_void_p()
        encoded = name.encode()
        _raise_on(capi.linker_instance_add_instance(root, encoded, len(encoded), ctypes.addressof(out)))
        assert out.value is not None
        return out.value

    def _add_resource(self, instance: int, resource: str, name: str) -> None:
        type_ = capi.resource_type_new_host(resource_number(resource))
        self._resources.append(type_)
        encoded = name.encode()
        _raise_on(capi.linker_instance_add_resource(instance, encoded, len(encoded), type_, _destroy, None, None))

    def __del__(
        self,
        # Bound here because modules are gone when the interpreter ends.
        delete_index: capi.Foreign = capi.export_index_delete,
        delete_linker: capi.Foreign = capi.linker_delete,
        delete_type: capi.Foreign = capi.resource_type_delete,
    ) -> None:
        for index in self._indices:
            delete_index(index)
        delete_linker(self.address)
        for type_ in self._resources:
            delete_type(type_)


def _raise_on(error: int | None) -> None:
    if error:
        raise UnknownImport(capi.take_error(error))
