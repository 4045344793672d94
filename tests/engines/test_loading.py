"""pycaffe is loaded by whichever of a driver's fits needs it first."""

import subprocess
import sys

PROGRAM = """
import threading
from caffeonspark.engines.caffe import CaffeEngine

engine, errors, begin = CaffeEngine(), [], threading.Barrier(6)

def use(call):
    begin.wait()
    try:
        call()
    except BaseException as e:
        errors.append(repr(e))

calls = [engine.layer_types, engine.versions, lambda: engine.show_log(False)]
threads = [threading.Thread(target=use, args=(call,)) for call in calls * 2]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(errors)
"""


def test_threads_that_load_it_at_once():
    """One found "partially initialized module pycaffe" in the first two fits of a CrossValidator."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr[-2000:]
