/** The model's probability and attention maps, as a picture over the viewer. */

const TEMPLATE = `
<form method="dialog"><button>Close</button></form>
<p>How probable a tumour is for the model, in the slices with its largest findings, and its own mask, without your
corrections. <b>How to read the attention map:</b> it shows what the network lets through to its last stage, which is often the
lung around a tumour rather than the tumour, so it says where the model looks, not where it finds a tumour.</p>
<img alt="Slices with the model's mask, its probability map and its attention map side by side">`;

/** @param {Blob} picture */
export function showAttention(picture) {
  const dialog = Object.assign(document.createElement('dialog'), { className: 'lunglabel', innerHTML: TEMPLATE });
  const image = /** @type {HTMLImageElement} */ (dialog.querySelector('img'));
  image.src = URL.createObjectURL(picture);
  dialog.addEventListener('keydown', event => event.stopPropagation()); // the viewer has shortcuts, too
  dialog.addEventListener('close', () => {
    URL.revokeObjectURL(image.src);
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
}
