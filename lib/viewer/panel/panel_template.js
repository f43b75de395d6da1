/** The panel's elements. */

import { ROOT } from './root.js';

/** What stands above MONAI Label's own part, also for the Tab key. */
export const STATUS_TEMPLATE = '<section class="lunglabel lunglabel-status"></section>';

export const TEMPLATE = `
<section class="lunglabel lunglabel-palette">
  <fieldset data-part="palette" disabled>
    <div class="lunglabel-row">
      <button data-tool="click" title="Outline the lesion that you click (C)">Click</button>
      <button data-tool="brush" title="Paint tumour (B)">Brush</button>
      <button data-tool="eraser" title="Remove from the mask (E)">Eraser</button>
      <button data-tool="threshold" title="Paint only voxels in the HU range (T)">Threshold</button>
    </div>
    <div class="lunglabel-row">
      <button data-tool="lasso" title="Mark what you draw a line around, or take it away with Shift (S)">Lasso</button>
      <button data-tool="cut" title="Divide a lesion in two with a straight line across it (D)">Divide</button>
      <button data-tool="bidirectional" title="Long and short axis of a lesion (RECIST): drag along the long axis, then move the ends of the short one (M)">Long × short</button>
      <button data-tool="length" title="Length: drag from end to end (L)">Length</button>
    </div>
    <div class="lunglabel-row">
      <label class="lunglabel-row" title="Diameter; smaller with [, larger with ]">
        Size <input type="range" data-part="size" min="2" max="60" step="1">
        <output data-part="sizeText"></output>
      </label>
      <label title="A ball paints several slices at once"><input type="checkbox" data-part="ball"> Ball</label>
      <label title="Brush, threshold and lasso mark only inside the lungs"><input type="checkbox" data-part="lungs"> In lungs</label>
    </div>
    <label class="lunglabel-row" data-part="range">
      HU <input type="number" data-part="low" step="50" aria-label="lowest HU">
      to <input type="number" data-part="high" step="50" aria-label="highest HU">
    </label>
    <div class="lunglabel-row">
      <button data-part="undo" title="Ctrl+Z">Undo</button>
      <button data-part="redo" title="Ctrl+Y">Redo</button>
      <button data-part="find" title="Move all planes to the next finding of the list, and after the last back to the whole image (F)">Next finding</button>
      <button data-part="keys" title="All keys (?)">Keys</button>
    </div>
  </fieldset>
</section>
<section class="lunglabel lunglabel-correct">
  <p class="lunglabel-hint" data-part="clickHelp" hidden>
    Click a lesion to outline it, and click again where something is missing. <kbd>Shift</kbd>+click or right-click
    takes away. Drag to scribble on a lesion, <kbd>Ctrl</kbd>+drag to draw a box around it. <kbd>Ctrl</kbd>+<kbd>Z</kbd>
    undoes one click.
  </p>
  <p class="lunglabel-hint" data-part="drawnHelp" hidden></p>
  <div class="lunglabel-stored" data-part="others" hidden>
    <div class="lunglabel-row">
      <select data-part="other" aria-label="Other study of the patient"></select>
      <button data-part="beside" aria-pressed="false" title="Put this study of the patient beside the scan, with linked planes; again: the former layout">Beside</button>
    </div>
    <p data-part="otherText"></p>
  </div>
  <div class="lunglabel-stored" data-part="preference" hidden>
    <p>Which outline is better? A is the continuous one, B the dashed one.</p>
    <ul data-part="questions"></ul>
  </div>
  <div class="lunglabel-stored" data-part="draft" hidden>
    <span data-part="draftText"></span>
    <button data-part="restore">Restore</button>
    <button data-part="discard">Discard</button>
  </div>
  <div class="lunglabel-stored" data-part="stored" hidden>
    <span data-part="storedText"></span>
    <button data-part="load">Load label</button>
    <details data-part="storedList">
      <summary data-part="storedCount"></summary>
      <p data-part="comparison" hidden><span data-part="comparisonText"></span> <button data-part="difference">Next difference</button></p>
      <fieldset data-part="storedChoice" disabled><ul data-part="storedRows"></ul></fieldset>
    </details>
  </div>
  <p class="lunglabel-others" data-part="presence" hidden></p>
  <div class="lunglabel-stored" data-part="labelReview" hidden>
    <span data-part="labelReviewText"></span>
    <div class="lunglabel-row" data-part="labelReviewForm" hidden>
      <input data-part="reviewNote" placeholder="What to correct" aria-label="Note to who submitted the label" maxlength="1000">
      <button data-part="approve" title="Approve the label in use">Approve</button>
      <button data-part="sendBack" title="Send the label in use back to who submitted it, with the note">Send back</button>
    </div>
  </div>
  <div data-part="view"></div>
  <fieldset data-part="tools" disabled>
    <ul class="lunglabel-measurements" data-part="measurements" hidden></ul>
    <details data-part="edits"></details>
    <div class="lunglabel-findings" data-part="findings"></div>
    <p class="lunglabel-hint">Point at a finding: <kbd>X</kbd> removes it, <kbd>K</kbd> keeps only it,
      <kbd>N</kbd>&nbsp;<kbd>P</kbd> copy it to the next, previous slice.</p>
  </fieldset>
  <div class="lunglabel-row">
    <button data-part="attention" title="How probable a tumour is for the model, as a picture; the attention map beside it">Probability map</button>
  </div>
</section>
<section class="lunglabel lunglabel-foot">
  <p><b data-part="result"></b> <span class="unsaved" data-part="unsaved" hidden>· not submitted <span data-part="draftPlace"></span></span></p>
  <details data-part="notes" hidden><summary></summary><p></p></details>
  <p data-part="message" role="status"></p>
  <div class="lunglabel-row">
    <div class="lunglabel-row" data-part="account" hidden>
      <span></span>
      <form method="post" action="${ROOT}/logout"><button>Log out</button></form>
      <a href="${ROOT}/login" target="_blank" hidden>Log in again</a>
    </div>
    <input data-part="annotator" placeholder="Your name" aria-label="Your name" autocomplete="name" maxlength="100">
    <input data-part="note" placeholder="Note (optional)" aria-label="Note on the label, optional" maxlength="1000">
  </div>
  <div class="lunglabel-row">
    <button data-part="submit" class="lunglabel-main">Submit Label</button>
    <button data-part="next" title="Open the scan that is to be labelled next">Next Sample</button>
  </div>
  <div class="lunglabel-row">
    <label class="lunglabel-row" data-part="strategies" title="How the next sample is chosen" hidden>
      Next by <select data-part="strategy"></select>
    </label>
    <select data-part="skip" aria-label="Skip this scan" disabled></select>
  </div>
</section>`;

