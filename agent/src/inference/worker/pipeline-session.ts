// A pipeline as one session: each of its models is a session of its own in this thread, and the operations between them run
// here too, so that a request never leaves the thread.
import { openPipeline } from '@edgeloop/shared/node/servable-pipeline';
import type { Plan } from '@edgeloop/shared/pipeline/plan';
import { runPipeline, type StepRun } from '@edgeloop/shared/pipeline/run';
import type { Pipeline } from '@edgeloop/shared/pipeline-manifest';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { ModelGraph } from './model-graph.ts';
import {
  fromOrt,
  type OpenedSession,
  type OrtTensors,
  openSession,
  type ProvidersUsed,
  type Session,
  type SessionOptions,
  toOrt,
} from './session.ts';

export interface PipelineOpening {
  pipeline: Pipeline;
  options: SessionOptions;
  /** Told of the steps of each run, before its answer. */
  onSteps: ((runs: readonly StepRun[]) => void) | undefined;
}

/** `path`: what holds the files of its models. Throws `model_rejected` with the reason. */
export async function openPipelineSession(
  path: string,
  { pipeline, options, onSteps }: PipelineOpening,
): Promise<OpenedSession> {
  const graphs = new Map<Session, ModelGraph>();
  const { plan, models, release } = await openPipeline(path, pipeline, async (file) => {
    const { session, graph } = await openSession(file, options);
    graphs.set(session, graph);
    return session;
  });
  const { signature, steps } = plan;
  const runModel = async (file: string, inputs: readonly NamedTensor[]): Promise<NamedTensor[]> =>
    (await models.get(file)?.run(inputs)) ?? [];
  const nowMs = (): number => performance.now();
  const run = async (inputs: readonly NamedTensor[]): Promise<NamedTensor[]> => {
    if (!onSteps) return runPipeline(plan, inputs, { runModel, nowMs });
    const runs: StepRun[] = [];
    try {
      return await runPipeline(plan, inputs, { runModel, nowMs, onStep: (step) => runs.push(step) });
    } finally {
      onSteps(runs);
    }
  };
  const session: Session = {
    signature,
    providers: providersOf([...models.values()]),
    run,
    async runTensors(feeds: OrtTensors) {
      const outputs = await run(signature.inputs.map((spec) => fromOrt(spec, feeds[spec.name])));
      return Object.fromEntries(outputs.map((output) => [output.name, toOrt(output)]));
    },
    takesRoom: false,
    steps: steps.map(({ name, does }) => ({ name, does })),
    release,
  };
  const graphOf = (file: string): ModelGraph | undefined => {
    const model = models.get(file);
    return model && graphs.get(model);
  };
  const againstJoining = () => plan.againstJoining ?? againstJoiningIn(plan, graphOf);
  // How long a pipeline runs is not said by shapes alone.
  return { session, graph: { againstJoining, isPlain: () => false } };
}

function againstJoiningIn({ steps }: Plan, graphOf: (file: string) => ModelGraph | undefined): string | undefined {
  for (const { name, run } of steps) {
    const reason = 'model' in run ? graphOf(run.model.file)?.againstJoining() : undefined;
    if (reason !== undefined) return `step "${name}": ${reason}`;
  }
  return undefined;
}

/** Where all of them compute. */
function providersOf(sessions: readonly Session[]): ProvidersUsed {
  const fallbacks = new Set(sessions.flatMap(({ providers }) => providers.fallback ?? []));
  return {
    used: [...new Set(sessions.flatMap(({ providers }) => providers.used))],
    fallback: fallbacks.size === 0 ? undefined : [...fallbacks].join('; '),
  };
}
