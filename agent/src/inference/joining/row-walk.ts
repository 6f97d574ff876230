// Whether the rows of a batch stay apart in a model: carries the dimension of the rows through each operator of its graph.
// What is not known to keep them apart does not.
import type { GraphFunction, GraphModel, GraphNode, GraphValue } from '@edgeloop/shared/onnx/graph';
import { freshSize, OperatorCall, type Outcome } from './operator-call.ts';
import { operatorOf, reasonAgainst, versionsKnown } from './operator-table.ts';
import { constantState } from './operators/making.ts';
import { constant, named, rowCount, sameSize } from './sizes.ts';
import { type TensorState, withRows } from './tensor-state.ts';

type Known = Map<string, TensorState>;

interface Walk {
  functions: ReadonlyMap<string, GraphFunction>;
  opsets: ReadonlyMap<string, number>;
  /** Functions of the file that are being followed. */
  depth: number;
  /** Operators that may still be looked at; functions that use each other can make any number of them. */
  left: { operators: number };
}

const deepestFunction = 8;
const operatorsAtMost = 500_000;

/**
 * Undefined when each row of these outputs depends on the same row of the inputs alone; else what stands against it. An output
 * may be any tensor of the graph. What no output needs is looked at, too: it is run, and may fail for some numbers of rows.
 */
export function reasonAgainstJoining(model: GraphModel, outputs: readonly string[]): string | undefined {
  const { graph, opsets } = model;
  const known: Known = new Map();
  for (const tensor of graph.initializers) known.set(tensor.name, constantState(tensor));
  const inputs = graph.inputs.filter(({ name }) => !known.has(name));
  if (inputs.length === 0) return 'the model takes no inputs';
  for (const input of inputs) {
    const state = stateOfInput(input);
    if (typeof state === 'string') return state;
    known.set(input.name, state);
  }
  const functions = new Map(model.functions.map((each) => [functionKey(each.domain, each.name), each]));
  const against = follow(graph.nodes, known, { functions, opsets, depth: 0, left: { operators: operatorsAtMost } });
  if (against !== undefined) return against;
  for (const name of outputs) {
    const reason = reasonOf(name, known) ?? declaredOtherwise(graph.outputs.find((output) => output.name === name));
    if (reason !== undefined) return reason;
  }
  return undefined;
}

function functionKey(domain: string, name: string): string {
  return `${domain}:${name}`;
}

function stateOfInput({ name, kind, dims, dataType }: GraphValue): TensorState | string {
  if (kind !== 'tensor') return `input "${name}" is no tensor`;
  if (!dims) return `the file does not say the shape of input "${name}"`;
  const [first] = dims;
  if (dims.length === 0 || typeof first === 'number') {
    const takes = dims.length === 0 ? 'is a single value' : `takes ${first} in its first dimension`;
    return `input "${name}" ${takes}, so it has no rows`;
  }
  const rest = dims.slice(1).map((dim) => (typeof dim === 'number' ? constant(dim) : dim ? named(dim) : freshSize()));
  return withRows([rowCount, ...rest], 0, dataType);
}

function reasonOf(name: string, known: Known): string | undefined {
  const state = known.get(name);
  if (!state) return `output "${name}" comes from nowhere`;
  const rows = state.axis === 0 ? state.dims?.[0] : undefined;
  if (rows && sameSize(rows, rowCount)) return undefined;
  return state.axis === undefined
    ? `output "${name}" does not depend on the rows`
    : `the first dimension of output "${name}" is not that of the rows`;
}

/** What the file says is not what it computes; callers go by it. */
function declaredOtherwise(output: GraphValue | undefined): string | undefined {
  const first = output?.dims?.[0];
  if (typeof first !== 'number') return undefined;
  return `output "${output?.name}" has ${first} in its first dimension, as the file says`;
}

/** Adds what the nodes give to what is known; the first reason against it, if there is one. */
function follow(nodes: readonly GraphNode[], known: Known, walk: Walk): string | undefined {
  for (const node of nodes) {
    if (walk.left.operators-- <= 0) throw new RangeError(`it has more than ${operatorsAtMost} operators`);
    const missing = node.inputs.find((name) => name !== '' && !known.has(name));
    if (missing !== undefined) return `"${missing}" comes from nowhere`;
    const inputs = node.inputs.map((name) => known.get(name));
    const own = walk.functions.get(functionKey(node.domain, node.opType));
    const outcome = own ? followFunction(node, own, { inputs, walk }) : call(node, inputs, walk);
    if (typeof outcome === 'string') return `${nameOf(node)}: ${outcome}`;
    for (const [place, name] of node.outputs.entries()) {
      const state = outcome[place];
      if (name === '') continue;
      if (!state) return `${nameOf(node)}: it gives more than is looked at`;
      known.set(name, state);
    }
  }
  return undefined;
}

function call(node: GraphNode, inputs: readonly (TensorState | undefined)[], { opsets }: Walk): Outcome {
  const { domain, opType } = node;
  const operator = operatorOf(domain, opType);
  if (!operator) return reasonAgainst(domain, opType);
  const version = opsets.get(domain) ?? (domain === '' ? 0 : 1);
  const [least, most] = versionsKnown.get(domain) ?? [0, 0];
  if (version < least || version > most)
    return `version ${version} of its operator set is not among ${least} to ${most}`;
  if ([...node.attributes.values()].some(({ graph, reference }) => graph || reference !== undefined))
    return 'one of its settings is not looked at';
  return operator(new OperatorCall(node, inputs, version));
}

function followFunction(
  node: GraphNode,
  { inputs: names, outputs, nodes, opsets }: GraphFunction,
  { inputs, walk }: { inputs: readonly (TensorState | undefined)[]; walk: Walk },
): Outcome {
  if (walk.depth >= deepestFunction) return 'functions of the file use each other too deeply';
  if (node.attributes.size > 0) return 'settings of functions of the file are not looked at';
  const known: Known = new Map();
  for (const [place, name] of names.entries()) {
    const state = inputs[place];
    if (!state) return 'inputs that are left out are not looked at';
    known.set(name, state);
  }
  const against = follow(nodes, known, {
    ...walk,
    opsets: opsets.size > 0 ? opsets : walk.opsets,
    depth: walk.depth + 1,
  });
  return against ?? outputs.flatMap((name) => known.get(name) ?? []);
}

function nameOf({ opType, name, outputs }: GraphNode): string {
  return `${opType} "${(name || outputs[0]) ?? ''}"`;
}
