// What telemetry costs: an agent of a fleet, which journals every request, beside a stand-alone one, which does not.
import { joinToken, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { manifest, sumClassifier } from '../support/models.ts';
import { startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { type FolderServer, servingPid, writeModel } from '../support/serving.ts';
import { binaryBody } from '../support/v2.ts';
import { withServer } from './footprint.ts';
import { httpPost, type LoadGenerator } from './load.ts';
import { processorMs } from './processor-time.ts';

/** With telemetry over without, one entry a round; 64 callers, binary. */
export interface TelemetryCost {
  /** Requests a second. */
  rate: number[];
  /** Processor time for a request of the process that answers, and of all; none where the system does not tell. */
  path: number[];
  all: number[];
  /** Of the process that answers, without, in microseconds. */
  pathUs: number[];
}

export async function measureTelemetryCost(
  load: LoadGenerator,
  rounds: number,
  durationMs: number,
): Promise<TelemetryCost> {
  const folder = await temporaryFolder();
  const plane = await startControlPlane(`${folder.path}/server`, { EDGELOOP_LOG_LEVEL: 'error' });
  const env = { EDGELOOP_THREADS: '2', EDGELOOP_LOG_LEVEL: 'error', EDGELOOP_SPARE_PROCESS: 'off' };
  const agent = await startAgent({ folder: `${folder.path}/agent`, id: 'bench', token: await joinToken(plane), env });
  try {
    const version = await pushVersion(plane, 'sum');
    await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
    await serves(agent, 'sum', version);
    const withPort = Number(new URL(agent.url).port);
    const write = (path: string) => writeModel(path, 'sum', sumClassifier(), { manifest });
    return await withServer(
      write,
      async ({ port, program }) => {
        const cost: TelemetryCost = { rate: [], path: [], all: [], pathUs: [] };
        const pids = { told: await pidsOf(agent.program), plain: await pidsOf(program) };
        for (let round = 0; round < rounds; round++) {
          const measure = async (at: number, of: Pids) => {
            const before = await timesOf(of);
            const { answers, seconds } = await load.run({ ...loadOf(at), durationMs });
            const after = await timesOf(of);
            const us = (end?: number, begin?: number) =>
              (((end ?? Number.NaN) - (begin ?? Number.NaN)) / answers) * 1000;
            return { rate: answers / seconds, path: us(after.path, before.path), all: us(after.all, before.all) };
          };
          const told = await measure(withPort, pids.told);
          const plain = await measure(port, pids.plain);
          cost.rate.push(told.rate / plain.rate);
          if (!Number.isFinite(told.path / plain.path)) continue;
          cost.path.push(told.path / plain.path);
          cost.all.push(told.all / plain.all);
          cost.pathUs.push(plain.path);
        }
        return cost;
      },
      env,
    );
  } finally {
    await agent.stop();
    await plane.stop();
    await folder.remove();
  }
}

interface Pids {
  supervisor: number;
  serving: number;
}

async function pidsOf(program: FolderServer['program']): Promise<Pids> {
  return { supervisor: program.pid, serving: await servingPid({ program }) };
}

async function timesOf({ supervisor, serving }: Pids) {
  return { path: await processorMs(serving), all: await processorMs(supervisor) };
}

function loadOf(port: number) {
  const bytes = new Uint8Array(Float32Array.of(1, 2).buffer);
  const { body, jsonBytes } = binaryBody([{ name: 'features', datatype: 'FP32', shape: [1, 2], bytes }]);
  const request = httpPost('/v2/models/sum/infer', body, { 'inference-header-content-length': String(jsonBytes) });
  return { target: { port }, callers: 64, request };
}
