// A model that takes seconds to load is nobody else's delay: while it is loaded, callers of another model are answered as
// before: none fails, and on a quiet machine all are answered within half a second, which EDGELOOP_GAP_MS=500 asks for. One
// that is busy with other tests is given longer.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { slowToLoad } from '../support/hostile-models.ts';
import { identity } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';
import { type FolderServer, startServing, writeModel } from '../support/serving.ts';
import { until } from '../support/until.ts';
import { type Bystander, startBystander } from './bystander.ts';

const withinMs = Number(process.env.EDGELOOP_GAP_MS ?? 15_000);
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: FolderServer;
let callers: Bystander[] = [];

afterEach(async () => {
  await Promise.all(callers.map((caller) => caller.stop()));
  callers = [];
});

describe.each([
  [1, 8],
  [2, 1],
])('with %i threads', (threads, count) => {
  beforeAll(async () => {
    folder = await temporaryFolder();
    await writeModel(folder.path, 'good', identity('float', ['n']));
    server = await startServing(folder.path, {
      env: { EDGELOOP_THREADS: String(threads), EDGELOOP_LOG_LEVEL: 'warn' },
      readyPath: '/v2/models/good/ready',
    });
  });
  afterAll(async () => {
    await server?.stop();
    await folder.remove();
  });

  test(`${count} callers of another model notice nothing of it`, async () => {
    callers = Array.from({ length: count }, () => startBystander(`${server.url}/v2/models/good/infer`));
    await Promise.all(callers.map((caller) => caller.answers(20)));
    const slow = `slow-${count}`;
    // Another file for each: what was tried once is not tried again.
    await writeModel(folder.path, slow, slowToLoad(20 + count));
    await until(
      'the slow model being ready',
      async () => (await fetch(`${server.url}/v2/models/${slow}/ready`)).ok || undefined,
      { timeoutMs: 100_000, context: () => server.program.output() },
    );
    await Promise.all(callers.map((caller) => caller.answers(20)));
    const gapMs = Math.max(...callers.map((caller) => caller.longestGapMs()));
    process.stderr.write(`others waited ${Math.round(gapMs)} ms at most: ${expect.getState().currentTestName}\n`);
    expect(callers.map((caller) => caller.failures())).toEqual(callers.map(() => 0));
    expect(gapMs, server.program.output()).toBeLessThan(withinMs);
  });
});
