// Sends the ONNX project's backend test cases through the agent's port and compares with the published outputs; and those whose
// requests share runs when their first dimension is free, together with others, and compares with each alone.
// node --import tsx --conditions @edgeloop/source test/conformance/onnx-backend.ts PATH [--batch N] [--only TEXT] [--list] [--direct] [--part 1/3]
// With --direct the port, the engine and gRPC run in this process and take models without proving each in a process of its own,
// which takes minutes instead of hours. --part I/N runs every Nth case, for several of them beside each other.
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { ModelFiles } from '../../agent/src/process/ipc.ts';
import { type ServedFront, serveFront } from '../../agent/src/server/front-fixture.ts';
import { type GrpcClient, grpcClient, inferFields, rawOutputsOf } from '../support/grpc.ts';
import { freePorts, temporaryFolder } from '../support/programs.ts';
import { startServing } from '../support/serving.ts';
import { type AnsweredTensor, binaryBody, jsonBody, outputsOf, post } from '../support/v2.ts';
import { type BackendCase, difference, listCases, type Sample, type Signature, samplesOf } from './onnx/cases.ts';
import { askJoined, type JoinedOutcome, type RowsVariant, rowsVariants } from './onnx/joined.ts';
import { runRaw } from './onnx/raw.ts';

interface Candidate {
  each: BackendCase;
  signature: Signature;
}

interface Outcome {
  name: string;
  /** Why it fails, or undefined where it passes. */
  binary: string | undefined;
  json: string | undefined;
  /** Of the same case with a free first dimension, where requests share runs: rows of the largest, and why it fails. */
  joined: JoinedOutcome[];
  grpc: string | undefined;
}

const { values, positionals } = parseArgs({
  options: {
    batch: { type: 'string', default: '100' },
    only: { type: 'string' },
    list: { type: 'boolean' },
    direct: { type: 'boolean' },
    part: { type: 'string', default: '1/1' },
  },
  allowPositionals: true,
});
const [root] = positionals;
if (root === undefined) {
  console.error('give the path of a checkout of github.com/onnx/onnx that has onnx/backend/test/data');
  process.exit(64);
}

const [part = 1, parts = 1] = values.part.split('/').map(Number);
const cases = listCases(root)
  .filter(({ name }) => values.only === undefined || name.includes(values.only))
  .filter((_, i) => i % parts === part - 1);
const raw = await runRaw(cases);
const reasons = new Map<string, number>();
const candidates: Candidate[] = [];
for (const [i, each] of cases.entries()) {
  const result = raw[i];
  if (result?.kind === 'passes') candidates.push({ each, signature: result.signature });
  else count(reasons, result?.kind === 'not-tensors' ? 'not only tensors' : `raw fails: ${shortened(result?.reason)}`);
  if (values.list && result?.kind === 'fails') console.log(`raw fails ${each.name}: ${result.reason}`);
}
const outcomes: Outcome[] = [];
for (let at = 0; at < candidates.length; at += Number(values.batch)) {
  outcomes.push(...(await runBatch(candidates.slice(at, at + Number(values.batch)))));
  process.stderr.write(`\r${outcomes.length} of ${candidates.length}`);
}
report();

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

