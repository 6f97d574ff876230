// What this device counts: the figures of this serving process, and those of its neighbours where there are any.
import type { Engine, LoadedModel } from '../inference/engine.ts';
import { type Figures, type VersionFigures, wholeFigures } from '../process/figures.ts';
import type { Neighbours } from './neighbours.ts';
import type { Observer } from './observation.ts';

export interface DeviceFigures {
  /** Of this process alone. */
  own(): Figures;
  /** Of the whole device: every version that is loaded here, with what all processes counted of it. */
  whole(): Promise<Figures>;
  /** The same, and the metrics of each of the other processes as text. */
  withProcesses(): Promise<{ figures: Figures; processes: string[] }>;
  /** Serving processes. */
  processes: number;
}

export interface DeviceFiguresOptions {
  engine: Pick<Engine, 'list'>;
  observer: Observer;
  journal(): Figures['journal'];
  neighbours: Neighbours | undefined;
}

export function createDeviceFigures({ engine, observer, journal, neighbours }: DeviceFiguresOptions): DeviceFigures {
  const own = (): Figures => {
    const { failedWrites, lostRecords, pendingRecords } = journal();
    return {
      versions: engine.list().map(({ name, version, model }) => versionFigures(name, version, model, observer)),
      journal: { failedWrites, lostRecords, pendingRecords },
    };
  };
  const withProcesses = async () => {
    const present = own();
    if (neighbours === undefined) return { figures: present, processes: [] };
    const others = await neighbours.figures(present);
    const processes = others.flatMap(({ process }) => process ?? []);
    // What was answered here meanwhile counts.
    return { figures: wholeFigures(own(), others), processes };
  };
  return {
    own,
    whole: async () => (await withProcesses()).figures,
    withProcesses,
    processes: neighbours?.count ?? 1,
  };
}

function versionFigures(name: string, version: number, model: LoadedModel, observer: Observer): VersionFigures {
  const { lastAtMs, outcomes, latencies, ...sums } = observer.tally(model);
  const { executionCount, queue, computeInput, computeInfer, computeOutput, batches, steps } =
    model.batcher.statistics();
  const bySize = batches.map(({ size, ...durations }): [string, typeof durations] => [String(size), durations]);
  return {
    model: name,
    version,
    of: `${model.files.digest ?? ''} ${model.files.release ?? ''}`,
    tally: { ...sums, outcomes: Object.fromEntries(outcomes), latencies: [...latencies] },
    runs: {
      executionCount,
      queue,
      computeInput,
      computeInfer,
      computeOutput,
      batches: Object.fromEntries(bySize),
      steps,
      runsHere: model.batcher.runsHere(),
    },
    lastAtMs,
    depth: model.batcher.depth(),
  };
}
