import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deeptrade.errors import SettingsError
from deeptrade.memory import read_memory
from deeptrade.memory.limits import Limit, MemoryLimits, cgroup_limits, pressure_file
from tests.support.limits import machine_of

MIB = 1 << 20
V1_MOUNT = "35 31 0:32 {top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V2_MOUNT = "41 31 0:38 {top} {point} rw,relatime - cgroup2 cgroup2 rw\n"
OTHER_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
)


def write(root: Path, path: str, content: str) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def write_v2(root: Path, folder: str, *, limit: str, current: int = 0, inactive: int = 0) -> None:
    write(root, f"{folder}/memory.max", f"{limit}\n")
    write(root, f"{folder}/memory.current", f"{current}\n")
    write(root, f"{folder}/memory.stat", f"anon 1\ninactive_file {inactive}\nactive_file 7\n")


def write_v1(root: Path, folder: str, *, limit: int, current: int = 0, inactive: int = 0) -> None:
    write(root, f"{folder}/memory.limit_in_bytes", f"{limit}\n")
    write(root, f"{folder}/memory.usage_in_bytes", f"{current}\n")
    write(root, f"{folder}/memory.stat", f"inactive_file 3\ntotal_inactive_file {inactive}\n")


def write_process(root: Path, *, groups: str, mounts: str) -> None:
    write(root, "proc/self/cgroup", groups)
    write(root, "proc/self/mountinfo", OTHER_MOUNTS + mounts)


def test_a_v2_group_leaves_its_limit_less_the_working_set(tmp_path):
    write_process(tmp_path, groups="0::/job\n", mounts=V2_MOUNT.format(top="/", point="/sys/fs/cgroup"))
    write_v2(tmp_path, "/sys/fs/cgroup/job", limit=str(1000 * MIB), current=700 * MIB, inactive=200 * MIB)
    assert cgroup_limits(tmp_path) == [Limit("cgroup v2", 1000 * MIB, 500 * MIB)]


def test_a_v1_group_counts_the_file_pages_of_its_children_as_reclaimable(tmp_path):
    write_process(tmp_path, groups="4:memory:/job\n1:cpu:/other\n", mounts=V1_MOUNT.format(top="/"))
    write_v1(tmp_path, "/sys/fs/cgroup/memory/job", limit=1000 * MIB, current=700 * MIB, inactive=200 * MIB)
    assert cgroup_limits(tmp_path) == [Limit("cgroup v1", 1000 * MIB, 500 * MIB)]


def test_pressure_is_that_of_the_own_group_where_the_kernel_tells_it(tmp_path):
    write_process(tmp_path, groups="0::/a/b\n", mounts=V2_MOUNT.format(top="/", point="/sys/fs/cgroup"))
    assert pressure_file(tmp_path) == tmp_path / "proc/pressure/memory"
    write(tmp_path, "/sys/fs/cgroup/a/b/memory.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n")
    assert pressure_file(tmp_path) == tmp_path / "sys/fs/cgroup/a/b/memory.pressure"


def test_an_outer_group_that_is_tighter_is_found(tmp_path):
    write_process(tmp_path, groups="0::/a/b/c\n", mounts=V2_MOUNT.format(top="/", point="/sys/fs/cgroup"))
    write_v2(tmp_path, "/sys/fs/cgroup/a", limit=str(300 * MIB), current=100 * MIB)
    write_v2(tmp_path, "/sys/fs/cgroup/a/b", limit="max", current=50 * MIB)
    write_v2(tmp_path, "/sys/fs/cgroup/a/b/c", limit=str(900 * MIB), current=50 * MIB)
    found = cgroup_limits(tmp_path)
    assert found == [Limit("cgroup v2", 900 * MIB, 850 * MIB), Limit("cgroup v2", 300 * MIB, 200 * MIB)]


@pytest.mark.parametrize("limit", [9223372036854771712, (1 << 63) - 1, 1 << 60])
def test_the_huge_numbers_v1_writes_for_unlimited_are_no_limit(tmp_path, limit):
    write_process(tmp_path, groups="4:memory:/\n", mounts=V1_MOUNT.format(top="/"))
    write_v1(tmp_path, "/sys/fs/cgroup/memory", limit=limit, current=MIB)
    assert cgroup_limits(tmp_path) == []


