/**
 * Fixes OHIF's metadata of frame 1 of a multi-frame image.
 *
 * OHIF keeps one metadata record per image and overwrites it with the frame requested last. It reads frame 1 from that
 * record, so frame 1 got the position of another frame, and frames and masks were displaced by one slice.
 */

const ABOVE_OHIF = 10_000; // OHIF's own provider of metadata has 9999

export function register() {
  cornerstone.metaData.addProvider(ofFirstFrame, ABOVE_OHIF);
}

/**
 * @param {string} type of metadata
 * @param {unknown} imageId a string, unless another extension asks
 * @returns {object | undefined} undefined lets OHIF answer by itself
 */
function ofFirstFrame(type, imageId) {
  if (typeof imageId !== 'string' || !imageId.startsWith('wadors:') || !imageId.endsWith('/frames/1')) return undefined;
  // Another spelling of the same frame, for which OHIF has no record and therefore parses the frame number.
  const spelledOut = imageId.replace(/1$/, '01');
  const isMultiFrame = Number(cornerstone.metaData.get('instance', spelledOut)?.NumberOfFrames) > 1;
  return isMultiFrame ? cornerstone.metaData.get(type, spelledOut) : undefined;
}
