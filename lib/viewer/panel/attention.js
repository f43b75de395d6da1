/** The model's attention map, as a picture over the viewer. */

const TEMPLATE = `
<form method="dialog"><button>Close</button></form>
<p>Where the model looks, in the slices with its largest findings. This is its own mask, without your corrections.</p>
<img alt="Slices with the model's mask and its attention map side by side">`;

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
