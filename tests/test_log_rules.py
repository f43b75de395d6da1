"""What clients send cannot forge lines of the log, nor fill it."""

import io
import logging
import logging.handlers

import pytest

from lib.server.log_rules import OneLineFormatter, SparingFilter, apply_log_rules


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    logger = logging.Logger("lib.test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLineFormatter(logging.Formatter("[%(levelname)s] %(message)s")))
    logger.addHandler(handler)
    return logger, stream


def test_a_message_is_one_line(log):
    """Low: %0a in a path forges no line."""
    logger, stream = log
    logger.info("GET %s refused", "/x\n[INFO] All is well\r\x1b[2J\u2028y\x85")
    assert stream.getvalue().splitlines() == [r"[INFO] GET /x\n[INFO] All is well\r\x1b[2J\u2028y\x85 refused"]


def test_a_traceback_stays_readable_and_is_indented(log):
    """Low: the message of an exception forges no line either."""
    logger, stream = log
    try:
        raise ValueError("x\n[INFO] All is well")
    except ValueError:
        logger.exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first == "[ERROR] failed"
    assert "ValueError: x" in rest[-2]
    assert all(line.startswith("    ") for line in rest)


def test_the_same_over_and_over_is_told_a_few_times(log, monkeypatch):
    """S10: no flood; what was left out is counted."""
    now = [0.0]
    monkeypatch.setattr("lib.server.log_rules.time.monotonic", lambda: now[0])
    logger, stream = log
    logger.addFilter(SparingFilter())
    for number in range(500):
        logger.warning("Refused %d", number)
    logger.warning("Other")
    assert len(stream.getvalue().splitlines()) == 21
    now[0] = 61.0
    logger.warning("Refused %d", 500)
    assert stream.getvalue().splitlines()[-1] == "[WARNING] Refused 500 (and 480 more like it before)"


def test_one_handler_rotates_the_log_file(tmp_path):
    """S10: MONAI Label has two for one file, and each would rename it under the other."""
    root, task = logging.getLogger(), logging.getLogger("task_train")
    before = [(one, list(one.handlers), one.propagate) for one in (root, task)]
    try:
        for one, text in ((root, "[%(levelname)s] %(message)s"), (task, "%(message)s")):
            handler = logging.handlers.RotatingFileHandler(tmp_path / "app.log", maxBytes=2000, backupCount=3)
            handler.setFormatter(logging.Formatter(text))
            one.handlers, one.propagate = [handler], False
        apply_log_rules()
        assert root.handlers == task.handlers
        for number in range(200):
            (root, task)[number % 2].warning("line %d", number)
        lines = (tmp_path / "app.log.1").read_text().splitlines() + (tmp_path / "app.log").read_text().splitlines()
        assert lines[-2:] == ["[WARNING] line 198", "line 199"]
        assert [int(line.rpartition(" ")[2]) for line in lines] == list(range(200 - len(lines), 200))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["app.log", "app.log.1"]
    finally:
        for one, handlers, propagate in before:
            one.handlers, one.propagate = handlers, propagate
