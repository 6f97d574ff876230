// Runs the HTTP examples of NVIDIA's tritonclient, unchanged, against the agent and prints a table.
// node --import tsx --conditions @edgeloop/source test/conformance/tritonclient.ts PATH
// PATH is a checkout of github.com/triton-inference-server/client. The Python that PYTHON names (python3 otherwise) needs
// gevent, geventhttpclient, rapidjson, aiohttp and numpy (Debian: python3-gevent python3-geventhttpclient
// python3-rapidjson python3-aiohttp python3-numpy, with PYTHON=/usr/bin/python3).
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../support/programs.ts';
import { type FolderServer, startServing } from '../support/serving.ts';
import { writeExampleModels } from './triton/models.ts';

interface Example {
  name: string;
  script: string;
  /** After `-u HOST:PORT`. */
  args?: string[];
  url?: 'flag' | 'positional';
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
  ['image_client.py, memory_growth_test.py, reuse_infer_objects_client.py', 'they import the gRPC client as well'],
  [
    'simple_http_sequence_sync_infer_client.py',
    'sequences are state in the server; an ONNX model takes its state in and gives it out',
  ],
  ['simple_http_shm_client.py', 'shared memory between client and server is not offered'],
  ['simple_http_shm_string_client.py', 'shared memory between client and server is not offered'],
  ['simple_http_cudashm_client.py', 'needs a CUDA device'],
  ['simple_grpc_*.py, grpc_*.py', 'gRPC is not offered'],
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
await writeExampleModels(join(folder.path, 'models'));

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
  // Last, because it unloads a model.
  { name: 'model control', script: join(examples, 'simple_http_model_control.py') },
];

// An example compares the server's name.
const env = { EDGELOOP_LOG_LEVEL: 'warn', EDGELOOP_SERVER_NAME: 'triton' };
const server = await startServing(join(folder.path, 'models'), { env });
let failed = 0;
try {
  for (const example of list) {
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

function run(
  { script, args = [], url = 'flag' }: Example,
  { port }: FolderServer,
): Promise<{ code: number; output: string }> {
  const address = `127.0.0.1:${port}`;
  const child = spawn(
    process.env.PYTHON ?? 'python3',
    [script, ...(url === 'flag' ? ['-u', address] : [address]), ...args],
    {
      env: { ...process.env, PYTHONPATH: join(python, 'library') },
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
