// A version in the shadow of what answers, over HTTP, in a process of its own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { manifest, sumClassifier } from '../../../test/support/models.ts';
import { ModelFiles } from '../process/ipc.ts';
import { agreementOf, type Said } from './agreement.ts';
import { type ServedFront, serveFront } from './front-fixture.ts';
import { createProcessorBudget } from './processor-budget.ts';
import { belongsToSplit } from './split.ts';

const good = 'a'.repeat(64);
const fresh = 'b'.repeat(64);
const folder = mkdtempSync(join(tmpdir(), 'shadows-'));
let front: ServedFront;

function files(version: number, release: string, weight: number): ModelFiles {
  const path = join(folder, `${version}.onnx`);
  writeFileSync(path, sumClassifier({ weight }));
  return ModelFiles.parse({ name: 'sum', version, path, release, manifest, digest: release });
}

beforeAll(async () => {
  front = await serveFront();
  await front.engine.load(files(1, good, 1));
  front.engine.activate('sum', 1);
});
afterAll(async () => {
  await front.close();
  rmSync(folder, { recursive: true });
});

async function ask(a: number, id?: string): Promise<unknown> {
  const answer = await front.post('/predict/sum', { features: { a, b: 0 }, ...(id && { id }) });
  expect(answer.status).toBe(200);
  return answer.json();
}

const how = { mode: 'shadow' as const, share: 0, processorShare: 1, against: good };

describe('a shadow', () => {
  it('is compared with every answer that it has room for, and nobody is answered by it', {
    timeout: 60_000,
  }, async () => {
    await front.engine.attach(files(2, fresh, -1), how);
    expect(front.engine.list().map(({ version }) => version)).toEqual([1]);
    expect((await front.post('/predict/sum/versions/2', { features: { a: 1, b: 0 } })).status).toBe(404);
    for (let i = 1; i <= 20; i++) expect(await ask(i)).toMatchObject({ label: 'high', version: 1 });
    const compared = () => front.records.filter(({ shadow }) => shadow !== undefined);
    await vi.waitFor(() => expect(compared().length).toBeGreaterThan(0), { timeout: 20_000 });
    const [record] = compared();
    expect(record).toMatchObject({
      ...{
        model: 'sum',
        version: 2,
        release: fresh,
        outcome: 'ok',
        predicted: ['low'],
        features: expect.any(Float32Array),
      },
      shadow: { version: 1, release: good, compared: 1, agreed: 0, predicted: ['high'] },
    });
    await front.engine.detach('sum');
    const before = front.records.length;
    await ask(3);
    expect(front.records.slice(before).map(({ version }) => version)).toEqual([1]);
  });

  it('stays away from another release than the one that it is to run beside', async () => {
    await front.engine.attach(files(2, fresh, 1), { ...how, against: 'c'.repeat(64) });
    const before = front.records.length;
    await ask(1);
    expect(front.records.slice(before)).toHaveLength(1);
    const lease = front.engine.lease('sum');
    expect(front.engine.beside(lease)).toBeUndefined();
    lease.release();
    await front.engine.detach('sum');
  });
});

