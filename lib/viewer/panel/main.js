/** Adds LungLabel's panel to MONAI Label's own whenever OHIF shows it. */

import { ClickTool } from './click_tool.js';
import { DrawnTools } from './drawn_tools.js';
import { Editor } from './editor.js';
import { guardUnsaved } from './guard.js';
import { keepPlaces } from './kept_place.js';
import { Panel } from './panel.js';
import { guardResults } from './results_guard.js';
import { guardRun } from './run.js';
import { markStudies } from './study_list.js';

/** @type {Editor | null} */
let editor = null;
/** @type {Panel | null} */
let panel = null;

/** Attach the panel; OHIF rebuilds its side panel when a study is opened and when the panel is unfolded. */
function mount() {
  markStudies();
  const place = document.querySelector('.monaiLabelPanel');
  panel?.keepOrder();
  if (panel?.place === place) return;
  panel?.close();
  panel = null;
  if (!place) {
    editor?.follow();
    return;
  }
  editor ??= newEditor();
  panel = new Panel(place, editor);
  editor.follow();
}

function newEditor() {
  const made = new Editor();
  guardUnsaved(() => made.unsaved);
  guardRun(made);
  guardResults(made);
  keepPlaces();
  new ClickTool(made);
  new DrawnTools(made);
  return made;
}

document.head.append(
  Object.assign(document.createElement('link'), { rel: 'stylesheet', href: new URL('panel.css', import.meta.url).href }),
);
new MutationObserver(mount).observe(document.documentElement, { childList: true, subtree: true });
mount();
