/** The buttons and keys of the tools, and their settings. */

import * as tools from './tools.js';

const TOOLS = /** @type {const} */ (['click', 'brush', 'eraser', 'threshold', 'lasso', 'cut', 'bidirectional', 'length']);

/** Settings of the tools; they outlive the panel, which OHIF recreates each time it is expanded. */
const chosen = { size: '10', low: '-400', high: '400', ball: false };

export class ToolRow {
  /**
   * @param {import('./panel_template.js').Parts} parts
   * @param {Record<tools.Tool, HTMLElement>} buttons
   * @param {import('./only_lungs.js').OnlyLungs} onlyLungs
   * @param {() => void} onChange called after each change
   */
  constructor(parts, buttons, onlyLungs, onChange) {
    this.parts = parts;
    this.buttons = buttons;
    this.onChange = onChange;
    for (const name of /** @type {const} */ (['size', 'low', 'high'])) parts[name].value = chosen[name];
    parts.ball.checked = chosen.ball;
    parts.lungs.checked = onlyLungs.on;
    parts.lungs.onchange = () => onlyLungs.choose(parts.lungs.checked);
    for (const tool of TOOLS) buttons[tool].onclick = () => this.#choose(tool);
    parts.ball.onchange = () => this.#reshape();
    parts.size.oninput = () => this.#configure();
    parts.low.onchange = parts.high.onchange = () => this.#configure();
  }

  /** Return the actions of the tools' keys. */
  shortcuts() {
    const resize = (/** @type {number} */ step) => () => {
      this.parts.size.valueAsNumber += step;
      this.#configure();
    };
    return {
      c: () => this.#choose('click'),
      b: () => this.#choose('brush'),
      e: () => this.#choose('eraser'),
      t: () => this.#choose('threshold'),
      s: () => this.#choose('lasso'),
      d: () => this.#choose('cut'),
      m: () => this.#choose('bidirectional'),
      l: () => this.#choose('length'),
      '[': resize(-1),
      ']': resize(1),
    };
  }

  /** @param {boolean} ready whether there is a mask to work on */
  show(ready) {
    const { parts } = this;
    const active = ready ? tools.activeTool() : undefined;
    for (const tool of TOOLS) this.buttons[tool].setAttribute('aria-pressed', String(tool === active));
    parts.range.hidden = active !== 'threshold';
    parts.clickHelp.hidden = active !== 'click';
    parts.drawnHelp.hidden = active !== 'lasso' && active !== 'cut';
    parts.drawnHelp.textContent = active === 'cut'
      ? 'Drag a straight line across a finding: it divides it in two, through all slices.'
      : 'Drag around what is to be marked, in any plane. Shift+drag takes away.';
    parts.sizeText.textContent = `${parts.size.value} mm`;
  }

  /**
   * Activate a tool, or deactivate the active one.
   *
   * @param {tools.Tool} tool
   */
  #choose(tool) {
    if (tools.activeTool() === tool) tools.deactivate();
    else tools.activate(tool, this.parts.ball.checked);
    this.#configure();
  }

  #reshape() {
    const tool = tools.activeTool();
    if (tool) tools.activate(tool, this.parts.ball.checked);
    this.#configure();
  }

  #configure() {
    const { size, low, high, ball } = this.parts;
    Object.assign(chosen, { size: size.value, low: low.value, high: high.value, ball: ball.checked });
    tools.setDiameter(size.valueAsNumber);
    if (low.value && high.value) tools.setThreshold([low.valueAsNumber, high.valueAsNumber]);
    this.onChange();
  }
}
