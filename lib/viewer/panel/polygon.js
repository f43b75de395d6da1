/** The pixels inside of a polygon. */

/**
 * Return the pixels whose centre is inside of a polygon; where it crosses itself, by the even-odd rule.
 *
 * @param {[x: number, y: number][]} corners pixel centres are at integers; the last corner is joined to the first
 * @param {[width: number, height: number]} size of the image
 * @returns {[x: number, y: number][]}
 */
export function pixelsInside(corners, [width, height]) {
  /** @type {[number, number][]} */
  const inside = [];
  const lines = corners.map(([, y]) => y);
  const first = Math.max(Math.ceil(Math.min(...lines)), 0);
  const last = Math.min(Math.floor(Math.max(...lines)), height - 1);
  for (let y = first; y <= last; y++) {
    const crossings = crossingsOf(corners, y);
    for (let n = 0; n + 1 < crossings.length; n += 2) {
      const end = Math.min(crossings[n + 1], width - 1);
      for (let x = Math.max(Math.ceil(crossings[n]), 0); x <= end; x++) inside.push([x, y]);
    }
  }
  return inside;
}

/**
 * @param {[number, number][]} corners
 * @param {number} y
 * @returns {number[]} places at which the border crosses a line, ascending
 */
function crossingsOf(corners, y) {
  const crossings = [];
  for (let n = 0; n < corners.length; n++) {
    const [[x0, y0], [x1, y1]] = [corners[n], corners[(n + 1) % corners.length]];
    if ((y0 <= y) !== (y1 <= y)) crossings.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
  }
  return crossings.sort((one, other) => one - other);
}
