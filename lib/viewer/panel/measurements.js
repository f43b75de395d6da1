/** What a reader measures with a ruler: lengths, and the long and short axis of a lesion (RECIST). */

/**
 * @typedef {'length' | 'bidirectional'} Kind
 * @typedef {'axial' | 'sagittal' | 'coronal'} Plane
 *
 * @typedef {object} Measurement as it is stored with a label
 * @property {Kind} kind
 * @property {Plane} plane
 * @property {Point3[]} points ends of the line, or of the long axis and then of the short one; LPS mm
 */

/** @type {readonly Measurement[]} */
export const NOTHING_MEASURED = [];
/** @type {Plane[]} by the axis of the patient that the plane looks along */
const PLANES = ['sagittal', 'coronal', 'axial'];
const SAMPLES = 21; // as on the server

/**
 * Return the plane that looks along a direction.
 *
 * @param {ArrayLike<number>} normal LPS
 */
export function planeAlong(normal) {
  const along = Array.from(normal, Math.abs);
  return PLANES[along.indexOf(Math.max(...along))];
}

/**
 * Return the length of each line, the longest first.
 *
 * @param {Pick<Measurement, 'points'>} measurement
 * @returns {number[]} mm
 */
export function lengthsOf({ points }) {
  const lengths = [];
  for (let n = 0; n + 1 < points.length; n += 2) {
    lengths.push(Math.hypot(...points[n].map((mm, axis) => mm - points[n + 1][axis])));
  }
  return lengths.sort((one, other) => other - one);
}

/**
 * Return whether the first line of a measurement has two ends; the server refuses others.
 *
 * @param {Pick<Measurement, 'points'>} measurement
 */
export function hasLength({ points: [from, to] }) {
  return from.some((mm, axis) => mm !== to[axis]);
}

/**
 * Describe a measurement.
 *
 * @param {Pick<Measurement, 'points'>} measurement
 */
export function measurementText(measurement) {
  const [long, short] = lengthsOf(measurement).map(mm => mm.toFixed(1));
  return short === undefined ? `${long} mm` : `${long} × ${short} mm`;
}

/**
 * Return points along the longest line, as `Measurement.samples` of the server: most of them say which lesion it is in.
 *
 * @param {Measurement} measurement
 * @returns {Point3[]} LPS mm, from end to end
 */
export function samplesOf({ points }) {
  const lines = points.flatMap((from, n) => (n % 2 ? [] : [[from, points[n + 1]]]));
  const length = (/** @type {Point3[]} */ line) => lengthsOf({ points: line })[0];
  const [from, to] = lines.reduce((longest, line) => (length(line) > length(longest) ? line : longest));
  return Array.from({ length: SAMPLES }, (_, n) => (
    /** @type {Point3} */ (from.map((mm, axis) => mm + (n / (SAMPLES - 1)) * (to[axis] - mm)))
  ));
}

/**
 * Return the middle of the longest line.
 *
 * @param {Measurement} measurement
 * @returns {Point3} LPS mm
 */
export function middleOf(measurement) {
  return samplesOf(measurement)[(SAMPLES - 1) / 2];
}

/**
 * Return whether two measurements are the same.
 *
 * @param {Measurement} one
 * @param {Measurement} other
 */
export function isSame(one, other) {
  return one.kind === other.kind && one.points.every((point, n) => point.every((mm, axis) => mm === other.points[n]?.[axis]));
}

/**
 * Return whether two lists have the same measurements; cornerstone has an order of its own.
 *
 * @param {readonly Measurement[]} some
 * @param {readonly Measurement[]} others
 */
export function areSame(some, others) {
  return some.length === others.length && some.every(one => others.some(other => isSame(one, other)));
}
