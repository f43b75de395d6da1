/** The overlay that lists all keys. */

/** @type {[title: string, keys: [keys: string, meaning: string][]][]} */
export const KEYS = [
  ['Look', [
    ['2  1  4', 'lung, mediastinal, bone window, in all planes'],
    ['F', 'the next finding, zoomed in; after the last the whole image'],
    ['Space  =', 'the whole image'],
    ['+  −  Ctrl+wheel', 'zoom'],
    ['Wheel  ↑  ↓', 'slices'],
    ['H held', 'hides the mask in all planes'],
    ['Z', 'zoom with the left button'],
  ]],
  ['Mark', [
    ['C', 'click a lesion to outline it'],
    ['B  E  T', 'brush, eraser, threshold; the same key again: none'],
    ['S  D', 'lasso (Shift takes away); divide a lesion with a line'],
    ['[  ]', 'smaller, larger brush'],
    ['I', 'fill between the slices that are painted'],
    ['N  P', 'copy the section under the pointer to the next, the previous slice'],
    ['X  K', 'remove the finding under the pointer; keep only it'],
    ['Ctrl+Z  Ctrl+Y', 'undo, redo'],
  ]],
  ['Review', [
    ['A', 'accept the finding shown, and go to the next'],
    ['Delete', 'reject the finding shown, and go to the next; on a measurement: remove it'],
    ['M  L', 'measure long and short axis (RECIST), a length'],
    ['?', 'these keys'],
  ]],
];

export function showKeys() {
  if (document.querySelector('dialog.lunglabel-keys')) return;
  const dialog = Object.assign(document.createElement('dialog'), { className: 'lunglabel lunglabel-keys' });
  dialog.setAttribute('aria-label', 'Keys');
  dialog.innerHTML = `<form method="dialog"><button>Close</button></form>${KEYS.map(section).join('')}`;
  dialog.addEventListener('keydown', event => event.stopPropagation()); // the viewer has shortcuts, too
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** @param {[title: string, keys: [keys: string, meaning: string][]]} section */
function section([title, keys]) {
  const rows = keys.map(([pressed, meaning]) => {
    const caps = pressed.split('  ').map(key => `<kbd>${key}</kbd>`).join(' ');
    return `<tr><th scope="row">${caps}</th><td>${meaning}</td></tr>`;
  });
  return `<h2>${title}</h2><table>${rows.join('')}</table>`;
}
