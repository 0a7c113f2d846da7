"""The schema: generated code is up to date, numbers stay what they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from obelisk.proto import obelisk_pb2 as pb

PROTO = Path(pb.__file__).parent
WIRE = Path(__file__).with_name("wire.txt")


def wire_format():
    """One line per field, enum value and rpc: everything that clients depend on."""
    lines = []

    def enum(descriptor):
        lines.extend(f"{descriptor.full_name}.{value.name} = {value.number}" for value in descriptor.values)

    def message(descriptor):
        for field in descriptor.fields:
            of = field.message_type or field.enum_type
            kind = of.full_name if of is not None else f"type {field.type}"
            many = " repeated" if field.is_repeated else ""
            one = f" in {field.containing_oneof.name}" if field.containing_oneof else ""
            lines.append(f"{field.full_name} = {field.number}: {kind}{many}{one}")
        for nested in descriptor.nested_types:
            message(nested)
        for nested in descriptor.enum_types:
            enum(nested)

    for descriptor in pb.DESCRIPTOR.message_types_by_name.values():
        message(descriptor)
    for descriptor in pb.DESCRIPTOR.enum_types_by_name.values():
        enum(descriptor)
    for service in pb.DESCRIPTOR.services_by_name.values():
        for rpc in service.methods:
            stream = "stream " if rpc.server_streaming else ""
            lines.append(f"{rpc.full_name}({rpc.input_type.full_name}) -> {stream}{rpc.output_type.full_name}")
    return sorted(lines)


def test_nothing_that_clients_depend_on_has_changed():
    """A line of wire.txt may only be added, never changed or removed: `python tests/server/test_proto.py` writes it."""
    assert WIRE.read_text().splitlines() == wire_format()


def test_additions_of_ours_are_numbered_from_1000_on():
    assert pb.ExecutionStatus.DESCRIPTOR.fields_by_name["parked"].number == 1000
    assert pb.ExecutionEvent.DESCRIPTOR.fields_by_name["parked"].number == 1000
    assert pb.ExecutionEvent.DESCRIPTOR.fields_by_name["resumed"].number == 1001
    assert pb.ExecutionEvent.Unlocked.DESCRIPTOR.fields_by_name["http_client_traces"].number == 1000
    assert pb.StubRequest.DESCRIPTOR.fields_by_name["execution_failed"].number == 1000
    assert pb.AdvanceExecutionRequest.DESCRIPTOR.fields_by_name["steps"].number == 1001


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """What `make proto` makes of the schema now."""
    out = tmp_path_factory.mktemp("generated")
    tools = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", "-I", ".",
            f"--plugin=protoc-gen-mypy={tools / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={tools / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}", f"--grpc_python_out={out}", f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}",
            "obelisk/proto/obelisk.proto",
        ],
        cwd=PROTO.parent.parent,
        check=True,
    )  # fmt: skip
    return out / "obelisk" / "proto"


@pytest.mark.parametrize("name", ["obelisk_pb2.py", "obelisk_pb2.pyi", "obelisk_pb2_grpc.py", "obelisk_pb2_grpc.pyi"])
def test_generated_code_is_up_to_date(generated, name):
    assert (PROTO / name).read_text() == (generated / name).read_text(), "run make proto"


if __name__ == "__main__":
    WIRE.write_text("\n".join(wire_format()) + "\n")
