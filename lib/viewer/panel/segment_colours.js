/**
 * Gives every segment a colour: hidden parts of MONAI Label's panel fail on the segments of a stored SEG, which have none
 * there, and the page stays black until it is loaded again.
 */

const BLACK = [0, 0, 0, 255];

/** @param {{getSegmentations(): {config?: {segments?: Record<string, {color?: number[]}>}}[]}} service of OHIF */
export function register(service) {
  const original = service.getSegmentations;
  service.getSegmentations = function () {
    const segmentations = original.call(this);
    for (const { config } of segmentations) {
      for (const segment of Object.values(config?.segments ?? {})) segment.color ??= BLACK;
    }
    return segmentations;
  };
}
