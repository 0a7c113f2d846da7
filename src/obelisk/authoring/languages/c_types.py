"""Types of WIT in C, and how values of them cross the border of a component.

Decides how a type is defined in C: laid out as the canonical ABI lays it out in memory, so that a value there is one of C as
it is. Only parameters and results that travel as numbers are taken apart and put together. Does not know functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from obelisk.wit.document import Document, TypeRef

_KEYWORD: Final = re.compile(
    "alignas|alignof|asm|auto|bool|break|case|char|const|constexpr|continue|default|do|double|else|enum|extern|false|float|"
    "for|goto|if|inline|int|long|nullptr|register|restrict|return|short|signed|sizeof|static|static_assert|struct|switch|"
    "thread_local|true|typedef|typeof|union|unsigned|void|volatile|while"
)
_PRIMITIVES: Final = {
    "bool": ("bool", "i32"),
    "u8": ("uint8_t", "i32"),
    "u16": ("uint16_t", "i32"),
    "u32": ("uint32_t", "i32"),
    "u64": ("uint64_t", "i64"),
    "s8": ("int8_t", "i32"),
    "s16": ("int16_t", "i32"),
    "s32": ("int32_t", "i32"),
    "s64": ("int64_t", "i64"),
    "f32": ("float", "f32"),
    "f64": ("double", "f64"),
    "char": ("uint32_t", "i32"),
}
_LOWERED: Final = {
    ("i32", "i64"): "(int64_t)(uint32_t)({})",
    ("f32", "i32"): "bits_of_f32({})",
    ("f32", "i64"): "(int64_t)(uint32_t)bits_of_f32({})",
    ("f64", "i64"): "bits_of_f64({})",
}
"""A number of one case as the number that all cases of a variant share; the same form is not changed."""
_LIFTED: Final = {
    ("i32", "i64"): "(int32_t)({})",
    ("f32", "i32"): "f32_of_bits({})",
    ("f32", "i64"): "f32_of_bits((int32_t)({}))",
    ("f64", "i64"): "f64_of_bits({})",
}
"""And back again."""
CORE: Final = {"i32": "int32_t", "i64": "int64_t", "f32": "float", "f64": "double"}
"""The numbers of a core module, in C."""


class NotInC(Exception):
    """Something of WIT has no form here; the text says what."""


@dataclass(frozen=True)
class CType:
    """A type. `stem`: what it adds to the names of types made of it. `flat`: the numbers that it travels as. `lower`: an
    expression, taken apart; `lift`: the statements that put numbers together in a variable. `sides`: of a result.
    """

    name: str
    stem: str
    flat: tuple[str, ...]
    lower: Callable[[str], list[str]]
    lift: Callable[[str, Sequence[str]], list[str]]
    sides: tuple[CType | None, CType | None] | None = None


@dataclass(frozen=True)
class _Case:
    """A case of a variant, an option or a result: the member of its payload, if it has one."""

    member: str
    type: CType | None


def word(name: str) -> str:
    """A name of WIT as one of C."""
    made = name.replace("-", "_")
    return f"{made}_" if _KEYWORD.fullmatch(made) else made


class Types:
    """The types of one header. `names`: of those that have a name in WIT, by their index. `texts`: the definitions so far,
    each after what it needs.
    """

    def __init__(self, document: Document, names: Mapping[int, str]) -> None:
        self._document = document
        self._names = names
        self._known: dict[int, CType] = {}
        self._alike: dict[tuple[str, ...], CType] = {}
        self._taken = {"string", *_PRIMITIVES, *names.values()}
        self.texts: list[str] = []

    def of(self, reference: TypeRef) -> CType:
        """The type. `NotInC`."""
        if isinstance(reference, str):
            return _primitive(reference)
        known = self._known.get(reference)
        if known is None:
            known = self._known[reference] = self._made(reference)
        return known

    def _optional(self, reference: TypeRef | None) -> CType | None:
        return None if reference is None else self.of(reference)

    def _made(self, index: int) -> CType:
        match self._document.types[index].kind:
            case {"type": reference}:
                return self.of(reference)
            case {"handle": {"own": resource} | {"borrow": resource}}:
                return self.handle(resource)
            case {"list": element}:
                of = self.of(element)
                return self._defined(
                    index, ("list", of.stem), f"struct {{\n  {of.name} *ptr;\n  size_t len;\n}}", _sequence
                )
            case {"tuple": {"types": items}}:
                return self._struct(index, "tuple", [(f"f{place}", self.of(item)) for place, item in enumerate(items)])
            case {"record": {"fields": fields}}:
                return self._struct(index, "record", [(word(each["name"]), self.of(each["type"])) for each in fields])
            case {"variant": {"cases": cases}}:
                names = [case["name"] for case in cases]
                made = [_Case(_payload(case["name"]), self._optional(case["type"])) for case in cases]
                return self._variant(index, "tag", made, names)
            case {"option": some}:
                return self._variant(index, "is_some", [_Case("none", None), _Case("some", self.of(some))])
            case {"result": {"ok": ok, "err": err}}:
                cases = [_Case("ok", self._optional(ok)), _Case("err", self._optional(err))]
                return self._variant(index, "is_err", cases)
            case {"enum": {"cases": cases}}:
                return self._enum(index, [case["name"] for case in cases])
            case {"flags": {"flags": flags}}:
                return self._flags(index, [flag["name"] for flag in flags])
            case kind:
                raise NotInC(f"it uses a {kind if isinstance(kind, str) else next(iter(kind))}")

    def _defined(
        self,
        index: int,
        parts: tuple[str, ...],
        body: str,
        make: Callable[[str, str], CType],
        constants: Callable[[CType], str] = lambda _: "",
    ) -> CType:
        """The type with that definition, which is called by its name in WIT, or else after its parts. Types without a name
        are one when they have the same parts.
        """
        named = self._names.get(index)
        if named is None and (alike := self._alike.get(parts)) is not None:
            return alike
        stem = named or "_".join(parts)
        while named is None and stem in self._taken:
            stem += "_"
        self._taken.add(stem)
        made = make(f"{stem}_t", stem)
        self.texts.append(f"{self._docs(index)}typedef {body} {made.name};{constants(made)}")
        if named is None:
            self._alike[parts] = made
        return made

    def _docs(self, index: int) -> str:
        return comment(self._document.types[index].docs.contents)

    def handle(self, resource: int) -> CType:
        """A handle, owned or borrowed."""
        while isinstance(kind := self._document.types[resource].kind, dict):
            resource = kind["type"]
        if resource not in self._known:
            if resource not in self._names:
                raise NotInC(
                    f"it uses the resource {self._document.types[resource].name}, which belongs to no interface"
                )
            self._known[resource] = self._defined(resource, (), "struct {\n  int32_t handle;\n}", _handle)
        return self._known[resource]

    def _struct(self, index: int, word_: str, members: list[tuple[str, CType]]) -> CType:
        lines = "".join(f"  {of.name} {name};\n" for name, of in members)

        def lower(value: str) -> list[str]:
            return [number for name, of in members for number in of.lower(f"{value}.{name}")]

        def lift(target: str, numbers: Sequence[str]) -> list[str]:
            rest = iter(numbers)
            return [line for name, of in members for line in of.lift(f"{target}.{name}", [next(rest) for _ in of.flat])]

        flat = tuple(core for _, of in members for core in of.flat)
        return self._defined(
            index,
            (word_, *(of.stem for _, of in members)),
            f"struct {{\n{lines}}}",
            lambda name, stem: CType(name, stem, flat, lower, lift),
        )

    def _variant(self, index: int, tag: str, cases: list[_Case], names: Sequence[str] = ()) -> CType:
        """A variant with constants for its cases, or an option or result, whose tag is a bool."""
        kind = {"tag": "variant", "is_some": "option", "is_err": "result"}[tag]
        stems = ["void" if case.type is None else case.type.stem for case in cases]
        parts = {
            "option": stems[1:],
            "result": stems if cases[-1].type else [each for each in stems[:1] if each != "void"],
        }
        discriminant = _smallest(len(cases)) if names else "bool"
        payloads = [f"{case.type.name} {case.member};\n" for case in cases if case.type is not None]
        union = (
            f"  union {{\n    {'    '.join(payloads)}  }};\n"
            if len(payloads) > 1
            else "".join(f"  {each}" for each in payloads)
        )
        flat = ("i32", *_joined([case.type.flat for case in cases if case.type is not None]))

        def lower(value: str) -> list[str]:
            taken = [case.type.lower(f"{value}.{case.member}") if case.type else [] for case in cases]
            return [f"(int32_t){value}.{tag}", *(shared(value, taken, place) for place in range(len(flat) - 1))]

        def shared(value: str, taken: list[list[str]], place: int) -> str:
            text = "0"
            for number, case in enumerate(cases):
                if case.type is not None and place < len(case.type.flat):
                    own = _converted(_LOWERED, case.type.flat[place], flat[place + 1], taken[number][place])
                    text = f"({value}.{tag} == {number} ? {own} : {text})"
            return text

        def lift(target: str, numbers: Sequence[str]) -> list[str]:
            lines = [f"{target}.{tag} = ({discriminant})({numbers[0]});"]
            for number, case in enumerate(cases):
                if case.type is not None:
                    own = [
                        _converted(_LIFTED, core, flat[place + 1], numbers[place + 1])
                        for place, core in enumerate(case.type.flat)
                    ]
                    inner = " ".join(case.type.lift(f"{target}.{case.member}", own))
                    lines.append(f"if ({target}.{tag} == {number}) {{ {inner} }}")
            return lines

        sides = (cases[0].type, cases[1].type) if kind == "result" else None
        return self._defined(
            index,
            (kind, *parts.get(kind, stems)),
            f"struct {{\n  {discriminant} {tag};\n{union}}}",
            lambda name, stem: CType(name, stem, flat, lower, lift, sides),
            lambda made: _cases(made, names),
        )

    def _enum(self, index: int, names: Sequence[str]) -> CType:
        body = _smallest(len(names))
        return self._defined(index, ("enum", *names), body, _small, lambda made: _cases(made, names))

    def _flags(self, index: int, names: Sequence[str]) -> CType:
        body = next(f"uint{bits}_t" for bits in (8, 16, 32) if len(names) <= bits)
        return self._defined(index, ("flags", *names), body, _small, lambda made: _bits(made, names))


def comment(docs: str | None) -> str:
    """A comment's lines, or nothing."""
    return "".join(f"// {line}".rstrip() + "\n" for line in (docs or "").strip().splitlines())


