/** Thin lines over a viewport: the preview of an outline, the trail of a drag, the outline of a stored mask. */

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @typedef {[number, number]} Pixel of a viewport
 * @typedef {[from: [number, number], to: [number, number]]} Edge between two corners of pixels of a mask
 */

const MOST_PIXELS = 2 ** 20; // along an axis
/** @type {WeakMap<[number, number][], Edge[]>} by the pixels of a mask in a section */
const edges = new WeakMap();

/** Lines over one viewport at a time. */
export class Outline {
  /** @type {SVGSVGElement | null} */
  #svg = null;

  /** @param {string} kind classes of the lines */
  constructor(kind = '') {
    this.kind = kind;
  }

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
    this.#svg.setAttribute('class', `lunglabel-outline ${this.kind}`);
    this.#svg.append(path);
    viewport.element.append(this.#svg);
  }
}

/**
 * Return the border of a mask in the plane of a viewport.
 *
 * @param {(axis: number, number: number) => [number, number][]} section returns the pixels of the mask in a section of the
 *   volume across an axis, as places along the other two
 * @param {LabelmapVolume['imageData']} imageData maps voxels to mm
 * @param {CornerstoneViewport} viewport
 * @param {Point3} voxel in the plane
 * @returns {Pixel[][]} a line for each side of a voxel on the border; none if the plane is oblique to the volume
 */
export function borderIn(section, imageData, viewport, voxel) {
  const across = axisAcross(imageData, viewport.getCamera().viewPlaneNormal);
  if (across < 0) return [];
  const [u, v] = [0, 1, 2].filter(axis => axis !== across);
  const pixel = pixelsOf(imageData, viewport, [u, v, across], voxel);
  return edgesOf(section(across, voxel[across])).map(([from, to]) => [pixel(...from), pixel(...to)]);
}

/**
 * Return the sides of the pixels of a mask that are on its border, from corner to corner.
 *
 * They are kept with the pixels: a stored mask is drawn with every frame, and a large one has thousands of pixels.
 *
 * @param {[number, number][]} inside
 */
function edgesOf(inside) {
  const known = edges.get(inside);
  if (known) return known;
  const key = (/** @type {number} */ a, /** @type {number} */ b) => a * MOST_PIXELS + b;
  const keys = new Set(inside.map(([a, b]) => key(a, b)));
  /** @type {Edge[]} */
  const found = [];
  for (const [a, b] of inside) {
    if (!keys.has(key(a - 1, b))) found.push([[a, b], [a, b + 1]]);
    if (!keys.has(key(a + 1, b))) found.push([[a + 1, b], [a + 1, b + 1]]);
    if (!keys.has(key(a, b - 1))) found.push([[a, b], [a + 1, b]]);
    if (!keys.has(key(a, b + 1))) found.push([[a, b + 1], [a + 1, b + 1]]);
  }
  edges.set(inside, found);
  return found;
}

/**
 * Return a function from a corner of voxels to its pixel.
 *
 * @param {LabelmapVolume['imageData']} imageData
 * @param {CornerstoneViewport} viewport
 * @param {number[]} axes in the plane, and across it
 * @param {Point3} voxel in the plane
 * @returns {(a: number, b: number) => Pixel}
 */
function pixelsOf(imageData, viewport, [u, v, across], voxel) {
  /** @type {Point3} */
  const start = [-0.5, -0.5, -0.5];
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
 * Return the axis of the volume that a plane lies across.
 *
 * @param {LabelmapVolume['imageData']} imageData
 * @param {Point3} normal of the plane
 * @returns {number} axis of the volume along the normal; -1 if there is none
 */
export function axisAcross(imageData, normal) {
  return [0, 1, 2].findIndex(axis => Math.abs(shareAlong(imageData, axis, normal)) > 0.999);
}

/**
 * Return how much of a step along an axis of the volume is along a direction.
 *
 * @param {LabelmapVolume['imageData']} imageData
 * @param {number} axis
 * @param {Point3} direction of length 1
 * @returns {number} from -1 to 1
 */
export function shareAlong(imageData, axis, direction) {
  const origin = imageData.indexToWorld([0, 0, 0]);
  /** @type {Point3} */
  const step = [0, 0, 0];
  step[axis] = 1;
  const along = imageData.indexToWorld(step).map((mm, k) => mm - origin[k]);
  return along.reduce((sum, mm, k) => sum + mm * direction[k], 0) / Math.hypot(...along);
}
