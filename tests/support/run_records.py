"""Records as a run makes them."""

from caffeonspark.report.state import RunState


def start(iteration=0, **values):
    record = {
        "event": "start",
        "seconds": 0.5,
        "format": 1,
        "time": 1.7e9,
        "iteration": iteration,
        "max_iter": 1000,
        "samples": 20,
        "ranks": 2,
        "cluster": "2 ranks",
        "net": "net",
        "model": "file:/models/lenet.caffemodel",
        "resumed": "",
        "settings": {},
        "solver": {},
        "versions": {},
    }
    return {**record, **values}


def iteration(number, loss=None, speed=100.0):
    return {
        "event": "iteration",
        "seconds": 1 + number / 10,
        "iteration": number,
        "epoch": number / 30,
        "loss": 1 / (number + 1) if loss is None else loss,
        "lr": 0.01,
        "samples_per_second": speed,
    }


def validation(number, value=0.5, net=0, **outputs):
    outputs = outputs or {"accuracy": [value]}
    return {
        "event": "validation",
        "seconds": 2.0,
        "iteration": number,
        "epoch": 0.0,
        "net": net,
        "rows": 10,
        "outputs": outputs,
    }


def rank_losses(number, *losses):
    return {"event": "rank_losses", "seconds": 1 + number / 10, "iteration": number, "losses": list(losses)}


def saved(number, what="snapshot", place=""):
    return {"event": "saved", "seconds": 3.0, "what": what, "iteration": number, "place": place}


def restart(number):
    return {"event": "restart", "seconds": 4.0, "iteration": number, "restarts": 1, "error": "rank 1 is lost"}


def end(number, outcome="finished", error=""):
    record = {"event": "end", "seconds": 9.0, "time": 1.7e9, "outcome": outcome, "iteration": number, "error": error}
    return {**record, "stopped": "", "restarts": 0}


def state_of(*records):
    state = RunState()
    for record in records:
        state.record(record)
    return state
