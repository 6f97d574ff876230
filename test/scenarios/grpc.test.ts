// `serve DIR --grpc-port` as a real program: the port stays open through the death of the process behind it, is off by
// default, and is drained.
import type { ServiceError } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type GrpcClient, grpcClient, inferFields, rawOutputsOf, textIn } from '../support/grpc.ts';
import { manifest, sumClassifier } from '../support/models.ts';
import { agentProgram, freePorts, startProgram, temporaryFolder } from '../support/programs.ts';
import { type FolderServer, processTree, servingPid, startServing, writeModel } from '../support/serving.ts';
import { until } from '../support/until.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: FolderServer | undefined;
let client: GrpcClient | undefined;

beforeEach(async () => {
  folder = await temporaryFolder();
  await writeModel(folder.path, 'sum', sumClassifier(), { manifest });
});
afterEach(async () => {
  client?.close();
  await server?.stop();
  await folder.remove();
});

const features = {
  name: 'features',
  datatype: 'FP32',
  shape: [1, 2],
  bytes: new Uint8Array(Float32Array.of(1, 2).buffer),
};

async function serve(env: Record<string, string> = {}): Promise<{ server: FolderServer; grpc: GrpcClient }> {
  const [port = 0] = await freePorts(1);
  const common = { EDGELOOP_THREADS: '1', EDGELOOP_GRPC_PORT: String(port) };
  server = await startServing(folder.path, { env: { ...common, ...env } });
  client = grpcClient(port);
  return { server, grpc: client };
}

const asked = (grpc: GrpcClient) => grpc.call('ModelInfer', inferFields('sum', [features]), { timeoutMs: 30_000 });

test.skipIf(process.platform !== 'linux')(
  'callers of gRPC are answered after the process behind the port was killed',
  async () => {
    const { server: running, grpc } = await serve();
    const before = rawOutputsOf(await asked(grpc));
    expect(before[0]?.shape).toEqual([1, 2]);
    const pid = await servingPid(running);
    process.kill(pid, 'SIGKILL');
    // What was handed to a process that was dying is lost with it, as in HTTP; from here on callers wait.
    await until('the death', async () => /the serving process died/.test(running.program.output()) || undefined);
    // A caller who comes while nothing serves waits, and is not refused.
    const fresh = grpcClient(await portOf(running));
    expect(rawOutputsOf(await asked(fresh))).toEqual(before);
    fresh.close();
    const again = await until('the connection again', () => asked(grpc).catch(() => undefined));
    expect(rawOutputsOf(again)).toEqual(before);
    expect((await processTree(running.program.pid)).has(pid)).toBe(false);
  },
);

async function portOf({ program }: FolderServer): Promise<number> {
  return until('the port', async () => {
    const line = program
      .output()
      .split('\n')
      .find((each) => each.includes('"msg":"listening"'));
    return line === undefined ? undefined : Number(JSON.parse(line).grpcPort);
  });
}

test('models come and go, and a stream is told when the server stops', async () => {
  const { server: running, grpc } = await serve();
  await grpc.call('RepositoryModelUnload', [[2, 'sum']]);
  const gone: ServiceError = await asked(grpc).then(
    () => Promise.reject(new Error('it was answered')),
    (error: ServiceError) => error,
  );
  expect([gone.code, gone.details]).toEqual([5, expect.stringMatching(/unloaded on request/)]);
  const config = '{"max_batch_size": 16}';
  await grpc.call('RepositoryModelLoad', [
    [2, 'sum'],
    [
      3,
      [
        [1, 'config'],
        [2, [[3, config]]],
      ],
    ],
  ]);
  const stream = grpc.stream();
  stream.send(inferFields('sum', [features], [[3, 'mine']]));
  await until('an answer', async () => stream.answers.length > 0 || undefined);
  expect(stream.answers.map((answer) => textIn(answer, 1))).toEqual(['']);
  await running.stop();
  expect(await stream.ended).toMatchObject({ code: 14 });
  expect(running.program.ended()).toBe(0);
});

test('a port that is taken is named, and without one nothing of gRPC is loaded', async () => {
  const { server: running } = await serve();
  const port = String(await portOf(running));
  const other = startProgram([agentProgram, 'serve', folder.path], {
    EDGELOOP_AGENT_DATA_DIR: `${folder.path}/.two`,
    EDGELOOP_AGENT_PORT: '0',
    EDGELOOP_GRPC_PORT: port,
  });
  expect(await other.waitForEnd()).toBe(75);
  expect(other.output()).toMatch(new RegExp(`EDGELOOP_GRPC_PORT ${port} cannot be listened on`));
  await running.stop();
  server = await startServing(folder.path, { env: { EDGELOOP_THREADS: '1' } });
  client = grpcClient(Number(port));
  await expect(client.call('ServerLive', [], { timeoutMs: 2000 })).rejects.toBeDefined();
  expect(server.program.output()).not.toMatch(/grpcPort/);
});
