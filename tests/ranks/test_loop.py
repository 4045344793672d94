"""What a rank's loop tells the driver."""

from types import SimpleNamespace

from caffeonspark.comm.wire import Frame
from caffeonspark.nets.schema import SolverParameter
from caffeonspark.ranks.loop import Loop
from caffeonspark.settings import Settings


def test_losses_of_many_iterations_at_once_fit_into_frames():
    """A strategy that exchanges them every 200,000 iterations, or only at the end."""
    sent = []

    def send(kind, **data):
        Frame(kind, data).pack()  # raises what is too large
        sent.append(data)

    loop = Loop(
        SimpleNamespace(
            settings=Settings(), validations=(), start=SimpleNamespace(best=None, since_best=0, tests_done=0)
        ),
        SolverParameter(),
        SimpleNamespace(iteration=200_000),
        None,
        SimpleNamespace(rank=0),
        SimpleNamespace(send=send),
        [],
        [],
        "",
    )
    losses = [(at, 0.6931471824645996 + at, 0.009999999776482582) for at in range(200_000)]
    loop.record(losses)
    loop.report()
    assert [entry for data in sent for entry in data["history"]] == losses
    sent.clear()
    loop.report()  # says where it is, with nothing new
    assert [(data["iteration"], data["history"]) for data in sent] == [(200_000, [])]
