// Runs the examples of NVIDIA's tritonclient, unchanged, against the agent and prints a table: over HTTP, and over gRPC where
// TRITON_COMMON names a checkout of github.com/triton-inference-server/common, whose protocol files the gRPC client is made of.
// node --import tsx --conditions @edgeloop/source test/conformance/tritonclient.ts PATH
// PATH is a checkout of github.com/triton-inference-server/client. The Python that PYTHON names (python3 otherwise) needs
// gevent, geventhttpclient, rapidjson, aiohttp and numpy (Debian: python3-gevent python3-geventhttpclient
// python3-rapidjson python3-aiohttp python3-numpy, with PYTHON=/usr/bin/python3); for gRPC also grpcio and its tools
// (python3-grpcio python3-grpc-tools python3-packaging).
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts, temporaryFolder } from '../support/programs.ts';
import { type FolderServer, startServing } from '../support/serving.ts';
import { until } from '../support/until.ts';
import { writeExampleModels, writeSequenceModel } from './triton/models.ts';

interface Example {
  name: string;
  script: string;
  /** After `-u HOST:PORT`. */
  args?: string[];
  url?: 'flag' | 'positional';
  protocol?: 'http' | 'grpc';
  /** Done before it, once the ones above are over. */
  before?: () => Promise<void>;
  /** What the agent refuses by design, where the example asks for it. */
  refused?: { output: RegExp; reason: string };
}

const compressed = (kind: string) => [
  '--request-compression-algorithm',
  kind,
  '--response-compression-algorithm',
  kind,
];
const notRun: readonly [string, string][] = [
  ['image_client.py, grpc_image_client.py, grpc_client.py', 'they need a model of pictures (densenet) and its labels'],
  ['memory_growth_test.py, reuse_infer_objects_client.py', 'they measure the client, or share memory with the server'],
  ['simple_http_cudashm_client.py', 'needs a CUDA device'],
  ['simple_grpc_cudashm_client.py', 'needs a CUDA device'],
  ['the sequence examples with --dyna', 'they need a model that is told the id of its sequence (CORRID)'],
  ['simple_grpc_custom_repeat.py', 'an ONNX model gives one answer to a request'],
  ['ensemble_image_client.py', 'ensembles are not offered'],
];

const [checkout] = process.argv.slice(2);
if (checkout === undefined) {
  console.error('give the path of a checkout of github.com/triton-inference-server/client');
  process.exit(64);
}
const python = join(checkout, 'src/python');
const examples = join(python, 'examples');
const folder = await temporaryFolder();
const models = join(folder.path, 'models');
await writeExampleModels(models);

const notOffered = {
  output: /not offered here/,
  reason: 'shared memory between client and server is not offered; refused with that word',
};
const list: Example[] = [
  { name: 'sync', script: join(examples, 'simple_http_infer_client.py') },
  { name: 'sync, gzip', script: join(examples, 'simple_http_infer_client.py'), args: compressed('gzip') },
  { name: 'sync, deflate', script: join(examples, 'simple_http_infer_client.py'), args: compressed('deflate') },
  { name: 'async', script: join(examples, 'simple_http_async_infer_client.py') },
  { name: 'aio', script: join(examples, 'simple_http_aio_infer_client.py') },
  { name: 'aio, gzip', script: join(examples, 'simple_http_aio_infer_client.py'), args: compressed('gzip') },
  { name: 'aio, deflate', script: join(examples, 'simple_http_aio_infer_client.py'), args: compressed('deflate') },
  {
    name: 'strings and identity',
    script: join(examples, 'simple_http_string_infer_client.py'),
    refused: {
      output: /without NUL/,
      reason: 'it sends strings with NUL, which ONNX Runtime cuts; refused with that reason',
    },
  },
  { name: 'health and metadata', script: join(examples, 'simple_http_health_metadata.py') },
  {
    name: 'int8, uint64, fp16, statistics, index (ours)',
    script: fileURLToPath(new URL('./triton/own-checks.py', import.meta.url)),
    url: 'positional',
  },
  ...['simple_http_shm_client.py', 'simple_http_shm_string_client.py'].map((script) => ({
    name: script.slice(7, -10),
    script: join(examples, script),
    refused: notOffered,
  })),
  // Behind the others, because it unloads a model.
  { name: 'model control', script: join(examples, 'simple_http_model_control.py') },
  {
    name: 'sequences',
    script: join(examples, 'simple_http_sequence_sync_infer_client.py'),
    before: async () => {
      await writeSequenceModel(models);
      const ready = `${server.url}/v2/models/simple_sequence/ready`;
      await until('the model of sequences', async () => (await fetch(ready)).ok || undefined);
    },
  },
];

