"""A tracker that keeps what it is sent, and can be told to fail; registered as `fake`."""

from boardgame_sae.model.trackers.tracker import tracker


class Service:
    """Everything that runs of the tracker were sent, by the run's id."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.opened, self.rows, self.finished, self.failing, self.lines = [], {}, [], set(), 0

    def steps(self, run_id) -> list:
        return [step for step, _ in self.rows[run_id]]


SERVICE = Service()


class FakeRun:
    def __init__(self, run_id) -> None:
        self.id = run_id

    def log(self, metrics, step=None):
        SERVICE.lines += 1
        if "log" in SERVICE.failing or SERVICE.lines in SERVICE.failing:
            raise OSError("no network")
        SERVICE.rows[self.id].append((step, metrics))

    def finish(self):
        print("finished")
        if "finish" in SERVICE.failing:
            raise OSError("no network")
        SERVICE.finished.append(self.id)


@tracker("fake", library="json")
def open_run(library, run):
    assert library.__name__ == "json"
    print("opened")
    if "open" in SERVICE.failing:
        raise OSError("no network")
    SERVICE.opened.append(run)
    SERVICE.rows.setdefault(run.id, [])
    return FakeRun(run.id)


@tracker("absent", library="a_library_that_is_not_installed")
def open_absent(library, run):
    raise AssertionError("is never opened")
