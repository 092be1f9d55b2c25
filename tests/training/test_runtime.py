import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from deeptrade.errors import Interrupted
from deeptrade.sources.scan import worker_count
from deeptrade.training.runtime import StopRequest, choose_precision
from tests.support.signals import outside_of_python, send_meanwhile


@pytest.mark.parametrize(
    ("asked", "gpus", "chosen"),
    [
        ("auto", 0, "float32"),
        ("auto", 1, "mixed_float16"),
        ("mixed_bfloat16", 0, "mixed_bfloat16"),
        ("float32", 2, "float32"),
    ],
)
def test_auto_precision_depends_on_the_gpu_and_a_given_one_is_kept(asked, gpus, chosen):
    assert choose_precision(asked, gpus) == chosen


def test_the_processors_counted_are_those_this_process_may_use():
    code = "from deeptrade.training.runtime import worker_count; print(worker_count())"
    one = {next(iter(os.sched_getaffinity(0)))}
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {one}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == 1
    assert worker_count() == len(os.sched_getaffinity(0))


def test_tensorflow_starts_silently_and_its_setup_is_returned():
    code = """
from deeptrade.training.runtime import set_up_tensorflow, worker_count
lines = []
hardware = set_up_tensorflow(allow_growth=True, give_back=False, sink=lines.append)
import tensorflow as tf
assert hardware["op_determinism"] and hardware["intra_op_threads"] == worker_count(), hardware
assert lines == [], lines
again = set_up_tensorflow(allow_growth=True, give_back=False, sink=lines.append)
tf.ones((2, 2)) @ tf.ones((2, 2))
again = set_up_tensorflow(allow_growth=True, give_back=False, sink=lines.append)
assert again == hardware, again
"""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def without_tensorflow_options():
    return {name: value for name, value in os.environ.items() if not name.startswith("TF_")}


@pytest.mark.parametrize("give_back", [True, False])
def test_large_tensors_are_released_to_the_system_on_request(give_back):
    code = f"""
import sys
from deeptrade.memory import read_memory
from deeptrade.training.runtime import set_up_tensorflow
hardware = set_up_tensorflow(allow_growth=True, give_back={give_back}, sink=print)
import tensorflow as tf
assert hardware["gives_back"] is {give_back}
if not {give_back} and not hardware["tensor_pool"]:
    sys.exit("TensorFlow has no pool here")
held = [tf.ones((2_000_000,)) for _ in range(20)]
full = read_memory().anon_bytes
del held
print(full - read_memory().anon_bytes)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=without_tensorflow_options()
    )
    if "TensorFlow has no pool here" in done.stderr:
        pytest.skip("this processor has no AVX-512, so TensorFlow has no pool that would keep freed tensors")
    assert done.returncode == 0, done.stderr
    assert (int(done.stdout) > 100_000_000) == give_back


def test_without_a_pool_freed_tensors_are_released_and_no_pool_is_mentioned():
    code = """
from deeptrade.training.runtime import set_up_tensorflow
lines = []
plain = set_up_tensorflow(allow_growth=True, give_back=False, sink=lines.append)
asked = set_up_tensorflow(allow_growth=True, give_back=True, sink=lines.append)
assert [one["tensor_pool"] for one in (plain, asked)] == [False, False]
assert [one["gives_back"] for one in (plain, asked)] == [False, True]
assert lines == [], lines
"""
    environment = without_tensorflow_options() | {"TF_ENABLE_ONEDNN_OPTS": "0"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_the_output_of_a_failed_start_is_shown():
    code = """
import os
from deeptrade.training.runtime import quiet_start
with quiet_start():
    os.write(2, b"no such library")
    raise ImportError("tensorflow")
"""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "no such library" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_interrupts_at_once_with_the_exit_code_of_shells(number, code):
    stop = StopRequest()
    with pytest.raises(Interrupted) as caught, stop.listening():
        signal.raise_signal(number)
        time.sleep(5)
    assert caught.value.exit_code == code
    assert stop.signal_number == number


def test_a_signal_within_a_window_waits_for_its_end():
    stop = StopRequest()
    with stop.listening(), stop.deferred():
        signal.raise_signal(signal.SIGTERM)
        finished = stop.signal_number == signal.SIGTERM
    assert finished


@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
def test_a_second_signal_within_a_window_does_not_wait(first, second):
    stop, after_the_first = StopRequest(), False
    with pytest.raises(Interrupted) as caught, stop.listening(), stop.deferred():
        os.kill(os.getpid(), first)
        after_the_first = stop.signal_number == first
        os.kill(os.getpid(), second)
        time.sleep(5)
    assert after_the_first
    assert caught.value.exit_code == 128 + second


def test_two_signals_while_the_main_thread_is_outside_of_python_count_as_two():
    stop = StopRequest()
    with pytest.raises(Interrupted), stop.listening(), stop.deferred():
        send_meanwhile(2)
        outside_of_python(3_000_000)
        time.sleep(5)


def test_a_third_signal_ends_a_process_that_hangs_outside_of_python():
    code = """
from deeptrade.training.runtime import StopRequest
from tests.support.signals import outside_of_python, send_meanwhile
stop = StopRequest()
with stop.listening(), stop.deferred():
    send_meanwhile(3)
    outside_of_python(300_000_000)
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "")
    assert time.monotonic() - started < 60


def test_the_caller_s_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest().listening():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_of_the_main_thread_signals_are_left_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def listen():
        with StopRequest().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]
