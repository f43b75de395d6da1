"""Clients cannot inject lines into the log or flood it."""

import io
import logging
import logging.handlers
import threading

import pytest

from lib.dicomweb.shared_uids import shared_uids
from lib.errors import UserError
from lib.server.log_rules import OneLineFormatter, RateLimitFilter, apply_log_rules


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    logger = logging.Logger("lib.test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLineFormatter(logging.Formatter("[%(levelname)s] %(message)s")))
    logger.addHandler(handler)
    return logger, stream


def test_low_message_is_one_line(log):
    """Low: %0a in a path does not start a new line."""
    logger, stream = log
    logger.info("GET %s refused", "/x\n[INFO] All is well\r\x1b[2J\u2028y\x85")
    assert stream.getvalue().splitlines() == [r"[INFO] GET /x\n[INFO] All is well\r\x1b[2J\u2028y\x85 refused"]


def test_low_traceback_is_indented(log):
    """Low: the message of an exception does not start an unindented line."""
    logger, stream = log
    try:
        raise ValueError("x\n[INFO] All is well")
    except ValueError:
        logger.exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first == "[ERROR] failed"
    assert "ValueError: x" in rest[-2]
    assert all(line.startswith("    ") for line in rest)


def test_s10_repeated_messages_are_limited(log, monkeypatch):
    """S10: suppressed messages are counted."""
    now = [0.0]
    monkeypatch.setattr("lib.server.log_rules.time.monotonic", lambda: now[0])
    logger, stream = log
    logger.addFilter(RateLimitFilter())
    for number in range(500):
        logger.warning("Refused %d", number)
    logger.warning("Other")
    assert len(stream.getvalue().splitlines()) == 21
    now[0] = 61.0
    logger.warning("Refused %d", 500)
    assert stream.getvalue().splitlines()[-1] == "[WARNING] Refused 500 (and 480 more like it before)"


def test_s10_log_file_is_rotated_by_one_handler(tmp_path):
    """S10: MONAI Label has two handlers for one file, and each would rename it under the other."""
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


def test_s10_rate_limit_counts_are_thread_safe(monkeypatch):
    """S10: logger.warning() raised KeyError."""
    sparing = RateLimitFilter()

    class Counts(dict):
        def __setitem__(self, key: str, value: int) -> None:
            super().__setitem__(key, value)
            if value == 0 and len(others) < 1:  # before the first thread executes its next statement
                others.append(threading.Thread(target=admit, args=("other",)))
                others[0].start()
                others[0].join(0.3)

    def admit(text: str) -> None:
        sparing.filter(logging.LogRecord("lib", logging.INFO, "", 0, text, None, None))

    others: list[threading.Thread] = []
    sparing._count = Counts()
    sparing._since = dict.fromkeys(map(str, range(1000)), -1e9)
    admit("first")  # 1001 texts: the next one clears both dicts
    others[0].join(30)
    assert not others[0].is_alive()


PATIENTS = [("DOE^JANE", "O'Neil, 5"), ("4711", 'the "other"')]


@pytest.mark.parametrize("names", PATIENTS)
@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_s11_patients_are_not_named(log, names, level):
    """S11: neither in messages about series shared by several patients nor in tracebacks."""
    logger, stream = log
    keywords = {"StudyInstanceUID": "0020000D", "SeriesInstanceUID": "0020000E", "PatientID": "00100020"}

    def header(study: str, series: str, patient: str, modality: str = "CT") -> dict:
        values = zip((*keywords.values(), "00080060"), (study, series, patient, modality), strict=True)
        return {tag: {"vr": "LO", "Value": [value]} for tag, value in values}

    first, second = names
    problems = [
        *shared_uids([header("1", "1.1", first), header("2", "1.1", second)]).values(),
        *shared_uids([header("1", "1.1", first), header("1", "1.2", second)]).values(),
        *shared_uids([header("1", "1.1", first), header("1", "1.2", second, "SEG")]).values(),
    ]
    assert len(problems) == 4
    for problem in problems:
        try:
            raise UserError(f"Series 1.1 cannot be used: {problem}.")
        except UserError as error:
            logger.log(level, "GET %s refused: %s", "/x", error, exc_info=level == logging.ERROR)
    told = stream.getvalue()
    assert "cannot be used: images of several patients share its Series Instance UID" in told
    assert not [name for name in (*names, repr(first)[1:-1], repr(second)[1:-1]) if name in told]


def test_s11_search_values_are_masked(log):
    """S11: in the URL within an error of requests."""
    logger, stream = log
    logger.warning("Max retries exceeded with url: /studies?limit=1&PatientName=DOE%5EJ*&00100020=4711 (Caused by x)")
    assert stream.getvalue().rstrip().endswith("/studies?limit=1&PatientName=…&00100020=… (Caused by x)")
