import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { encodeGraph } from '../../../test/support/onnx-models.ts';
import { ModelFiles } from '../process/ipc.ts';
import { type ServedFront, serveFront } from './front-fixture.ts';
import { createSequences } from './sequences.ts';

/** `sum` = `before` + `x`, and `y` = `sum` * `factor`. */
function adder(factor: number): Uint8Array {
  const one = (name: string) => ({ name, type: 'float', dims: [1] }) as const;
  return encodeGraph({
    inputs: [one('x'), one('before')],
    outputs: [one('y'), one('sum')],
    initializers: [{ name: 'factor', dims: [1], data: Float32Array.of(factor) }],
    nodes: [
      { opType: 'Add', inputs: ['x', 'before'], outputs: ['sum'] },
      { opType: 'Mul', inputs: ['sum', 'factor'], outputs: ['y'] },
    ],
  });
}

const manifest = { inputs: { before: { state: 'sum', value: 100 } } } as const;
const Answer = z.object({ model_version: z.string(), outputs: z.array(z.object({ data: z.array(z.number()) })) });
const tensor = (name: string, value: number) => ({ name, datatype: 'FP32', shape: [1], data: [value] });

describe('sequences', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sequences-'));
  let front: ServedFront;
  beforeAll(async () => {
    front = await serveFront();
    await front.load('adder', adder(1), manifest);
  });
  afterAll(async () => {
    await front.close();
    rmSync(folder, { recursive: true });
  });

  const ask = (x: number, parameters: object, more: object[] = [], path = '/v2/models/adder/infer') =>
    front.post(path, { inputs: [tensor('x', x), ...more], outputs: [{ name: 'y' }], parameters });
  const sum = async (...asked: Parameters<typeof ask>): Promise<number | undefined> => {
    const answer = await ask(...asked);
    expect(answer.body.toString()).not.toContain('error');
    return Answer.parse(answer.json()).outputs[0]?.data[0];
  };
  const refusal = async (...asked: Parameters<typeof ask>): Promise<unknown> => {
    const { status, json } = await ask(...asked);
    expect(status).toBe(400);
    return json();
  };

  it('take what a run left into the next one, from the manifest’s beginning to the last request', async () => {
    expect(await sum(1, { sequence_id: 5, sequence_start: true })).toBe(101);
    expect(await sum(2, { sequence_id: 5 })).toBe(103);
    expect(await sum(7, { sequence_id: 'five', sequence_start: true })).toBe(107);
    expect(await sum(3, { sequence_id: 5, sequence_end: true })).toBe(106);
    expect(await refusal(1, { sequence_id: 5 })).toEqual({
      error: expect.stringContaining('sequence 5 of model "adder"'),
    });
    expect(await sum(1, { sequence_id: 'five' })).toBe(108);
    expect(await sum(1, { sequence_id: 'five', sequence_start: true, sequence_end: true })).toBe(101);
  });

  it('run the requests of one in the order in which they came, whoever else asks', async () => {
    expect(await sum(0, { sequence_id: 1, sequence_start: true })).toBe(100);
    expect(await sum(0, { sequence_id: 2, sequence_start: true })).toBe(100);
    const sums = await Promise.all(
      Array.from({ length: 40 }, (_, i) => sum(1, { sequence_id: 1 + (i % 2), sequence_end: i >= 38 })),
    );
    for (const first of [0, 1]) {
      const own = sums.filter((_, i) => i % 2 === first);
      expect(own.toSorted((a = 0, b = 0) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => 101 + i));
    }
  });

  it('take a state that the caller sends, and leave plain requests as they are', async () => {
    expect(await sum(1, { sequence_id: 8, sequence_start: true }, [tensor('before', 5)])).toBe(6);
    expect(await sum(1, { sequence_id: 8, sequence_end: true })).toBe(7);
    expect(await sum(1, {}, [tensor('before', 0)])).toBe(1);
    expect(await sum(1, { sequence_id: 0 }, [tensor('before', 0)])).toBe(1);
    expect(await refusal(1, {})).toEqual({ error: 'input "before" is missing' });
  });

  it.each([
    [{ sequence_id: -1 }, 'sequence_id must be a whole number'],
    [{ sequence_id: 'x'.repeat(300) }, 'sequence_id must be a whole number'],
    [{ sequence_id: 1, sequence_start: 1 }, 'sequence_start must be true or false'],
    [{ sequence_id: 1, sequence_start: true, sequence_end: 'yes' }, 'sequence_end must be true or false'],
  ])('refuse what %j says', async (parameters, words) => {
    expect(await refusal(1, parameters)).toEqual({ error: expect.stringContaining(words) });
  });

  it('go on after a request that failed, with what they had', async () => {
    expect(await sum(1, { sequence_id: 9, sequence_start: true })).toBe(101);
    const wrong = { inputs: [{ ...tensor('x', 1), shape: [2], data: [1, 2] }], parameters: { sequence_id: 9 } };
    expect((await front.post('/v2/models/adder/infer', wrong)).status).toBe(400);
    expect(await sum(1, { sequence_id: 9, sequence_end: true })).toBe(102);
  });

  it('end on the version on which they began', async () => {
    const path = join(folder, 'two.onnx');
    writeFileSync(path, adder(10));
    expect(await sum(1, { sequence_id: 3, sequence_start: true })).toBe(101);
    await front.engine.load(ModelFiles.parse({ name: 'adder', version: 2, path, manifest }));
    front.engine.activate('adder', 2);
    const unloaded = front.engine.unload('adder', 1);
    expect(await refusal(1, { sequence_id: 3 }, [], '/v2/models/adder/versions/2/infer')).toEqual({
      error: 'sequence 3 runs on version 1 of the model, not on 2',
    });
    const answer = Answer.parse((await ask(1, { sequence_id: 3, sequence_end: true })).json());
    expect(answer).toMatchObject({ model_version: '1', outputs: [{ data: [102] }] });
    await unloaded;
    expect(await sum(1, { sequence_id: 3, sequence_start: true, sequence_end: true })).toBe(1010);
    const config = (await front.get('/v2/models/adder/config')).json();
    const state = [{ input_name: 'before', output_name: 'sum', data_type: 'TYPE_FP32', dims: [1] }];
    expect(config).toMatchObject({ sequence_batching: { max_sequence_idle_microseconds: 60_000_000, state } });
  });

  describe('of a model that is told where in them a request stands', () => {
    /** `told` = start, end, ready and id, and `count` the requests of the sequence: `before` * (1 - start) + 1. */
    function teller(idType: 'int64' | 'string' = 'int64'): Uint8Array {
      const one = (name: string, type: 'float' | 'int32' | 'bool' | 'int64' | 'string') =>
        ({ name, type, dims: [1] }) as const;
      const same = ['END', 'READY', 'ID'].map((name) => ({
        opType: 'Identity',
        inputs: [name],
        outputs: [`${name}_told`],
      }));
      return encodeGraph({
        inputs: [
          one('START', 'float'),
          one('END', 'bool'),
          one('READY', 'int32'),
          one('ID', idType),
          one('before', 'float'),
        ],
        outputs: [one('count', 'float'), one('END_told', 'bool'), one('READY_told', 'int32'), one('ID_told', idType)],
        initializers: [{ name: 'one', dims: [1], data: Float32Array.of(1) }],
        nodes: [
          { opType: 'Sub', inputs: ['one', 'START'], outputs: ['goes_on'] },
          { opType: 'Mul', inputs: ['before', 'goes_on'], outputs: ['kept'] },
          { opType: 'Add', inputs: ['kept', 'one'], outputs: ['count'] },
          ...same,
        ],
      });
    }
    const controls = {
      start: 'START',
      end: 'END',
      ready: { input: 'READY', falseTrue: [-1, 7] as [number, number] },
      id: 'ID',
    };
    const told = { inputs: { before: { state: 'count', value: 50 } }, sequences: { controls } };
    const All = z.object({ outputs: z.array(z.object({ data: z.array(z.unknown()) })) });
    const say = async (model: string, parameters: object, inputs: object[] = []) => {
      const answer = await front.post(`/v2/models/${model}/infer`, { inputs, parameters });
      expect(answer.body.toString()).not.toContain('error');
      return All.parse(answer.json()).outputs.map(({ data }) => data[0]);
    };

    it('say it in the inputs that the manifest names, which the caller need not send', async () => {
      await front.load('teller', teller(), told);
      expect(await say('teller', { sequence_id: 42, sequence_start: true })).toEqual([1, false, 7, 42]);
      expect(await say('teller', { sequence_id: 42 })).toEqual([2, false, 7, 42]);
      // What the caller sends counts.
      const end = { name: 'END', datatype: 'BOOL', shape: [1], data: [true] };
      expect(await say('teller', { sequence_id: 42 }, [end])).toEqual([3, true, 7, 42]);
      expect(await say('teller', { sequence_id: 42, sequence_end: true })).toEqual([4, true, 7, 42]);
      const wrong = await front.post('/v2/models/teller/infer', {
        inputs: [],
        parameters: { sequence_id: 'camera-7', sequence_start: true },
      });
      expect([wrong.status, wrong.json()]).toEqual([
        400,
        { error: expect.stringContaining('the id "camera-7" is no whole number, which input "ID" (INT64) asks for') },
      ]);
      await front.load('texts', teller('string'), told);
      expect(await say('texts', { sequence_id: 'camera-7', sequence_start: true })).toEqual([1, false, 7, 'camera-7']);
    });

    it('take what is asked alone for a sequence of one, and tell of it as Triton does', async () => {
      await front.load('alone', teller(), { inputs: { before: { value: 9 } }, sequences: { controls } });
      const predicted = await front.post('/predict/alone', {});
      expect(predicted.json()).toMatchObject({
        outputs: [1, true, 7, 0].map((value) => ({ data: [value] })),
      });
      const config = (await front.get('/v2/models/alone/config')).json();
      const control = (name: string, given: object) => ({ name, control: [given] });
      const none = { int32_false_true: [], fp32_false_true: [], bool_false_true: [], data_type: 'TYPE_INVALID' };
      expect(config).toMatchObject({
        sequence_batching: {
          control_input: [
            control('START', { ...none, kind: 'CONTROL_SEQUENCE_START', fp32_false_true: [0, 1] }),
            control('END', { ...none, kind: 'CONTROL_SEQUENCE_END', bool_false_true: [false, true] }),
            control('READY', { ...none, kind: 'CONTROL_SEQUENCE_READY', int32_false_true: [-1, 7] }),
            control('ID', { ...none, kind: 'CONTROL_SEQUENCE_CORRID', data_type: 'TYPE_INT64' }),
          ],
        },
      });
    });

    it.each([
      [{ start: 'BEGIN' }, 'sequences.controls.start: the model has no input "BEGIN"'],
      [{ start: 'START', end: 'START' }, 'sequences.controls.end: "START" is filled in by sequences.controls.start'],
      [{ start: 'before' }, 'sequences.controls.start: "before" is filled in by inputs.before'],
      [{ id: 'START' }, 'sequences.controls.id: "START" is FP32, which can hold no id'],
      [{ end: { input: 'END', falseTrue: [0, 2] as [number, number] } }, 'sequences.controls.end: 2 for "END"'],
      [
        { ready: { input: 'READY', falseTrue: [0, 0.5] as [number, number] } },
        'sequences.controls.ready: 0.5 for "READY"',
      ],
    ])('refuse a manifest with %j', async (wrong, words) => {
      const manifest = { ...told, sequences: { controls: wrong } };
      await expect(front.load('refused', teller(), manifest)).rejects.toThrow(words);
    });
  });

  it('are for models that say what goes from one run to the next', async () => {
    await expect(front.load('stateless', adder(1), { sequences: {} })).rejects.toThrow('sequences: is for a model');
    await expect(front.load('other', adder(1), { inputs: { before: { state: 'x' } } })).rejects.toThrow(
      'inputs.before.state: the model has no output "x"',
    );
  });

  it('end when they are silent, when there are too many, and when their version goes', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout'] });
    try {
      let nowMs = 0;
      await front.load('few', adder(1), { ...manifest, sequences: { idleSeconds: 5, most: 2 } });
      const sequences = createSequences({ engine: front.engine, nowMs: () => nowMs });
      const lease = front.engine.lease('few');
      const enter = async (id: string, start: boolean): Promise<void> =>
        (await sequences.enter(lease, { id, start, end: false })).leave();
      await enter('a', true);
      await enter('b', true);
      await expect(enter('c', true)).rejects.toMatchObject({ code: 'too_many_requests' });
      nowMs = 4000;
      await enter('b', false);
      nowMs = 6000;
      vi.advanceTimersByTime(1000);
      await expect(enter('a', false)).rejects.toThrow('sequence a of model "few" is not known');
      await enter('b', false);
      const gone = sequences.leaving('few', 1);
      await enter('b', false);
      vi.advanceTimersByTime(20_000);
      await gone;
      await expect(enter('b', false)).rejects.toThrow('is not known');
      lease.release();
    } finally {
      vi.useRealTimers();
    }
  });
});
