/** Keeps the brush and the lasso inside of the lungs, if the user wants that. */

import { messageOf } from './dom.js';
import { lungsOf } from './lungs.js';
import { placeOf } from './voxel_index.js';

export class OnlyLungs {
  on = false;
  /** @type {import('./lungs.js').Lungs | null} of the scan on the screen, once they are known */
  #lungs = null;

  /** @param {import('./editor.js').Editor} editor */
  constructor(editor) {
    this.editor = editor;
  }

  /** @param {boolean} on */
  choose(on) {
    this.on = on;
    if (!on) this.editor.say('', '');
    this.follow();
  }

  /** Look for the lungs of the scan that is on the screen now. */
  follow() {
    this.#lungs = null;
    const series = this.editor.history?.labelmap.series;
    if (this.on && series) this.#find(series).catch(error => this.editor.say(messageOf(error)));
  }

  /**
   * Return what tells whether a voxel may be marked.
   *
   * @returns {((index: number) => boolean) | undefined} undefined if all may
   */
  limit() {
    const size = this.editor.history?.labelmap.size;
    const lungs = this.#lungs;
    if (!this.on || !size) return undefined;
    if (!lungs) this.editor.say('The lungs are not known yet: nothing was kept inside of them.');
    return lungs ? index => lungs.contains(placeOf(index, size)) : undefined;
  }

  /** @param {string} series SeriesInstanceUID */
  async #find(series) {
    this.editor.say('Looking for the lungs…', '');
    const lungs = await lungsOf(series);
    if (this.editor.history?.labelmap.series !== series) return;
    this.#lungs = lungs;
    this.editor.say(lungs.region ? 'Brush, threshold and lasso mark only inside the lungs.' : 'No lungs are seen in this scan.', '');
  }
}
