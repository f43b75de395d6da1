/** Keeps in the middle of each plane what is there when OHIF resizes it. */

import { allViewports } from './viewports.js';

/** OHIF keeps the pan of a resized plane in pixels, although a pixel shows more or less than before. */
export function keepPlaces() {
  const service = services.cornerstoneViewportService;
  const { performResize } = service;
  service.performResize = () => {
    const cameras = allViewports().map(viewport => /** @type {const} */ ([viewport, viewport.getCamera()]));
    performResize.call(service);
    for (const [viewport, { focalPoint, position }] of cameras) {
      viewport.setCamera({ focalPoint, position });
      viewport.render();
    }
  };
}