describe('a split', () => {
  it('answers its share of requests by their ids, and says so', { timeout: 60_000 }, async () => {
    await front.engine.attach(files(2, fresh, -1), { ...how, mode: 'split', share: 0.3 });
    for (let i = 0; i < 40; i++) {
      const id = `request-${i}`;
      const isFresh = belongsToSplit(id, 0.3);
      expect(await ask(1, id)).toMatchObject(isFresh ? { version: 2, label: 'low' } : { version: 1, label: 'high' });
      expect(front.records.at(-1)).toMatchObject({ inferenceId: id, version: isFresh ? 2 : 1 });
    }
    expect(
      (await front.post('/predict/sum/versions/1', { features: { a: 1, b: 0 }, id: 'request-1' })).json(),
    ).toMatchObject({ version: 1 });
    await front.engine.detach('sum');
  });

  it('answers by the key of the caller, wherever that stands, and by the id where there is none', {
    timeout: 60_000,
  }, async () => {
    const share = 0.4;
    await front.engine.attach(files(2, fresh, -1), { ...how, mode: 'split', share });
    const keys = Array.from({ length: 12 }, (_, i) => `customer-${i}`);
    expect(new Set(keys.map((key) => belongsToSplit(key, share))).size).toBe(2);
    const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 2], data: [1, 0] }];
    const infer = async (parameters: object, headers: Record<string, string> = {}) => {
      const body = { id: 'request-1', parameters, inputs };
      return front.post('/v2/models/sum/infer', body, headers);
    };
    for (const key of keys) {
      const version = belongsToSplit(key, share) ? 2 : 1;
      const predicted = await front.post('/predict/sum', { features: { a: 1, b: 0 } }, { 'x-split-key': key });
      expect(predicted.json()).toMatchObject({ version });
      for (const answer of [
        await infer({ split_key: key }),
        await infer({}, { 'x-split-key': key }),
        await infer({ split_key: key }, { 'x-split-key': 'another' }),
      ])
        expect(answer.json()).toMatchObject({ model_version: String(version) });
    }
    const byId = String(belongsToSplit('request-1', share) ? 2 : 1);
    for (const none of [{}, { split_key: '' }, { split_key: null }])
      expect((await infer(none)).json()).toMatchObject({ model_version: byId });
    expect((await infer({ split_key: 17 })).json()).toMatchObject({
      model_version: String(belongsToSplit('17', share) ? 2 : 1),
    });
    expect((await infer({ split_key: { a: 1 } })).status).toBe(400);
    await front.engine.detach('sum');
  });

  it('takes about its share', () => {
    const taken = Array.from({ length: 5000 }, (_, i) => belongsToSplit(`id-${i}`, 0.2)).filter(Boolean).length;
    expect(taken).toBeGreaterThan(900);
    expect(taken).toBeLessThan(1100);
  });
});

it('takes no more of the processor than its share, however much is asked for', () => {
  const budget = createProcessorBudget(0.1);
  let spent = 0;
  for (let nowMs = 0; nowMs < 60_000; nowMs++) {
    if (!budget.isLeft(nowMs)) continue;
    budget.take(7);
    spent += 7;
  }
  expect(spent).toBeGreaterThan(5900);
  expect(spent).toBeLessThan(6200);
});

describe('agreement', () => {
  const classes = (predicted: string[], scores?: number[]): Said => ({
    kind: 'classes',
    predictions: { predicted, scores },
  });
  const tensor = (...values: number[]): Said => ({
    kind: 'tensors',
    outputs: [{ name: 'y', datatype: 'FP32', shape: [values.length], data: Float32Array.from(values) }],
  });
  it.each([
    ['classes row by row', classes(['a', 'b'], [0.9, 0.8]), classes(['a', 'c'], [0.7, 0.8]), { rows: 2, agreed: 1 }],
    ['other numbers of rows', classes(['a']), classes(['a', 'a']), { rows: 1, agreed: 0 }],
    ['numbers that nearly are the same', tensor(1, 100), tensor(1.01, 104), { rows: 1, agreed: 1 }],
    ['numbers that are not', tensor(1, 100), tensor(1, 120), { rows: 1, agreed: 0, differences: [20] }],
    ['what is no number in both', tensor(Number.NaN), tensor(Number.NaN), { rows: 1, agreed: 1 }],
    ['what is a number in one', tensor(Number.NaN), tensor(1), { rows: 1, agreed: 0 }],
    ['other shapes', tensor(1), tensor(1, 1), { rows: 1, agreed: 0 }],
  ])('of %s', (_what, former, other, expected) => {
    expect(agreementOf(former, other)).toMatchObject(expected);
  });
});
