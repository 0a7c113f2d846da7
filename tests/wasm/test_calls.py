"""What imports mean, without a guest: the corners that the fixtures do not reach."""

import pytest

from obelisk.core.calls import (
    DONE,
    AllProcessed,
    AwaitNext,
    ChildDone,
    Conflict,
    DelayCancelled,
    FunctionMismatch,
    InvalidName,
    JoinNext,
    JoinSetCreate,
    MemberDone,
    Misuse,
    RandomString,
    RandomU64,
    Sleep,
    SubmitDelay,
    WokenAt,
)
from obelisk.core.instants import INSTANT_MAX, At, In, Instant, Now
from obelisk.core.names import InterfaceName
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok
from obelisk.wasm.calls import Local, ReplyMismatch, UnknownImport, meaning_of
from obelisk.wit.component import Function, Interface
from obelisk.wit.extensions import extension_interfaces
from obelisk.wit.host import HOST_INTERFACES
from obelisk.wit.types import Prim, Result, Signature, Variant

ERROR = Variant((("bad", Prim.U8), ("execution-failed", None)))
WORK = Function("work", Signature((("n", Prim.U8), ("s", Prim.STRING)), Result(Prim.U64, ERROR)))
BASE = Interface(InterfaceName("some:pkg/ifc@1.2.3"), (WORK,))
EXT = extension_interfaces(BASE)[0]
FFQN = "some:pkg/ifc@1.2.3.work"
CHILD = "E_01K42AJA8QHD7D3GTJAYMASFYZ.g:1_1"
DELAY = "Delay_01K42AJA8QHD7D3GTJAYMASFYZ.g:1_1"
YEAR_10000_S = INSTANT_MAX // 1_000_000 + 1


def host(name):
    interface = next(each for each in HOST_INTERFACES.values() if each.function(name))
    return meaning_of(Interface(interface.name), interface.function(name))


def ext(kind):
    return meaning_of(EXT, EXT.function(f"work-{kind}"))


def test_every_function_that_the_host_links_has_a_meaning():
    for interface in HOST_INTERFACES.values():
        for function in interface.functions:
            if function.name in interface.linked:
                assert meaning_of(Interface(interface.name), function)
            else:
                with pytest.raises(UnknownImport, match="is not supplied"):
                    meaning_of(Interface(interface.name), function)


def test_versions_and_packages_stay_in_the_name_of_the_function():
    call = ext("submit").call(("n:batch", 7, "é"))
    assert (call.join_set, call.ffqn, bytes(call.params)) == ("n:batch", FFQN, '[7,"é"]'.encode())
    assert ext("await-next").call(("g:1",)) == AwaitNext("g:1", FFQN)
    direct = meaning_of(BASE, WORK).call((7, "x"))
    assert (direct.ffqn, direct.label) == (FFQN, None)
    invoked = ext("invoke").call(("label", 7, "x"))
    assert (invoked.ffqn, bytes(invoked.params), invoked.label) == (FFQN, b'[7,"x"]', "label")


@pytest.mark.parametrize(
    ("outcome", "value"),
    [
        (Ok(Json(b"5")), (True, 5)),
        (Err(Json(b'{"bad":3}')), (False, (0, 3))),
        (Failure(FailureKind.CANCELLED), (False, (1, None))),
    ],
)
def test_outcomes_in_each_place_they_appear(outcome, value):
    assert meaning_of(BASE, WORK).result(outcome) == value
    assert ext("invoke").result(outcome) == (True, value)
    assert ext("get").result(outcome) == (True, value)
    assert ext("await-next").result(ChildDone(CHILD, outcome)) == (True, ((CHILD,), value))


def test_a_mismatch_in_both_places():
    mismatch = FunctionMismatch(FFQN, "other:pkg/ifc.run", CHILD, is_delay=False)
    value = (("some:pkg/ifc@1.2.3", "work"), (("other:pkg/ifc", "run"),), (0, (CHILD,)))
    assert ext("await-next").result(mismatch) == (False, (1, value))
    assert ext("get").result(mismatch) == (False, (0, value))
    of_delay = FunctionMismatch(FFQN, None, DELAY, is_delay=True)
    assert ext("await-next").result(of_delay) == (False, (1, (value[0], None, (1, (DELAY,)))))


