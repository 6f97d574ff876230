// Versions that are really run over captured samples.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Backtest } from '@edgeloop/shared/api/backtests';
import { pageOf } from '@edgeloop/shared/api/paging';
import { RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { Hono } from 'hono';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endlessLoop, harmless, memoryBomb, processKiller } from '../../../test/support/hostile-models.ts';
import { manifest, sumClassifier } from '../../../test/support/models.ts';
import { encodeGraph } from '../../../test/support/onnx-models.ts';
import { until } from '../../../test/support/until.ts';
import { onError } from '../http/problem.ts';
import type { Env } from '../http/router.ts';
import { openBacktests } from './backtests-fixture.ts';
import { backtestRoutes } from './routes.ts';

let world: Awaited<ReturnType<typeof openBacktests>>;
const rows = Array.from({ length: 120 }, (_, i) => ({ a: (i % 12) - 5.5, b: i % 2 === 0 ? 0.25 : -0.25 }));
const truth = ({ a, b }: { a: number; b: number }) => (a + b > 0 ? 'high' : 'low');

beforeAll(async () => {
  world = await openBacktests();
  world.backtests.start();
  world.devices.set('d1', { site: 'x' }).set('d2', { site: 'y' });
  expect(await world.push('sum', sumClassifier())).toBe(1);
  // Says "high" to more: right where the sum is above 0, wrong between -2 and 0.
  expect(await world.push('sum', sumClassifier({ bias: 2 }))).toBe(2);
  await world.registry.setAlias('key:test', { model: 'sum', alias: 'stable', version: 1 });
  await world.capture(
    'sum',
    rows.map((row, i) => ({
      features: [row.a, row.b],
      predicted: truth(row),
      label: truth(row),
      // Where the two differ is on one site only.
      deviceId: row.a < 0 && row.a > -2 ? 'd2' : i % 3 === 0 ? 'd2' : 'd1',
    })),
  );
});
afterAll(async () => {
  await world.close();
});

