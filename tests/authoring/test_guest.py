"""The package that components in Python import, beside stand-ins for what only is in a component."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType, SimpleNamespace

import pytest

from obelisk.authoring.languages.python import GUEST


@dataclass
class Ok:
    value: object


@dataclass(frozen=True)
class Err(Exception):
    value: object


@dataclass
class Duration_Milliseconds:  # noqa: N801 - as componentize-py writes it
    value: int


@dataclass
class Datetime:
    seconds: int
    nanoseconds: int


@dataclass
class ScheduleAt_Now:  # noqa: N801
    pass


@dataclass
class ScheduleAt_At:  # noqa: N801
    value: Datetime


@dataclass
class ScheduleAt_In:  # noqa: N801
    value: Duration_Milliseconds


@dataclass
class AwaitNextExtensionError_AllProcessed:  # noqa: N801
    pass


@dataclass
class AwaitNextExtensionError_FunctionMismatch:  # noqa: N801
    value: str


class RawJoinSet:
    """`wit_world.imports.join_set.JoinSet`: responses in the order in which they come."""

    def __init__(self, name=None):
        self.name = name
        self.submitted = []
        self.responses = []
        self.closed = False
        self.awaited = 0
        self.last = None

    def __exit__(self, *_):
        self.closed = True

    def last_id(self):
        return SimpleNamespace(value=self.last)


class World:
    """What a component would be given; `log` and `slept` are what it did with that."""

    def __init__(self):
        self.logged = []
        self.slept = []
        self.woken = Datetime(1_700_000_000, 250_000_999)
        self.join_sets = []
        self.modules = {
            "log": {"error": self.logged.append},
            "time": {
                each.__name__: each
                for each in (Duration_Milliseconds, Datetime, ScheduleAt_Now, ScheduleAt_At, ScheduleAt_In)
            },
            "workflow_support": {
                "sleep": self._sleep,
                "join_set_create": self._join_set,
                "join_set_create_named": self._join_set,
            },
        }

    def _sleep(self, *args):
        self.slept.append(args)
        if self.woken is None:
            raise Err(None)
        return self.woken

    def _join_set(self, name=None):
        if name == "used":
            raise Err("conflict")
        self.join_sets.append(RawJoinSet(name))
        return self.join_sets[-1]


@pytest.fixture
def world():
    return World()


@pytest.fixture
def load(world, monkeypatch):
    """A function: imports the package anew into a world with some of the modules."""
    monkeypatch.syspath_prepend(str(GUEST))
    for name in [*sys.modules]:
        if name.partition(".")[0] in {"obelisk_guest", "wit_world", "componentize_py_types"}:
            monkeypatch.delitem(sys.modules, name)

    def module(name, **contents):
        made = ModuleType(name)
        vars(made).update(contents)
        monkeypatch.setitem(sys.modules, name, made)

    def make(*modules):
        module("componentize_py_types", Ok=Ok, Err=Err)
        if modules:
            module("wit_world", __path__=[])
            module("wit_world.imports", __path__=[])
        for name in modules:
            module(f"wit_world.imports.{name}", **world.modules[name])
        return importlib.import_module("obelisk_guest")

    yield make
    for name in [*sys.modules]:
        if name.partition(".")[0] == "obelisk_guest":
            del sys.modules[name]


@pytest.fixture
def guest(load, world):
    """The package in a world that has everything."""
    return load(*world.modules)


def submit(join_set, *args):
    join_set.submitted.append(args)
    return f"E_{len(join_set.submitted)}"


def submitted(guest, number, name=None):
    """A join set with children."""
    jobs = guest.JoinSet(name)
    for n in range(number):
        jobs.submit(submit, n)
    return jobs


def await_next(join_set):
    join_set.awaited += 1
    if not join_set.responses:
        raise Err(AwaitNextExtensionError_AllProcessed())
    return join_set.responses.pop(0)


# --- exported functions


def test_an_exception_is_logged_with_its_traceback_before_it_leaves(guest, world):
    @guest.exported
    class Interface:
        def divide(self, n: int) -> int:
            return n // 0

    with pytest.raises(ZeroDivisionError) as raised:
        Interface().divide(1)
    line = inspect.getsourcelines(Interface.divide)[1] + 1
    name = f"{Interface.__qualname__}.divide"
    assert world.logged == [
        f'Traceback (most recent call last):\n  File "{__file__}", line {line}, in {name}\nZeroDivisionError: {raised.value}'
    ]


def test_err_is_a_result_and_not_logged(guest, world):
    @guest.exported
    class Interface:
        def refuse(self):
            raise guest.Err("no")

    with pytest.raises(Err) as raised:
        Interface().refuse()
    assert raised.value == Err("no")
    assert world.logged == []


def test_functions_keep_what_they_are(guest):
    class Base:
        def inherited(self, n: int) -> int:
            """Doubles."""
            return 2 * n

    @guest.exported
    class Interface(Base):
        answer = 42

        @staticmethod
        def fixed(n):
            return n

        @classmethod
        def named(cls):
            return cls.__name__

    made = Interface()
    assert (made.inherited(n=4), made.fixed(5), made.named(), made.answer) == (8, 5, "Interface", 42)
    assert str(inspect.signature(Interface.inherited)) == "(self, n: 'int') -> 'int'"
    assert Interface.inherited.__doc__ == "Doubles."
    assert Base.inherited.__code__ is not Interface.inherited.__code__


def test_only_what_leaves_the_component_is_logged_and_once(guest, world):
    @guest.exported
    class Interface:
        def fails(self):
            raise ValueError("caught or not")

        def catches(self):
            try:
                self.fails()
            except ValueError:
                return "caught"

        def passes(self):
            self.fails()

    made = Interface()
    assert made.catches() == "caught"
    assert world.logged == []
    with pytest.raises(ValueError, match="caught or not"):
        made.passes()
    assert len(world.logged) == 1
    assert [line.rpartition(" ")[2].rpartition(".")[2] for line in world.logged[0].splitlines()[1:-1]] == [
        "passes",
        "fails",
    ]


def test_what_led_to_an_exception_is_told_first(guest, world):
    @guest.exported
    class Interface:
        def chained(self):
            try:
                try:
                    raise KeyError("first")
                except KeyError:
                    raise ValueError("second")  # noqa: B904
            except ValueError as error:
                raise RuntimeError("third") from error

        def alone(self):
            try:
                raise KeyError("first")
            except KeyError:
                raise RuntimeError from None

    for call in (Interface().chained, Interface().alone):
        with pytest.raises(RuntimeError):
            call()
    assert [line for line in world.logged[0].splitlines() if line and not line.startswith("  File")] == [
        "Traceback (most recent call last):",
        "KeyError: 'first'",
        "During handling of the above exception, another exception occurred:",
        "Traceback (most recent call last):",
        "ValueError: second",
        "The above exception was the direct cause of the following exception:",
        "Traceback (most recent call last):",
        "RuntimeError: third",
    ]
    assert world.logged[1].splitlines()[2:] == ["RuntimeError"]


def test_of_a_deep_exception_the_last_calls_are_shown(guest, world):
    def deep(n):
        if n:
            deep(n - 1)
        raise guest_error

    guest_error = ValueError("at the bottom")
    guest_error.__cause__ = guest_error  # a circle ends

    @guest.exported
    class Interface:
        def run(self):
            deep(40)

    with pytest.raises(ValueError, match="at the bottom"):
        Interface().run()
    lines = world.logged[0].splitlines()
    assert lines[1] == "  ... 22 more"
    assert len(lines) == 23
    assert lines[-1] == "ValueError: at the bottom"


def test_an_exception_without_a_text_is_told_all_the_same(guest, world):
    class Odd(Exception):
        def __str__(self):
            raise TypeError

    @guest.exported
    class Interface:
        def run(self):
            raise Odd

    with pytest.raises(Odd):
        Interface().run()
    assert world.logged[0].endswith("Odd: <its text cannot be made>")


def test_paths_are_those_of_the_author(guest):
    path = sys.modules["obelisk_guest.exporting"]._path
    assert [path("/0/app.py"), path("/0/shop/app.py"), path("/python/json/decoder.py"), path("<string>")] == [
        "app.py",
        "shop/app.py",
        "/python/json/decoder.py",
        "<string>",
    ]


def test_in_plain_python_an_exception_is_not_hidden_by_bindings_that_are_only_signatures(load, world):
    def error(message):
        raise NotImplementedError

    world.modules["log"]["error"] = error

    @load("log").exported
    class Interface:
        def run(self):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        Interface().run()


# --- waiting


@pytest.mark.parametrize(
    ("given", "milliseconds"),
    [
        ({}, 0),
        ({"milliseconds": 50}, 50),
        ({"seconds": 0.3, "milliseconds": 50}, 350),
        ({"days": 1, "hours": 1, "minutes": 1, "seconds": 1}, 90_061_000),
        ({"milliseconds": 1.9}, 1),
    ],
)
def test_sleep_adds_up_what_it_is_given(guest, world, given, milliseconds):
    assert guest.sleep(**given) == datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC)
    assert world.slept == [(ScheduleAt_In(Duration_Milliseconds(milliseconds)),)]


def test_sleep_until_a_moment(guest, world):
    guest.sleep_until(datetime(1970, 1, 2, 1, 0, 0, 5, tzinfo=timezone(timedelta(hours=1))))
    assert world.slept == [(ScheduleAt_At(Datetime(86_400, 5_000)),)]


def test_now_is_asked_of_obelisk(guest, world):
    assert guest.now() == datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC)
    assert world.slept == [(ScheduleAt_Now(),)]


def test_a_sleep_of_the_newer_generation_has_no_name(load, world):
    world.modules["workflow_support"]["last_oneoff_id"] = None
    load(*world.modules).sleep(seconds=1)
    assert world.slept == [(ScheduleAt_In(Duration_Milliseconds(1_000)), None)]


@pytest.mark.parametrize("call", ["sleep(seconds=1)", "sleep_until(datetime.now(UTC))", "now()"])
def test_a_delay_that_was_cancelled_raises(guest, world, call):
    world.woken = None
    with pytest.raises(guest.DelayCancelled, match=r"^the delay was cancelled$") as raised:
        eval(f"guest.{call}", globals() | {"guest": guest})
    assert not isinstance(raised.value, Err)


def test_moments_that_cannot_be_said_are_refused(guest, world):
    with pytest.raises(ValueError, match=r"^2024-01-01T00:00:00 has no time zone"):
        guest.sleep_until(datetime(2024, 1, 1))
    with pytest.raises(ValueError, match=r"^1969-12-31T00:00:00\+00:00 is before 1970$"):
        guest.at(datetime(1969, 12, 31, tzinfo=UTC))
    with pytest.raises(ValueError, match=r"^-1\.5 seconds from now is in the past$"):
        guest.after(seconds=-1.5)
    assert world.slept == []


# --- join sets


def test_results_are_given_in_the_order_in_which_they_come_until_there_are_no_more(guest, world):
    with guest.JoinSet() as jobs:
        assert [jobs.submit(submit, n) for n in (1, 2)] == ["E_1", "E_2"]
        (raw,) = world.join_sets
        raw.responses = [("E_2", Ok(20)), ("E_1", Ok(10))]
        assert list(jobs.results(await_next)) == [("E_2", 20), ("E_1", 10)]
        assert not raw.closed
    assert (raw.name, raw.submitted, raw.closed) == (None, [(1,), (2,)], True)
    assert raw.awaited == 2  # one too many would be in the log


def test_a_set_can_be_awaited_in_parts_and_be_given_more(guest, world):
    jobs = submitted(guest, 2)
    world.join_sets[0].responses = [("E_1", Ok(10)), ("E_2", Ok(20)), ("E_3", Ok(30))]
    for execution_id, value in jobs.results(await_next):
        assert (execution_id, value) == ("E_1", 10)
        break
    jobs.submit(submit, 3)
    assert list(jobs.results(await_next)) == [("E_2", 20), ("E_3", 30)]
    assert list(jobs.results(await_next)) == []


def test_responses_that_were_taken_otherwise_are_not_waited_for(guest, world):
    jobs = submitted(guest, 2)
    world.join_sets[0].responses = [("E_1", Ok(10)), ("E_2", Ok(20))]
    await_next(jobs.raw)
    assert list(jobs.results(await_next)) == [("E_2", 20)]
    assert list(jobs.results(await_next)) == []
    assert world.join_sets[0].awaited == 3


def test_a_child_that_failed_raises_its_error_and_the_set_is_closed(guest, world):
    found = []
    with pytest.raises(Err) as raised, submitted(guest, 3) as jobs:
        world.join_sets[0].responses = [("E_2", Ok(20)), ("E_1", Err("no")), ("E_3", Ok(30))]
        found.extend(value for _, value in jobs.results(await_next))
    assert raised.value == Err("no")
    assert (len(world.join_sets[0].responses), world.join_sets[0].closed) == (1, True)


def test_outcomes_are_given_as_they_are(guest, world):
    jobs = submitted(guest, 2, "both")
    world.join_sets[0].responses = [("E_2", Ok(20)), ("E_1", Err("no"))]
    assert list(jobs.outcomes(await_next)) == [("E_2", Ok(20)), ("E_1", Err("no"))]
    assert world.join_sets[0].name == "both"


def test_the_newer_generation_gives_the_id_apart(guest, world):
    jobs = submitted(guest, 2)

    def next_of_5(join_set):
        join_set.last, outcome = await_next(join_set)
        return outcome

    world.join_sets[0].responses = [("E_2", Ok(20)), ("E_1", Err("no"))]
    assert list(jobs.outcomes(next_of_5)) == [("E_2", Ok(20)), ("E_1", Err("no"))]


def test_another_member_is_a_mistake_and_not_a_result(guest):
    def of_another(_join_set):
        raise Err(AwaitNextExtensionError_FunctionMismatch("a delay"))

    with pytest.raises(TypeError, match=r"^the join set has another member than of_another takes: .*'a delay'"):
        next(submitted(guest, 1).results(of_another))


def test_a_name_that_was_used_is_a_mistake_and_not_a_result(guest):
    with pytest.raises(ValueError, match=r"^a join set cannot have the name 'used': conflict$"):
        guest.JoinSet("used")


# --- worlds


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        ("exported(type)", "exported needs obelisk:log/log;"),
        ("sleep(seconds=1)", "after needs obelisk:workflow/workflow-support;"),
        ("now()", "now needs obelisk:workflow/workflow-support;"),
        ("JoinSet()", "JoinSet needs obelisk:workflow/workflow-support;"),
    ],
)
def test_what_the_world_does_not_have_is_named_when_it_is_used(load, call, missing):
    guest = load()
    with pytest.raises(ImportError, match=f"^{missing} the component's world must import it, in one version$"):
        eval(f"guest.{call}")
    assert guest.Err is Err


def test_without_a_component_and_without_bindings_it_says_what_it_needs(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "componentize_py_types", None)
    with pytest.raises(ModuleNotFoundError, match="obelisk generate bindings"):
        importlib.import_module("obelisk_guest")


def test_nothing_is_imported_inside_of_functions_nor_anything_that_is_not_the_same_on_a_replay():
    """Inside of a component, an import at run time traps; clocks and chance would be those of the build."""
    allowed = {
        "__future__",
        "collections",
        "contextlib",
        "datetime",
        "functools",
        "importlib",
        "json",
        "re",
        "types",
        "typing",
        "urllib",
    }
    for file in (GUEST / "obelisk_guest").glob("*.py"):
        tree = ast.parse(file.read_text())
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function)), file
        modules = {node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert modules <= allowed | {"obelisk_guest", "componentize_py_types"}, file
        assert not any(isinstance(node, ast.Import | ast.Set | ast.SetComp) for node in ast.walk(tree)), file