function shortened(reason = ''): string {
  return /output "/.test(reason)
    ? 'another output than published'
    : reason
        .replace(/^Error: /, '')
        .replaceAll(/["'(].*/g, '')
        .slice(0, 60)
        .trim();
}

/** Serves the batch from one folder and asks each model. */
async function runBatch(batch: readonly Candidate[]): Promise<Outcome[]> {
  const folder = await temporaryFolder();
  const served = batch.map((candidate, i) => ({
    ...candidate,
    model: `case-${i}`,
    variants: rowsVariants(candidate.each, candidate.signature),
  }));
  for (const { each, model, variants } of served) {
    putModel(each, join(folder.path, model, '1'));
    for (const [i, { bytes }] of variants.entries()) {
      const target = join(folder.path, `${model}-rows-${i}`, '1');
      putModel(each, target);
      writeFileSync(join(target, 'model.onnx'), bytes);
    }
  }
  const { url, grpcPort, stop } = await (values.direct ? serveDirectly : serveFolder)(folder.path);
  const client = grpcClient(grpcPort);
  try {
    const results: Outcome[] = [];
    for (const { each, signature, model, variants } of served) {
      const infer = `${url}/v2/models/${model}/infer`;
      const samples = samplesOf(each, signature);
      results.push({
        name: each.name,
        binary: await failureOf(samples, (sample) => askBinary(infer, sample)),
        json: await failureOf(samples, (sample) => askJson(infer, sample)),
        joined: await joinedOutcomes(url, model, variants),
        grpc: await failureOf(samples, (sample) => askGrpc(client, model, sample)),
      });
    }
    return results;
  } finally {
    client.close();
    await stop();
    await folder.remove();
  }
}

interface Served {
  url: string;
  grpcPort: number;
  stop(): Promise<void>;
}

/** Models that are refused are answered for as unknown ones. */
async function serveFolder(folder: string): Promise<Served> {
  const [grpcPort = 0] = await freePorts(1);
  const { url, stop } = await startServing(folder, {
    env: {
      ...{ EDGELOOP_THREADS: '1', EDGELOOP_TUNE_SECONDS: '0', EDGELOOP_LOG_LEVEL: 'error' },
      EDGELOOP_GRPC_PORT: String(grpcPort),
    },
    readyPath: '/v2/health/live',
  });
  await settled(url, readdirSync(folder).length);
  return { url, grpcPort, stop };
}

async function serveDirectly(folder: string): Promise<Served> {
  const front = await serveFront();
  for (const name of readdirSync(folder)) await loadInto(front, name, join(folder, name, '1/model.onnx'));
  return { url: `http://127.0.0.1:${front.port}`, grpcPort: await front.grpc(), stop: () => front.close() };
}

async function loadInto({ engine }: ServedFront, name: string, path: string): Promise<void> {
  try {
    await engine.load(ModelFiles.parse({ name, version: 1, path, manifest: {} }));
    engine.activate(name, 1);
  } catch (error) {
    if (values.list) console.log(`not loaded ${name}: ${String(error).replaceAll(/\s+/g, ' ').slice(0, 200)}`);
  }
}

async function joinedOutcomes(url: string, model: string, variants: readonly RowsVariant[]): Promise<JoinedOutcome[]> {
  const joined: JoinedOutcome[] = [];
  for (const [i, variant] of variants.entries()) {
    try {
      const outcome = await askJoined(url, `${model}-rows-${i}`, variant);
      if (outcome) joined.push(outcome);
    } catch (error) {
      joined.push({ joins: true, largest: 0, failure: String(error).replaceAll(/\s+/g, ' ').slice(0, 300) });
    }
  }
  return joined;
}

/** External data lies beside a model, so the files beside it come along; the samples do not. */
function putModel({ modelPath, lightOutput }: BackendCase, target: string): void {
  mkdirSync(target, { recursive: true });
  if (lightOutput !== undefined) {
    cpSync(modelPath, join(target, 'model.onnx'));
    return;
  }
  cpSync(dirname(modelPath), target, { recursive: true });
  for (const name of ['test_data_set_0', 'test_data_set_1', 'test_data_set_2', 'test_data_set_3'])
    rmSync(join(target, name), { recursive: true, force: true });
}

/** Ready, or as ready as it gets when models are refused. */
async function settled(url: string, models: number): Promise<void> {
  const deadline = performance.now() + 90_000 + models * 5000;
  for (let quiet = 0; performance.now() < deadline && quiet < 10; ) {
    if ((await fetch(`${url}/v2/health/ready`)).ok) return;
    const index = await (await fetch(`${url}/v2/repository/index`, { method: 'POST' })).text();
    quiet = /LOADING/.test(index) ? 0 : quiet + 0.1;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function askBinary(url: string, { inputs }: Sample): Promise<AnsweredTensor[]> {
  const { body, jsonBytes } = binaryBody(inputs);
  return outputsOf(await post(url, body, { 'inference-header-content-length': String(jsonBytes) }));
}

async function askJson(url: string, { inputs }: Sample): Promise<AnsweredTensor[]> {
  return outputsOf(await post(url, jsonBody(inputs)));
}

async function askGrpc(client: GrpcClient, model: string, { inputs }: Sample): Promise<AnsweredTensor[]> {
  return rawOutputsOf(await client.call('ModelInfer', inferFields(model, inputs), { timeoutMs: 120_000 }));
}

async function failureOf(
  samples: readonly Sample[],
  ask: (sample: Sample) => Promise<AnsweredTensor[]>,
): Promise<string | undefined> {
  for (const sample of samples) {
    try {
      const reason = difference(await ask(sample), sample.outputs);
      if (reason !== undefined) return reason;
    } catch (error) {
      return String(error).replaceAll(/\s+/g, ' ').slice(0, 300);
    }
  }
  return undefined;
}

function report(): void {
  const variants = outcomes.flatMap(({ joined }) => joined);
  const joining = variants.filter(({ joins }) => joins);
  const shared = joining.filter(({ largest, failure }) => largest > 1 && failure === undefined);
  const failures = outcomes.filter(
    ({ binary, json, grpc, joined }) =>
      (binary ?? json ?? grpc) !== undefined || joined.some(({ failure }) => failure !== undefined),
  );
  const passes = (kind: 'binary' | 'json' | 'grpc') => outcomes.filter((each) => each[kind] === undefined).length;
  process.stderr.write('\n');
  for (const { name, binary, json, grpc, joined } of failures) {
    console.log(`FAIL ${name}`);
    if (binary !== undefined) console.log(`  binary: ${binary}`);
    if (json !== undefined) console.log(`  JSON:   ${json}`);
    if (grpc !== undefined) console.log(`  gRPC:   ${grpc}`);
    for (const { failure } of joined) if (failure !== undefined) console.log(`  joined: ${failure}`);
  }
  console.log(`${process.platform} ${process.arch}, ${cpus()[0]?.model.trim()}, Node ${process.versions.node}`);
  console.log(`cases                          ${cases.length}`);
  console.log(`pass raw with tensors only     ${candidates.length}`);
  console.log(`pass through the port, binary  ${passes('binary')}`);
  console.log(`pass through the port, JSON    ${passes('json')}`);
  console.log(`pass through the port, gRPC    ${passes('grpc')}`);
  console.log(`with a free first dimension    ${variants.length}`);
  console.log(`of which requests share runs   ${joining.length}`);
  console.log(`the same among others as alone ${shared.length}`);
  console.log('left out:');
  for (const [reason, times] of [...reasons].sort((a, b) => b[1] - a[1])) console.log(`  ${times}  ${reason}`);
  process.exitCode = failures.length === 0 ? 0 : 1;
}