describe('a backtest', () => {
  it('runs both versions over the samples and says where they differ', async () => {
    const { status, report, summary } = await world.backtest('sum', 2);
    const wrong = rows.filter(({ a, b }) => a + b <= 0 && a + b > -2).length;
    expect(status).toBe('done');
    expect(report).toMatchObject({
      ...{
        samples: 120,
        compared: 120,
        changed: wrong,
        comparedWith: 'baseline',
        why: 'it is stable',
        leftOut: [],
        cut: null,
      },
      candidate: { version: 2, answered: 120, refused: 0, failed: 0 },
      baseline: { version: 1, answered: 120 },
      field: { compared: 120, changed: wrong },
      repeated: { compared: 120, same: 120 },
      accuracy: { labelled: 120, candidate: (120 - wrong) / 120, baseline: 1, gain: { value: -wrong / 120 } },
    });
    expect(report?.transitions.filter(({ from, to }) => from !== to)).toEqual([
      { from: 'low', to: 'high', samples: wrong },
    ]);
    expect(report?.slices.find(({ key, value }) => key === 'site' && value === 'x')?.changed).toBe(0);
    expect(report?.candidate.latencyMs?.p50).toBeGreaterThan(0);
    const share = ((100 * wrong) / 120).toFixed(1);
    expect(summary).toMatch(
      new RegExp(
        `^of 120 samples of the last 7 days ${share} % would be answered otherwise than by version 1; most at site=y`,
      ),
    );
    expect(summary).toMatch(/accuracy \d+\.\d % against 100\.0 % on 120 labels$/);
    expect(readdirSync(join(world.folder, 'scratch'))).toEqual([]);
  });

  it('asks of samples what a device would: a default for what is missing, NaN, or nothing', async () => {
    const inputs = { features: { features: ['b', 'a', 'c'], defaults: { c: 0, a: 100 } } };
    const wider = encodeGraph({
      inputs: [{ name: 'features', type: 'float', dims: ['n', 3] }],
      outputs: [{ name: 'scores', type: 'float', dims: ['n', 2] }],
      initializers: [{ name: 'w', dims: [3, 2], data: Float32Array.from([0, 1, 0, 1, 0, 1]) }],
      nodes: [
        { opType: 'MatMul', inputs: ['features', 'w'], outputs: ['logits'] },
        { opType: 'Softmax', inputs: ['logits'], outputs: ['scores'], attributes: [{ name: 'axis', int: -1 }] },
      ],
    });
    const { outputs } = manifest;
    await world.push('gaps', sumClassifier());
    const version = await world.push('gaps', wider, { task: 'classification', inputs, outputs });
    await world.capture('gaps', [
      { features: [3, -1], predicted: 'high' },
      { features: [-3, 1], predicted: 'low' },
      { features: [null, -1], predicted: 'low' },
      { features: [3, null], predicted: 'low' },
    ]);
    const { report } = await world.backtest('gaps', version, { baseline: 1 });
    // By name, though the order is another; a becomes 100; b is NaN, and the model makes nothing of it, as the baseline of both.
    expect(report).toMatchObject({
      ...{ samples: 4, compared: 3, changed: 1, why: 'as asked' },
      candidate: {
        answered: 3,
        refused: 1,
        failed: 0,
        reasons: ['a feature is missing, and its output "scores" is NaN'],
      },
      baseline: { answered: 2, refused: 2 },
    });
    expect(report?.transitions).toContainEqual({ from: null, to: 'high', samples: 1 });
  });

  it('compares with what devices answered when no other version can be run', async () => {
    await world.push('alone', sumClassifier({ weight: -1 }));
    await world.capture('alone', [
      { features: [1, 1], predicted: 'high' },
      { features: [1, 2], predicted: 'low' },
    ]);
    expect((await world.backtest('alone', 1)).report).toMatchObject({
      ...{ comparedWith: 'nothing', why: 'no device should run another version', compared: 0, accuracy: null },
    });
    const version = await world.push('alone', sumClassifier());
    expect((await world.backtest('alone', version)).report).toMatchObject({
      ...{ comparedWith: 'field', compared: 2, changed: 1, baseline: null, repeated: null },
    });
  });

  it('compares numbers', async () => {
    const times = (factor: number) =>
      encodeGraph({
        inputs: [{ name: 'x', type: 'float', dims: ['n', 1] }],
        outputs: [{ name: 'y', type: 'float', dims: ['n', 1] }],
        initializers: [{ name: 'factor', dims: [1], data: Float32Array.of(factor) }],
        nodes: [{ opType: 'Mul', inputs: ['x', 'factor'], outputs: ['y'] }],
      });
    const numbers = { task: 'regression' as const, inputs: { x: { features: ['x'] } } };
    await world.push('line', times(1), numbers);
    const version = await world.push('line', times(1.2), numbers);
    await world.capture(
      'line',
      Array.from({ length: 100 }, (_, i) => ({ features: [i], label: String(i) })),
    );
    const { report, summary } = await world.backtest('line', version, { baseline: 1 });
    // The range is 89, and 0.2 x is above 5 % of that from 23 on.
    expect(report).toMatchObject({
      compared: 100,
      changed: 77,
      transitions: [],
      accuracy: null,
      repeated: { compared: 0 },
    });
    expect(report?.differences).toMatchObject([{ name: 'y', range: 89 }]);
    expect(report?.differences[0]?.max).toBeCloseTo(19.8, 3);
    expect(report?.error).toMatchObject({ labelled: 100, baseline: 0 });
    expect(report?.error?.candidate).toBeCloseTo(9.9, 3);
    expect(summary).toContain('mean error 9.9 against 0 on 100 labels');
  });
});

describe('a version that misbehaves on a sample', () => {
  const pair = { task: 'generic' as const, inputs: { x: { features: ['x'] }, d: { features: ['d'] } } };
  const one = (name: string) => ({ task: 'generic' as const, inputs: { [name]: { features: [name] } } });
  const strict = { timeoutMs: 10_000 };
  const small = { maxRssBytes: 700 * 1024 ** 2 };

  it.each([
    ['dies', processKiller, pair, [0, -2], {}, /^could not be made: version 1: its process was ended by SIGFPE/],
    [
      'hangs',
      endlessLoop,
      one('x'),
      [1],
      strict,
      /^could not be made: version 1: its process did not finish within 10 s/,
    ],
    [
      'takes all memory',
      memoryBomb,
      one('size'),
      [1e9],
      small,
      /^could not be made: version 1: its process used \d+ MB/,
    ],
  ] as const)('fails by name when it %s, and nothing else does', async (_what, bytes, of, features, limits, words) => {
    const alone = await openBacktests(limits);
    alone.backtests.start();
    const version = await alone.push('bad', bytes(), of);
    await alone.capture('bad', [{ features: [...features] }]);
    const failed = await alone.backtest('bad', version);
    expect(failed).toMatchObject({ status: 'failed', report: null, summary: expect.stringMatching(words) });
    expect(readdirSync(join(alone.folder, 'scratch'))).toEqual([]);
    await alone.close();
  });

  it('is no fault of the candidate when the baseline does', async () => {
    await world.push('pair', processKiller(), pair);
    const version = await world.push('pair', harmless(), pair);
    await world.capture('pair', [{ features: [0, -2] }]);
    expect((await world.backtest('pair', version, { baseline: 1 })).report).toMatchObject({
      ...{ samples: 1, comparedWith: 'nothing', candidate: { answered: 1 } },
      why: expect.stringMatching(/^version 1 could not be run here: its process was ended by SIGFPE/),
    });
  });

  it('says that it takes no rows of features', async () => {
    const version = await world.push('plain', harmless(), {});
    expect((await world.backtest('plain', version)).summary).toBe(
      'could not be made: version 1: it takes no named features, and samples hold nothing else',
    );
  });
});

