"""Labels of phantoms, submitted as a client does."""

from __future__ import annotations

import requests

from lib.phantoms import DemoSeries

_TIMEOUT_SECONDS = 600


def put_truth(url: str, series: DemoSeries) -> None:
    """Submit the true mask of a phantom as its label."""
    with series.truth.open("rb") as file:
        answer = requests.put(
            f"{url}/datastore/label",
            params={"image": series.series_uid},
            files={"label": (series.truth.name, file)},
            timeout=_TIMEOUT_SECONDS,
        )
    answer.raise_for_status()
