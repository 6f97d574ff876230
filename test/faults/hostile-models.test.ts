// Whatever a model does to the process that runs it, the port goes on answering for other models: within a second on a
// quiet machine, which EDGELOOP_GAP_MS=1000 asks for. One that is busy with other tests is given longer.
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import * as hostile from '../support/hostile-models.ts';
import { identity } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';
import { type FolderServer, processTree, startServing, writeModel } from '../support/serving.ts';
import { until } from '../support/until.ts';
import { outputsOf, post, type V2Answer } from '../support/v2.ts';
import { type Bystander, startBystander } from './bystander.ts';

const withinMs = Number(process.env.EDGELOOP_GAP_MS ?? 15_000);
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: FolderServer;
let bystander: Bystander;

const open = async (): Promise<void> => {
  folder = await temporaryFolder();
  await writeModel(folder.path, 'good', identity('float', ['n']));
};
const close = async (): Promise<void> => {
  await bystander?.stop();
  await server?.stop();
  await folder.remove();
};

/** Serves what is in the folder; callers of the good model begin. */
async function serve(env: Record<string, string> = {}): Promise<void> {
  server = await startServing(folder.path, {
    env: { EDGELOOP_THREADS: '2', EDGELOOP_LOG_LEVEL: 'warn', ...env },
    readyPath: '/v2/models/good/ready',
  });
  bystander = startBystander(`${server.url}/v2/models/good/infer`);
  await bystander.answers(20);
}

interface Given {
  name: string;
  datatype: string;
  shape: number[];
  data: (number | bigint)[];
}

/** A request to the hostile model; a broken connection counts as an answer without a status. */
async function ask(model: string, inputs: Given[]): Promise<Partial<V2Answer>> {
  try {
    return await post(`${server.url}/v2/models/${model}/infer`, JSON.stringify({ inputs }));
  } catch {
    return {};
  }
}

const scalar = (name: string, datatype: string, value: number): Given => ({
  name,
  datatype,
  shape: [1],
  data: [value],
});
const deadly = () => [scalar('x', 'INT64', 0), scalar('d', 'INT64', -2)];
const tame = () => [scalar('x', 'INT64', 4), scalar('d', 'INT64', 1)];

async function loaded(model: string): Promise<void> {
  await until(
    `${model} being ready`,
    async () => (await fetch(`${server.url}/v2/models/${model}/ready`)).ok || undefined,
    {
      context: () => server.program.output(),
    },
  );
}

async function expectOthersServed(): Promise<void> {
  await bystander.answers(20);
  const gapMs = bystander.longestGapMs();
  process.stderr.write(`others waited ${Math.round(gapMs)} ms at most: ${expect.getState().currentTestName}\n`);
  expect(gapMs, server.program.output()).toBeLessThan(withinMs);
}

describe('on a server of its own', () => {
  beforeEach(open);
  afterEach(close);

  test('a model that kills its process: others are back, and after two deaths it is quarantined', async () => {
    await writeModel(folder.path, 'killer', hostile.processKiller());
    await serve();
    await loaded('killer');
    expect(
      outputsOf(await post(`${server.url}/v2/models/killer/infer`, JSON.stringify({ inputs: tame() }))),
    ).toHaveLength(1);
    for (let death = 1; death <= 2; death++) {
      expect((await ask('killer', deadly())).status).not.toBe(200);
      await expectOthersServed();
      if (death === 1) await loaded('killer');
    }
    const refused = await until('a refusal', async () => {
      const { status, body } = await ask('killer', deadly());
      return status === undefined ? undefined : { status, text: body?.toString('utf8') ?? '' };
    });
    expect(refused.status).toBeGreaterThanOrEqual(400);
    expect(refused.text).toMatch(/quarantine/i);
    await expectOthersServed();
  });

  test('a death on a busy machine: others are back as soon, since the next process has begun before', async () => {
    await writeModel(folder.path, 'killer', hostile.processKiller());
    await serve();
    await loaded('killer');
    await until('a spare process', async () => (await processTree(server.program.pid)).size === 3 || undefined);
    const loops = [1, 2].map(() => spawn(process.execPath, ['-e', 'for (;;);']));
    try {
      expect((await ask('killer', deadly())).status).not.toBe(200);
      await expectOthersServed();
    } finally {
      for (const loop of loops) loop.kill('SIGKILL');
    }
  });

  test('the last good version serves in the place of one that was quarantined', async () => {
    await writeModel(folder.path, 'killer', hostile.harmless(), { version: 1 });
    await writeModel(folder.path, 'killer', hostile.processKiller(), { version: 2 });
    await serve();
    await loaded('killer');
    await until('two deaths', async () => {
      await loaded('killer');
      const { status, body } = await ask('killer', deadly());
      return (status === 200 && body?.toString('utf8').includes('"model_version":"1"')) || undefined;
    });
    await expectOthersServed();
  });

  test('a model that never returns: others keep being answered, and its caller is told', async () => {
    await writeModel(folder.path, 'endless', hostile.endlessLoop(), { manifest: { maxRunMs: 4000 } });
    await serve();
    await loaded('endless');
    expect((await ask('endless', [scalar('x', 'FP32', 0)])).status).toBe(200);
    const begunMs = performance.now();
    const { status } = await ask('endless', [scalar('x', 'FP32', 1)]);
    expect(status).not.toBe(200);
    expect(performance.now() - begunMs).toBeLessThan(60_000);
    await expectOthersServed();
  });

  test.each([
    ['on the only thread', {}, '1'],
    ['on one of two threads', {}, '2'],
    ['in a process of its own', { isolation: 'process' }, '1'],
  ])(
    'a run far beyond those before it, %s: it is ended long before the bound of all runs, and nobody else waits',
    async (_, manifest, threads) => {
      await writeModel(folder.path, 'endless', hostile.endlessLoop(), { manifest: { ...manifest, maxRunMs: 600_000 } });
      await serve({ EDGELOOP_THREADS: threads });
      await loaded('endless');
      for (let run = 0; run < 10; run++) expect((await ask('endless', [scalar('x', 'FP32', 0)])).status).toBe(200);
      const begunMs = performance.now();
      const asked = ask('endless', [scalar('x', 'FP32', 1)]);
      expect((await asked).status).not.toBe(200);
      process.stderr.write(`the endless run ended after ${Math.round(performance.now() - begunMs)} ms\n`);
      await expectOthersServed();
      if ('isolation' in manifest) expect(bystander.failures()).toBe(0);
    },
  );

  test('a model that gives 400 MB', async () => {
    await writeModel(folder.path, 'huge', hostile.hugeOutput());
    await serve();
    await loaded('huge');
    await ask('huge', [scalar('size', 'INT64', 100_000_000)]);
    await expectOthersServed();
    await until('its memory coming back', async () => (await server.rssBytes()) < 2 ** 30 || undefined);
  });
});