/**
 * Elements of the template by their `data-part`.
 *
 * @typedef {Record<'size' | 'low' | 'high' | 'ball' | 'lungs' | 'annotator' | 'note' | 'reviewNote', HTMLInputElement>
 *   & Record<'attention' | 'load' | 'undo' | 'redo' | 'find' | 'submit' | 'next' | 'restore' | 'discard' | 'keys' | 'difference' | 'beside' | 'approve' | 'sendBack', HTMLButtonElement>
 *   & Record<'strategy' | 'skip' | 'other', HTMLSelectElement>
 *   & Record<'view' | 'edits' | 'measurements' | 'findings' | 'stored' | 'storedText' | 'storedCount' | 'storedRows' | 'draft' | 'draftText' | 'draftPlace' | 'sizeText' | 'range' | 'clickHelp' | 'drawnHelp', HTMLElement>
 *   & Record<'comparison' | 'comparisonText' | 'result' | 'unsaved' | 'notes' | 'strategies' | 'message' | 'account' | 'others' | 'otherText' | 'presence' | 'preference' | 'questions', HTMLElement>
 *   & Record<'labelReview' | 'labelReviewText' | 'labelReviewForm', HTMLElement>
 *   & {palette: HTMLFieldSetElement, tools: HTMLFieldSetElement, storedChoice: HTMLFieldSetElement, storedList: HTMLDetailsElement}} Parts
 */