const { TRITON_COMMON: common } = process.env;
const library = join(folder.path, 'library');
cpSync(join(python, 'library'), library, { recursive: true });
if (common !== undefined) {
  makeStubs(join(common, 'protobuf'), library);
  const grpc = (name: string, script: string, more: Partial<Example> = {}): Example => ({
    name: `gRPC: ${name}`,
    script: join(examples, script),
    protocol: 'grpc',
    ...more,
  });
  list.unshift(
    grpc('sync', 'simple_grpc_infer_client.py'),
    grpc('sync, gzip', 'simple_grpc_infer_client.py', { args: ['-C', 'gzip'] }),
    grpc('sync, deflate', 'simple_grpc_infer_client.py', { args: ['-C', 'deflate'] }),
    grpc('async', 'simple_grpc_async_infer_client.py'),
    grpc('aio', 'simple_grpc_aio_infer_client.py'),
    grpc('keepalive', 'simple_grpc_keepalive_client.py'),
    grpc('channel arguments', 'simple_grpc_custom_args_client.py'),
    grpc('strings and identity', 'simple_grpc_string_infer_client.py', {
      refused: {
        output: /without NUL/,
        reason: 'it sends strings with NUL, which ONNX Runtime cuts; refused with that reason',
      },
    }),
    grpc('integers in contents', 'grpc_explicit_int_content_client.py'),
    grpc('small integers in contents', 'grpc_explicit_int8_content_client.py'),
    grpc('strings in contents', 'grpc_explicit_byte_content_client.py'),
    grpc('health and metadata', 'simple_grpc_health_metadata.py'),
    grpc('int8, uint64, fp16, statistics, stream, index (ours)', '', {
      script: fileURLToPath(new URL('./triton/own-grpc-checks.py', import.meta.url)),
      url: 'positional',
    }),
  );
}
if (common !== undefined) {
  for (const kind of ['sync', 'stream'])
    list.push({
      name: `gRPC: sequences, ${kind}`,
      script: join(examples, `simple_grpc_sequence_${kind}_infer_client.py`),
      protocol: 'grpc',
    });
  list.push({
    name: 'gRPC: sequences, aio stream',
    script: join(examples, 'simple_grpc_aio_sequence_stream_infer_client.py'),
    protocol: 'grpc',
  });
  for (const script of ['simple_grpc_shm_client.py', 'simple_grpc_shm_string_client.py'])
    list.push({
      name: `gRPC: ${script.slice(12, -10)}`,
      script: join(examples, script),
      protocol: 'grpc',
      refused: notOffered,
    });
  list.push({
    name: 'gRPC: model control',
    script: join(examples, 'simple_grpc_model_control.py'),
    protocol: 'grpc',
    refused: {
      output:
        /expected status 'StatusCode\.INTERNAL' for oversized file parameter, got status='StatusCode\.INVALID_ARGUMENT'/,
      reason:
        'all passes but that a wrong file name is INVALID_ARGUMENT here, which the example itself calls more fitting',
    },
  });
}
const [grpcPort = 0] = await freePorts(1);
// An example compares the server's name.
const env = { EDGELOOP_LOG_LEVEL: 'warn', EDGELOOP_SERVER_NAME: 'triton', EDGELOOP_GRPC_PORT: String(grpcPort) };
const server = await startServing(models, { env });
let failed = 0;
try {
  for (const example of list) {
    await example.before?.();
    const { code, output } = await run(example, server);
    const last = output.trim().split('\n').slice(-3).join(' | ').slice(0, 400);
    if (code === 0) console.log(`passes   ${example.name}`);
    else if (example.refused?.output.test(output)) console.log(`refused  ${example.name}: ${example.refused.reason}`);
    else {
      failed++;
      console.log(`FAILS    ${example.name}\n         exit ${code}: ${last}`);
    }
  }
} finally {
  await server.stop();
  await folder.remove();
}
for (const [name, reason] of notRun) console.log(`not run  ${name}: ${reason}`);
console.log(failed === 0 ? 'no failure' : `${failed} of ${list.length} fail`);
process.exitCode = failed === 0 ? 0 : 1;

/** As the package's own build makes them: compiled, and imported from inside the package. */
function makeStubs(protocol: string, into: string): void {
  const target = join(into, 'tritonclient/grpc');
  const files = ['model_config.proto', 'grpc_service.proto'].map((name) => join(protocol, name));
  const flags = [`-I${protocol}`, `--python_out=${target}`, `--grpc_python_out=${target}`];
  execFileSync(process.env.PYTHON ?? 'python3', ['-m', 'grpc_tools.protoc', ...flags, ...files]);
  const names = [
    ['model_config_pb2.py', 'model_config_pb2.py'],
    ['grpc_service_pb2.py', 'service_pb2.py'],
    ['grpc_service_pb2_grpc.py', 'service_pb2_grpc.py'],
  ] as const;
  for (const [made, name] of names) {
    const text = readFileSync(join(target, made), 'utf8');
    const moved = text
      .replaceAll(/^import grpc_(\w+)_pb2 as (\w+)$/gm, 'from tritonclient.grpc import $1_pb2 as $2')
      .replaceAll(/^import (\w+)_pb2 as (\w+)$/gm, 'from tritonclient.grpc import $1_pb2 as $2');
    writeFileSync(join(target, name), moved);
  }
}

function run(
  { script, args = [], url = 'flag', protocol = 'http' }: Example,
  { port }: FolderServer,
): Promise<{ code: number; output: string }> {
  const address = `127.0.0.1:${protocol === 'grpc' ? grpcPort : port}`;
  const child = spawn(
    process.env.PYTHON ?? 'python3',
    [script, ...(url === 'flag' ? ['-u', address] : [address]), ...args],
    {
      env: { ...process.env, PYTHONPATH: library },
      timeout: 60_000,
    },
  );
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString('utf8');
  });
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString('utf8');
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? -1, output }));
  });
}
