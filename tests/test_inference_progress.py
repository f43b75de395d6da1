"""The progress of running inferences, which the panel shows."""

import threading

from lib.server.inference_progress import InferenceProgress


def test_share_of_the_running_inference_only():
    called = []
    progress = InferenceProgress(lambda done, total: called.append((done, total)))
    progress.before_pass(1, 4)  # of an inference that nobody asked for
    with progress.running(None):
        progress.before_pass(1, 4)
    assert progress.share("a") is None
    with progress.running("a"):
        assert progress.share("a") == 0
        progress.before_pass(2, 8)
        assert progress.share("a") == 0.25
        assert progress.share("b") is None
    assert progress.share("a") is None
    assert called == [(1, 4), (1, 4), (2, 8)]


def test_two_threads_do_not_mix_their_images():
    progress = InferenceProgress()

    def other() -> None:
        with progress.running("b"):
            progress.before_pass(3, 4)
            seen.append((progress.share("a"), progress.share("b")))

    seen = []
    with progress.running("a"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(timeout=60)
        progress.before_pass(1, 4)
        assert seen == [(0, 0.75)]
        assert progress.share("a") == 0.25


def test_share_is_forgotten_after_a_failure():
    progress = InferenceProgress()
    try:
        with progress.running("a"):
            raise MemoryError
    except MemoryError:
        pass
    assert progress.share("a") is None
