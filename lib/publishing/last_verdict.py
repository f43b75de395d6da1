"""The verdict on the last training that was completed, which a stopped one does not replace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lib.publishing.model_store import ModelStore
from lib.publishing.stores import SEGMENTATION


def last_verdict(stats: Mapping[str, Mapping[str, Any]], stores: Mapping[str, ModelStore]) -> str | None:
    """Return the reason of the last verdict; None before the first.

    Args:
        stats: Statistics of the last training of each model, whose verdict is missing while it runs and if it stopped.
        stores: Versions of each model, with their verdicts.
    """
    found = [*_of_trainings(stats, stores), *_of_versions(stores)]
    return max(found, default=(0.0, None), key=lambda one: one[0])[1]


def with_model(model: str, text: str) -> str:
    """Return a text with the name of the model, unless it is the automatic one."""
    return text if model == SEGMENTATION else f"{model}: {text}"


def _of_trainings(
    stats: Mapping[str, Mapping[str, Any]], stores: Mapping[str, ModelStore]
) -> Iterator[tuple[float, str]]:
    """Yield time and reason of each verdict in the statistics."""
    for model, one in stats.items():
        if "verdict" in one:
            yield one.get("updated", 0.0), with_model(model, _as_it_is_now(one["verdict"], one, stores.get(model)))


def _of_versions(stores: Mapping[str, ModelStore]) -> Iterator[tuple[float, str]]:
    """Yield time and reason of the verdict on the last version of each model that has one."""
    for model, store in stores.items():
        judged = [manifest for manifest in store.manifests() if manifest.get("verdict")]
        for manifest in judged[-1:]:
            yield manifest["time"], with_model(model, _as_it_is_now(manifest["verdict"], manifest, store))


def _as_it_is_now(verdict: Mapping[str, Any], of: Mapping[str, Any], store: ModelStore | None) -> str:
    """Return the reason, after a sentence if a person has put this version, or another one, into use since."""
    version, published, reason = of.get("version"), verdict.get("publish"), verdict["reason"]
    if store is None or version is None or published is None:
        return reason
    in_use = store.serving_version() == version
    if in_use == published:
        return reason
    state = "in use now, because a person chose it" if in_use else "no longer in use"
    return f"Version {version} is {state}. The result was: {reason}"
