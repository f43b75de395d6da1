/**
 * Lets OHIF know where frame 1 of a multi-frame image lies.
 *
 * OHIF keeps one record for an image and writes into it whatever frame it was asked for last. It knows frame 1 by that
 * record alone, so that frame 1 was sorted in at the place of another, and frames and masks lay one slice off.
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
  // The same frame by a name under which OHIF keeps no record, so that it reads the frame's number from the name.
  const spelledOut = imageId.replace(/1$/, '01');
  const isMultiFrame = Number(cornerstone.metaData.get('instance', spelledOut)?.NumberOfFrames) > 1;
  return isMultiFrame ? cornerstone.metaData.get(type, spelledOut) : undefined;
}
