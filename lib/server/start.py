"""The start of the server: what happens before its routes are there, and what it prints after that."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, NoReturn

from lib.errors import UserError
from lib.processes.parent_process import mark_as_server
from lib.processes.priority import start_shared_threads
from lib.publishing import ModelStore
from lib.publishing.adoption import missing_versions
from lib.server.log_rules import apply_log_rules
from lib.server.working_directory import use_safe_directories
from lib.settings import APP_DIR, Settings
from lib.storage.atomic import remove_leftovers

logger = logging.getLogger(__name__)


def exit_with_problems(error: UserError) -> NoReturn:
    """End the process with status 2 and the problems of ``error``; raised, it would print a page of traceback."""
    problems = "\n".join(f"  {problem}" for problem in str(error).splitlines())
    print(f"\nLungLabel cannot start:\n{problems}\n", file=sys.stderr, flush=True)
    os._exit(2)


def prepare_server(settings: Settings, models: ModelStore) -> None:
    """Set up the process of the server, and repair what an earlier one left unfinished."""
    mark_as_server()
    start_shared_threads()
    remove_leftovers(settings.workspace)
    models.recover()
    _warn_about_former_versions(settings, models)
    apply_log_rules()
    use_safe_directories(APP_DIR, settings.temporary_dir)
    logger.info("Studies: %s", settings.studies)
    logger.info("Workspace (labels, segs and models are precious, cache is not): %s", settings.workspace)


def print_welcome(settings: Settings, status: dict[str, Any], address: str, warning: str | None) -> None:
    """Print where the server is and what it serves.

    Args:
        settings: Of this run.
        status: Of the datastore.
        address: Of the server on this machine.
        warning: What has to be said of a server that others can reach.
    """
    print(
        f"\n  LungLabel serves {status['total']} usable CT series ({status['left_out']} left out) of"
        f" {settings.studies}\n  OHIF:    {address}/ohif/\n  Status:  {address}/status\n  Slicer:  {address}"
        f"\n  Labels:  {settings.labels_dir}"
        '\n  Web pages of other sites may not use this server, whatever "Allow Origins" above says.'
        "\n  Research use only, not a medical device.\n",
        flush=True,
    )
    if warning:
        print(f"  WARNING: {warning}\n", file=sys.stderr, flush=True)
        logger.warning("%s", warning)


def _warn_about_former_versions(settings: Settings, models: ModelStore) -> None:
    """Warn where the app's folder has versions, as earlier releases kept them there."""
    folder = settings.model_dir
    if left := missing_versions(models, folder):
        logger.warning(
            "%s has %d model version(s) of an earlier release, which are not used. Take them over: "
            "python main.py models --workspace %s --adopt %s",
            *(folder, len(left), settings.workspace, folder),
        )
