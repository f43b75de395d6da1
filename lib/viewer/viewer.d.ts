/** What the panel uses of OHIF and of MONAI Label's page around it; the names are OHIF 3.10's and cornerstone 3D's. */

type Point3 = [number, number, number];

interface Subscription {
  unsubscribe(): void;
}

/** Metadata of an image or a display set, by DICOM keyword. */
interface DicomRecord {
  SeriesInstanceUID?: string;
  NumberOfFrames?: number;
}

interface HangingProtocol {
  displaySetSelectors: Record<string, { seriesMatchingRules: object[] }>;
  stages: {
    viewportStructure: object;
    viewports: { displaySets: { options?: object }[] }[];
  }[];
}

interface RepresentationSpecifier {
  segmentationId: string;
  type: string;
}

interface CornerstoneImage {
  referencedImageId?: string;
  slope?: number;
  intercept?: number;
  /** whether the values are in HU already */
  preScale?: { scaled?: boolean };
  voxelManager: { getScalarData(): Uint8Array };
}

interface LabelmapVolume {
  imageIds: string[];
  spacing: Point3;
  dimensions: Point3;
  direction: ArrayLike<number> & Iterable<number>;
  imageData: {
    indexToWorld(index: Point3): Point3;
    worldToIndex(point: Point3): Point3;
  };
}

interface Camera {
  viewPlaneNormal: Point3;
  viewUp: Point3;
  focalPoint: Point3;
  position: Point3;
  /** mm, half of what the viewport shows of its height */
  parallelScale: number;
}

interface CornerstoneViewport {
  id: string;
  getViewReference(): { FrameOfReferenceUID: string; volumeId?: string };
  element: HTMLElement;
  canvas: HTMLCanvasElement;
  getVolumeId?(): string | undefined;
  getCamera(): Camera;
  setCamera(camera: Partial<Camera>): void;
  resetCamera(options: { resetPan: boolean; resetZoom: boolean; resetToCenter: boolean }): void;
  setProperties(properties: { voiRange: { lower: number; upper: number } }): void;
  render(): void;
  canvasToWorld(point: [number, number]): Point3;
  worldToCanvas(point: Point3): [number, number];
}

/** A ruler. */
interface CornerstoneAnnotation {
  annotationUID: string;
  /** whether the pointer is on it */
  highlighted?: boolean;
  metadata: { toolName: string; viewPlaneNormal: Point3 };
  data: { handles: { points: ArrayLike<number>[] } };
}

interface GridViewport {
  positionId?: string;
  displaySetInstanceUIDs?: string[];
  displaySetOptions?: object[];
  viewportOptions?: { orientation?: string; syncGroups?: object[] };
}

/** Layout of the viewports. */
interface GridState {
  viewports: Map<string, GridViewport>;
  activeViewportId: string;
  layout: { numRows: number; numCols: number };
}

interface ToolGroup {
  setToolPassive(name: string): void;
  setToolEnabled(name: string): void;
  getActivePrimaryMouseButtonTool(): string | undefined;
  hasTool(name: string): boolean;
  addTool(name: string, configuration?: object): void;
}

declare const cornerstone: {
  utilities: { scroll(viewport: CornerstoneViewport, options: { delta: number; volumeId?: string }): void };
  Enums: {
    Events: { IMAGE_RENDERED: string; CAMERA_MODIFIED: string; IMAGE_VOLUME_LOADING_COMPLETED: string };
    ImageQualityStatus: { FULL_RESOLUTION: number };
  };
  eventTarget: EventTarget;
  triggerEvent(target: EventTarget, type: string, detail: object): void;
  cache: {
    getImage(imageId: string, minQuality?: number): CornerstoneImage | undefined;
    getVolume(volumeId: string): object | undefined;
  };
  metaData: {
    get(type: string, imageId: string | undefined): DicomRecord | undefined;
    addProvider(provider: (type: string, imageId: unknown) => object | undefined, priority: number): void;
  };
};

declare const cornerstoneTools: {
  Enums: {
    Events: {
      SEGMENTATION_DATA_MODIFIED: string;
      SEGMENTATION_REPRESENTATION_ADDED: string;
      SEGMENTATION_REPRESENTATION_MODIFIED: string;
      TOOL_ACTIVATED: string;
      ANNOTATION_COMPLETED: string;
    };
  };
  segmentation: {
    config: {
      color: {
        getSegmentIndexColor(viewportId: string, segmentationId: string, segment: number): number[] | undefined;
        setSegmentIndexColor(viewportId: string, segmentationId: string, segment: number, rgba: number[]): void;
      };
      visibility: {
        getSegmentationRepresentationVisibility(viewportId: string, mask: RepresentationSpecifier): boolean | undefined;
        setSegmentationRepresentationVisibility(viewportId: string, mask: RepresentationSpecifier, on: boolean): void;
      };
    };
    state: {
      getSegmentation(
        segmentationId: string,
      ): { representationData?: { Labelmap?: { imageIds?: string[] } } } | undefined;
      getViewportIdsWithSegmentation(segmentationId: string): string[];
    };
  };
  BaseTool: new (properties: object, defaults: object) => object;
  addTool(tool: object): void;
  annotation: {
    state: {
      getAllAnnotations(): CornerstoneAnnotation[];
      addAnnotation(annotation: object, element: HTMLElement): string;
      removeAnnotation(annotationUID: string): void;
    };
  };
  utilities: {
    triggerAnnotationRenderForViewportIds(viewportIds: string[]): void;
    segmentation: { setBrushSizeForToolGroup(toolGroupId: string, radius: number): void };
  };
};

declare const extensionManager: {
  getActiveDataSource(): { retrieve: { series: { metadata(query: { StudyInstanceUID: string }): Promise<unknown> } } }[];
};

declare const commandsManager: { runCommand(name: string, options: object): void };

declare const services: {
  segmentationService: {
    getSegmentations(): { segmentationId: string; config?: { segments?: Record<string, { color?: number[] }> } }[];
    getLabelmapVolume(segmentationId: string): LabelmapVolume | undefined;
    remove(segmentationId: string): void;
    setStyle(mask: RepresentationSpecifier, style: object): void;
  };
  hangingProtocolService: {
    getProtocolById(id: string): HangingProtocol;
    addProtocol(id: string, protocol: HangingProtocol): void;
  };
  panelService: {
    EVENTS: { PANELS_CHANGED: string };
    _broadcastEvent(event: string, detail: object): void;
  };
  viewportGridService: {
    getState(): GridState;
    getLayoutOptionsFromState(state: GridState): object[];
    setLayout(layout: object): Promise<void>;
    setActiveViewportId(viewportId: string | undefined): void;
  };
  cornerstoneViewportService: {
    EVENTS: { VIEWPORT_DATA_CHANGED: string };
    subscribe(event: string, listener: () => void): Subscription;
    getCornerstoneViewport(viewportId: string | undefined): CornerstoneViewport;
    performResize(): void;
  };
  measurementService: {
    EVENTS: { MEASUREMENT_REMOVED: string };
    subscribe(event: string, listener: (removed: { measurement: string }) => void): Subscription;
  };
  displaySetService: {
    getDisplaySetByUID(uid: string): DicomRecord | undefined;
    getActiveDisplaySets(): (DicomRecord & { displaySetInstanceUID: string })[];
  };
  toolGroupService: {
    getToolGroup(id: string): ToolGroup | undefined;
    getToolGroupIds(): string[];
  };
};

interface Window {
  config: object;
  /** The panel's part in the browser's Back button; app-config.js calls it. */
  lunglabel?: { onBack(event: Event): void };
}
