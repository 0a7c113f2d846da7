"""Pages: lists of executions, as queries.

Decides how filters and pages become SQL, and which index a page follows: that which leaves least to be looked at. Must not
begin or commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from obelisk.core.ids import ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.reading import ExecutionFilter, Page, StateFilter
from obelisk.core.state import ExecutionState
from obelisk.store.selection import place_of
from obelisk.store.sqlite import rows
from obelisk.store.sqlite.connection import Connection, select, select_one, select_value
from obelisk.store.sqlite.queries import sql

_PAGE: Final = sql("page")
_ALL: Final = sql("where_all")
_TOP_LEVEL: Final = sql("where_top_level")
_TREE: Final = sql("where_tree")
_SUBTREE: Final = sql("where_subtree")
_ID_PREFIX: Final = sql("where_id_prefix")
_OPEN: Final = sql("where_open")
_BY_TOP_LEVEL: Final = sql("by_top_level")
_BY_OPEN: Final = sql("by_open")
_BY_FAILED: Final = sql("by_failed")
_ID_PREFIX_COUNT: Final = sql("id_prefix_count")
_ID_PREFIX_COMMON: Final = sql("where_id_prefix_common")
_COMMON: Final = 500
"""More top-level executions than this are not looked up and sorted for a page: it follows the order of lists instead."""
_FAILED: Final = frozenset({StateFilter.FINISHED_ERR, StateFilter.FINISHED_FAILURE})


class _Names(msgspec.Struct, frozen=True):
    """How executions are found by one of their names."""

    parameter: str
    where: str
    by_one: str
    by_few: str
    count: str


_OF_FUNCTION: Final = _Names(
    "functions", sql("where_functions"), sql("by_function"), sql("by_functions"), sql("functions_count")
)
_OF_COMPONENT: Final = _Names(
    "components", sql("where_components"), sql("by_component"), sql("by_components"), sql("components_count")
)
_OF_DEPLOYMENT: Final = _Names(
    "deployments", sql("where_deployments"), sql("by_deployment"), sql("by_deployments"), sql("deployments_count")
)
_NAME_KEY: Final = sql("name_key")
_BEGINNING: Final = sql("names_beginning")
_OLDER: Final = sql("where_older")
_NEWER: Final = sql("where_newer")
_STATES: Final = {
    StateFilter.PENDING: sql("is_pending"),
    StateFilter.SCHEDULED: sql("is_scheduled"),
    StateFilter.LOCKED: sql("is_locked"),
    StateFilter.BLOCKED: sql("is_blocked"),
    StateFilter.PAUSED: sql("is_paused"),
    StateFilter.CANCELLING: sql("is_cancelling"),
    StateFilter.PARKED: sql("is_parked"),
    StateFilter.FINISHED: sql("is_finished"),
    StateFilter.FINISHED_OK: sql("is_finished_ok"),
    StateFilter.FINISHED_ERR: sql("is_finished_err"),
    StateFilter.FINISHED_FAILURE: sql("is_finished_failure"),
}
_LAST: Final = "\U0010ffff"
"""Sorts after every character of an id."""


def read_page(connection: Connection, where: ExecutionFilter, page: Page, now: Instant) -> list[ExecutionState]:
    """A page of state rows, newest first. A cursor or root that does not exist gives an empty page."""
    query = _Query(now, page.length)
    if not query.narrow(connection, where) or not query.go_on(connection, page):
        return []
    found = [rows.state_from(row) for row in connection.execute(query.text(page), query.parameters)]
    return found[::-1] if page.newer else found


class _Query:
    """A page's conditions and their parameters, in the making."""

    def __init__(self, now: Instant, length: int) -> None:
        self._conditions = [_ALL]
        self.parameters: dict[str, Any] = {"now": now, "length": max(length, 0)}

    def _add(self, condition: str, **parameters: Any) -> None:
        self._conditions.append(condition)
        self.parameters.update(parameters)

    def narrow(self, connection: Connection, where: ExecutionFilter) -> bool:
        """Adds the filter; False when nothing can match, because something that it names does not exist."""
        if where.root is not None:
            top, _, path = where.root.partition(".")
            root = rows.key_of(connection, ExecutionId(top))
            if root is None or rows.key_of(connection, where.root) is None:
                return False
            self._add(_SUBTREE if path else _TREE, root=root, path=path)
        if where.top_level_only:
            self._add(_TOP_LEVEL)
        named = self._name(connection, where)
        if named is None:
            return False
        is_open = where.hide_finished or (
            bool(where.states) and not any(state.startswith("finished") for state in where.states)
        )
        if is_open:
            self._add(_OPEN)
        if where.states:
            self._add("(" + " OR ".join(_STATES[state] for state in where.states) + ")")
        by_key = bool(where.id_prefix) and self._begin_with(connection, where.id_prefix or "")
        if not by_key and where.root is None:
            self._add(self._index(connection, where, named, is_open=is_open))
        return True

    def _name(self, connection: Connection, where: ExecutionFilter) -> list[tuple[_Names, list[int]]] | None:
        """Adds what executions are to be of; the same as keys. None: there are no such names."""
        named: list[tuple[_Names, list[int]]] = []
        if where.ffqn is not None or where.ffqn_prefix is not None:
            named.append((_OF_FUNCTION, _function_keys(connection, where)))
        if where.components:
            named.append((_OF_COMPONENT, _name_keys(connection, where.components)))
        if where.deployment is not None:
            named.append((_OF_DEPLOYMENT, _name_keys(connection, (where.deployment,))))
        for names, keys in named:
            self._add(names.where, **{names.parameter: _json(keys)})
        return named if all(keys for _, keys in named) else None

    def _begin_with(self, connection: Connection, prefix: str) -> bool:
        """Adds the prefix of an id; whether few enough executions have it to be looked up."""
        head = prefix.partition(".")[0]
        (count,) = select_one(connection, _ID_PREFIX_COUNT, (head, head + _LAST, _COMMON + 1))
        if count > _COMMON:
            self._add(_ID_PREFIX_COMMON, id_prefix=prefix)
            return False
        self._add(_ID_PREFIX, id_prefix=prefix, id_head=head, id_head_end=head + _LAST)
        return True

    def _index(
        self, connection: Connection, where: ExecutionFilter, named: list[tuple[_Names, list[int]]], *, is_open: bool
    ) -> str:
        """The condition of the index that leaves least to be looked at, in the order of lists."""
        if is_open:
            return _BY_OPEN
        if where.states and _FAILED.issuperset(where.states):
            return _BY_FAILED
        if not where.top_level_only:
            return _ALL
        counted = [(select_value(connection, each[0].count, (_json(each[1]), _COMMON + 1)), each) for each in named]
        for count, (names, keys) in sorted(counted, key=lambda each: each[0]):
            if len(keys) == 1:
                self.parameters["name"] = keys[0]
                return names.by_one
            if count <= _COMMON:
                return names.by_few
        return _BY_TOP_LEVEL

    def go_on(self, connection: Connection, page: Page) -> bool:
        """Adds the cursor; False when it names an execution that does not exist."""
        if page.cursor is None:
            return True

        def created_at(execution_id: ExecutionId) -> Instant | None:
            state = rows.find_state(connection, execution_id)
            return None if state is None else state.created_at

        place = place_of(page, created_at)
        if place is None:
            return False
        self._add(_NEWER if page.newer else _OLDER, at=place.at, id=place.execution_id, inclusive=place.inclusive)
        return True

    def text(self, page: Page) -> str:
        """The query, newest first, or oldest first for newer pages."""
        return _PAGE.format(conditions=" AND ".join(self._conditions), direction="ASC" if page.newer else "DESC")


def _name_keys(connection: Connection, names: Iterable[str]) -> list[int]:
    """The keys of those that are known."""
    found = [select_one(connection, _NAME_KEY, (name,)) for name in names]
    return [row[0] for row in found if row is not None]


def _function_keys(connection: Connection, where: ExecutionFilter) -> list[int]:
    """Those of the functions that the filter lets through; none: no execution is of any."""
    prefix = where.ffqn_prefix or ""
    if where.ffqn is None:
        return [key for (key,) in select(connection, _BEGINNING, (prefix, prefix + _LAST))]
    return _name_keys(connection, (where.ffqn,)) if where.ffqn.startswith(prefix) else []


def _json(keys: list[int]) -> str:
    return msgspec.json.encode(keys).decode()