def test_max_in_v2_is_no_limit(tmp_path):
    write_process(tmp_path, groups="0::/\n", mounts=V2_MOUNT.format(top="/", point="/sys/fs/cgroup"))
    write_v2(tmp_path, "/sys/fs/cgroup", limit="max")
    assert cgroup_limits(tmp_path) == []


def test_a_hybrid_machine_is_read_through_its_v1_controller(tmp_path):
    mounts = V1_MOUNT.format(top="/") + V2_MOUNT.format(top="/", point="/sys/fs/cgroup/unified")
    write_process(tmp_path, groups="4:memory:/job\n0::/job\n", mounts=mounts)
    write_v1(tmp_path, "/sys/fs/cgroup/memory/job", limit=400 * MIB)
    write(tmp_path, "/sys/fs/cgroup/unified/cgroup.procs", "")
    assert cgroup_limits(tmp_path) == [Limit("cgroup v1", 400 * MIB, 400 * MIB)]


@pytest.mark.parametrize(
    ("top", "group"), [("/docker/abc", "/docker/abc"), ("/docker/abc", "/docker/abcd"), ("/", "/../.."), ("/x", "/y/z")]
)
def test_in_a_container_the_mount_point_is_the_group(tmp_path, top, group):
    write_process(tmp_path, groups=f"0::{group}\n", mounts=V2_MOUNT.format(top=top, point="/sys/fs/cgroup"))
    write_v2(tmp_path, "/sys/fs/cgroup", limit=str(400 * MIB))
    assert cgroup_limits(tmp_path) == [Limit("cgroup v2", 400 * MIB, 400 * MIB)]


def test_a_group_below_the_containers_own_is_found(tmp_path):
    groups = "4:cpu,memory:/docker/abc/job\n"
    write_process(tmp_path, groups=groups, mounts=V1_MOUNT.format(top="/docker/abc"))
    write_v1(tmp_path, "/sys/fs/cgroup/memory/job", limit=400 * MIB)
    assert cgroup_limits(tmp_path) == [Limit("cgroup v1", 400 * MIB, 400 * MIB)]


def test_a_mount_point_with_a_space_is_read(tmp_path):
    write_process(tmp_path, groups="0::/\n", mounts=V2_MOUNT.format(top="/", point="/my\\040groups"))
    write_v2(tmp_path, "/my groups", limit=str(400 * MIB))
    assert cgroup_limits(tmp_path) == [Limit("cgroup v2", 400 * MIB, 400 * MIB)]


def test_a_group_over_its_limit_leaves_nothing(tmp_path):
    write_process(tmp_path, groups="0::/\n", mounts=V2_MOUNT.format(top="/", point="/sys/fs/cgroup"))
    write_v2(tmp_path, "/sys/fs/cgroup", limit=str(100 * MIB), current=150 * MIB)
    assert cgroup_limits(tmp_path) == [Limit("cgroup v2", 100 * MIB, 0)]


@pytest.mark.parametrize("garbled", ["", "no colons here\n", "0::\n", "a:b\n\n:::\n"])
def test_missing_or_garbled_files_are_no_limit(tmp_path, garbled):
    assert cgroup_limits(tmp_path) == []
    write_process(tmp_path, groups=garbled, mounts="35 31\n- -\n" + V1_MOUNT.format(top="/"))
    assert cgroup_limits(tmp_path) == []


def test_the_machine_is_always_a_limit():
    machine = MemoryLimits().all()[-1]
    assert (machine.source, machine.limit_bytes) == ("machine", psutil.virtual_memory().total)
    assert machine.available_bytes == pytest.approx(psutil.virtual_memory().available, rel=0.1)


def test_the_smallest_limit_applies_and_the_least_available(tmp_path):
    write_process(tmp_path, groups="0::/a/b\n", mounts=V2_MOUNT.format(top="/", point="/sys/fs/cgroup"))
    write_v2(tmp_path, "/sys/fs/cgroup/a", limit=str(100 * MIB), current=90 * MIB)
    write_v2(tmp_path, "/sys/fs/cgroup/a/b", limit=str(50 * MIB), current=MIB)
    assert MemoryLimits(root=tmp_path).smallest() == Limit("cgroup v2", 50 * MIB, 10 * MIB)