def _payload(name: str) -> str:
    """The member of a variant that holds the payload of a case."""
    made = word(name)
    return "tag_" if made == "tag" else made


def _primitive(name: str) -> CType:
    if name == "string":
        return _sequence("string_t", name)
    if name not in _PRIMITIVES:
        raise NotInC(f"it uses {name}")
    ctype, core = _PRIMITIVES[name]
    return _number(ctype, name, core)


def _number(name: str, stem: str, core: str) -> CType:
    return CType(
        name,
        stem,
        (core,),
        lambda value: [f"({CORE[core]}){value}"],
        lambda target, numbers: [f"{target} = ({name})({numbers[0]});"],
    )


def _sequence(name: str, stem: str) -> CType:
    return CType(
        name,
        stem,
        ("i32", "i32"),
        lambda value: [f"(int32_t){value}.ptr", f"(int32_t){value}.len"],
        lambda target, numbers: [f"{target}.ptr = (void *)({numbers[0]});", f"{target}.len = (size_t)({numbers[1]});"],
    )


def _handle(name: str, stem: str) -> CType:
    return CType(
        name,
        stem,
        ("i32",),
        lambda value: [f"{value}.handle"],
        lambda target, numbers: [f"{target}.handle = {numbers[0]};"],
    )


def _small(name: str, stem: str) -> CType:
    return _number(name, stem, "i32")


def _cases(of: CType, names: Sequence[str]) -> str:
    """The constants of a variant or enum."""
    lines = "".join(f"  {_constant(of, name)},\n" for name in names)
    return f"\nenum {{\n{lines}}};" if names else ""


def _bits(of: CType, names: Sequence[str]) -> str:
    """The constants of flags."""
    return "".join(f"\n#define {_constant(of, name)} (({of.name})1 << {bit})" for bit, name in enumerate(names))


def _constant(of: CType, name: str) -> str:
    return f"{of.stem}_{name.replace('-', '_')}".upper()


def _smallest(cases: int) -> str:
    return "uint8_t" if cases <= 1 << 8 else "uint16_t" if cases <= 1 << 16 else "uint32_t"


def _joined(forms: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The numbers that payloads of all these forms fit into."""
    return tuple(_wide(form) for form in zip_longest(*forms))


def _wide(cores: Sequence[str | None]) -> str:
    found = {core for core in cores if core is not None}
    if len(found) == 1:
        return found.pop()
    return "i32" if found == {"i32", "f32"} else "i64"


def _converted(rules: Mapping[tuple[str, str], str], own: str, shared: str, number: str) -> str:
    return number if own == shared else rules[own, shared].format(number)
