"""HTTP response with a DICOM object."""

from __future__ import annotations

import io

from fastapi.responses import Response
from pydicom import Dataset


def dicom_response(dataset: Dataset) -> Response:
    """Return a DICOM object as a file download, named by its SOPInstanceUID."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, write_like_original=False)
    headers = {"Content-Disposition": f'attachment; filename="{dataset.SOPInstanceUID}.dcm"'}
    return Response(buffer.getvalue(), media_type="application/dicom", headers=headers)
