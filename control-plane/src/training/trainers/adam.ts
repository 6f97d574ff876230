// The Adam optimiser (Kingma, Ba: "Adam: a method for stochastic optimization", 2015) over plain arrays.

const momentum = 0.9;
const squaredMomentum = 0.999;
const epsilon = 1e-8;

/** One set of values that is being optimised, changed in place. `decay` adds decay * value to each gradient (L2). */
export interface Optimised {
  values: Float64Array;
  gradient: Float64Array;
  decay: number;
}

/** Returns the function that takes one step along the gradients as they are at that time. */
export function createAdam(sets: readonly Optimised[], learningRate: number): () => void {
  const states = sets.map((set) => ({
    ...set,
    first: new Float64Array(set.values.length),
    second: new Float64Array(set.values.length),
  }));
  let firstPower = 1;
  let secondPower = 1;
  return () => {
    firstPower *= momentum;
    secondPower *= squaredMomentum;
    const rate = (learningRate * Math.sqrt(1 - secondPower)) / (1 - firstPower);
    for (const { values, gradient, decay, first, second } of states) {
      for (let i = 0; i < values.length; i++) {
        const slope = (gradient[i] ?? 0) + decay * (values[i] ?? 0);
        const m = momentum * (first[i] ?? 0) + (1 - momentum) * slope;
        const v = squaredMomentum * (second[i] ?? 0) + (1 - squaredMomentum) * slope * slope;
        first[i] = m;
        second[i] = v;
        values[i] = (values[i] ?? 0) - (rate * m) / (Math.sqrt(v) + epsilon);
      }
    }
  };
}
