"""The status that each error means."""

from obelisk.api.errors import ApiError, CallerError, TryAgain
from obelisk.server.answers import _CODES


def _below(kind: type[ApiError]) -> set[type[ApiError]]:
    return {kind}.union(*map(_below, kind.__subclasses__()))


def test_every_error_has_a_status():
    assert set(_CODES) == _below(ApiError) - {ApiError, CallerError, TryAgain}
