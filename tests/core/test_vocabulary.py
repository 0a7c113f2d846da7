"""Ids, names, instants, retries and pseudo-random values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk.core import ids, names, prng
from obelisk.core.ids import ChildId, DelayRef, ExecutionId, InvalidId
from obelisk.core.instants import INSTANT_MAX, At, In, Instant, InstantOutOfRange, Now, due_at
from obelisk.core.names import InvalidName
from obelisk.core.policy import RetryPolicy
from obelisk.core.retry import is_retryable, retry_at
from obelisk.core.values import Err, Failure, FailureKind, Ok

ROOT = ExecutionId("E_01K42AJA8QHD7D3GTJAYMASFYZ")

join_set_names = st.text("ABCXYZabcxyz0189-/", max_size=6)
join_sets = st.one_of(
    st.integers(1, 99).map(ids.generated),
    join_set_names.map(ids.named),
    st.builds(ids.one_off, st.integers(1, 99), join_set_names),
)
members = st.builds(ids.member, join_sets, st.integers(1, 10_000))
ulids = st.builds(ids.ulid, st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))


@st.composite
def executions(draw: st.DrawFn, depth_max: int = 3) -> ExecutionId:
    execution_id = ExecutionId("E_" + draw(ulids))
    for member in draw(st.lists(members, max_size=depth_max)):
        execution_id = ids.absolute(execution_id, ChildId(member))
    return execution_id


# --- ids -------------------------------------------------------------------------------------------------------------


@given(executions())
def test_what_is_derived_is_an_id_and_leads_back(execution_id: ExecutionId) -> None:
    assert ids.parse_execution_id(execution_id) == execution_id
    assert ids.is_top_level(ids.root_of(execution_id))
    parent = ids.parent_of(execution_id)
    assert (parent is None) == ids.is_top_level(execution_id)
    if parent is not None:
        assert ids.absolute(parent, ids.relative(execution_id)) == execution_id


@given(executions(), members)
def test_a_delay_belongs_to_its_execution_and_join_set(execution_id: ExecutionId, member: str) -> None:
    delay_id = ids.absolute_delay(execution_id, DelayRef(member))
    assert ids.parse_delay_id(delay_id) == delay_id
    assert ids.split_delay(delay_id) == (execution_id, member)


@given(join_sets, st.integers(1, 10_000))
def test_a_member_names_its_join_set(join_set: ids.JoinSetId, index: int) -> None:
    assert ids.join_set_of(ChildId(ids.member(join_set, index))) == join_set


@given(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_ulids_sort_by_time(one: int, other: int, randomness: bytes) -> None:
    assert (ids.ulid(one, randomness) < ids.ulid(other, randomness)) == (one < other)


def test_a_ulid_of_known_bits() -> None:
    assert ids.ulid(0, bytes(10)) == "0" * 26
    assert ids.ulid((1 << 48) - 1, b"\xff" * 10) == "7" + "Z" * 25
    assert ids.ulid(1_469_918_176_385, bytes(range(10)))[:10] == "01ARYZ6S41"


@pytest.mark.parametrize(("timestamp", "size"), [(-1, 10), (1 << 48, 10), (0, 9), (0, 11)])
def test_a_ulid_of_other_sizes_is_refused(timestamp: int, size: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        ids.ulid(timestamp, bytes(size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "E_",
        "01K42AJA8QHD7D3GTJAYMASFYZ",
        ROOT.lower(),
        ROOT[:-1],
        ROOT + "0",
        ROOT.replace("1K", "1I"),
        "E_8" + ROOT[3:],
        ROOT + ".",
        ROOT + ".o:1-fibo",
        ROOT + ".o:1-fibo_0",
        ROOT + ".o:1-fibo_01",
        ROOT + ".x:1_1",
        ROOT + ".n:a_b_1",
        ROOT + ".n:ä_1",
        ROOT + " ",
        ROOT + "\n",
        "Delay_" + ROOT[2:],
    ],
)
def test_what_is_not_an_execution_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidId, match="is not an execution id; expected E_ and a ULID"):
        ids.parse_execution_id(text)


def test_what_is_not_a_delay_id_is_refused() -> None:
    for text in (ROOT, "Delay_" + ROOT[2:], "Delay_" + ROOT[2:] + ".g:1"):
        with pytest.raises(InvalidId, match="is not a delay id"):
            ids.parse_delay_id(text)


def test_digests() -> None:
    assert ids.parse_digest("sha256:" + "0f" * 32) == "sha256:" + "0f" * 32
    for text in ("sha256:" + "0F" * 32, "0f" * 32, "sha256:" + "0f" * 31):
        with pytest.raises(InvalidId, match="is not a digest"):
            ids.parse_digest(text)


def test_join_sets_are_written_as_the_seed_says() -> None:
    assert (ids.generated(2), ids.one_off(1, "fibo"), ids.named("batch")) == ("g:2", "o:1-fibo", "n:batch")
    assert ids.is_join_set_name("") and ids.is_join_set_name("aZ09-/")
    assert not any(ids.is_join_set_name(name) for name in ("a b", "a_b", "a.b", "a:b", "é", "a\n"))


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["template-fibo:workflow/fibo-workflow-ifc.fiboa", "a:b/c@1.2.3.d", "a:b/c@0.1.0-rc.1.d-e", "A:B/C.HTTP-get"],
)
def test_function_names_split_and_join(text: str) -> None:
    name = names.parse_function_name(text)
    assert names.function_name(names.interface_of(name), names.function_of(name)) == name


@pytest.mark.parametrize(
    "text", ["", "f", "a/b.c", "a:b.c", "a:b/c", "a:b/c.", "a:b/c.D-e_f", "a:b/c.-d", "a:b/c.1d", "a:b/c.d\n"]
)
def test_what_is_not_a_function_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName, match=r"is not a function name; expected namespace:package/interface\.function"):
        names.parse_function_name(text)


@pytest.mark.parametrize("part", ["a-", "A-", "1-", "a1-", "A-a-", "a-1-A-", "aA-"])
def test_a_name_that_is_none_is_refused_at_once_however_long_it_is(part: str) -> None:
    for text in (f"a:b/c.d-{part * 1_000}_", f"d-{part * 1_000}_:b/c.d"):
        with pytest.raises(InvalidName, match="is not a function name"):
            names.parse_function_name(text)


@pytest.mark.parametrize("name", ["a", "A", "a-1", "A-1", "a-B-c1-2-D3", "a1-1a-1A", "a-" * 1_000 + "a"])
def test_a_function_name_is_words_joined_by_dashes(name: str) -> None:
    assert names.parse_function_name(f"a:b/c.{name}") == f"a:b/c.{name}"


# --- instants --------------------------------------------------------------------------------------------------------


def test_when_something_is_due() -> None:
    now = Instant(1_000)
    assert due_at(Now(), now) == 1_000
    assert due_at(In(5), now) == 1_005
    assert due_at(At(Instant(7)), now) == 7
    assert due_at(In(INSTANT_MAX - now), now) == INSTANT_MAX


@pytest.mark.parametrize("schedule", [In(INSTANT_MAX), At(Instant(INSTANT_MAX + 1)), At(Instant(-1)), In(1 << 64)])
def test_what_lies_beyond_the_year_9999_is_refused(schedule: In | At) -> None:
    with pytest.raises(InstantOutOfRange, match="beyond the year 9999"):
        due_at(schedule, Instant(1_000))


# --- retries ---------------------------------------------------------------------------------------------------------


def test_the_documented_backoff() -> None:
    policy, now = RetryPolicy(), Instant(0)
    assert [retry_at(policy, ROOT, n, now) for n in range(6)] == [100_000, 200_000, 400_000, 800_000, 1_600_000, None]
    assert retry_at(RetryPolicy(max_retries=0), ROOT, 0, now) is None


@given(st.integers(0, 1_000), st.integers(1, 1 << 40), st.integers(0, INSTANT_MAX))
def test_a_backoff_never_leaves_the_calendar(failures: int, backoff_us: int, now: int) -> None:
    at = retry_at(RetryPolicy(max_retries=1_001, exp_backoff_us=backoff_us), ROOT, failures, Instant(now))
    assert at is not None
    assert now <= at <= INSTANT_MAX


def test_a_backoff_has_a_longest() -> None:
    policy = RetryPolicy(backoff_max_us=300_000)
    assert [retry_at(policy, ROOT, n, Instant(0)) for n in range(4)] == [100_000, 200_000, 300_000, 300_000]


@given(st.integers(0, 80), st.floats(0, 1), st.integers(1, 10_000_000))
def test_jitter_stays_within_its_share_and_the_longest_backoff(failures: int, jitter: float, longest: int) -> None:
    plain = RetryPolicy(max_retries=99, backoff_max_us=longest)
    jittered = RetryPolicy(max_retries=99, backoff_max_us=longest, jitter=jitter)
    without, at = retry_at(plain, ROOT, failures, Instant(0)), retry_at(jittered, ROOT, failures, Instant(0))
    assert without is not None and at is not None
    assert without * (1 - jitter) - 1 <= at <= min(without * (1 + jitter) + 1, longest)
    assert at == retry_at(jittered, ROOT, failures, Instant(0))


def test_jitter_differs_between_executions_and_retries() -> None:
    policy = RetryPolicy(max_retries=99, jitter=0.5, backoff_max_us=100_000)
    ids_ = [ExecutionId(f"{ROOT}.g:1_{n}") for n in range(40)]
    assert len({retry_at(policy, execution_id, 0, Instant(0)) for execution_id in ids_}) > 35
    assert len({retry_at(policy, ROOT, n, Instant(0)) for n in range(40)}) > 15


def test_what_is_retried_at_all() -> None:
    policy = RetryPolicy()
    assert not is_retryable(policy, Ok())
    assert is_retryable(policy, Err())
    assert not is_retryable(policy, Err(permanent=True))
    assert not is_retryable(RetryPolicy(retry_on_err=False), Err())
    assert is_retryable(RetryPolicy(retry_on_err=False), Failure(FailureKind.TIMED_OUT))


# --- pseudo-random values --------------------------------------------------------------------------------------------


def test_both_bounds_of_a_random_number_are_reached_and_nothing_beyond() -> None:
    drawn = {prng.random_between(ROOT, draw, 1, 6) for draw in range(300)}
    assert drawn == {1, 2, 3, 4, 5, 6}
    assert prng.random_between(ROOT, 0, 3, 3) == 3


@given(st.integers(0, 99), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_random_numbers_lie_within_their_bounds(draw: int, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert low <= prng.random_between(ROOT, draw, low, high) <= high


def test_random_strings_have_every_length_and_letter_that_they_may_have() -> None:
    texts = [prng.random_text(ROOT, draw, 2, 5) for draw in range(400)]
    assert {len(text) for text in texts} == {2, 3, 4}
    assert len(set("".join(texts))) == 62
    long = prng.random_text(ROOT, 0, 1_000, 1_001)
    assert len(long) == 1_000
    assert long.isascii() and long.isalnum()


def test_draws_differ_from_each_other_and_between_executions() -> None:
    other = ExecutionId(ROOT + ".g:1_1")
    drawn = [
        prng.random_between(execution_id, draw, 0, 1 << 63) for execution_id in (ROOT, other) for draw in range(50)
    ]
    assert len(set(drawn)) == 100