describe('the gate of a rollout', () => {
  const plan = RolloutPlan.parse({ gates: { backtest: { mode: 'gate', minSamples: 100 } } });
  const rollout = (id: string, version: number) => ({
    ...{ id, model: 'sum', version, plan, createdAt: 1, createdBy: 'key:test', updatedAt: 1 },
    state: { phase: 'awaiting_approval' as const },
  });
  const ask = (id: string, version = 2) =>
    world.database.transact((tx) => world.backtests.ask(tx, rollout(id, version), 'key:test'));

  it('waits while its backtest is under way, is asked once, and fails a version that is worse', async () => {
    await ask('r1');
    await ask('r1');
    expect((await world.backtests.of('r1'))?.verdict).toMatchObject({ verdict: 'waiting', blocking: true });
    const verdict = await until('the verdict', async () => {
      const found = (await world.backtests.of('r1'))?.verdict;
      return found?.verdict === 'waiting' ? undefined : found;
    });
    expect(verdict).toMatchObject({
      verdict: 'failed',
      detail: expect.stringMatching(/^accuracy loses \d+(\.\d)? points, allowed are 5 points: of 120 samples/),
      numbers: { compared: 120, maxLoss: 0.05, labelled: 120 },
    });
    expect(world.ended).toHaveBeenCalledWith('r1');
    const { items } = await world.backtests.list({ model: 'sum', version: 2, limit: 100 });
    expect(items.filter(({ rolloutId }) => rolloutId === 'r1')).toHaveLength(1);
  });

  it('is made anew after a restart in the midst of it, and only once', async () => {
    await world.backtests.close();
    world.restart();
    await ask('r2');
    world.backtests.start();
    await until('it being under way', async () =>
      (await world.backtests.of('r2'))?.backtest.status === 'running' ? true : undefined,
    );
    await world.backtests.close();
    expect((await world.backtests.of('r2'))?.backtest).toMatchObject({ status: 'running', endedAt: null });
    world.restart();
    await ask('r2');
    world.backtests.start();
    const over = await until('it being over', async () => {
      const found = await world.backtests.of('r2');
      return found?.backtest.endedAt == null ? undefined : found;
    });
    expect(over.verdict.verdict).toBe('failed');
    // Asked again, as when the rollout is resumed: samples of then may say otherwise.
    await ask('r2');
    expect((await world.backtests.of('r2'))?.verdict.verdict).toBe('waiting');
  });
});

describe('the API', () => {
  const app = new Hono<Env>();
  app.use(async (c, next) => {
    c.set('actor', { name: 'key:test', role: 'operator' });
    await next();
  });
  beforeAll(() => {
    app.route('/', backtestRoutes(world.backtests));
    app.onError(onError(pino({ level: 'silent' })));
  });
  const post = (path: string, body: unknown) =>
    app.request(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

  it('begins one, lists them, shows one, and keeps who asked', async () => {
    const response = await post('/models/sum/versions/2/backtests', { days: 3 });
    expect(response.status).toBe(202);
    const { id } = Backtest.parse(await response.json());
    await world.over('sum', 2, id);
    const shown = await app.request(`/models/sum/versions/2/backtests/${id}`);
    expect(Backtest.parse(await shown.json())).toMatchObject({
      status: 'done',
      asked: { days: 3 },
      createdBy: 'key:test',
    });
    const listed = await app.request('/models/sum/versions/2/backtests?limit=1');
    expect(pageOf(Backtest).parse(await listed.json()).items).toMatchObject([{ id }]);
    const audited = await world.database.read.select().from(world.database.tables.audit);
    expect(audited.filter(({ subject }) => subject === `backtest/${id}`).map(({ action }) => action)).toEqual([
      'backtest.create',
      'backtest.end',
    ]);
  });

  it('refuses what cannot be', async () => {
    const status = async (path: string, body: unknown = {}) => (await post(path, body)).status;
    expect(await status('/models/sum/versions/99/backtests')).toBe(404);
    expect(await status('/models/sum/versions/2/backtests', { baseline: 2 })).toBe(400);
    expect(await status('/models/sum/versions/2/backtests', { baseline: 99 })).toBe(404);
    expect(await status('/models/sum/versions/2/backtests', { days: 0 })).toBe(400);
    expect(await status('/models/sum/versions/2/backtests', { selector: '=' })).toBe(400);
    expect((await app.request('/models/sum/versions/1/backtests/none')).status).toBe(404);
  });
});
