"""The engine thread: drain, decide, commit, settle, perform.

Decides when a tick is made and performs what a tick asks for. First slices of short activities run here, between two ticks
and while a commit waits for the disk.

Must not decide anything about executions: that is the engine's.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from obelisk.core.batch import CommitUnknown, Meanwhile, Refused, RefusedBy, Store, StoreFailed, Unit, UnitOutcome
from obelisk.core.instants import SECOND_US, Instant
from obelisk.core.lines import NewLogLine
from obelisk.core.policy import Limits
from obelisk.core.state import Status
from obelisk.engine.effects import (
    Answer,
    Changed,
    CheckNews,
    Claim,
    Effect,
    EmitLog,
    KillAttempt,
    Load,
    Look,
    Renew,
    RunGuest,
    StartAttempt,
    WakeOthers,
)
from obelisk.engine.engine import Engine
from obelisk.engine.inbox import Inbox
from obelisk.engine.inputs import Claimed, Input, Loaded, Looked, News
from obelisk.engine.tick import Tick
from obelisk.runtime import entropy
from obelisk.runtime.ahead import Ahead, Committed
from obelisk.runtime.attempts import Attempts
from obelisk.runtime.changes import Changes, ShuttingDown
from obelisk.runtime.clock import Clock
from obelisk.runtime.guests import AwayGuest
from obelisk.runtime.lane import CpuLane
from obelisk.runtime.lines import LineBuffer
from obelisk.wasm.epochs import EpochTicker

_log: Final = logging.getLogger(__name__)
_INPUTS_PER_TICK_MAX: Final = 1_000
_FACTS_PER_TICK: Final = 32
"""Ends of attempts that are worth a tick while more attempts are due. A commit costs little more for 32 than for one."""
_IDLE_WAIT_S: Final = 60.0
_LAST_TICKS_MAX: Final = 10
_ASK_AGAIN_S: Final = 0.2


class Driver:
    """One engine and its thread."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        clock: Clock,
        limits: Limits,
        lane: CpuLane,
        ticker: EpochTicker,
        changes: Changes,
        line_changes: Changes,
        on_failure: Callable[[BaseException], None],
        committed: Committed | None = None,
    ) -> None:
        """`line_changes`: told which executions have logged something new, and which have ended. `on_failure`: called once, on
        the engine thread, when it cannot go on. `committed`: told, on the engine thread, of units that are durable, before
        anything follows from them.
        """
        self._engine = engine
        self._store = store
        self._clock = clock
        self._lane = lane
        self._ticker = ticker
        self._changes = changes
        self._line_changes = line_changes
        self._on_failure = on_failure
        self._committed = committed
        self._inbox = Inbox(limits.inbox_max)
        self._wake = threading.Event()
        self.lines: Final = LineBuffer(limits, self._wake.set)
        """Where activities put their lines; this stores them."""
        self._stopping = False
        self._ended = False
        self._answers: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[Answer]]] = {}
        self._attempts: Attempts | None = None
        self._emit: Callable[[EmitLog], None] = _nowhere
        self._following: Tick | None = None
        """The next tick, where it was decided during the last commit."""
        self._ahead: Ahead | None = None
        """What goes ahead of the commit that is under way."""
        self._calls: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._thread = threading.Thread(target=self._run, name="obelisk-engine", daemon=True)

    def start(self, attempts: Attempts, emit: Callable[[EmitLog], None]) -> None:
        """Starts the thread. The engine must have recovered. `emit`: told of lines of workflows once they are stored."""
        self._attempts = attempts
        self._emit = emit
        self._thread.start()

    def offer(self, item: Input) -> None:
        """Gives the engine an input; from any thread. `InboxFull` for a client's call that finds no room."""
        self._inbox.offer(item)
        if threading.get_ident() != self._thread.ident:  # it does not sleep, then
            self._wake.set()

    def expect_answer(self, token: int, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Answer]) -> None:
        """Registers who waits for the answer to a client's call; before it is offered."""
        self._answers[token] = (loop, future)

    def forget_answer(self, token: int) -> None:
        """Nobody waits any more."""
        self._answers.pop(token, None)

    def between_ticks(self, call: Callable[[], None]) -> Future[None]:
        """Has the engine thread call something that no tick must see the middle of. What it raises is the future's;
        `StoreFailed` is the end of the engine too. `ShuttingDown` when the thread has stopped.
        """
        done: Future[None] = Future()
        self._calls.append((call, done))
        self._wake.set()
        if self._ended:
            self._refuse_answers()
        return done

    def stop(self) -> None:
        """Stops the thread after its current tick, and waits for it."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wait()
                self._work()
            self._wind_up()
        except StoreFailed as failure:
            self._on_failure(failure)
        except BaseException as failure:  # noqa: BLE001 - the process must not live on without its engine
            _log.critical("the engine failed", exc_info=failure)
            self._on_failure(failure)
        finally:
            self._engine.close()
            self._ended = True
            self._refuse_answers()

    def _wait(self) -> None:
        """Sleeps until there is an input or a timer is due."""
        if self._inbox or self._calls or self._engine.has_work:
            return
        due = self._engine.next_due()
        seconds = _IDLE_WAIT_S if due is None else (due - self._clock.now()) / SECOND_US
        lines_due_s = self.lines.due_in_s
        if lines_due_s is not None:
            seconds = min(seconds, lines_due_s)
        if seconds > 0:
            self._wake.wait(min(seconds, _IDLE_WAIT_S))

    def _work(self) -> None:
        """Makes ticks until there is nothing to do."""
        with self._ticker.polling(brief=True):
            while self._turn():
                if self._stopping:
                    return

    def _turn(self) -> bool:
        """One tick; whether there may be more to do at once."""
        tick, self._following = self._following, None
        if tick is None:
            if self._wake.is_set():
                self._wake.clear()
            self._make_calls()
            assert self._attempts is not None
            self._attempts.run_queued(self._has_many_facts)
            tick = self._decide()
            if tick is None:
                return self._store_due_lines()
        self._carry_out(tick)
        return True

    def _decide(self) -> Tick | None:
        """The next tick, if there is anything to decide."""
        inputs = self._inbox.admit(_INPUTS_PER_TICK_MAX)
        now = self._clock.now()
        engine = self._engine
        if not inputs and not engine.has_work:
            due = engine.next_due()
            if due is None or due > now:
                return None
        return engine.decide(inputs, now)

    def _decide_ahead(self) -> Tick | None:
        """The next tick, unless something is to be done between two of them."""
        return None if self._calls or self._stopping else self._decide()

    def _has_many_facts(self) -> bool:
        """Whether enough has happened for a tick, so that it is not kept waiting by what is still to start."""
        return self._inbox.facts >= _FACTS_PER_TICK

    def _make_calls(self) -> None:
        while self._calls:
            call, done = self._calls.popleft()
            try:
                call()
            except BaseException as error:
                done.set_exception(error)
                if not isinstance(error, Exception) or isinstance(error, StoreFailed):
                    raise
            else:
                done.set_result(None)

    def _carry_out(self, tick: Tick) -> None:
        """Commits a tick, and performs what follows from it. Meanwhile the next one may be decided."""
        assert self._attempts is not None
        if not tick.units:
            self._perform_all(self._engine.settle(tick, []))
            return
        lines = self.lines.take() if self.lines else []
        ahead = None
        if self._has_something_to_do_during(tick):
            first = 1 if lines else 0
            ahead = Ahead(
                tick, first, self._engine, self._attempts, self._has_many_facts, self._decide_ahead, self._committed
            )
        self._ahead = ahead
        try:
            outcomes = self._commit_with_lines(tick, lines, ahead)
        except BaseException:
            self._attempts.lost()
            raise
        self._ahead = None
        if ahead is None or ahead.effects is None:
            if self._committed is not None:
                self._committed(tick.units, outcomes)
            self._perform_all(self._engine.settle(tick, outcomes))
            return
        ahead.hold()
        self._attempts.landed()
        self._following = ahead.following
        effects = ahead.effects
        ahead.effects, ahead.following = [], None  # a guest that computes for long keeps the rest of it
        self._perform_all(effects)

    def wait_for_commit(self) -> None:
        """Returns once nothing that was decided before is in doubt any more. `StoreFailed`. From any thread."""
        ahead = self._ahead
        if ahead is not None:
            ahead.wait()

    def _has_something_to_do_during(self, tick: Tick) -> bool:
        """Whether it is worth handing the commit of `tick` over."""
        assert self._attempts is not None
        return bool(tick.starts or self._attempts.queued or self._inbox or self._engine.has_work)

    def _perform_all(self, effects: list[Effect]) -> None:
        """Performs what follows from facts that are durable."""
        # Asked now that all of it is durable: who comes to watch later finds it in the store. Nearly always it is nobody.
        is_watched = self._changes.is_watched or self._line_changes.is_watched
        for effect in effects:
            if type(effect) is not Changed:
                self._perform(effect)
            elif is_watched:
                self._tell(effect)

    def _commit_with_lines(self, tick: Tick, lines: list[NewLogLine], meanwhile: Meanwhile | None) -> list[UnitOutcome]:
        """Commits a tick, with as many lines of activities as a batch may have: they cost no commit of their own then. They
        go first, since what a workflow logs may follow from an activity that has logged before.
        """
        if not lines:
            return self._commit(tick.batch_id, tick.units, meanwhile)
        for unit in tick.units:
            unit.after = [index + 1 for index in unit.after]
        first, *outcomes = self._commit(tick.batch_id, [Unit(expects=[], lines=lines), *tick.units], meanwhile)
        self._stored(lines, first)
        return outcomes

    def _store_due_lines(self) -> bool:
        """Stores lines that have waited long enough for a tick to go with; whether there may be more."""
        due_s = self.lines.due_in_s
        if due_s is None or due_s > 0:
            return False
        self._store_lines()
        return True

    def _store_lines(self) -> None:
        lines = self.lines.take()
        (outcome,) = self._commit(entropy.batch_id(), [Unit(expects=[], lines=lines)])
        self._stored(lines, outcome)

    def _stored(self, lines: list[NewLogLine], outcome: UnitOutcome) -> None:
        if isinstance(outcome, Refused):  # of a batch that was not committed
            self.lines.give_back(lines)
        else:
            self._line_changes.publish({line.execution_id for line in lines})

    def store_lines(self) -> None:
        """Stores all lines that wait; on the engine thread, between two ticks."""
        while self.lines:
            self._store_lines()

    def _commit(self, batch_id: str, units: list[Unit], meanwhile: Meanwhile | None = None) -> list[UnitOutcome]:
        try:
            return self._store.commit(batch_id, units, meanwhile)
        except CommitUnknown:
            _log.warning("the outcome of a commit is unknown; asking the store")
        while True:
            try:
                outcomes = self._store.outcome_of(batch_id)
            except CommitUnknown:
                self._wake.wait(_ASK_AGAIN_S)
                continue
            if outcomes is None:  # it was not committed: believe nothing that was decided on top of it
                return [Refused(RefusedBy.DEPENDENCY) for _ in units]
            return outcomes

    def _wind_up(self) -> None:
        """A clean stop: gives up what runs, so that it does not count as a crash, and writes that down."""
        self._lane.stop()
        assert self._attempts is not None
        self._attempts.stop()
        for _ in range(_LAST_TICKS_MAX):
            if self._following is not None:
                following, self._following = self._following, None
                self._carry_out(following)
            inputs = self._inbox.admit(_INPUTS_PER_TICK_MAX)
            if not inputs:
                break
            with self._ticker.polling(brief=True):
                self._carry_out(self._engine.decide(inputs, self._clock.now()))
        self.store_lines()

    # --- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case StartAttempt():
                assert self._attempts is not None
                self._attempts.start(effect)
            case KillAttempt():
                assert self._attempts is not None
                self._attempts.kill(effect)
            case RunGuest():
                self._lane.submit(AwayGuest(effect, self.offer))
            case Load(execution_id):
                self._inbox.offer(Loaded(execution_id, self._store.load(execution_id)))
            case Look(execution_id):
                self._inbox.offer(Looked(execution_id, self._store.load(execution_id)))
            case Answer():
                self._answer(effect)
            case EmitLog():
                self._emit(effect)
                self._line_changes.publish((effect.execution_id,))
            case Renew(lease_expires_at):
                self._store.renew(self._engine.executor, lease_expires_at)
            case Claim(count_max):
                now = self._clock.now()
                lease = Instant(now + self._engine.limits.lease_us)
                claimed = self._store.claim(self._engine.executor, now, lease, count_max)
                if claimed.states:
                    self._inbox.offer(Claimed(claimed))
            case CheckNews():
                news = self._store.news(self._engine.executor)
                if news:
                    self._inbox.offer(News(news))
            case WakeOthers():
                pass  # they poll; a store with notifications will tell them sooner

    def _tell(self, effect: Changed) -> None:
        """Tells who watches executions that their rows have changed."""
        for change in effect.rows():
            self._changes.tell(change)
            if change.state.status is Status.FINISHED:
                self._line_changes.publish((change.state.execution_id,))

    def _refuse_answers(self) -> None:
        """Tells everybody who still waits that there will be no answer; they ask again, by id, when there is a server."""
        while self._answers:
            _, (loop, future) = self._answers.popitem()
            loop.call_soon_threadsafe(_set_refusal, future)
        while self._calls:
            _, done = self._calls.popleft()
            done.set_exception(ShuttingDown("server is shutting down"))

    def _answer(self, answer: Answer) -> None:
        waiting = self._answers.pop(answer.token, None)
        if waiting is not None:
            loop, future = waiting
            loop.call_soon_threadsafe(_set_answer, future, answer)


def _nowhere(effect: EmitLog) -> None:
    """Before the thread was started."""


def _set_refusal(future: asyncio.Future[Answer]) -> None:
    if not future.done():
        future.set_exception(ShuttingDown("server is shutting down"))


def _set_answer(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)
