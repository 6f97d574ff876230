// Outputs of a graph that are no tensors, and which of them come of one that can take their place.
import type { Graph, GraphModel } from './graph.ts';

/** Output of the graph -> the tensor in its place. */
export type ZipMaps = ReadonlyMap<string, string>;

/** The outputs that come straight from a ZipMap which nothing else reads. */
export function zipMapsOf({ graph }: GraphModel): ZipMaps {
  const read = new Set(tensorsRead(graph));
  const found = new Map<string, string>();
  for (const { opType, domain, inputs, outputs } of graph.nodes) {
    const [scores, output] = [inputs[0], outputs[0]];
    if (opType !== 'ZipMap' || domain !== 'ai.onnx.ml' || !scores || !output || read.has(output)) continue;
    if (graph.outputs.some(({ name }) => name === output)) found.set(output, scores);
  }
  return found;
}

function tensorsRead({ nodes }: Graph): string[] {
  return nodes.flatMap(({ inputs, attributes }) => [
    ...inputs,
    ...[...attributes.values()].flatMap(({ graph }) => (graph ? tensorsRead(graph) : [])),
  ]);
}

/** Outputs that the file itself declares to be no tensors, but for those of `zipMaps`. */
export function declaredNoTensors({ graph }: GraphModel, zipMaps: ZipMaps): string[] {
  return graph.outputs
    .filter(({ name, kind }) => kind !== 'tensor' && kind !== 'unknown' && !zipMaps.has(name))
    .map(({ name }) => name);
}
