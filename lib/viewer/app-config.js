/* OHIF's configuration for this server. Research use only; not a medical device. */

// MONAI Label's panel else looks for its server at port 8000, or where it was when this browser was here last: it keeps
// the address in a cookie of this path, which all ports of a machine share.
document.cookie = `MONAILABEL_SERVER_URL=${window.location.origin}; path=/ohif; SameSite=Strict`;

window.config = {
  routerBasename: '/ohif/',
  showStudyList: true,
  extensions: [
    {
      id: 'lunglabel',
      preRegistration: async () => (await import('/ohif/lunglabel/multi_frame.js')).register(),
    },
  ],
  modes: [],
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

// Brushes, Submit Label and the rest that MONAI Label's own panel lacks.
import('/ohif/lunglabel/main.js');
// Listeners for it are called in the order they came in; OHIF's own, which leaves the study, comes after this one.
window.addEventListener('popstate', event => window.lunglabel?.onBack(event));
