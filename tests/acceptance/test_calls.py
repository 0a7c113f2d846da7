"""Calls that wait for their execution, over kill -9."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import grpc
import pytest

from obelisk.core.ids import ExecutionId

FIBOA = "template-fibo:workflow/fibo-workflow-ifc.fiboa"
STEPS = 2_000


def response_count(server: Any, execution_id: str) -> int:
    """How far it is."""
    with closing(server.reader()) as reader:
        state = reader.state(ExecutionId(execution_id))
        return 0 if state is None else int(state.response_count)


@pytest.mark.timeout(300)
def test_a_call_that_lost_its_server_is_made_again_and_gets_the_result(fibo: Any) -> None:
    fibo.start()
    execution_id = fibo.new_id()
    call = fibo.begin_call(FIBOA, 10, STEPS, execution_id=execution_id)
    while response_count(fibo, execution_id) < 100:
        time.sleep(0.01)
    fibo.process.kill()
    with pytest.raises(grpc.RpcError) as lost:
        call.result()
    fibo.wait_dead()
    assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
    fibo.start()
    assert fibo.call(FIBOA, 10, STEPS, execution_id=execution_id) == ("ok", 55)
    assert fibo.call(FIBOA, 10, STEPS, execution_id=execution_id) == ("ok", 55)
    fibo.check_fibo(execution_id, STEPS)
    fibo.stop()
