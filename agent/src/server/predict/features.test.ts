import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identity } from '../../../../test/support/onnx-models.ts';
import { type ServedFront, serveFront } from '../front-fixture.ts';

describe('what is recorded of features without a value', () => {
  let front: ServedFront;
  beforeAll(async () => {
    front = await serveFront();
    const reference = { rows: 1, features: { c: { edges: [0, 1], counts: [0, 1, 0, 0] } } };
    await front.load('echo', identity('float', ['n', 3]), {
      task: 'regression',
      inputs: { x: { features: ['a', 'b', 'c'], defaults: { c: 4 } } },
      monitoring: { reference },
    });
  });
  afterAll(() => front.close());

  it('is that they were missing, whatever the model got in their place', async () => {
    const rows = [
      { a: 1, b: null },
      { a: 1, b: 2, c: 3 },
    ];
    const { status, json } = await front.post('/predict/echo', { rows });
    expect(status).toBe(200);
    expect(json()).toMatchObject({ predictions: [{ values: [1, 'NaN', 4] }, { values: [1, 2, 3] }] });
    expect(front.records).toMatchObject([{ outcome: 'ok', rows: 2 }]);
    expect(front.records[0]?.features).toEqual(Float32Array.of(1, Number.NaN, Number.NaN, 1, 2, 3));
  });
});
