// LSTM, GRU and RNN: [steps, batch, features]. What is free and comes first is the number of steps, not of rows.
import type { Operator, OperatorCall } from '../operator-call.ts';
import { constant, one, type Size, sameSize } from '../sizes.ts';
import { fixed, type TensorState, withRows } from '../tensor-state.ts';

/** Weights, recurrence and bias; then lengths, whose rows come first, and states, whose rows come second. */
const placeOfLengths = 4;
const placesOfStates = [5, 6];

export const recurrent: Operator = (call) => {
  const x = call.first();
  const [, weights, recurrence, bias] = call.inputs;
  if (call.int('layout', 0) !== 0) return 'its layout is not looked at';
  if (x.dims?.length !== 3) return 'its shape is not known';
  if ([weights, recurrence, bias].some((each) => each?.axis !== undefined || each?.counts))
    return 'its weights depend on the rows';
  if (x.axis === undefined)
    return call.restFixed(0)
      ? call.node.outputs.map(() => fixed(undefined, x.type))
      : 'its settings depend on the rows';
  if (x.axis === 0) return 'the rows are the steps of its sequence';
  if (x.axis !== 1) return 'it takes another dimension than that of the rows for the batch';
  const rows = x.dims[1] ?? one;
  const others: [number, number][] = [
    [placeOfLengths, 0],
    ...placesOfStates.map((place): [number, number] => [place, 1]),
  ];
  const fits = others.every(([place, axis]) => hasRows(call.inputs[place], axis, rows));
  if (!fits) return 'its states or lengths do not have the rows';
  // The peepholes of an LSTM.
  if (call.inputs[7] && call.inputs[7].axis !== undefined) return 'its weights depend on the rows';
  return outputsOf(call, x.dims, x.type);
};

function hasRows(input: TensorState | undefined, axis: number, rows: Size): boolean {
  if (!input) return true;
  const size = input.axis === axis ? input.dims?.[axis] : undefined;
  return size !== undefined && sameSize(size, rows);
}

function outputsOf(call: OperatorCall, [steps = one, rows = one]: readonly Size[], type: number): TensorState[] {
  const directions = constant(call.text('direction', 'forward') === 'bidirectional' ? 2 : 1);
  const hidden = constant(call.int('hidden_size', 0));
  const states = withRows([directions, rows, hidden], 1, type);
  return call.node.outputs.map((_, place) =>
    place === 0 ? withRows([steps, directions, rows, hidden], 2, type) : states,
  );
}
