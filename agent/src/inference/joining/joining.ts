// Whether requests for a model may share a run: only where its graph keeps the rows apart, and rows that were tried in company
// gave what they gave alone. Both are found out once, by the thread that loads the model first.
import { AppError, messageOf } from '@edgeloop/shared/app-error';
import type { GraphModel } from '@edgeloop/shared/onnx/graph';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import { type ProbeOptions, probe } from './probe.ts';
import { reasonAgainstJoining } from './row-walk.ts';

export interface Joining {
  allowed: boolean;
  /** In words, for people. */
  reason: string;
}

/** `againstJoining`: what stands against it in the graph of what `run` runs. */
export async function judgeJoining({
  againstJoining,
  ...options
}: ProbeOptions & { againstJoining(): string | undefined }): Promise<Joining> {
  const walked = againstJoining();
  if (walked !== undefined) return { allowed: false, reason: walked };
  const { against, tried } = await probe(options);
  if (against !== undefined) return { allowed: false, reason: against };
  return {
    allowed: true,
    reason: `the graph keeps rows apart, and ${tried} runs of several gave what each gave alone`,
  };
}

/** What stands against it in the graph of a file, which may be why it cannot be read; undefined when nothing does. */
export function reasonInGraph(
  graph: GraphModel | AppError,
  { outputs }: Pick<ModelSignature, 'outputs'>,
): string | undefined {
  try {
    if (graph instanceof AppError) throw graph;
    const names = outputs.map(({ name }) => name);
    return reasonAgainstJoining(graph, names);
  } catch (error) {
    return `its graph cannot be followed: ${messageOf(error)}`;
  }
}