@pytest.mark.parametrize(
    ("value", "schedule"),
    [
        ((0, None), Now()),
        ((1, (1, 999)), At(Instant(1_000_000))),
        ((1, (1, 1_000)), At(Instant(1_000_001))),
        ((1, (YEAR_10000_S - 1, 999_999_999)), At(INSTANT_MAX)),
        ((2, (0, 5)), In(5_000)),
        ((2, (1, 5)), In(5_000_000)),
        ((2, (2, 5)), In(300_000_000)),
        ((2, (3, 5)), In(18_000_000_000)),
        ((2, (4, 5)), In(432_000_000_000)),
    ],
)
def test_schedules(value, schedule):
    assert host("sleep").call((value,)) == Sleep(schedule)
    assert host("submit-delay").call(("g:1", value)) == SubmitDelay("g:1", schedule)
    assert host("[method]join-set.submit-delay").call(("g:1", value)) == SubmitDelay("g:1", schedule)


@pytest.mark.parametrize(
    "value", [(1, (YEAR_10000_S, 0)), (1, (2**64 - 1, 2**32 - 1)), (2, (0, 2**64 - 1)), (2, (4, 2**32 - 1))]
)
def test_a_schedule_beyond_the_year_9999_is_a_misuse(value):
    assert host("sleep").call((value,)) == Misuse("the schedule lies beyond the year 9999")
    assert host("submit-delay").call(("g:1", value)) == Misuse("the schedule lies beyond the year 9999")


def test_random_ranges():
    assert host("random-u64").call((3, 4)) == RandomU64(3, 3)
    assert host("random-u64").call((0, 2**64 - 1)) == RandomU64(0, 2**64 - 2)
    assert host("random-u64-inclusive").call((0, 2**64 - 1)) == RandomU64(0, 2**64 - 1)
    assert host("random-string").call((0, 1)) == RandomString(0, 1)
    for name, empty in (("random-u64", (4, 4)), ("random-u64-inclusive", (5, 4)), ("random-string", (3, 3))):
        assert isinstance(host(name).call(empty), Misuse)


def test_replies_of_the_host():
    assert host("sleep").result(WokenAt(1_500_000)) == (True, (1, 500_000_000))
    assert host("sleep").result(DelayCancelled()) == (False, None)
    named = host("join-set-create-named")
    assert named.call(("a",)) == JoinSetCreate("a")
    assert named.result("n:a") == (True, "n:a")
    assert named.result(Conflict()) == (False, (0, None))
    assert named.result(InvalidName("why")) == (False, (1, "why"))
    for name in ("join-next", "[method]join-set.join-next"):
        assert host(name).call(("g:1",)) == JoinNext("g:1")
        assert host(name).result(MemberDone(CHILD, is_delay=False, ok=False)) == (True, ((0, (CHILD,)), (False, None)))
        assert host(name).result(MemberDone(DELAY, is_delay=True, ok=True)) == (True, ((1, (DELAY,)), (True, None)))
        assert host(name).result(AllProcessed()) == (False, (0, None))
    assert ext("submit").result(CHILD) == (CHILD,)
    assert isinstance(host("[method]join-set.id"), Local)


@pytest.mark.parametrize(
    "meaning",
    [
        meaning_of(BASE, WORK),
        *map(ext, ("submit", "await-next", "get", "invoke")),
        *list(
            map(host, ("sleep", "join-set-create", "join-set-create-named", "join-next", "random-u64", "random-string"))
        ),
    ],
)
def test_a_reply_of_another_call_is_a_bug_that_is_named(meaning):
    with pytest.raises(ReplyMismatch, match="was answered"):
        meaning.result(DONE)


def test_what_nobody_supplies():
    schedule = extension_interfaces(BASE)[1]
    for interface, function in (
        (schedule, schedule.functions[0]),
        (Interface(EXT.name), Function("work", WORK.signature)),
        (Interface("obelisk:types/join-set@4.2.0"), Function("[method]join-set.other", WORK.signature)),
        (Interface("obelisk:unknown/ifc@1.0.0"), WORK),
    ):
        with pytest.raises(UnknownImport, match="is not supplied to workflows"):
            meaning_of(interface, function)
