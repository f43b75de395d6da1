/** What a scan looks like when it is opened: a large axial plane, the chosen window, the list of series folded. */

import { chosenWindow, WINDOWS } from './windows.js';

const PROTOCOL = 'mpr'; // of MONAI Label mode
const MODE = /\/monai-label$/;

/** Large on the left, the two others one above the other. */
const AXIAL_PRIMARY = {
  rows: 2,
  columns: 3,
  layoutOptions: [
    { x: 0, y: 0, width: 2 / 3, height: 1 },
    { x: 2 / 3, y: 0, width: 1 / 3, height: 1 / 2 },
    { x: 2 / 3, y: 1 / 2, width: 1 / 3, height: 1 / 2 },
  ],
};

/** Set up the first view; OHIF calls it before it opens a study in a mode. */
export function onModeEnter() {
  if (!MODE.test(location.pathname)) return;
  const { hangingProtocolService: protocols, panelService: panels } = services;
  protocols.addProtocol(PROTOCOL, withFirstView(protocols.getProtocolById(PROTOCOL), chosenWindow()));
  panels._broadcastEvent(panels.EVENTS.PANELS_CHANGED, { options: { leftPanelClosed: true } });
}

/**
 * Return a hanging protocol with a large axial plane, in a window. It never opens a stored SEG in place of its images, which
 * OHIF does if the SEG is the newest series.
 *
 * @param {HangingProtocol} protocol of three planes, the axial first
 * @param {string} name of the window
 * @returns {HangingProtocol}
 */
export function withFirstView(protocol, name) {
  const { width: windowWidth, centre: windowCenter } = WINDOWS[name];
  const options = { voi: { windowWidth, windowCenter } };
  const [stage, ...others] = protocol.stages;
  const viewports = stage.viewports.map(one => ({
    ...one,
    displaySets: one.displaySets.map(shown => ({ ...shown, options: { ...shown.options, ...options } })),
  }));
  const selectors = Object.entries(protocol.displaySetSelectors).map(([id, selector]) => [id, imagesOnly(selector)]);
  const viewportStructure = { ...stage.viewportStructure, properties: AXIAL_PRIMARY };
  return { ...protocol, displaySetSelectors: Object.fromEntries(selectors), stages: [{ ...stage, viewports, viewportStructure }, ...others] };
}

/** @param {HangingProtocol['displaySetSelectors'][string]} selector of the series that is opened */
function imagesOnly(selector) {
  const noSeg = { weight: 1, attribute: 'Modality', constraint: { doesNotEqual: { value: 'SEG' } }, required: true };
  return { ...selector, seriesMatchingRules: [...selector.seriesMatchingRules, noSeg] };
}
