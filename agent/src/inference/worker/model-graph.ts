// What the graph of a model says of how it may run. It holds the graph: whoever opens the model asks, and lets go of it.
import type { AppError } from '@edgeloop/shared/app-error';
import type { GraphModel } from '@edgeloop/shared/onnx/graph';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import { reasonInGraph } from '../joining/joining.ts';
import { isPlain } from '../plain-model.ts';

export interface ModelGraph {
  /** What stands against requests sharing a run; undefined when nothing does. */
  againstJoining(): string | undefined;
  /** Whether the thread that answers HTTP may run it. */
  isPlain(): boolean;
}

/** `graph`: of the file, or why it cannot be read. */
export function graphOfModel(graph: GraphModel | AppError, signature: ModelSignature): ModelGraph {
  return { againstJoining: () => reasonInGraph(graph, signature), isPlain: () => isPlain(graph, signature) };
}
