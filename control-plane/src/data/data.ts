// The data room: samples and labels from the field become immutable, content-hashed dataset versions.
import { createDatasetStore } from './dataset-store.ts';
import { createDatasets, type DatasetsDeps } from './datasets.ts';
import { createSampleStore, type FieldSample } from './sample-store.ts';
import { createSamples, type SamplesDeps } from './samples.ts';

export type DataDeps = Omit<DatasetsDeps, 'datasetStore' | 'sampleStore'> & Omit<SamplesDeps, 'sampleStore'>;
export type { FieldSample };
export type Data = ReturnType<typeof createData>;

export function createData(deps: DataDeps) {
  const sampleStore = createSampleStore(deps.database.tables);
  const datasetStore = createDatasetStore(deps.database.tables);
  return {
    ...createSamples({ ...deps, sampleStore }),
    ...createDatasets({ ...deps, sampleStore, datasetStore }),
  };
}
