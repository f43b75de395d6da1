"""Finished inferences on whole scans, so that the same request is answered without computing it again."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
import SimpleITK as sitk

from lib.configs.lung_tumor import LungTumor
from lib.datastore.fingerprint import fingerprint_of
from lib.datastore.predictions import Prediction
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.inference.weights_source import WeightsSource
from lib.infers.result_file import check_extension, write_result
from lib.settings import InferenceOptions

logger = logging.getLogger(__name__)

_MOST = 10_000  # answers; each has a few kB


class FinishedInferences:
    """Inferences that this server has computed, by image, content of its files, weights and settings. Thread-safe.

    The masks are in the `PredictionStore`, which also tells what a user changed in one. Which of them are still valid
    is known in memory only: after an update of the app, the same weights may give another mask.

    Args:
        datastore: Images and kept predictions.
        weights: Source of the weights in use.
        defaults: ``config.infer`` of ``info.yaml``.
        results: Folder for result files until they are sent.
    """

    def __init__(
        self, datastore: SeriesDatastore, weights: WeightsSource, defaults: Mapping[str, Any], results: Path
    ) -> None:
        self._datastore = datastore
        self._weights = weights
        self._defaults = defaults
        self._results = results
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, tuple[Prediction, dict[str, Any]]] = OrderedDict()  # with what was answered

    def key(self, request: Mapping[str, Any]) -> Hashable | None:
        """Return what the answer to a request depends on; None if it is not kept.

        Args:
            request: Validated request for an image of the datastore. Attention maps and outlines of clicks are not
                kept.
        """
        if request["model"] != LungTumor.NAME or {**self._defaults, **request}["attention"]:
            return None
        weights = self._weights.current()
        if weights.path is None:
            return None
        try:
            fingerprint = fingerprint_of(self._datastore.series(request["image"]), self._datastore.client)
        except (UserError, requests.RequestException):  # the image cannot be used, or a PACS does not respond
            return None
        return request["image"], fingerprint, weights, *self._settings(request).items()

    def __contains__(self, key: Hashable) -> bool:
        """Return whether an inference is finished."""
        with self._lock:
            return key in self._found

    def keep(self, key: Hashable | None, request: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keep the mask of an inference, to determine later what a user changed in it, and to answer it again.

        Args:
            key: Return value of `key` before the inference. If it is another one now, the answer is not given again.
            request: The request.
            result: Its result; attention maps and answers without a file are not kept.
        """
        if not result.get("file") or {**self._defaults, **request}["attention"]:
            return
        answer = result["params"]
        prediction = self._datastore.keep_prediction(
            request["image"],
            Path(result["file"]),
            model_version=answer["model_version"],
            client_id=request.get("client_id"),
            settings=self._settings(request),
            findings=answer["findings"],
        )
        if prediction is None or key is None or key != self.key(request):
            return
        with self._lock:
            self._found[key] = prediction, {name: value for name, value in answer.items() if name != "latencies"}
            while len(self._found) > _MOST:
                self._found.popitem(last=False)

    def result(self, key: Hashable, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the result of a finished inference, with a file of its own as this request wants it.

        Args:
            key: Return value of `key` for the request.
            request: The request.

        Returns:
            None if it is not finished, or its mask was evicted or damaged.

        Raises:
            UserError: The format of the file is unknown.
        """
        check_extension(dict(request))
        with self._lock:
            prediction, answer = self._found.get(key, (None, {}))
        if prediction is None:
            return None
        prediction, mask = self._for_client(prediction, request.get("client_id"))
        with self._lock:
            if mask is None:
                self._found.pop(key, None)
                return None
            self._found[key] = prediction, answer  # the file that is evicted last
        file = str(write_result(mask, dict(request), self._results))
        return {"file": file, "label": file, "tag": "original", "params": dict(answer)}

    def _for_client(self, kept: Prediction, client_id: str | None) -> tuple[Prediction, sitk.Image | None]:
        """Return a prediction as the latest one that a client requested, and its mask; None if it cannot be used."""
        prediction, store = replace(kept, client_id=client_id), self._datastore.predictions
        try:
            mask = store.read(kept)
            if mask is not None:
                store.keep(prediction, mask)
        except Exception as error:  # of a cache: the mask is computed again
            logger.warning("The kept prediction of %s cannot be used: %s", kept.image_id, error)
            return prediction, None
        return prediction, mask

    def _settings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        names = sorted(self._defaults.keys() - InferenceOptions.WITHOUT_EFFECT_ON_MASKS)
        return {name: {**self._defaults, **request}[name] for name in names}