def test_the_users_limit_counts_what_the_process_holds():
    room = read_memory().anon_bytes + 200 * MIB
    limit = MemoryLimits(str(room)).smallest()
    assert (limit.source, limit.limit_bytes) == ("user", room)
    assert 0 < limit.available_bytes < 250 * MIB


def test_a_users_limit_above_the_machine_does_not_bind():
    assert MemoryLimits("900TiB").smallest().source != "user"


def test_a_users_limit_that_is_no_size_is_refused():
    with pytest.raises(SettingsError, match=r"'much'.*1\.5GB"):
        MemoryLimits("much")


@pytest.mark.skipif(sys.platform != "linux", reason="rlimits on memory bind on Linux only")
@pytest.mark.parametrize("source", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_an_rlimit_is_seen_by_the_process_it_binds(source):
    code = (
        "import resource; from deeptrade.memory.limits import MemoryLimits;"
        f"resource.setrlimit(resource.{source}, (3 << 30, 3 << 30)); limit = MemoryLimits().smallest();"
        "print(limit.source, limit.limit_bytes, limit.available_bytes)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert answer[:2] == [source, str(3 << 30)]
    assert 1 << 30 < int(answer[2]) < 3 << 30


@pytest.fixture
def child_group():
    """A new cgroup of 300 MiB inside our own, in the real memory controller; removed in the end."""
    folder, file = _own_group()
    child = folder / f"deeptrade-test-{os.getpid()}"
    try:
        child.mkdir()
    except OSError as error:
        pytest.skip(f"no right to make a cgroup: {error.strerror}")
    try:
        (child / file).write_text(str(300 * MIB))
        yield child
    except OSError as error:
        pytest.skip(f"no right to limit a cgroup: {error.strerror}")
    finally:
        for _ in range(100):  # the kernel lets go of a finished process a moment after its parent has
            try:
                child.rmdir()
                break
            except OSError:
                time.sleep(0.02)


def _own_group() -> tuple[Path, str]:
    for line in Path("/proc/self/cgroup").read_text().splitlines() if sys.platform == "linux" else []:
        number, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/"), "memory.limit_in_bytes"
        if number == "0" and Path(f"/sys/fs/cgroup{path}/memory.max").exists():
            return Path("/sys/fs/cgroup") / path.lstrip("/"), "memory.max"
    pytest.skip("no memory controller is mounted here")


def test_a_process_in_a_real_cgroup_sees_its_limit(child_group):
    code = (
        "import os, sys; open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()));"
        "from deeptrade.memory.limits import MemoryLimits; block = bytearray(50 << 20);"
        "limits = MemoryLimits(); limit = limits.smallest(); watched = limits.available_bytes();"
        "print(limit.source, limit.limit_bytes, limit.available_bytes, watched, sep=';')"
    )
    command = [sys.executable, "-c", code, str(child_group)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "PermissionError" in done.stderr or "Device or resource busy" in done.stderr:
        pytest.skip("no right to move a process into a cgroup")
    source, limit, available, watched = done.stdout.split(";")
    assert source.startswith("cgroup v")
    assert int(limit) == 300 * MIB
    assert 150 * MIB < int(available) < 250 * MIB
    assert int(watched) == pytest.approx(int(available), abs=5 * MIB)


def test_limits_are_made_once_from_text_bytes_or_limits():
    limits = MemoryLimits.of("2GiB")
    assert (limits.text, limits.user_bytes) == ("2GiB", 2 << 30)
    assert MemoryLimits.of(limits) is limits
    assert [MemoryLimits.of(none).user_bytes for none in ("", 0)] == [0, 0]
    assert MemoryLimits.of(4096).user_bytes == 4096


def test_the_users_limit_is_a_room_as_it_stands_and_others_count_what_this_process_gives_back():
    rooms = dict(machine_of(4 << 30, text="1GiB").rooms({"machine": 1 << 30}))
    assert {limit.source: room for limit, room in rooms.items()} == {"machine": 3 << 30, "user": 1 << 30}
