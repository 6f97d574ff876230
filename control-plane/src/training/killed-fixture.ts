// A control plane that trains until its test kills it: the folder is its argument, its message the run's id.
import { createWorkshop, pipelineSpec, until } from './training-fixture.ts';

const workshop = await createWorkshop({ given: process.argv[2] ?? '' });
const training = workshop.openTraining();
await workshop.importRows();
const parameters = { epochs: 40, patience: 0, learningRate: 0.01, hidden: [64, 64], batchSize: 8 };
await training.apply('key:ann', pipelineSpec({ trainer: { kind: 'mlp', parameters } }));
const { id } = await training.startRun('key:ann', 'sort', {});
training.start(new AbortController().signal);
await until(
  () => training.run(id),
  (run) => run.steps.length > 3,
);
process.send?.(id);
