/** Thin lines over a viewport: the preview of an outline, and the trail of a drag. */

import { maskOf } from './click_region.js';

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {[number, number]} Pixel of a viewport */

/** Lines over one viewport at a time. */
export class Outline {
  /** @type {SVGSVGElement | null} */
  #svg = null;

  clear() {
    this.#svg?.remove();
    this.#svg = null;
  }

  /**
   * Draw lines, instead of those drawn before.
   *
   * @param {CornerstoneViewport} viewport
   * @param {Pixel[][]} lines
   */
  draw(viewport, lines) {
    this.clear();
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', lines.map(line => `M${line.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}`).join(''));
    this.#svg = document.createElementNS(SVG, 'svg');
    this.#svg.classList.add('lunglabel-outline');
    this.#svg.append(path);
    viewport.element.append(this.#svg);
  }
}

/**
 * Return the border of a region's mask in the plane of a viewport.
 *
 * @param {import('./click_region.js').Region} region
 * @param {LabelmapVolume['imageData']} imageData maps voxels to mm
 * @param {CornerstoneViewport} viewport
 * @param {Point3} voxel in the plane
 * @returns {Pixel[][]} a line for each side of a voxel on the border; none if the plane is oblique to the volume
 */
export function borderIn(region, imageData, viewport, voxel) {
  const across = axisAcross(imageData, viewport.getCamera().viewPlaneNormal);
  if (across < 0) return [];
  const mask = maskOf(region);
  const [columns, rows] = region.size;
  const strides = [1, columns, columns * rows];
  const [u, v] = [0, 1, 2].filter(axis => axis !== across);
  const level = voxel[across] - region.offset[across];
  if (level < 0 || level >= region.size[across]) return [];
  const inside = (/** @type {number} */ a, /** @type {number} */ b) =>
    a >= 0 && b >= 0 && a < region.size[u] && b < region.size[v]
    && mask[a * strides[u] + b * strides[v] + level * strides[across]] > 0;
  const pixel = pixelsOf(region.offset, imageData, viewport, [u, v, across], voxel);
  /** @type {Pixel[][]} */
  const lines = [];
  for (let b = 0; b <= region.size[v]; b++) {
    for (let a = 0; a <= region.size[u]; a++) {
      if (inside(a, b) !== inside(a - 1, b)) lines.push([pixel(a, b), pixel(a, b + 1)]);
      if (inside(a, b) !== inside(a, b - 1)) lines.push([pixel(a, b), pixel(a + 1, b)]);
    }
  }
  return lines;
}

/**
 * Return a function from a corner of voxels, counted from a region's first one, to its pixel.
 *
 * @param {Point3} offset of the region
 * @param {LabelmapVolume['imageData']} imageData
 * @param {CornerstoneViewport} viewport
 * @param {number[]} axes in the plane, and across it
 * @param {Point3} voxel in the plane
 * @returns {(a: number, b: number) => Pixel}
 */
function pixelsOf(offset, imageData, viewport, [u, v, across], voxel) {
  const start = /** @type {Point3} */ (offset.map(first => first - 0.5));
  start[across] = voxel[across];
  const at = (/** @type {number} */ a, /** @type {number} */ b) => {
    const index = /** @type {Point3} */ ([...start]);
    index[u] += a;
    index[v] += b;
    return viewport.worldToCanvas(imageData.indexToWorld(index));
  };
  const [[x, y], [ux, uy], [vx, vy]] = [at(0, 0), at(1, 0), at(0, 1)]; // a parallel projection
  return (a, b) => [x + a * (ux - x) + b * (vx - x), y + a * (uy - y) + b * (vy - y)];
}

/**
 * @param {LabelmapVolume['imageData']} imageData
 * @param {Point3} normal of the plane
 * @returns {number} axis of the volume along the normal; -1 if there is none
 */
function axisAcross(imageData, normal) {
  const origin = imageData.indexToWorld([0, 0, 0]);
  return [[1, 0, 0], [0, 1, 0], [0, 0, 1]].findIndex(step => {
    const along = imageData.indexToWorld(/** @type {Point3} */ (step)).map((mm, k) => mm - origin[k]);
    const share = along.reduce((sum, mm, k) => sum + mm * normal[k], 0) / Math.hypot(...along);
    return Math.abs(share) > 0.999;
  });
}
