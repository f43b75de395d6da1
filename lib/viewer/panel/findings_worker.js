/** The worker that lists the findings and edits the mask. It answers each message that asks for a list or an edit. */

import { MeasuredFindings } from './measured_findings.js';

/** @type {MeasuredFindings | null} */
let findings = null;

/** @param {MessageEvent} event */
globalThis.onmessage = ({ data }) => {
  if (data.mask) findings = new MeasuredFindings(data.grid, data.mask);
  if (data.index) findings?.change(data.index, data.values);
  if (data.former) findings?.follow(data.former);
  if (data.confidences) findings?.judge(data.confidences);
  if (data.edit && findings) globalThis.postMessage({ edited: findings.edit(data.edit) });
  if (!data.list || !findings) return;
  const list = findings.list();
  const buffers = [...list.findings, ...list.rejected].map(one => one.voxels.buffer);
  globalThis.postMessage({ list }, { transfer: buffers });
};
