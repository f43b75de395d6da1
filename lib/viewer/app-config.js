/* OHIF's configuration for this server. Research use only; not a medical device. */

// By default, MONAI Label's panel connects to port 8000 or to the last server of this browser: it stores the address in
// a cookie of this path, which all ports of a machine share.
document.cookie = `MONAILABEL_SERVER_URL=${window.location.origin}; path=/ohif; SameSite=Strict`;

/** @type {typeof import('/ohif/lunglabel/first_view.js')} */
let firstView;

window.config = {
  routerBasename: '/ohif/',
  showStudyList: true,
  extensions: [
    {
      id: 'lunglabel',
      /** @param {{servicesManager: {services: typeof services}}} app */
      preRegistration: async ({ servicesManager }) => {
        (await import('/ohif/lunglabel/multi_frame.js')).register();
        (await import('/ohif/lunglabel/segment_colours.js')).register(servicesManager.services.segmentationService);
        firstView = await import('/ohif/lunglabel/first_view.js');
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
        wadoUriRoot: '/proxy/dicom/wado',
        qidoRoot: '/proxy/dicom/qido',
        wadoRoot: '/proxy/dicom/wado',
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
import('/ohif/lunglabel/main.js');
// Listeners are called in the order of registration: this one before OHIF's own, which leaves the study.
window.addEventListener('popstate', event => window.lunglabel?.onBack(event));
