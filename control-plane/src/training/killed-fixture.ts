// A control plane that trains until its test kills it: the folder is its argument, its message the run's id.
import { createWorkshop, pipelineSpec, slowTrainer, until } from './training-fixture.ts';

const workshop = await createWorkshop({ given: process.argv[2] ?? '' });
const training = workshop.openTraining();
await workshop.importRows();
await training.apply('key:ann', pipelineSpec({ trainer: slowTrainer }));
const { id } = await training.startRun('key:ann', 'sort', {});
training.start(new AbortController().signal);
await until(
  () => training.run(id),
  (run) => run.steps.length > 3,
);
process.send?.(id);
