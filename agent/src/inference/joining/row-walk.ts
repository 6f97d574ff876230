// Whether the rows of a batch stay apart in a model: carries the dimension of the rows through each operator of its graph.
// What is not known to keep them apart does not.
import type { GraphFunction, GraphModel, GraphNode, GraphValue } from '@edgeloop/shared/onnx/graph';
import { freshSize, OperatorCall, type Outcome } from './operator-call.ts';
import { operatorOf, reasonAgainst, versionsKnown } from './operator-table.ts';
import { constantState } from './operators/making.ts';
import { constant, named, rowCount, sameSize } from './sizes.ts';
import { type TensorState, withRows } from './tensor-state.ts';

/** Where the rows do not stay apart, and why. */
interface Mixed {
  reason: string;
}

type Known = Map<string, TensorState | Mixed>;

interface Walk {
  model: GraphModel;
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
 * may be any tensor of the graph.
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
  follow(graph.nodes, known, { model, opsets, depth: 0, left: { operators: operatorsAtMost } });
  for (const name of outputs) {
    const reason = reasonOf(name, known) ?? declaredOtherwise(graph.outputs.find((output) => output.name === name));
    if (reason !== undefined) return reason;
  }
  return undefined;
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
  if ('reason' in state) return state.reason;
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

function follow(nodes: readonly GraphNode[], known: Known, walk: Walk): void {
  for (const node of nodes) {
    if (walk.left.operators-- <= 0) throw new RangeError(`it has more than ${operatorsAtMost} operators`);
    const inputs = node.inputs.map((name) => (name === '' ? undefined : (known.get(name) ?? unheard(name))));
    const outcome = outcomeOf(node, inputs, walk);
    for (const [place, name] of node.outputs.entries()) {
      if (name === '') continue;
      known.set(name, outcome[place] ?? { reason: `${nameOf(node)}: it gives more than is looked at` });
    }
  }
}

function unheard(name: string): Mixed {
  return { reason: `"${name}" comes from nowhere` };
}

/** Of each output. */
function outcomeOf(
  node: GraphNode,
  inputs: readonly (TensorState | Mixed | undefined)[],
  walk: Walk,
): readonly (TensorState | Mixed)[] {
  const forAll = (reason: string): Mixed[] => node.outputs.map(() => ({ reason }));
  const mixed = inputs.find((input) => input !== undefined && 'reason' in input);
  if (mixed && 'reason' in mixed) return forAll(mixed.reason);
  const states = inputs.map((input) => (input === undefined || 'reason' in input ? undefined : input));
  const own = walk.model.functions.find(({ name, domain }) => name === node.opType && domain === node.domain);
  const outcome = own ? followFunction(node, own, { states, walk }) : call(node, states, walk);
  return typeof outcome === 'string' ? forAll(`${nameOf(node)}: ${outcome}`) : outcome;
}

function call(node: GraphNode, states: readonly (TensorState | undefined)[], { opsets }: Walk): Outcome {
  const { domain, opType } = node;
  const operator = operatorOf(domain, opType);
  if (!operator) return reasonAgainst(domain, opType);
  const version = opsets.get(domain) ?? (domain === '' ? 0 : 1);
  const [least, most] = versionsKnown.get(domain) ?? [0, 0];
  if (version < least || version > most)
    return `version ${version} of its operator set is not among ${least} to ${most}`;
  if ([...node.attributes.values()].some(({ graph, reference }) => graph || reference !== undefined))
    return 'one of its settings is not looked at';
  return operator(new OperatorCall(node, states, version));
}

function followFunction(
  node: GraphNode,
  { inputs, outputs, nodes, opsets }: GraphFunction,
  { states, walk }: { states: readonly (TensorState | undefined)[]; walk: Walk },
): readonly (TensorState | Mixed)[] | string {
  if (walk.depth >= deepestFunction) return 'functions of the file use each other too deeply';
  if (node.attributes.size > 0) return 'settings of functions of the file are not looked at';
  const known: Known = new Map();
  for (const [place, name] of inputs.entries()) {
    const state = states[place];
    if (!state) return 'inputs that are left out are not looked at';
    known.set(name, state);
  }
  follow(nodes, known, { ...walk, opsets: opsets.size > 0 ? opsets : walk.opsets, depth: walk.depth + 1 });
  return outputs.map((name) => known.get(name) ?? unheard(name));
}

function nameOf({ opType, name, outputs }: GraphNode): string {
  return `${opType} "${(name || outputs[0]) ?? ''}"`;
}
