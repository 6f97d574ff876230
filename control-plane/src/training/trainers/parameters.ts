// What people may set on the built-in trainers, with the defaults that suit a few thousand rows of measured features.
import { z } from 'zod';

const common = {
  /** Passes over the training rows at most. */
  epochs: z.number().int().min(1).max(10_000).default(60),
  batchSize: z.number().int().min(1).max(65_536).default(64),
  /** Weight of half the squared weights in the loss; biases are free. */
  l2: z.number().min(0).max(10).default(1e-4),
  /** Epochs without a better validation loss before training ends; 0 trains all epochs. */
  patience: z.number().int().min(0).max(10_000).default(8),
  /** Applied to every feature before scaling: `log1p` is ln(1 + max(x, 0)), for counts and sizes. */
  transform: z.enum(['none', 'log1p']).default('none'),
  /** Scaled features are limited to this many standard deviations from the mean. */
  clip: z.number().min(0.1).max(1e6).default(10),
  /** `balanced` gives every class the same total weight, however many rows it has. */
  classWeights: z.enum(['none', 'balanced']).default('none'),
};

/** Parameters of `softmax`, multinomial logistic regression. */
export const SoftmaxParameters = z.strictObject({
  ...common,
  learningRate: z.number().positive().max(10).default(0.01),
});
export type SoftmaxParameters = z.infer<typeof SoftmaxParameters>;

/** Parameters of `mlp`, a multi-layer perceptron with ReLU; `hidden` lists the width of each hidden layer. */
export const MlpParameters = z.strictObject({
  ...common,
  learningRate: z.number().positive().max(10).default(0.001),
  hidden: z.array(z.number().int().min(1).max(8192)).min(1).max(8).default([64]),
});
export type MlpParameters = z.infer<typeof MlpParameters>;

/** A built-in trainer with its parameters; omitted ones get their defaults. */
export const TrainerSpec = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('softmax'), parameters: SoftmaxParameters.prefault({}) }),
  z.strictObject({ kind: z.literal('mlp'), parameters: MlpParameters.prefault({}) }),
]);
export type TrainerSpec = z.infer<typeof TrainerSpec>;
