import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeModel } from '@edgeloop/shared/onnx/encode';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, describe, expect, it } from 'vitest';
import { createOrtSession, type OrtSession, runsAtOnce } from './ort-session.ts';

const folder = mkdtempSync(join(tmpdir(), 'ort-session-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'model.onnx');
const options = { executionProviders: ['cpu'], logSeverityLevel: 4 } as const;

/** `x` [n, 2] and `flag` -> `y`, the sum of `x` and itself, and `kept`, `flag` turned round. */
writeFileSync(
  path,
  encodeModel({
    irVersion: 8,
    opset: 17,
    producer: { name: 'test', version: '1' },
    graph: {
      name: 'graph',
      inputs: [
        { name: 'x', type: 'float', dims: ['n', 2] },
        { name: 'flag', type: 'bool', dims: [] },
      ],
      outputs: [
        { name: 'y', type: 'float', dims: ['n', 2] },
        { name: 'kept', type: 'bool', dims: [] },
      ],
      nodes: [
        { opType: 'Add', inputs: ['x', 'x'], outputs: ['y'] },
        { opType: 'Not', inputs: ['flag'], outputs: ['kept'] },
      ],
    },
  }),
);

const feeds = () => ({
  x: new Tensor('float32', Float32Array.of(1, 2, 3, 4), [2, 2]),
  flag: new Tensor('bool', Uint8Array.of(1), []),
});

describe('a session by the entry that runs at once', () => {
  it('is what the installed version of ONNX Runtime offers', () => {
    expect(runsAtOnce).toBe(true);
  });

  it('has ended when it returns', async () => {
    const session = await createOrtSession(path, options);
    const results = session.run(feeds());
    expect(results).not.toBeInstanceOf(Promise);
    expect(results).toMatchObject({ y: { dims: [2, 2], data: Float32Array.of(2, 4, 6, 8) }, kept: { dims: [] } });
  });

  it('says of inputs and outputs what the package says, and computes the same', async () => {
    const own = await createOrtSession(path, options);
    const theirs = await InferenceSession.create(path, options);
    expect(own.inputMetadata).toEqual(theirs.inputMetadata);
    expect(own.outputMetadata).toEqual(theirs.outputMetadata);
    expect(await own.run(feeds())).toEqual(await theirs.run(feeds()));
  });

  it('writes into the room that it is given, and gives only the outputs that it is asked for', async () => {
    const session = await createOrtSession(path, options);
    const room = new Float32Array(4);
    const results = await session.run(feeds(), { y: new Tensor('float32', room, [2, 2]) });
    expect(Object.keys(results)).toEqual(['y']);
    expect(room).toEqual(Float32Array.of(2, 4, 6, 8));
  });

  it.each([
    ['an input that is missing', { x: feeds().x }, /'flag' is missing in 'feeds'/],
    [
      'a dimension that does not fit',
      { ...feeds(), x: new Tensor('float32', new Float32Array(3), [1, 3]) },
      /invalid dim/,
    ],
    ['a type that does not fit', { ...feeds(), x: new Tensor('float64', new Float64Array(4), [2, 2]) }, /data type/],
  ])('refuses %s in the words of the package', async (_, wrong, words) => {
    const own = await createOrtSession(path, options);
    const theirs = await InferenceSession.create(path, options);
    const told = async (session: Pick<InferenceSession | OrtSession, 'run'>): Promise<unknown> => {
      try {
        return await session.run({ ...wrong });
      } catch (error) {
        return error instanceof Error ? error.message : error;
      }
    };
    expect(await told(own)).toMatch(words);
    expect(await told(own)).toEqual(await told(theirs));
  });

  it('refuses a file that is no model as the package does', async () => {
    const broken = join(folder, 'broken.onnx');
    writeFileSync(broken, 'no model');
    const theirs = await InferenceSession.create(broken, options).catch((error: unknown) => error);
    await expect(createOrtSession(broken, options)).rejects.toThrow(String(theirs).replace(/^Error: /, ''));
  });
});
