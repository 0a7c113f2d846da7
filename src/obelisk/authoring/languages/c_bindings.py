"""A header for C out of a world of WIT: its types, the functions that it imports, and those that are to be written.

Decides what things are called in C, and what a function looks like there: one that returns a result returns whether it is ok,
and gives its payloads through pointers. Names are short where they are clear: exports are named before imports, and what
several interfaces have is called after its interface too. Knows no compiler.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from obelisk.authoring.languages.c_types import CORE, CType, NotInC, Types, comment, word
from obelisk.wit.document import Document, FunctionItem, Item, World

MARK: Final = "// Made by `obelisk build`"
"""How a header begins that may be overwritten."""
_PARAMS_MAX: Final = 16
"""More numbers go through memory; so does every result that is more than one."""
_KIND: Final = re.compile(r"\[([a-z-]+)\]")
_DROP: Final = "[resource-drop]"
_OURS: Final = re.compile(r"ok|err|ret|params|raw\d+")
"""Variables of the functions here, which no parameter may be called like."""
_TAKEN: Final = frozenset(
    ("memcpy", "memmove", "memset", "memcmp", "memory_take", "memory_mark", "memory_forget", "main")
)
"""Functions of the first part of the header."""
_LEVELS: Final = 4

_Key = tuple[int, str]
"""The index of an interface, and a name in it."""


@dataclass(frozen=True)
class _Parameter:
    name: str
    type: CType


def header(document: Document, world: World) -> str:
    """The header. `NotInC`."""
    return _Header(document, world).text()


class _Header:
    def __init__(self, document: Document, world: World) -> None:
        self._document = document
        self._world = world
        self._exports = self._functions(world.exports)
        self._imports = self._functions(world.imports)
        self._types = Types(document, self._type_names())
        self._names = self._called(
            [list(self._exports), [*self._imports, *((index, _DROP + name) for index, name in self._resources())]],
            _TAKEN,
        )

    def text(self) -> str:
        """All of it."""
        written = [self._export(number, key, item) for number, (key, item) in enumerate(self._exports.items())]
        called = [self._import(number, key, item) for number, (key, item) in enumerate(self._imports.items())]
        dropped = [self._drop(index, name) for index, name in self._resources()]
        parts = (
            ("Types", self._types.texts),
            ("What may be called", [*called, *dropped]),
            ("What is to be written", written),
        )
        begin = files("obelisk.authoring").joinpath("templates", "c", "begin.h").read_text(encoding="utf-8")
        begun = f"{MARK} out of the world {self._world.name}. What is changed here is lost.\n\n{begin}"
        return "\n".join((begun, *(f"// {title}\n\n" + "\n\n".join(texts) + "\n" for title, texts in parts if texts)))

    def _functions(self, items: Mapping[str, Item]) -> dict[_Key, FunctionItem]:
        found: dict[_Key, FunctionItem] = {}
        for name, item in items.items():
            if item.function is not None:
                raise NotInC(f"the function {name} of the world belongs to no interface")
            if item.interface is not None:
                index = item.interface.id
                found.update(
                    ((index, each), function) for each, function in self._document.interfaces[index].functions.items()
                )
        return found

    def _interfaces(self) -> list[int]:
        """Those of the world, exports first."""
        items = (*self._world.exports.values(), *self._world.imports.values())
        return list(dict.fromkeys(item.interface.id for item in items if item.interface is not None))

    def _resources(self) -> Iterator[_Key]:
        imported = {item.interface.id for item in self._world.imports.values() if item.interface is not None}
        for index in self._interfaces():
            for name, number in self._document.interfaces[index].types.items():
                if self._document.types[number].kind == "resource":
                    if index not in imported:
                        raise NotInC(f"the resource {name} is exported")
                    yield index, name

    def _type_names(self) -> dict[int, str]:
        """The types that have a name, and what they are called in C."""
        own = {
            (index, name): number
            for index in self._interfaces()
            for name, number in self._document.interfaces[index].types.items()
            if not (isinstance(kind := self._document.types[number].kind, dict) and "type" in kind)
        }
        return {own[key]: name for key, name in self._called([list(own)], frozenset()).items()}

    def _called(self, groups: Sequence[Sequence[_Key]], taken: frozenset[str]) -> dict[_Key, str]:
        """Names in C, each one once, and as short as that allows."""
        names: dict[_Key, str] = {}
        for group in groups:
            rest = list(dict.fromkeys(group))
            for level in range(_LEVELS):
                wanted = {key: self._candidate(key, level) for key in rest}
                often = Counter(wanted.values())
                used = {*names.values(), *taken}
                names.update((key, name) for key, name in wanted.items() if often[name] == 1 and name not in used)
                rest = [key for key in rest if key not in names]
            if rest:
                raise NotInC(f"{self._document.interface_name(rest[0][0])}.{rest[0][1]} has no name of its own in C")
        return names

    def _candidate(self, key: _Key, level: int) -> str:
        index, name = key
        short = _KIND.sub("", name)
        if name.startswith(_DROP):
            short += "-drop"
        if name.startswith("[constructor]"):
            short += "-new"
        package, _, interface = self._document.interface_name(index).partition("/")
        interface, _, version = interface.partition("@")
        before = ("", interface, f"{package.partition(':')[2]}-{interface}", f"{package}-{version}-{interface}")[level]
        return word(re.sub(r"[^A-Za-z0-9]+", "-", f"{before}.{short}").strip("-"))

    def _parameters(self, item: FunctionItem) -> list[_Parameter]:
        names = [word(param.name) for param in item.params]
        return [
            _Parameter(f"{name}_" if _OURS.fullmatch(name) else name, self._types.of(param.type))
            for name, param in zip(names, item.params, strict=True)
        ]

    def _result(self, item: FunctionItem) -> CType | None:
        kind = item.kind if isinstance(item.kind, str) else next(iter(item.kind))
        if kind.startswith("async"):
            raise NotInC("it is asynchronous")
        return None if item.result is None else self._types.of(item.result)

    def _import(self, number: int, key: _Key, item: FunctionItem) -> str:
        interface = self._document.interface_name(key[0])
        try:
            params, result = self._parameters(item), self._result(item)
        except NotInC as reason:
            return f"// {interface}.{key[1]} cannot be called from C: {reason}"
        flat = [core for param in params for core in param.type.flat]
        numbers = [text for param in params for text in param.type.lower(param.name)]
        before: list[str] = []
        if len(flat) > _PARAMS_MAX:
            before.append(f"{_params_struct(params)} params = {{{', '.join(param.name for param in params)}}};")
            flat, numbers = ["i32"], ["(int32_t)&params"]
        returns = "void"
        call = f"imported_{number}({{}});"
        after: list[str] = []
        if result is not None:
            before.append(f"{result.name} ret;")
            if len(result.flat) > 1:
                flat, numbers = [*flat, "i32"], [*numbers, "(int32_t)&ret"]
            else:
                returns = CORE[result.flat[0]]
                call = f"{returns} raw0 = {call}"
                after += result.lift("ret", ["raw0"])
            after += _given_back(result)
        body = [*before, call.format(", ".join(numbers)), *after]
        imported = f'__attribute__((import_module("{interface}"), import_name("{key[1]}")))'
        return "\n".join(
            (
                f"{imported}\n{returns} imported_{number}({', '.join(CORE[core] for core in flat) or 'void'});",
                f"{comment(item.docs.contents)}static inline {_signature(self._names[key], params, result)} {{",
                *(f"  {line}" for line in body),
                "}",
            )
        )

    def _drop(self, index: int, name: str) -> str:
        key = (index, _DROP + name)
        called = self._names[key]
        imported = f'__attribute__((import_module("{self._document.interface_name(index)}"), import_name("{key[1]}")))'
        handle = self._types.handle(self._document.interfaces[index].types[name])
        return (
            f"{imported}\nvoid imported_{called}(int32_t);\n"
            f"static inline void {called}({handle.name} self) {{\n  imported_{called}(self.handle);\n}}"
        )

    def _export(self, number: int, key: _Key, item: FunctionItem) -> str:
        interface = self._document.interface_name(key[0])
        try:
            params, result = self._parameters(item), self._result(item)
        except NotInC as reason:
            raise NotInC(f"{interface}.{key[1]}: {reason}") from None
        flat = [core for param in params for core in param.type.flat]
        body: list[str] = []
        if len(flat) > _PARAMS_MAX:
            flat = ["i32"]
            body.append(f"{_params_struct(params)} *params = (void *)raw0;")
            names = [f"params->{param.name}" for param in params]
        else:
            # Called like no function, as parameters may be.
            names = [f"given{number}" for number in range(len(params))]
            place = 0
            for name, param in zip(names, params, strict=True):
                numbers = [f"raw{place + each}" for each in range(len(param.type.flat))]
                place += len(numbers)
                body += [f"{param.type.name} {name};", *param.type.lift(name, numbers)]
        returns = "void"
        if result is None:
            body.append(f"{self._names[key]}({', '.join(names)});")
        else:
            body += [f"static {result.name} ret;", *_taken(result, self._names[key], names)]
            if len(result.flat) > 1:
                returns = "int32_t"
                body.append("return (int32_t)&ret;")
            else:
                returns = CORE[result.flat[0]]
                body.append(f"return {result.lower('ret')[0]};")
        taken = ", ".join(f"{CORE[core]} raw{place}" for place, core in enumerate(flat)) or "void"
        return "\n".join(
            (
                f"{comment(item.docs.contents)}{_signature(self._names[key], params, result)};",
                f'__attribute__((export_name("{interface}#{key[1]}")))\n{returns} exported_{number}({taken}) {{',
                *(f"  {line}" for line in body),
                "}",
            )
        )


def _signature(name: str, params: Sequence[_Parameter], result: CType | None) -> str:
    """A function as an author sees it."""
    taken = [f"{param.type.name} {param.name}" for param in params]
    returns = "void" if result is None else result.name
    if result is not None and result.sides is not None:
        returns = "bool"
        taken += [
            f"{side.name} *{name}" for name, side in zip(("ok", "err"), result.sides, strict=True) if side is not None
        ]
    return f"{returns} {name}({', '.join(taken) or 'void'})"


def _given_back(result: CType) -> list[str]:
    """The end of a function that was imported: `ret` as the author sees it."""
    if result.sides is None:
        return ["return ret;"]
    ok, err = result.sides
    lines = ["if (!ret.is_err) *ok = ret.ok;"] if ok is not None else []
    return [*lines, *(["if (ret.is_err) *err = ret.err;"] if err is not None else []), "return !ret.is_err;"]


def _taken(result: CType, name: str, params: Sequence[str]) -> list[str]:
    """A call of the author's function, which leaves in `ret` what it returns."""
    if result.sides is None:
        return [f"ret = {name}({', '.join(params)});"]
    sides = [(side, given) for given, side in zip(("ok", "err"), result.sides, strict=True) if side is not None]
    call = f"{name}({', '.join((*params, *(f'&{given}' for _, given in sides)))})"
    lines = [*(f"{side.name} {given} = {{0}};" for side, given in sides), f"ret.is_err = !{call};"]
    return [*lines, *(f"if ({'!' if given == 'ok' else ''}ret.is_err) ret.{given} = {given};" for _, given in sides)]


def _params_struct(params: Sequence[_Parameter]) -> str:
    """The struct of all parameters, as they go through memory."""
    return f"struct {{ {' '.join(f'{param.type.name} {param.name};' for param in params)} }}"
