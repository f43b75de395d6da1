/** The brushes of MONAI Label mode, which has no buttons for them. */

/** Name of each tool in a flat and in a ball form. */
const TOOLS = {
  brush: ['CircularBrush', 'SphereBrush'],
  eraser: ['CircularEraser', 'SphereEraser'],
  threshold: ['ThresholdCircularBrush', 'ThresholdSphereBrush'],
};

/** @param {'brush' | 'eraser' | 'threshold'} tool @param {boolean} ball paints several slices at once */
export function activate(tool, ball) {
  commandsManager.runCommand('setToolActiveToolbar', { toolName: TOOLS[tool][Number(ball)] });
}

/** Make the left mouse button adjust window and level again. */
export function deactivate() {
  commandsManager.runCommand('setToolActiveToolbar', { toolName: 'WindowLevel' });
}

/** @returns {string | undefined} which of the tools above the left mouse button has */
export function activeTool() {
  const group = services.toolGroupService.getToolGroup('mpr');
  const name = group?.getActivePrimaryMouseButtonTool();
  return Object.keys(TOOLS).find(tool => TOOLS[tool].includes(name));
}

/** @param {number} diameter mm */
export function setDiameter(diameter) {
  for (const id of services.toolGroupService.getToolGroupIds()) {
    cornerstoneTools.utilities.segmentation.setBrushSizeForToolGroup(id, diameter / 2);
  }
}

/** @param {[number, number]} range HU that the threshold brush paints */
export function setThreshold(range) {
  commandsManager.runCommand('setThresholdRange', { value: range });
}

/** OHIF takes the first click into another plane to select it; with a brush in hand, pointing at it is enough. */
export function selectViewportUnder(event) {
  if (event.buttons || !activeTool()) return;
  const viewports = event.target.querySelectorAll?.('[data-viewport-uid]'); // below what OHIF lays over the others
  if (viewports?.length === 1) services.viewportGridService.setActiveViewportId(viewports[0].dataset.viewportUid);
}

/** OHIF leaves the cursor in a field of text when a stroke is drawn; the keys are meant for the stroke then. */
export function leaveTextFor(event) {
  if (event.target.closest('[data-viewport-uid]')) document.activeElement?.blur();
}

/** @returns {[number, number, number] | null} LPS mm of what is drawn at a place of the page */
export function pointAt(x, y) {
  for (const element of document.querySelectorAll('[data-viewport-uid]')) {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    if (x < left || x > right || y < top || y > bottom) continue;
    const viewport = services.cornerstoneViewportService.getCornerstoneViewport(element.dataset.viewportUid);
    return viewport.canvasToWorld([x - left, y - top]);
  }
  return null;
}
