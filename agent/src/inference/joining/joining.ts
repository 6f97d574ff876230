// Whether requests for a model may share a run: only where its graph keeps the rows apart, and rows that were tried in company
// gave what they gave alone. Both are found out once, by the thread that loads the model first.
import { messageOf } from '@edgeloop/shared/app-error';
import { readFile } from '@edgeloop/shared/node/file-bytes';
import { readGraph } from '@edgeloop/shared/onnx/graph';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import { type ProbeOptions, probe } from './probe.ts';
import { reasonAgainstJoining } from './row-walk.ts';

export interface Joining {
  allowed: boolean;
  /** In words, for people. */
  reason: string;
}

/** `path` is the ONNX file that `run` runs. */
export async function judgeJoining(path: string, options: ProbeOptions): Promise<Joining> {
  const walked = reasonInFile(path, options.signature);
  if (walked !== undefined) return { allowed: false, reason: walked };
  const { against, tried } = await probe(options);
  if (against !== undefined) return { allowed: false, reason: against };
  return {
    allowed: true,
    reason: `the graph keeps rows apart, and ${tried} runs of several gave what each gave alone`,
  };
}

function reasonInFile(path: string, { outputs }: ModelSignature): string | undefined {
  try {
    const names = outputs.map(({ name }) => name);
    return reasonAgainstJoining(readFile(path, readGraph), names);
  } catch (error) {
    return `its graph cannot be followed: ${messageOf(error)}`;
  }
}
