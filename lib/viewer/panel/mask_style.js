/** How the mask is drawn over the image: colour, opacity, outline; the same in every plane, remembered. */

import { SEGMENTATION_ID } from './labelmap.js';

const KEY = 'lunglabel.mask';
const MASK = { segmentationId: SEGMENTATION_ID, type: 'Labelmap' };

/**
 * Colours that differ in lightness, too, and are told apart with any colour vision (Okabe and Ito, 2008); none is that of
 * a crosshair.
 *
 * @type {Record<string, [red: number, green: number, blue: number]>}
 */
export const COLOURS = {
  'sky blue': [86, 180, 233],
  orange: [230, 159, 0],
  purple: [204, 121, 167],
  white: [255, 255, 255],
};

/**
 * @typedef {object} MaskStyle
 * @property {string} colour one of `COLOURS`
 * @property {number} opacity of the fill, from 0 to 1
 * @property {boolean} outlineOnly
 */

/** @type {MaskStyle} */
const DEFAULT = { colour: 'sky blue', opacity: 0.25, outlineOnly: false };

export class MaskView {
  #hidden = false;

  /** @param {AbortSignal} signal ends it */
  constructor(signal) {
    this.style = { ...DEFAULT, ...JSON.parse(localStorage.getItem(KEY) ?? '{}') };
    if (!(this.style.colour in COLOURS)) this.style.colour = DEFAULT.colour;
    const { SEGMENTATION_REPRESENTATION_ADDED, SEGMENTATION_REPRESENTATION_MODIFIED } = cornerstoneTools.Enums.Events;
    // MONAI Label's panel sets its own colour some time after it has added the mask.
    for (const type of [SEGMENTATION_REPRESENTATION_ADDED, SEGMENTATION_REPRESENTATION_MODIFIED]) {
      const apply = () => this.apply();
      cornerstone.eventTarget.addEventListener(type, apply);
      signal.addEventListener('abort', () => cornerstone.eventTarget.removeEventListener(type, apply));
    }
    this.apply();
  }

  /** @param {Partial<MaskStyle>} change */
  change(change) {
    Object.assign(this.style, change);
    localStorage.setItem(KEY, JSON.stringify(this.style));
    this.apply(true);
  }

  /** @param {boolean} hidden in every plane */
  hide(hidden) {
    if (hidden === this.#hidden) return;
    this.#hidden = hidden;
    document.documentElement.classList.toggle('lunglabel-hides', hidden); // the outlines of stored labels, too
    this.apply();
  }

  /**
   * Draw the mask as chosen, in the planes where it is drawn otherwise.
   *
   * @param {boolean} changed whether the style has changed
   */
  apply(changed = false) {
    const { color, visibility } = cornerstoneTools.segmentation.config;
    const rgba = [...COLOURS[this.style.colour], 255];
    for (const viewportId of cornerstoneTools.segmentation.state.getViewportIdsWithSegmentation(SEGMENTATION_ID)) {
      const shown = color.getSegmentIndexColor(viewportId, SEGMENTATION_ID, 1);
      if (String(shown) !== String(rgba)) {
        color.setSegmentIndexColor(viewportId, SEGMENTATION_ID, 1, rgba);
        changed = true;
      }
      if (visibility.getSegmentationRepresentationVisibility(viewportId, MASK) === this.#hidden) {
        visibility.setSegmentationRepresentationVisibility(viewportId, MASK, !this.#hidden);
      }
    }
    if (changed) services.segmentationService.setStyle(MASK, styleOf(this.style));
  }
}

/**
 * Return a style in cornerstone's terms.
 *
 * @param {MaskStyle} style
 */
export function styleOf({ opacity, outlineOnly }) {
  return { renderOutline: true, outlineWidth: 2, renderFill: !outlineOnly, fillAlpha: opacity };
}
