"""Server start: preparation of the process before the routes exist, and the welcome message."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
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
    """Print the problems of ``error`` and exit with status 2; an exception would print a long traceback."""
    problems = "\n".join(f"  {problem}" for problem in str(error).splitlines())
    print(f"\nLungLabel cannot start:\n{problems}\n", file=sys.stderr, flush=True)
    os._exit(2)


def prepare_server(settings: Settings, stores: Sequence[ModelStore]) -> None:
    """Set up the server process, and repair the unfinished state of a killed one.

    Args:
        settings: Settings of this run.
        stores: Stores of the versions of all models, that of the automatic one first.
    """
    mark_as_server()
    start_shared_threads()
    remove_leftovers(settings.workspace)
    for store in stores:
        store.recover()
    _warn_about_former_versions(settings, stores[0])
    apply_log_rules()
    use_safe_directories(APP_DIR, settings.temporary_dir)


def print_welcome(settings: Settings, status: dict[str, Any], address: str, warning: str | None) -> None:
    """Print the URLs of the server and a summary of the studies, and log from now on; see ``lib/cli/monailabel.sh``.

    Args:
        settings: Settings of this run.
        status: Status of the datastore.
        address: URL of the server on this machine.
        warning: Warning if the server is reachable from other machines.
    """
    print(
        f"\n  OHIF:    {address}/ohif/\n  Status:  {address}/status\n  Slicer:  {address}"
        f"\n  Labels:  {settings.labels_dir}\n  {status['total']} usable CT series ({status['left_out']} excluded) of"
        f" {settings.studies}"
        '\n  Web pages of other sites cannot use this server, regardless of "Allow Origins" above.'
        "\n  Research use only, not a medical device.\n",
        flush=True,
    )
    logging.disable(logging.NOTSET)
    logger.info("Studies: %s", settings.studies)
    logger.info("Workspace (back up labels, segs and models; cache can be deleted): %s", settings.workspace)
    if warning:
        print(f"  WARNING: {warning}\n", file=sys.stderr, flush=True)
        logger.warning("%s", warning)


def _warn_about_former_versions(settings: Settings, models: ModelStore) -> None:
    """Warn if the app's folder has model versions, which earlier releases stored there."""
    folder = settings.model_dir
    if left := missing_versions(models, folder):
        logger.warning(
            "%s has %d model version(s) of an earlier release, which are not used. To import them: "
            "python main.py models --workspace %s --adopt %s",
            *(folder, len(left), settings.workspace, folder),
        )