describe('files that are there at the start', () => {
  const places = ['../../secret', '/etc/hostname'];
  beforeAll(async () => {
    await open();
    await writeModel(folder.path, 'a-killer', hostile.loadKiller());
    const whole = identity('float', ['n']);
    await writeModel(folder.path, 'a-broken', whole.subarray(0, whole.length - 10));
    await writeFile(join(folder.path, 'secret'), Buffer.alloc(8, 1));
    for (const [i, location] of places.entries())
      await writeModel(folder.path, `a-thief-${i}`, hostile.externalData(location));
    await serve();
  });
  afterAll(close);

  test.each([
    ['kills the process that loads it', 'a-killer', scalar('x', 'INT64', 1), /ended by SIGFPE/],
    ['breaks off', 'a-broken', scalar('x', 'FP32', 1), /load the model|protobuf|ONNX/i],
    ...places.map((place, i): [string, string, Given, RegExp] => [
      `wants its data from ${place}`,
      `a-thief-${i}`,
      { name: 'x', datatype: 'FP32', shape: [2], data: [0, 0] },
      /outside of its (file|folder)|external/i,
    ]),
  ])('one that %s is refused with the reason', async (_, model, input, reason) => {
    const { status, body } = await ask(model, [input]);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(body?.toString()).toMatch(reason);
    await expectOthersServed();
  });
});

describe('models that take memory', () => {
  beforeAll(async () => {
    await open();
    for (const name of ['bomb-40', 'bomb-6']) await writeModel(folder.path, name, hostile.memoryBomb());
    await serve({ EDGELOOP_MEMORY_MB: '1024' });
  });
  afterAll(close);

  test.each([
    ['40 TB', 'bomb-40', 10_000_000_000_000],
    ['6 GB', 'bomb-6', 1_500_000_000],
  ])('one that takes %s', async (_, model, floats) => {
    await loaded(model);
    const { status } = await ask(model, [scalar('size', 'INT64', floats)]);
    expect(status).not.toBe(200);
    await expectOthersServed();
    await until('its memory coming back', async () => (await server.rssBytes()) < 2 ** 30 || undefined);
  });
});

describe('in a process of their own', () => {
  const manifest = { isolation: 'process', maxRunMs: 1000 };
  beforeAll(async () => {
    await open();
    await writeModel(folder.path, 'killer', hostile.harmless(), { version: 1, manifest });
    await writeModel(folder.path, 'killer', hostile.processKiller(), { version: 2 });
    await writeModel(folder.path, 'endless', hostile.endlessLoop(), { manifest });
    await writeModel(folder.path, 'bomb', hostile.memoryBomb(), { manifest });
    await serve({ EDGELOOP_MEMORY_MB: '1024' });
  });
  afterAll(close);

  test('a model that kills it fails only its own requests, and is quarantined', async () => {
    await loaded('killer');
    const begun = bystander.failures();
    const answer = await post(`${server.url}/v2/models/killer/infer`, JSON.stringify({ inputs: tame() }));
    expect([answer.status, outputsOf(answer).length]).toEqual([200, 1]);
    const died = await ask('killer', deadly());
    expect([died.status, died.body?.toString()]).toEqual([500, expect.stringMatching(/process died/)]);
    await until('the last good version', async () => {
      const { status, body } = await ask('killer', deadly());
      return (status === 200 && body?.toString('utf8').includes('"model_version":"1"')) || undefined;
    });
    await expectOthersServed();
    expect(bystander.failures()).toBe(begun);
  });

  test.each([
    ['never returns', 'endless', scalar('x', 'FP32', 0), scalar('x', 'FP32', 1)],
    ['takes 6 GB', 'bomb', scalar('size', 'INT64', 1), scalar('size', 'INT64', 1_500_000_000)],
  ])('a run that %s is ended with it, and the next one is answered', async (_, model, harmless, harmful) => {
    await loaded(model);
    const begun = bystander.failures();
    expect((await ask(model, [harmless])).status).toBe(200);
    expect((await ask(model, [harmful])).status).toBe(500);
    await until(
      'an answer of the next process',
      async () => (await ask(model, [harmless])).status === 200 || undefined,
    );
    await expectOthersServed();
    expect(bystander.failures()).toBe(begun);
  });
});
