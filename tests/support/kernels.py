"""A kernel that tests drive as JupyterLab does: cells in, messages out."""

import time
from contextlib import contextmanager

from jupyter_client.manager import KernelManager


class Kernel:
    """Runs cells and returns what they show; `interrupt` is the stop button."""

    def __init__(self, manager, client):
        self._manager, self._client = manager, client

    def start_cell(self, code):
        """Begin a cell."""
        self._request = self._client.execute(code)

    def wait_for_text(self, text, seconds=60):
        """Wait until the cell that runs has printed this text."""
        said, deadline = "", time.monotonic() + seconds
        while text not in said:
            message = self._client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            said += message["content"].get("text", "")
            assert message["msg_type"] != "error", message["content"]["traceback"]

    def interrupt(self):
        """Press the stop button."""
        self._manager.interrupt_kernel()

    def finish_cell(self, seconds=120):
        """Wait for the end of the cell; return the contents of its messages by type, in order."""
        found, deadline = [], time.monotonic() + seconds
        while True:
            message = self._client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != self._request:
                continue
            found.append((message["msg_type"], message["content"]))
            if found[-1] == ("status", {"execution_state": "idle"}):
                return found

    def run_cell(self, code):
        """Run a cell and return its messages."""
        self.start_cell(code)
        return self.finish_cell()


def error_of(messages):
    """The lines that a cell shows of the error that ended it; one list, empty where it has none."""
    return [line for kind, content in messages if kind == "error" for line in content["traceback"]]


@contextmanager
def open_kernel(folder):
    """A kernel of this interpreter that works in a folder."""
    manager = KernelManager()
    manager.start_kernel(cwd=str(folder))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
