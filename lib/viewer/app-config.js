/* OHIF's configuration for this server. Research use only; not a medical device. */

// Path prefix of a reverse proxy before all paths of the server, such as "/lung"; mostly empty.
const root = new URL(/** @type {HTMLScriptElement} */ (document.currentScript).src).pathname.replace('/ohif/app-config.js', '');

// By default, MONAI Label's panel connects to port 8000 or to the last server of this browser: it stores the address in
// a cookie of this path, which all ports of a machine share.
document.cookie = `MONAILABEL_SERVER_URL=${window.location.origin}${root && `${root}/`}; path=${root}/ohif; SameSite=Strict`;

/** @type {typeof import('/ohif/lunglabel/first_view.js')} */
let firstView;

window.config = {
  routerBasename: `${root}/ohif/`,
  showStudyList: true,
  extensions: [
    {
      id: 'lunglabel',
      /** @param {{servicesManager: {services: typeof services}}} app */
      preRegistration: async ({ servicesManager }) => {
        (await import(`${root}/ohif/lunglabel/multi_frame.js`)).register();
        (await import(`${root}/ohif/lunglabel/segment_colours.js`)).register(servicesManager.services.segmentationService);
        firstView = await import(`${root}/ohif/lunglabel/first_view.js`);
      },
      onModeEnter: () => firstView.onModeEnter(),
    },
  ],
  modes: [],
  investigationalUseDialog: { option: 'never' }, // it covers the panel, which says the same
  showWarningMessageForCrossOrigin: true,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  useSharedArrayBuffer: 'FALSE',
  defaultDataSourceName: 'dicomweb',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'dicomweb',
      configuration: {
        friendlyName: 'LungLabel',
        name: 'LungLabel',
        wadoUriRoot: `${root}/proxy/dicom/wado`,
        qidoRoot: `${root}/proxy/dicom/qido`,
        wadoRoot: `${root}/proxy/dicom/wado`,
        qidoSupportsIncludeField: true,
        supportsReject: false,
        supportsFuzzyMatching: true,
        supportsWildcard: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        dicomUploadEnabled: false,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};

// LungLabel's panel: brushes, Submit Label and what else MONAI Label's panel lacks.
import(`${root}/ohif/lunglabel/main.js`);
// Listeners are called in the order of registration: this one before OHIF's own, which leaves the study.
window.addEventListener('popstate', event => window.lunglabel?.onBack(event));
