"""What is deployed, narrowed."""

from obelisk_tests_small_engine import (
    ACTIVITY_DIGEST,
    DEPLOYMENT,
    FIBO,
    FIBO_SUBMIT,
    SmallCatalogue,
)

from obelisk.api.components import Components

components = Components(SmallCatalogue())


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
