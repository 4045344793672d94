"""A notebook's kernel, in a process of its own: what its cells show, in the end."""

import time

from jupyter_client.manager import start_new_kernel

SHOWN = ("display_data", "execute_result", "stream", "error")


class Kernel:
    """Runs cells one after another, until it is closed."""

    def __init__(self, folder):
        self._manager, self._client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def run(self, code, seconds=240, interrupt_when=None):
        """The outputs of a cell, as (kind, content); pictures that were replaced are left out.

        What a cell prints to one stream without anything between is one output.

        Parameters
        ----------
        code : str
        seconds : in which it ends
        interrupt_when : given the outputs so far, says whether to interrupt the kernel
        """
        outputs, places, interrupted = [], {}, False
        asked = self._client.execute(code)
        deadline = time.monotonic() + seconds
        while True:
            message = self._client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            name = content.get("transient", {}).get("display_id")
            if kind == "update_display_data" and name in places:  # else one of a cell before
                outputs[places[name]] = ("display_data", content)
            elif kind == "stream" and outputs and _stream(outputs[-1]) == content["name"]:
                outputs[-1][1]["text"] += content["text"]  # the kernel sends what a cell prints in pieces, as time goes
            elif kind in SHOWN:
                places[name] = len(outputs)
                outputs.append((kind, content))
            elif kind == "status" and content["execution_state"] == "idle":
                return outputs
            if interrupt_when is not None and not interrupted and interrupt_when(outputs):
                interrupted = True
                self._manager.interrupt_kernel()

    def close(self):
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


def _stream(output):
    """The stream that an output is of: "stdout" or "stderr"; else None."""
    kind, content = output
    return content["name"] if kind == "stream" else None
