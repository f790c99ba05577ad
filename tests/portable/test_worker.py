"""Check the background worker: order, slices, bounded queue, and the place for urgent work."""

from fakes import FakeHAL, Loop

from element.crypto.worker import JOBS_MAX, Worker


class Job:
    """Finish after `slices` steps; note every step."""

    def __init__(self, name, slices, log):
        self.name = name
        self.left = slices
        self.log = log

    def step(self):
        self.log.append(self.name)
        self.left -= 1
        return self.left == 0


def bench():
    hal = FakeHAL()
    worker = Worker(hal)
    loop = Loop(hal)
    loop.add(worker.run())
    return hal, worker, loop


def test_jobs_run_in_order_one_after_the_other():
    _, worker, loop = bench()
    log = []
    done = []
    for name in "abc":
        assert worker.submit(Job(name, 3, log), lambda job: done.append(job.name))
    loop.run_until(2000)
    assert log == list("aaabbbccc") and done == list("abc") and worker.done_count == 3


def test_it_gives_way_after_every_slice():
    hal, worker, loop = bench()
    log = []

    async def other():
        while True:
            log.append(".")
            await hal.sleep_ms(0 if len(log) < 40 else 1000)

    loop.add(other())
    worker.submit(Job("x", 10, log), lambda job: None)
    loop.run_until(1001)
    text = "".join(log)
    assert text.count("x") == 10 and "xx" not in text


def test_a_job_submitted_while_it_sleeps_wakes_it():
    _hal, worker, loop = bench()
    log = []
    loop.run_until(30_000)
    worker.submit(Job("x", 1, log), lambda job: None)
    loop.run_until(30_001)
    assert log == ["x"]


def test_the_queue_is_bounded_and_counts():
    _, worker, loop = bench()
    log = []
    for _ in range(JOBS_MAX):
        assert worker.submit(Job("x", 1, log), lambda job: None)
    assert not worker.submit(Job("y", 1, log), lambda job: None)
    assert worker.refused_count == 1
    loop.run_until(2000)
    assert worker.submit(Job("y", 1, log), lambda job: None)


def test_what_can_be_asked_again_leaves_room():
    _, worker, loop = bench()
    log = []
    accepted = 0
    for _ in range(JOBS_MAX):
        accepted += worker.submit(Job("x", 1, log), lambda job: None, 8)
    assert accepted == JOBS_MAX - 8
    assert worker.submit(Job("y", 1, log), lambda job: None)
    loop.run_until(2000)
    assert len(log) == JOBS_MAX - 7


def test_a_job_may_submit_the_next():
    _, worker, loop = bench()
    log = []
    worker.submit(Job("a", 2, log), lambda job: worker.submit(Job("b", 1, log), lambda b: None))
    loop.run_until(2000)
    assert log == ["a", "a", "b"]


def test_urgent_work_waits_for_a_slice_and_not_for_the_queue():
    _, worker, loop = bench()
    log = []

    class Asking(Job):
        def step(self):
            finished = Job.step(self)
            if self.left == 5:
                worker.urgent(lambda: log.append("URGENT"))
            return finished

    worker.submit(Asking("a", 8, log), lambda job: None)
    for _ in range(JOBS_MAX - 1):
        worker.submit(Job("b", 3, log), lambda job: None)
    loop.run_until(2000)
    assert log.index("URGENT") == 3 and log.count("URGENT") == 1


def test_urgent_work_runs_with_an_empty_queue_and_asked_twice_once():
    _, worker, loop = bench()
    log = []
    loop.run_until(5000)
    worker.urgent(lambda: log.append("old"))
    worker.urgent(lambda: log.append("new"))
    loop.run_until(5001)
    assert log == ["new"]


def test_a_job_that_raises_ends_the_task_so_that_supervision_sees_it():
    _, worker, loop = bench()

    class Bad:
        def step(self):
            raise ValueError("defect")

    worker.submit(Bad(), lambda job: None)
    loop.run_until(2000)
    assert len(loop.failures) == 1
