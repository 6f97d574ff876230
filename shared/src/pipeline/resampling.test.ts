import fc from 'fast-check';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { encodeModel } from '../onnx/encode.ts';
import { resampled } from './resampling.ts';

/** ONNX Runtime's own: `x` [1, 1, h, w] -> `y` of the size that `sizes` says. */
const resize = await InferenceSession.create(
  encodeModel({
    irVersion: 8,
    opset: 18,
    producer: { name: 'test', version: '1' },
    graph: {
      name: 'graph',
      inputs: [
        { name: 'x', type: 'float', dims: [1, 1, 'h', 'w'] },
        { name: 'sizes', type: 'int64', dims: [4] },
      ],
      outputs: [{ name: 'y', type: 'float', dims: [1, 1, 'a', 'b'] }],
      nodes: [
        {
          opType: 'Resize',
          inputs: ['x', '', '', 'sizes'],
          outputs: ['y'],
          attributes: [
            { name: 'mode', text: 'linear' },
            { name: 'antialias', int: 1 },
            { name: 'exclude_outside', int: 1 },
            { name: 'coordinate_transformation_mode', text: 'half_pixel' },
          ],
        },
      ],
    },
  }),
  { logSeverityLevel: 3 },
);

const side = fc.integer({ min: 1, max: 24 });

it('makes pictures larger and smaller as ONNX Runtime does', async () => {
  await fc.assert(
    fc.asyncProperty(side, side, side, side, fc.nat(), async (width, height, wide, high, seed) => {
      const values = Float32Array.from({ length: width * height }, (_, i) => ((i * 7919 + seed) % 256) - 20);
      const { y } = await resize.run({
        x: new Tensor('float32', values, [1, 1, height, width]),
        sizes: new Tensor('int64', BigInt64Array.of(1n, 1n, BigInt(high), BigInt(wide)), [4]),
      });
      const made = resampled(
        { values, width, height, channels: 1, step: { x: 1, y: width, channel: 1 } },
        { left: 0, top: 0, width, height },
        { width: wide, height: high },
      );
      const theirs = Array.from(y?.data as Float32Array);
      for (const [at, value] of theirs.entries()) expect(made[at]).toBeCloseTo(value, 2);
    }),
    { numRuns: 200 },
  );
});

it('takes a part of a picture as if the part were a picture, inside of it', () => {
  const values = Float32Array.from({ length: 64 }, (_, i) => i);
  const pixels = { values, width: 8, height: 8, channels: 1, step: { x: 1, y: 8, channel: 1 } };
  const area = { left: 2, top: 4, width: 3, height: 2 };
  expect([...resampled(pixels, area, { width: 3, height: 2 })]).toEqual([34, 35, 36, 42, 43, 44]);
});
