// One operator of a graph with what is known of its inputs.
import type { GraphNode } from '@edgeloop/shared/onnx/graph';
import { named, numberOf, type Size } from './sizes.ts';
import { isSize, type TensorState } from './tensor-state.ts';

/** What an operator gives, or why rows do not stay apart in it, in words that follow its name. */
export type Outcome = readonly TensorState[] | string;
export type Operator = (call: OperatorCall) => Outcome;

/** Two cannot have the same name. */
let lastName = 0;

/** A size that is not known, but the same for all requests that may be joined. */
export function freshSize(): Size {
  return named(`?${++lastName}`);
}

export class OperatorCall {
  readonly node: GraphNode;
  /** Undefined where one is left out. */
  readonly inputs: readonly (TensorState | undefined)[];
  /** Version of the operator's set. */
  readonly opset: number;

  constructor(node: GraphNode, inputs: readonly (TensorState | undefined)[], opset: number) {
    this.node = node;
    this.inputs = inputs;
    this.opset = opset;
  }

  int(name: string, otherwise: number): number {
    return this.node.attributes.get(name)?.int ?? otherwise;
  }

  /** Undefined when it is not given. */
  ints(name: string): readonly number[] | undefined {
    return this.node.attributes.get(name)?.ints;
  }

  text(name: string, otherwise: string): string {
    return this.node.attributes.get(name)?.text ?? otherwise;
  }

  has(name: string): boolean {
    return this.node.attributes.has(name);
  }

  /** The first input. Throws for a graph that ONNX Runtime would not load. */
  first(): TensorState {
    const [first] = this.inputs;
    if (!first) throw new RangeError(`${this.node.opType} has no input`);
    return first;
  }

  /** Numbers that an input holds, whatever the rows; undefined when they are not known. */
  numbers(place: number): readonly number[] | undefined {
    const numbers = this.inputs[place]?.values?.map((value) => (isSize(value) ? numberOf(value) : undefined));
    return numbers?.every((each) => each !== undefined) ? numbers : undefined;
  }

  /** Numbers that stand in an attribute in older versions, and in an input in newer ones. Null when in neither. */
  setting(name: string, place: number): readonly number[] | null | undefined {
    if (this.has(name)) return this.ints(name);
    return this.inputs[place] === undefined ? null : this.numbers(place);
  }

  /** Whether all inputs from a place on say nothing of the rows, nor of their number. */
  restFixed(from = 1): boolean {
    return this.inputs.slice(from).every((input) => input === undefined || (input.axis === undefined && !input.counts));
  }
}

/** A place counted from the end where it is negative. */
export function placeOf(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}
