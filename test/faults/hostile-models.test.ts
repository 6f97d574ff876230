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
/** How files are loaded, and what ends a run, is no matter of who reads requests: not tried twice. */
const isWhole = process.env.EDGELOOP_PLAIN_HTTP !== 'off';
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: FolderServer;
let bystander: Bystander;

/** Serves what `write` puts beside the good model, for all tests of a group. */
function serving(write: () => Promise<void>, env: Record<string, string> = {}): void {
  beforeAll(async () => {
    folder = await temporaryFolder();
    await writeModel(folder.path, 'good', identity('float', ['n']));
    await write();
    server = await startServing(folder.path, {
      env: { EDGELOOP_THREADS: '2', EDGELOOP_LOG_LEVEL: 'warn', ...env },
      readyPath: '/v2/models/good/ready',
    });
  });
  afterAll(async () => {
    await server?.stop();
    await folder.remove();
  });
  beforeEach(async () => {
    bystander = startBystander(`${server.url}/v2/models/good/infer`);
    await bystander.answers(20);
  });
  afterEach(() => bystander.stop());
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

async function expectEnded(model: string): Promise<void> {
  for (let run = 0; run < 10; run++) expect((await ask(model, [scalar('x', 'FP32', 0)])).status).toBe(200);
  const begunMs = performance.now();
  expect((await ask(model, [scalar('x', 'FP32', 1)])).status).not.toBe(200);
  process.stderr.write(`the endless run ended after ${Math.round(performance.now() - begunMs)} ms\n`);
  await expectOthersServed();
}

describe('beside others in two threads', () => {
  serving(async () => {
    await writeModel(folder.path, 'killer', hostile.harmless(), { version: 1 });
    await writeModel(folder.path, 'killer', hostile.processKiller(), { version: 2 });
    await writeModel(folder.path, 'endless', hostile.endlessLoop(), { manifest: { maxRunMs: 4000 } });
    await writeModel(folder.path, 'unbounded', hostile.endlessLoop(0.5), { manifest: { maxRunMs: 600_000 } });
    await writeModel(folder.path, 'huge', hostile.hugeOutput());
  });

  test('a model that kills its process: others are back, and after two deaths the last good version serves', async () => {
    const killer = 'killer/versions/2';
    await loaded(killer);
    const answer = await post(`${server.url}/v2/models/${killer}/infer`, JSON.stringify({ inputs: tame() }));
    expect(outputsOf(answer)).toHaveLength(1);
    expect((await ask(killer, deadly())).status).not.toBe(200);
    await expectOthersServed();
    await loaded(killer);
    // The next process has begun before, so that others are back as soon on a busy machine.
    await until('a spare process', async () => (await processTree(server.program.pid)).size === 3 || undefined);
    const loops = [1, 2].map(() => spawn(process.execPath, ['-e', 'for (;;);']));
    try {
      expect((await ask(killer, deadly())).status).not.toBe(200);
      await expectOthersServed();
    } finally {
      for (const loop of loops) loop.kill('SIGKILL');
    }
    const refused = await until('a refusal', async () => {
      const { status, body } = await ask(killer, deadly());
      return status === undefined ? undefined : { status, text: body?.toString('utf8') ?? '' };
    });
    expect(refused.status).toBeGreaterThanOrEqual(400);
    expect(refused.text).toMatch(/quarantine/i);
    await until('the last good version', async () => {
      const { status, body } = await ask('killer', deadly());
      return (status === 200 && body?.toString('utf8').includes('"model_version":"1"')) || undefined;
    });
    await expectOthersServed();
  });

  test('a model that never returns: others keep being answered, and its caller is told', async () => {
    await loaded('endless');
    expect((await ask('endless', [scalar('x', 'FP32', 0)])).status).toBe(200);
    const begunMs = performance.now();
    const { status } = await ask('endless', [scalar('x', 'FP32', 1)]);
    expect(status).not.toBe(200);
    expect(performance.now() - begunMs).toBeLessThan(60_000);
    await expectOthersServed();
  });

  if (isWhole)
    test('a run far beyond those before it is ended long before the bound of all runs, and nobody else waits', async () => {
      await loaded('unbounded');
      await expectEnded('unbounded');
    });

  test('a model that gives 400 MB', async () => {
    await loaded('huge');
    await ask('huge', [scalar('size', 'INT64', 100_000_000)]);
    await expectOthersServed();
    await until('its memory coming back', async () => (await server.rssBytes()) < 2 ** 30 || undefined);
  });
});

if (isWhole)
  describe('a run far beyond those before it is ended long before the bound of all runs, and nobody else waits:', () => {
    const manifest = { maxRunMs: 600_000 };
    serving(
      async () => {
        await writeModel(folder.path, 'own', hostile.endlessLoop(), {
          manifest: { ...manifest, isolation: 'process' },
        });
        await writeModel(folder.path, 'shared', hostile.endlessLoop(0.5), { manifest });
      },
      { EDGELOOP_THREADS: '1' },
    );

    test('one in a process of its own', async () => {
      await loaded('own');
      const begun = bystander.failures();
      await expectEnded('own');
      expect(bystander.failures()).toBe(begun);
    });

    test('one on the only thread', async () => {
      await loaded('shared');
      await expectEnded('shared');
    });
  });

describe('within a bound of memory', () => {
  const places = ['../../secret', '/etc/hostname'];
  const manifest = { isolation: 'process', maxRunMs: 1000 };
  serving(
    async () => {
      await writeModel(folder.path, 'killer', hostile.harmless(), { version: 1, manifest });
      await writeModel(folder.path, 'killer', hostile.processKiller(), { version: 2 });
      await writeModel(folder.path, 'endless', hostile.endlessLoop(), { manifest });
      await writeModel(folder.path, 'bomb', hostile.memoryBomb(), { manifest });
      if (isWhole) await writeFiles();
    },
    { EDGELOOP_MEMORY_MB: '1024' },
  );

  async function writeFiles(): Promise<void> {
    await writeModel(folder.path, 'a-killer', hostile.loadKiller());
    const whole = identity('float', ['n']);
    await writeModel(folder.path, 'a-broken', whole.subarray(0, whole.length - 10));
    await writeFile(join(folder.path, 'secret'), Buffer.alloc(8, 1));
    for (const [i, location] of places.entries())
      await writeModel(folder.path, `a-thief-${i}`, hostile.externalData(location));
    for (const name of ['bomb-40', 'bomb-6']) await writeModel(folder.path, name, hostile.memoryBomb());
  }

  if (isWhole) {
    test.each([
      ['kills the process that loads it', 'a-killer', scalar('x', 'INT64', 1), /ended by SIGFPE/],
      ['breaks off', 'a-broken', scalar('x', 'FP32', 1), /load the model|protobuf|ONNX/i],
      ...places.map((place, i): [string, string, Given, RegExp] => [
        `wants its data from ${place}`,
        `a-thief-${i}`,
        { name: 'x', datatype: 'FP32', shape: [2], data: [0, 0] },
        /outside of its (file|folder)|external/i,
      ]),
    ])('a file that %s is refused with the reason', async (_, model, input, reason) => {
      const refused = await until('the verdict', async () => {
        const { status, body } = await ask(model, [input]);
        const text = body?.toString() ?? '';
        return text === '' || text.includes('cannot be asked yet') ? undefined : { status, text };
      });
      expect(refused.status).toBeGreaterThanOrEqual(400);
      expect(refused.text).toMatch(reason);
      await expectOthersServed();
    });

    test.each([
      ['40 TB', 'bomb-40', 10_000_000_000_000],
      ['6 GB', 'bomb-6', 1_500_000_000],
    ])('a run that takes %s is refused or ended, and its memory comes back', async (_, model, floats) => {
      await loaded(model);
      const { status } = await ask(model, [scalar('size', 'INT64', floats)]);
      expect(status).not.toBe(200);
      await expectOthersServed();
      await until('its memory coming back', async () => (await server.rssBytes()) < 2 ** 30 || undefined);
    });
  }

  test('a model that kills its own process fails only its own requests, and is quarantined', async () => {
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
  ])(
    'a run in its own process that %s is ended with it, and the next one is answered',
    async (_, model, harmless, harmful) => {
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
    },
  );
});
