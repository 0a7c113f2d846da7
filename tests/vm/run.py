"""`make vm`: the tests of programs on a kernel with the controllers that hold their limits, in a virtual machine.

    python tests/vm/run.py [PYTEST ARGUMENT]...

Containers and development machines often have no control groups (version 2) with the controllers `memory` and `pids`, and the
tests that need them are skipped there. Here Debian's kernel starts in QEMU, emulated, and some twenty times slower.
It sees this machine's files as they are, and writes into its memory alone, where it also has copies of what Python reads
(thousands of files, each of which would be asked for from outside). Its first process mounts what is needed and runs
pytest. Decides nothing about what is tested.

Needs the Debian packages qemu-system-x86 and busybox-static, and apt-get, by which the kernel is downloaded into a folder that is
kept (OBELISK_VM, else .venv/vm); it is not installed. OBELISK_VM_COMMAND: what is run instead of pytest. OBELISK_VM_ACCEL=kvm: not emulated.
"""

from __future__ import annotations

import lzma
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("tests/runtime/programs", "tests/acceptance/test_programs.py")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
NOT_COPIED = re.compile(
    r"test|idlelib|ensurepip|site-packages|config-.*|.*\.a|mypyc?|.*__mypyc.*|babel|sphinx.*|pip|setuptools|docutils|ruff.*|grimp"
)
MEMORY_MIB = 4_096
ENDED = "vm: ended with "
TIMEOUT_S = 3_600.0

INIT = """#!/bin/busybox sh
# The first process: the files of the machine outside below a layer in memory, then on into them.
/bin/busybox mkdir -p /proc /lower /layer /files
/bin/busybox mount -t proc proc /proc
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod "/modules/$module" || echo "vm: no $module"; done
set -e
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro outside /lower
/bin/busybox mount -t tmpfs layer /layer
/bin/busybox mkdir /layer/upper /layer/work
/bin/busybox mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /files
/bin/busybox mount -t proc proc /files/proc
/bin/busybox mount -t sysfs sys /files/sys
/bin/busybox mount -t cgroup2 cgroup2 /files/sys/fs/cgroup
/bin/busybox mount -t devtmpfs dev /files/dev
/bin/busybox mkdir -p /files/dev/shm /files/dev/pts
/bin/busybox mount -t devpts pts /files/dev/pts
for each in dev/shm tmp run; do /bin/busybox mount -t tmpfs -o mode=1777 tmp "/files/$each"; done
/bin/busybox cp /inside /files/run/inside
/bin/busybox cp /bin/busybox /files/run/busybox
/bin/busybox ip link set lo up
/bin/busybox cat /copied | while read -r folder; do /bin/busybox mount -o bind "/copies$folder" "/files$folder"; done
exec /bin/busybox chroot /files /bin/sh /run/inside
"""

INSIDE = """
cd {root}
export HOME=/root LC_ALL=C.UTF-8 PATH={path} PYTHONPATH={root}/src PYTHONDONTWRITEBYTECODE=1 OBELISK_TEST_PATIENCE=20
echo "vm: $(uname -sr), cgroup controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
{command}
echo "{ended}$?"
/run/busybox poweroff -f
"""


def main(arguments: list[str]) -> int:
    """The exit code of what was run inside."""
    qemu, busybox = _tool("qemu-system-x86_64", "qemu-system-x86"), _tool("busybox", "busybox-static")
    place = Path(os.environ.get("OBELISK_VM", ROOT / ".venv" / "vm"))
    place.mkdir(parents=True, exist_ok=True)
    kernel, modules = _kernel(place)
    if _needs_libraries(Path(busybox).read_bytes()):
        raise SystemExit(
            f"vm: {busybox} needs libraries, which are not there yet: install the Debian package busybox-static"
        )
    given = os.environ.get("OBELISK_VM_COMMAND")
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-rs",
        "--timeout=900",
        "-p",
        "no:cacheprovider",
        "-m",
        "acceptance or not acceptance",
    ]
    inside = INSIDE.format(
        root=shlex.quote(str(ROOT)),
        path=shlex.quote(os.environ["PATH"]),
        command=given or shlex.join([*pytest, *(arguments or TESTS)]),
        ended=ENDED,
    )
    initial = place / "initial.cpio"
    initial.write_bytes(
        _archive(
            {
                "init": INIT.encode(),
                "inside": inside.encode(),
                "bin/busybox": Path(busybox).read_bytes(),
                "modules/order": "\n".join(modules).encode(),
                "copied": "".join(f"{each}\n" for each in _read_by_python()).encode(),
                **{f"modules/{name}": data for name, data in modules.items()},
                **{f"copies{path}": path for folder in _read_by_python() for path in _files(folder)},
            }
        )
    )
    # fmt: off
    command = [
        qemu, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
        "-accel", os.environ.get("OBELISK_VM_ACCEL", "tcg,thread=multi"), "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MIB),
        "-kernel", str(kernel), "-initrd", str(initial), "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
        "-fsdev", "local,id=outside,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=outside,mount_tag=outside",
    ]
    # fmt: on
    code = 1
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as machine:
        assert machine.stdout is not None
        end = threading.Timer(TIMEOUT_S, machine.kill)
        end.start()
        for line in machine.stdout:
            print(line.rstrip(), flush=True)
            if line.startswith(ENDED):
                code = int(line.removeprefix(ENDED))
        end.cancel()
    return code


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"vm: there is no {name}: install the Debian package {package}")
    return found


