"""Finished inferences on whole scans, so that the same request is answered without computing it again."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import requests
import SimpleITK as sitk
from monailabel.utils.others.generic import device_list

from lib.configs.lung_tumor import LungTumor
from lib.datastore.fingerprint import fingerprint_of
from lib.datastore.predictions import Prediction
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.inference.weights_source import WeightsId, WeightsSource
from lib.infers.lung_tumor import check_parameters
from lib.infers.result_file import write_result
from lib.settings import InferenceOptions

logger = logging.getLogger(__name__)

_MOST = 10_000  # answers; each has a few kB


class InferenceKey(NamedTuple):
    """What the mask of an inference depends on.

    Attributes:
        image: SeriesInstanceUID.
        fingerprint: That of its files.
        weights: The weights.
        settings: Name and value of each setting.
    """

    image: str
    fingerprint: str
    weights: WeightsId
    settings: tuple[tuple[str, Any], ...]


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
        self._found: OrderedDict[InferenceKey, tuple[Prediction, dict[str, Any]]] = OrderedDict()  # with the answer

    def key(self, request: Mapping[str, Any], volume: Path | None = None) -> InferenceKey | None:
        """Return what the answer to a request depends on; None if it is not kept.

        Args:
            request: Validated request for an image of the datastore. Attention maps and outlines of clicks are not
                kept.
            volume: The volume in the cache that is segmented; None for that of the present files of the image.
        """
        if request["model"] != LungTumor.NAME or {**self._defaults, **request}["attention"]:
            return None
        weights = self._weights.current()
        if weights.path is None:
            return None
        if volume is not None:
            fingerprint = volume.parent.name
        else:
            try:
                fingerprint = fingerprint_of(self._datastore.series(request["image"]), self._datastore.client)
            except (UserError, requests.RequestException):  # the image cannot be used, or a PACS does not respond
                return None
        return InferenceKey(request["image"], fingerprint, weights, tuple(self._settings(request).items()))

    def __contains__(self, key: InferenceKey) -> bool:
        """Return whether an inference is finished."""
        with self._lock:
            return key in self._found

    def keep(
        self, key: InferenceKey | None, request: Mapping[str, Any], result: Mapping[str, Any], volume: Path
    ) -> None:
        """Keep the mask of an inference, to determine later what a user changed in it, and to answer it again.

        Args:
            key: Return value of `key` for this volume before the inference. If other weights are in use now, or were
                meanwhile, the answer is not given again.
            request: The request.
            result: What the infer task returned; attention maps and answers without a file are not kept.
            volume: The volume in the cache that was segmented.
        """
        if not result.get("file") or {**self._defaults, **request}["attention"]:
            return
        answer = result["params"]
        prediction = self._datastore.keep_prediction(
            request["image"],
            Path(result["file"]),
            volume,
            model_version=answer["model_version"],
            client_id=request.get("client_id"),
            settings=self._settings(request),
            findings=answer["findings"],
        )
        if prediction is None or key is None or key != self.key(request, volume):
            return
        if answer["model_version"] != key.weights.version:
            return
        with self._lock:
            self._found[key] = prediction, {name: value for name, value in answer.items() if name != "latencies"}
            while len(self._found) > _MOST:
                self._found.popitem(last=False)

    def result(self, key: InferenceKey, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the result of a finished inference, with a file of its own as this request wants it.

        Args:
            key: Return value of `key` for the request.
            request: The request.

        Returns:
            What the infer task returned; None if it is not finished, or its mask was evicted or damaged.

        Raises:
            UserError: The request is invalid.
        """
        check_parameters(request, device_list())
        with self._lock:
            prediction, answer = self._found.get(key, (None, {}))
        if prediction is None:
            return None
        mask = self._mask(prediction)
        if mask is None:
            with self._lock:
                self._found.pop(key, None)
            return None
        prediction = self._for_client(prediction, mask, request.get("client_id"))
        with self._lock:
            self._found[key] = prediction, answer  # the file that is evicted last
        file = str(write_result(mask, dict(request), self._results))
        return {"file": file, "label": file, "tag": "original", "params": {**answer}}

    def _mask(self, kept: Prediction) -> sitk.Image | None:
        try:
            return self._datastore.predictions.read(kept)
        except Exception as error:  # of a cache: the mask is computed again
            logger.warning("The kept prediction of %s cannot be used: %s", kept.image_id, error)
            return None

    def _for_client(self, kept: Prediction, mask: sitk.Image, client_id: str | None) -> Prediction:
        """Store a prediction as the latest one that a client requested, and return it; the former if that fails."""
        prediction = replace(kept, client_id=client_id)
        try:
            self._datastore.predictions.keep(prediction, mask)
        except Exception as error:  # a full disk must not fail the request for the mask
            logger.warning("The prediction of %s could not be stored for comparison: %s", kept.image_id, error)
            return kept
        return prediction

    def _settings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        names = sorted(self._defaults.keys() - InferenceOptions.WITHOUT_EFFECT_ON_MASKS)
        return {name: {**self._defaults, **request}[name] for name in names}
