/** The planes on the screen: which there are, where they look, how large they show it. */

const SMALLEST_FIELD_MM = 40; // what a plane shows of its height around a small finding
const CLOSEST_MM = 5;

/** Viewport of another study beside the scan, see side_by_side.js; nothing is edited there. */
export const OTHER_VIEWPORT = 'lunglabel-other';

/** @returns {CornerstoneViewport[]} the viewports that show the loaded volume of the scan */
export function shownViewports() {
  return allViewports().filter(viewport => viewport.id !== OTHER_VIEWPORT);
}

/** @returns {CornerstoneViewport[]} the viewports that show a loaded volume, that of another study included */
export function allViewports() {
  const ids = [...services.viewportGridService.getState().viewports.keys()];
  return ids
    .map(id => services.cornerstoneViewportService.getCornerstoneViewport(id))
    .filter(viewport => viewport?.getVolumeId?.());
}

/**
 * Return the series that a viewport shows.
 *
 * @param {string} viewportId
 * @returns {string | null} SeriesInstanceUID
 */
export function seriesIn(viewportId) {
  const uid = services.viewportGridService.getState().viewports.get(viewportId)?.displaySetInstanceUIDs?.[0];
  return (uid && services.displaySetService.getDisplaySetByUID(uid)?.SeriesInstanceUID) || null;
}

/** @returns {string | null} SeriesInstanceUID on the screen, once it is loaded as a volume */
export function activeSeries() {
  const { activeViewportId } = services.viewportGridService.getState();
  if (activeViewportId === OTHER_VIEWPORT) return null;
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(activeViewportId);
  const volumeId = viewport?.getVolumeId?.();
  return volumeId && cornerstone.cache.getVolume(volumeId) ? seriesIn(activeViewportId) : null;
}

/**
 * Move all planes to a point and zoom so that something of a given size is well visible around it.
 *
 * @param {Point3} point LPS mm
 * @param {number} extent mm
 */
export function zoomTo(point, extent) {
  const parallelScale = Math.max(2 * extent, SMALLEST_FIELD_MM) / 2;
  for (const viewport of shownViewports()) {
    const { focalPoint, position } = viewport.getCamera();
    const camera = /** @type {Point3} */ (point.map((mm, axis) => mm + position[axis] - focalPoint[axis]));
    viewport.setCamera({ focalPoint: point, position: camera, parallelScale });
    viewport.render();
  }
}

/**
 * Move a plane along its normal to a point; what it shows around it stays in its place.
 *
 * @param {CornerstoneViewport} viewport
 * @param {Point3} point LPS mm
 */
export function showSlice(viewport, point) {
  const { focalPoint, position, viewPlaneNormal: normal } = viewport.getCamera();
  const way = normal.reduce((sum, part, axis) => sum + part * (point[axis] - focalPoint[axis]), 0);
  const moved = (/** @type {Point3} */ from) => /** @type {Point3} */ (from.map((mm, axis) => mm + way * normal[axis]));
  viewport.setCamera({ focalPoint: moved(focalPoint), position: moved(position) });
  viewport.render();
}

/** Show the whole image in every plane, without leaving its slice. */
export function fitAll() {
  for (const viewport of shownViewports()) {
    viewport.resetCamera({ resetPan: true, resetZoom: true, resetToCenter: false });
    viewport.render();
  }
}

/**
 * Zoom one plane, with the point under the pointer at rest.
 *
 * @param {CornerstoneViewport} viewport
 * @param {number} factor over 1 enlarges
 * @param {[x: number, y: number]} pointer pixels of the viewport
 */
export function zoomBy(viewport, factor, pointer) {
  const { focalPoint, position, parallelScale } = viewport.getCamera();
  const scale = Math.max(parallelScale / factor, CLOSEST_MM);
  const fixed = viewport.canvasToWorld(pointer);
  const share = 1 - scale / parallelScale;
  const shift = focalPoint.map((mm, axis) => share * (fixed[axis] - mm));
  const moved = (/** @type {Point3} */ from) => /** @type {Point3} */ (from.map((mm, axis) => mm + shift[axis]));
  viewport.setCamera({ focalPoint: moved(focalPoint), position: moved(position), parallelScale: scale });
  viewport.render();
}