def _needs_libraries(program: bytes) -> bool:
    """Whether a program (ELF, 64 bits) names one that loads it."""
    (first,), (size, count) = struct.unpack_from("<Q", program, 32), struct.unpack_from("<HH", program, 54)
    names_a_loader = 3
    return any(program[first + number * size] == names_a_loader for number in range(count))


def _kernel(place: Path) -> tuple[Path, dict[str, bytes]]:
    """Debian's kernel, and the modules that it needs to see files outside, in the order in which they are loaded."""
    unpacked = place / "kernel"
    if not unpacked.exists():
        package = _newest()
        print(f"vm: downloading {package}", flush=True)
        subprocess.run(["apt-get", "download", "-qq", package], cwd=place, check=True)
        (archive,) = place.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", archive, place / "unpacking"], check=True)
        archive.unlink()
        (place / "unpacking").rename(unpacked)
    (kernel,) = (unpacked / "boot").glob("vmlinuz-*")
    there = {each.name.partition(".")[0].replace("-", "_"): each for each in unpacked.rglob("*.ko*")}
    ordered: dict[str, bytes] = {}

    def need(name: str) -> None:
        data = there[name].read_bytes()
        if there[name].suffix == ".xz":
            data = lzma.decompress(data)
        for each in _depends(data):
            need(each)
        ordered[name] = data

    for name in MODULES:
        need(name)
    return kernel, ordered


def _newest() -> str:
    shown = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], check=True, capture_output=True, text=True
    ).stdout
    for line in shown.splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends":
            return name
    raise SystemExit("vm: apt knows no linux-image-amd64: run apt-get update")


def _depends(module: bytes) -> Iterator[str]:
    """What the module says of itself."""
    said = module.partition(b"\0depends=")[2].partition(b"\0")[0].decode()
    return (each.replace("-", "_") for each in said.split(",") if each)


def _read_by_python() -> list[Path]:
    """Folders of its library, of packages, and of this project."""
    paths = sysconfig.get_paths()
    found = {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return sorted(found | {ROOT / name for name in ("src", "tests", "examples")})


def _files(folder: Path) -> Iterator[Path]:
    """What is copied of a folder: without other packages in it, and the larger ones that no test of programs needs."""
    for path in folder.iterdir():
        if not NOT_COPIED.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                yield from _files(path)
            else:
                yield path


def _archive(files: Mapping[str, bytes | Path]) -> bytes:
    """A cpio archive (newc), from which the kernel makes its first files."""
    folders = sorted({str(each) for name in files for each in Path(name).parents} - {"."})
    entries: list[tuple[str, int, int, bytes]] = [(name, 0o40755, 0, b"") for name in folders]
    for name, found in files.items():
        if isinstance(found, bytes):
            entries.append((name, 0o100755, 0, found))
        elif found.is_symlink():
            entries.append((name, 0o120777, 0, os.readlink(found).encode()))
        else:
            about = found.stat()  # compiled modules are those of a source of that age
            entries.append((name, about.st_mode, int(about.st_mtime), found.read_bytes()))
    made = bytearray()
    for number, (name, mode, changed, data) in enumerate([*entries, ("TRAILER!!!", 0, 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, changed, len(data), 0, 0, 0, 0, len(name.encode()) + 1, 0)
        made += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        made += bytes(-len(made) % 4) + data
        made += bytes(-len(made) % 4)
    return bytes(made)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
