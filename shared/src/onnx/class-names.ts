// What an ONNX file says of its classes: their names, and which output holds the class itself.
import type { Graph, GraphModel, GraphNode } from './graph.ts';
import { readNames } from './literal.ts';

export interface FileClasses {
  /** In the order of the scores, each of them once. */
  names: string[] | undefined;
  /** The output whose values are classes. */
  label: string | undefined;
}

const learned = 'ai.onnx.ml';
/** Operators that hand on what they get, as far as it matters which class it is. */
const passing = new Set(['Identity', 'Cast', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten']);
/** Where exporters write class names: Ultralytics says `names`, others one of these. */
const metadataKeys = ['names', 'labels', 'classes', 'class_names'];

/** Reads the classes out of ZipMap and classifier operators, else out of the metadata. */
export function classesOf({ graph, metadata }: GraphModel): FileClasses {
  const written = metadataKeys.map((key) => readNames(metadata.get(key) ?? '')).find((names) => names !== undefined);
  const names = namesOfOperators(graph.nodes) ?? written;
  return { names: names && distinct(names), label: labelOutput(graph) };
}

/** Ensembles of classifiers know several lists; only one that all share, or that ZipMap has for the whole, says anything. */
function namesOfOperators(nodes: readonly GraphNode[]): string[] | undefined {
  const own = nodes.filter(({ domain }) => domain === learned);
  const zipped = own.filter(({ opType }) => opType === 'ZipMap');
  const lists = (zipped.length > 0 ? zipped : own).flatMap((node) => {
    const names = namesOf(node);
    return names ? [names] : [];
  });
  const [first, ...others] = lists;
  return others.every((list) => list.length === first?.length && list.every((name, i) => name === first[i]))
    ? first
    : undefined;
}

function namesOf({ attributes }: GraphNode): string[] | undefined {
  const texts = attributes.get('classlabels_strings');
  if (texts && texts.texts.length > 0) return texts.cut ? undefined : texts.texts;
  const places = attributes.get('classlabels_int64s') ?? attributes.get('classlabels_ints');
  return places && places.ints.length > 0 && !places.cut ? places.ints.map(String) : undefined;
}

/** A name that stands for several classes is told apart by its place. */
function distinct(names: readonly string[]): string[] {
  const seen = new Set<string>();
  return names.map((name, place) => {
    const own = seen.has(name) ? `${name} (${place})` : name;
    seen.add(own);
    return own;
  });
}

/** The output that the first result of a classifier reaches as it is. */
function labelOutput({ nodes, outputs }: Graph): string | undefined {
  const makers = new Map(nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  return outputs.find(({ name }) => {
    let tensor = name;
    for (let steps = 0; steps < nodes.length; steps++) {
      const maker = makers.get(tensor);
      if (!maker) return false;
      if (maker.domain === learned) return /Classifier$/.test(maker.opType) && maker.outputs[0] === tensor;
      if (!passing.has(maker.opType)) return false;
      tensor = maker.inputs[0] ?? '';
    }
    return false;
  })?.name;
}
