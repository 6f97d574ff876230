// What telemetry costs: an agent of a fleet, which journals every request, beside a stand-alone one, which does not.
import { joinToken, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { manifest, sumClassifier } from '../support/models.ts';
import { startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { writeModel } from '../support/serving.ts';
import { binaryBody } from '../support/v2.ts';
import { withServer } from './footprint.ts';
import { httpPost, type LoadGenerator } from './load.ts';
import { processorMs } from './processor-time.ts';

/** With telemetry over without, one entry a round; 64 callers, binary. */
export interface TelemetryCost {
  /** Requests a second. */
  rate: number[];
  /** Processor time of all processes of the agent for a request; none where the system does not tell. */
  time: number[];
  /** Without, in microseconds. */
  timeUs: number[];
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
        const cost: TelemetryCost = { rate: [], time: [], timeUs: [] };
        for (let round = 0; round < rounds; round++) {
          const measure = async (at: number, pid: number) => {
            const before = await processorMs(pid);
            const { answers, seconds } = await load.run({ ...loadOf(at), durationMs });
            const after = await processorMs(pid);
            const us = before === undefined || after === undefined ? undefined : ((after - before) / answers) * 1000;
            return { rate: answers / seconds, us };
          };
          const told = await measure(withPort, agent.program.pid);
          const plain = await measure(port, program.pid);
          cost.rate.push(told.rate / plain.rate);
          if (told.us === undefined || plain.us === undefined) continue;
          cost.time.push(told.us / plain.us);
          cost.timeUs.push(plain.us);
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

function loadOf(port: number) {
  const bytes = new Uint8Array(Float32Array.of(1, 2).buffer);
  const { body, jsonBytes } = binaryBody([{ name: 'features', datatype: 'FP32', shape: [1, 2], bytes }]);
  const request = httpPost('/v2/models/sum/infer', body, { 'inference-header-content-length': String(jsonBytes) });
  return { target: { port }, callers: 64, request };
}
