"""What is deployed, narrowed."""

import pytest
from obelisk_tests_small_engine import (
    ACTIVITY_DIGEST,
    DEPLOYMENT,
    FIBO,
    FIBO_SUBMIT,
    OLD_DIGEST,
    SmallEngine,
)

from obelisk.api.components import Components
from obelisk.api.errors import NotFound
from obelisk.api.reads import Reads

components = Components(SmallEngine(), Reads())


def names(found):
    return [component.name for component in found]


def test_all_components_without_extensions():
    assert names(components.list()) == ["myworkflow", "activity_myfibo"]
    assert FIBO_SUBMIT not in [function.ffqn for function in components.list()[1].exports]
    assert FIBO_SUBMIT in [function.ffqn for function in components.list(extensions=True)[1].exports]


def test_all_conditions_must_hold():
    assert names(components.list(ffqn=FIBO)) == ["activity_myfibo"]
    assert names(components.list(ffqn=FIBO_SUBMIT)) == []
    assert names(components.list(ffqn=FIBO_SUBMIT, extensions=True)) == ["activity_myfibo"]
    assert names(components.list(digest=ACTIVITY_DIGEST)) == ["activity_myfibo"]
    assert names(components.list(digest="sha256:" + "0" * 64)) == []
    assert names(components.list(deployment=DEPLOYMENT)) == ["myworkflow", "activity_myfibo"]
    assert names(components.list(deployment="Dep_01K42AJA8QHD7D3GTJAYMASFY0")) == []


def test_the_wit_of_whatever_is_deployed_or_referred_to(run):
    async def scenario(engine, service):
        assert await service.components.wit(OLD_DIGEST) == f"package of:{OLD_DIGEST[7:11]};"
        with pytest.raises(NotFound, match=f"WIT not found for component digest '{ACTIVITY_DIGEST}'"):
            await service.components.wit(ACTIVITY_DIGEST)

    run(scenario)
