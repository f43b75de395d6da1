"""Campaign that repeatedly kills the server, restarts it, and checks that nothing is lost."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests
import SimpleITK as sitk
import torch

from lib.publishing.model_store import PRETRAINED
from lib.storage.atomic import write_json
from tools.chaos import workloads
from tools.chaos.kills import Kill, kill
from tools.chaos.state_damage import Damaged, damage_state, unreported_damage
from tools.chaos.submissions import Submissions
from tools.support.processes import ServerProcess
from tools.support.sandbox import GRID, Sandbox
from tools.support.waiting import wait_for

_SERVER = ("server", "group")
_WORKLOADS = (  # with the processes that may be killed
    (workloads.saving, _SERVER),
    (workloads.training, (*_SERVER, "training")),
    (workloads.publishing_a_training, (*_SERVER, "training")),
    (workloads.publishing_an_upload, _SERVER),
)
_NOTICE_SECONDS = 300
_SHARE_DAMAGED = 0.4  # share of the starts before which files are damaged
_INTERRUPTED = "was interrupted"


class KillCampaign:
    """A series of kills on one workspace and one model folder.

    Args:
        folder: Folder for all files; ``summary.json`` is the result.
        kills: Number of kills.
        seed: Random seed of order, victims and delays.
        report: Called with a sentence after each kill.
    """

    def __init__(self, folder: Path, kills: int, seed: int, report: Callable[[str], None]) -> None:
        self._sandbox = Sandbox.build(folder)
        self._submissions = Submissions(self._sandbox)
        self._count = kills
        self._seed = seed
        self._report = report
        self._order = np.random.default_rng(seed).permutation([i % len(_WORKLOADS) for i in range(kills)])
        self._fingerprint = self._sandbox.studies_fingerprint()
        self._versions: dict[str, Any] = {}
        self._interruptions_logged = 0
        self._kills: list[dict[str, Any]] = []
        self._starts: list[float] = []
        self._damaged: Counter[str] = Counter()
        self._violations: list[str] = []
        self._begun = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Run until the number of kills is reached or an invariant is violated; return the summary."""
        try:
            self._run()
        except (AssertionError, RuntimeError, TimeoutError, requests.RequestException) as error:
            self._violate(f"{type(error).__name__}: {error}")
        return self._write_summary()

    def _run(self) -> None:
        last: Kill | None = None
        checked = False
        while not (checked and self._is_over()):
            damaged = self._damage()
            begun = time.monotonic()
            with self._sandbox.server(len(self._starts), views=1) as server:
                self._starts.append(time.monotonic() - begun)
                self._interruptions_logged = 0
                self._look_at(server, damaged)
                self._check(server, last)
                checked = True
                while not self._is_over():
                    last = self._strike(server)
                    checked = last.victim == "training"
                    if not checked:
                        break
                    self._check(server, last)

    def _damage(self) -> list[Damaged]:
        """Damage files before some of the starts."""
        rng = np.random.default_rng([self._seed, len(self._starts), 1])
        if not self._starts or rng.random() > _SHARE_DAMAGED:
            return []
        damaged = damage_state(self._sandbox, rng)
        self._damaged.update(one.kind for one in damaged)
        self._report(f"{len(damaged)} files damaged: {', '.join(f'{one.path.name} ({one.kind})' for one in damaged)}")
        return damaged

    def _look_at(self, server: ServerProcess, damaged: list[Damaged]) -> None:
        """Check that the server reports the damaged files, then restore the labels as from a backup."""
        if damaged:
            reported = requests.get(f"{server.url}/status/data", timeout=600).json()["damaged"]
            for problem in unreported_damage(self._sandbox, damaged, {one["file"] for one in reported}):
                self._violate(f"{problem}; log: {server.log}")
            for one in damaged:
                if one.is_label:
                    one.put_back()

    def _is_over(self) -> bool:
        return len(self._kills) >= self._count or bool(self._violations)

    def _strike(self, server: ServerProcess) -> Kill:
        number = len(self._kills)
        rng = np.random.default_rng([self._seed, number])
        work, victims = _WORKLOADS[self._order[number]]
        work(self._sandbox, server, self._submissions, rng)
        hit = kill(self._sandbox, server, victims, self._submissions, rng, self._versions.keys())
        self._submissions.on_their_way.clear()
        self._kills.append({"work": work.__name__, "victim": hit.victim, "phases": hit.phases})
        self._report(f"kill {number + 1} of {self._count}: {hit.victim} killed during {' and '.join(hit.phases)}")
        return hit

    def _check(self, server: ServerProcess, last: Kill | None) -> None:
        for problem in self._problems(server, last):
            self._violate(f"{problem}; log: {server.log}")
        self._write_summary()

    def _violate(self, problem: str) -> None:
        hit = f"after kill {len(self._kills)} {self._kills[-1]}" if self._kills else "before the first kill"
        self._violations.append(f"seed {self._seed}, {hit}: {problem}")
        self._report(f"VIOLATION {self._violations[-1]}")

    def _problems(self, server: ServerProcess, last: Kill | None) -> Iterator[str]:
        """Yield the violated invariants."""
        yield from self._submissions.problems(server.url)
        if self._sandbox.studies_fingerprint() != self._fingerprint:
            yield "the DICOM folder was changed"
        serving = requests.get(f"{server.url}/info/", timeout=600).json()["model_version"]
        versions = self._sandbox.versions()
        new = versions.keys() - self._versions.keys()
        yield from (
            f"version {name} is missing or changed"
            for name, file in self._versions.items()
            if versions.get(name) != file
        )
        yield from (
            f"version {name} cannot be loaded" for name in new if not _loads(self._sandbox.models.weights(name))
        )
        self._versions = versions
        if serving not in {PRETRAINED, *versions}:
            yield f"the model in use is {serving}, which does not exist"
        if last and serving != last.serving and serving not in new:
            yield f"{last.serving} was in use, now {serving} is"
        if last and last.interrupted:
            try:
                wait_for(
                    lambda: server.log_text().count(_INTERRUPTED) > self._interruptions_logged,
                    "the log of an interrupted training",
                    seconds=_NOTICE_SECONDS,
                )
            except TimeoutError:
                yield "a training was interrupted and the log does not mention it"
        self._interruptions_logged = server.log_text().count(_INTERRUPTED)
        yield from self._problems_of_inference(server)

    def _problems_of_inference(self, server: ServerProcess) -> Iterator[str]:
        answer = requests.post(
            f"{server.url}/infer/lung_tumor",
            params={"image": self._sandbox.images[0], "output": "image"},
            data={"params": '{"result_extension": ".nrrd"}'},
            timeout=600,
        )
        path = self._sandbox.folder / "mask.nrrd"
        path.write_bytes(answer.content)
        if answer.status_code != 200:
            yield f"the model in use gives no mask: {answer.text[:300]}"
        elif sitk.ReadImage(str(path)).GetSize() != GRID.shape[::-1]:
            yield "the mask is not on the grid of its image"

    def _write_summary(self) -> dict[str, Any]:
        """Write the summary so far, so that a long run can be followed; return it."""
        summary = {
            "seed": self._seed,
            "kills": len(self._kills),
            "kills_by_phase": Counter(phase for hit in self._kills for phase in hit["phases"]),
            "kills_by_victim": Counter(hit["victim"] for hit in self._kills),
            "labels_accepted": len(self._submissions.accepted),
            "labels_kept": self._submissions.stored(),
            "versions": len(self._versions),
            "restarts": len(self._starts) - 1,
            "longest_start_seconds": round(max(self._starts, default=0), 1),
            "leftover_files": self._sandbox.leftovers(),
            "files_damaged": self._damaged,
            "violations": self._violations,
            "seconds": round(time.monotonic() - self._begun),
            "machine": f"{platform.system()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}",
            "each": self._kills,
        }
        write_json(self._sandbox.folder / "summary.json", summary)
        return summary


def _loads(weights: Path) -> bool:
    try:
        return bool(torch.load(weights, weights_only=True, map_location="cpu"))
    except Exception:  # torch raises many types on broken files
        return False
