// Models that were quick for so long that they run in the thread that answers HTTP, and then turn on it by an input: the
// supervisor ends that process and names them as if they had run in a thread of their own.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { processKiller } from '../support/hostile-models.ts';
import { encodeGraph, identity } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';
import { type FolderServer, startServing, writeModel } from '../support/serving.ts';
import { until } from '../support/until.ts';
import { post, type V2Answer } from '../support/v2.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: FolderServer;

beforeEach(async () => {
  folder = await temporaryFolder();
  await writeModel(folder.path, 'good', identity('float', ['n']));
});
afterEach(async () => {
  await server?.stop();
  await folder.remove();
});

async function serve(env: Record<string, string> = {}): Promise<void> {
  server = await startServing(folder.path, {
    env: { EDGELOOP_THREADS: '2', EDGELOOP_LOG_LEVEL: 'warn', ...env },
  });
}

interface Given {
  name: string;
  datatype: string;
  shape: number[];
  data: (number | bigint)[];
}
const number = (name: string, value: number): Given => ({ name, datatype: 'INT64', shape: [1], data: [value] });

/** A broken connection counts as an answer without a status. */
async function ask(model: string, inputs: Given[]): Promise<Partial<V2Answer>> {
  try {
    return await post(`${server.url}/v2/models/${model}/infer`, JSON.stringify({ inputs }));
  } catch {
    return {};
  }
}

const askGood = () => ask('good', [{ name: 'x', datatype: 'FP32', shape: [1], data: [1] }]);

interface Stats {
  model_stats: { runtime: { runs_in_http_thread: number } }[];
}

/** Asks the model and the good one in turn until both run in the HTTP thread. */
async function becomeQuick(model: string, inputs: Given[]): Promise<void> {
  const runsThere = async (name: string) => {
    const answer = await fetch(`${server.url}/v2/models/${name}/stats`);
    const { model_stats: stats }: Stats = JSON.parse(await answer.text());
    return stats[0]?.runtime.runs_in_http_thread ?? 0;
  };
  await until(
    `${model} and good running in the HTTP thread`,
    async () => {
      const [before, goodBefore] = [await runsThere(model), await runsThere('good')];
      for (let i = 0; i < 50; i++) {
        expect((await ask(model, inputs)).status).toBe(200);
        expect((await askGood()).status).toBe(200);
      }
      // All of them, so that the next one runs there, too.
      const both = (await runsThere(model)) - before === 50 && (await runsThere('good')) - goodBefore === 50;
      return both || undefined;
    },
    { timeoutMs: 120_000, context: server.program.output },
  );
}

/** What the model answers once it is there; it may be on its way back. */
const whenLoaded = (model: string, inputs: Given[]) =>
  until(
    `${model} answering`,
    async () => {
      const answer = await ask(model, inputs);
      return answer.status === 503 || answer.status === undefined ? undefined : answer;
    },
    { timeoutMs: 60_000, context: server.program.output },
  );

/** What the supervisor wrote of each end of the serving process. */
function deaths(): { detail: string; suspects: string[] }[] {
  const lines = server.program.output().split('\n');
  return lines.filter((line) => line.includes('"the serving process died"')).map((line) => JSON.parse(line));
}

async function expectGoodServed(): Promise<void> {
  expect((await whenLoaded('good', [{ name: 'x', datatype: 'FP32', shape: [1], data: [1] }])).status).toBe(200);
  expect(server.program.output()).not.toMatch(/"model":"good".*quarantined/);
}

test('a quick model that kills its process is quarantined with the second death, and nobody else is', async () => {
  const tame = [number('x', 4), number('d', 1)];
  const deadly = [number('x', 0), number('d', -2)];
  await writeModel(folder.path, 'killer', processKiller());
  await serve();
  await becomeQuick('killer', tame);
  expect((await ask('killer', deadly)).status).not.toBe(200);
  await expectGoodServed();
  expect(deaths().map(({ suspects }) => suspects)).toEqual([['killer 1']]);
  expect((await whenLoaded('killer', tame)).status).toBe(200);
  expect((await ask('killer', deadly)).status).not.toBe(200);
  await expectGoodServed();
  const refused = await until('a refusal', async () => {
    const { status, body } = await ask('killer', tame);
    expect(status, server.program.output()).not.toBe(200);
    return body?.toString('utf8').match(/quarantine/i) ?? undefined;
  });
  expect(refused).toBeDefined();
  expect(deaths().map(({ suspects }) => suspects)).toEqual([['killer 1'], ['killer 1']]);
  await expectGoodServed();
}, 240_000);

test('a quick model whose run does not return is found by the heartbeat, and quarantined with the second one', async () => {
  const short = [number('n', 1)];
  const endless = [number('n', 8000)];
  await writeModel(folder.path, 'slow', powersOfSlice(8000, 3));
  await serve({ EDGELOOP_HEARTBEAT_SECONDS: '2' });
  await becomeQuick('slow', short);
  expect((await ask('slow', endless)).status).not.toBe(200);
  await expectGoodServed();
  expect(deaths()).toEqual([
    expect.objectContaining({ detail: expect.stringContaining('said nothing'), suspects: ['slow 1'] }),
  ]);
  // It runs in a thread of its own again, where the watchdog knows how long its runs take.
  for (let run = 0; run < 10; run++) expect((await whenLoaded('slow', short)).status).toBe(200);
  expect((await ask('slow', endless)).status).not.toBe(200);
  await until('a refusal', async () => {
    const { body } = await ask('slow', short);
    return body?.toString('utf8').match(/quarantine/i) ?? undefined;
  });
  await expectGoodServed();
}, 240_000);

/** As many products of matrices as high and wide as the number `n` says, at most `most`: without a loop, and for hours. */
function powersOfSlice(most: number, products: number): Uint8Array {
  const powers = Array.from({ length: products }, (_, i) => ({
    opType: 'MatMul',
    inputs: [`m${i}`, 'm0'],
    outputs: [`m${i + 1}`],
  }));
  return encodeGraph({
    inputs: [{ name: 'n', type: 'int64', dims: [1] }],
    outputs: [{ name: 'y', type: 'float', dims: [] }],
    initializers: [
      { name: 'values', dims: [most], data: new Float32Array(most).fill(1e-4) },
      { name: 'zero', dims: [1], data: BigInt64Array.of(0n) },
      { name: 'one', dims: [1], data: BigInt64Array.of(1n) },
    ],
    nodes: [
      { opType: 'Slice', inputs: ['values', 'zero', 'n'], outputs: ['some'] },
      { opType: 'Unsqueeze', inputs: ['some', 'one'], outputs: ['column'] },
      { opType: 'Unsqueeze', inputs: ['some', 'zero'], outputs: ['row'] },
      { opType: 'MatMul', inputs: ['column', 'row'], outputs: ['m0'] },
      ...powers,
      { opType: 'ReduceSum', inputs: [`m${products}`], outputs: ['y'], attributes: [{ name: 'keepdims', int: 0 }] },
    ],
  });
}
