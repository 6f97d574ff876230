// A device without a byte free: it starts, serves, replaces its serving process, says so, and recovers by itself; what it
// answered is in telemetry afterwards, or counted as lost.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startClient } from '../support/client.ts';
import { joinToken, metricTotal, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { sumClassifier } from '../support/models.ts';
import {
  type Agent,
  agentProgram,
  type ControlPlane,
  freePorts,
  startAgent,
  startControlPlane,
  temporaryFolder,
} from '../support/programs.ts';
import { writeModel } from '../support/serving.ts';
import { mounting, type SmallDisk, smallDisk } from '../support/small-disk.ts';
import { until } from '../support/until.ts';

const mount = mounting();
const diskMegabytes = 64;
const input = { a: 1, b: 2 };

describe.runIf(mount.path !== undefined)(`a device of a fleet whose disk is full${mount.reason}`, () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let disk: SmallDisk;
  let plane: ControlPlane;
  let agent: Agent;
  let version: number;

  beforeAll(async () => {
    folder = await temporaryFolder();
    disk = smallDisk(diskMegabytes);
    plane = await startControlPlane(`${folder.path}/server`);
    agent = await startAgent({ folder: join(disk.path, 'agent'), id: 'edge-1', token: await joinToken(plane) });
    version = await pushVersion(plane, 'sum');
    await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
    await serves(agent, 'sum', version);
  }, 120_000);
  afterAll(async () => {
    disk.empty();
    disk.setReadOnly(false);
    await agent.stop();
    await plane.stop();
    disk.remove();
    await folder.remove();
  });

  const answers = () =>
    until('an answer', async () => predict(agent.url, 'sum', input), { context: agent.program.output });
  const problems = async () =>
    (await (await fetch(`${agent.url}/metrics`)).text()).match(/^edgeloop_agent_problem\{.*/gm) ?? [];
  const killServing = () => process.kill(Number(readFileSync(join(disk.path, 'agent/serving.pid'), 'utf8')), 'SIGKILL');

  /** Requests at a steady rate until `count` were answered. */
  async function ask(count: number): Promise<{ answered: number; failed: number }> {
    const client = startClient(agent.url, 'sum', 100);
    await until(`${count} answers`, async () => client.counts.answered >= count || undefined, {
      everyMs: 5,
      context: () => `${client.counts.failures.slice(-3).join('\n')}\n${agent.program.output()}`,
    });
    const { answered, failures } = await client.stop();
    return { answered, failed: failures.length };
  }

  test('serves through starts and deaths, and every answer is counted or counted as lost', {
    timeout: 300_000,
  }, async () => {
    let answered = 1;
    /** Requests that may be answered and not seen: in flight at a kill. */
    let unsure = 0;
    const count = async (requests: number) => {
      const each = await ask(requests);
      answered += each.answered;
      unsure += each.failed;
    };
    const fill = () => disk.fill();
    await count(50);
    for (const round of [1, 2]) {
      fill();
      await count(150);
      fill();
      killServing();
      await answers();
      answered++;
      fill();
      await count(150);
      fill();
      await agent.kill();
      await agent.start();
      fill();
      await answers();
      answered++;
      await count(100);
      expect((await fetch(`${agent.url}/readyz`)).status).toBe(200);
      await until(
        'the full disk being told',
        async () => (await problems()).some((line) => /free some/.test(line)) || undefined,
        {
          context: agent.program.output,
        },
      );
      killServing();
      await answers();
      answered++;
      disk.empty();
      if (round === 1) await count(50);
    }
    await until('the problems being over', async () => (await problems()).length === 0 || undefined, {
      context: agent.program.output,
    });
    let said = '';
    await until(
      'every answer being counted',
      async () => {
        const [succeeded, lost] = [await metricTotal(plane, 'succeeded'), await metricTotal(plane, 'lost')];
        said = `${answered} answered, ${unsure} not known; ${succeeded} counted, ${lost} lost`;
        return succeeded + lost >= answered || undefined;
      },
      { timeoutMs: 60_000, context: () => `${said}\n${agent.program.output()}` },
    );
    const total = (await metricTotal(plane, 'succeeded')) + (await metricTotal(plane, 'lost'));
    expect(total, said).toBeGreaterThanOrEqual(answered);
    expect(total, said).toBeLessThanOrEqual(answered + unsure);
    expect(await metricTotal(plane, 'lost'), said).toBeGreaterThan(0);
  });

  test('serves from a data folder that is mounted read-only', { timeout: 120_000 }, async () => {
    await agent.kill();
    // What the killed agent has started lets go of its files a moment later.
    await until('the disk being read-only', async () => {
      disk.setReadOnly(true);
      return true;
    });
    await agent.start();
    await serves(agent, 'sum', version);
    killServingOf(agent.program.pid);
    await answers();
    expect(agent.program.output()).toMatch(/make (it|its folder) writable/);
    await agent.kill();
    disk.setReadOnly(false);
    await agent.start();
    await serves(agent, 'sum', version);
    await until('no problem', async () => (await problems()).length === 0 || undefined, {
      context: agent.program.output,
    });
  });
});

/** The serving process of an agent, wherever it keeps the id. */
function killServingOf(pid: number): void {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  for (const child of children) process.kill(Number(child), 'SIGKILL');
}

describe.runIf(mount.path !== undefined)(`a server on a folder of models whose disk is full${mount.reason}`, () => {
  test('starts, serves, replaces its serving process, and logs to the same disk', { timeout: 120_000 }, async () => {
    const disk = smallDisk(diskMegabytes);
    let child: ChildProcess | undefined;
    try {
      const temporary = join(disk.path, 'tmp');
      const log = join(disk.path, 'log');
      await mkdir(temporary);
      await writeModel(join(disk.path, 'models'), 'sum', sumClassifier());
      const [port = 0] = await freePorts(1);
      const url = `http://127.0.0.1:${port}/v2/models/sum`;
      disk.fill();
      const stderr = openSync(log, 'a');
      const env = {
        EDGELOOP_AGENT_DATA_DIR: join(disk.path, 'data'),
        EDGELOOP_AGENT_PORT: String(port),
        PATH: process.env.PATH,
        TMPDIR: temporary,
      };
      child = spawn(process.execPath, [agentProgram, 'serve', join(disk.path, 'models')], {
        env,
        stdio: ['ignore', 'ignore', stderr],
      });
      closeSync(stderr);
      const ready = async () => (await fetch(`${url}/ready`)).ok || undefined;
      await until('the model', ready);
      killServingOf(child.pid ?? 0);
      await until('the model again', ready);
      const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 2], data: [1, 2] }];
      const answer = await fetch(`${url}/infer`, { method: 'POST', body: JSON.stringify({ inputs }) });
      expect(answer.status).toBe(200);
      expect(child.exitCode).toBeNull();
      disk.empty();
      child.kill('SIGTERM');
      await until('its end', async () => child?.exitCode ?? undefined);
      // What could not be written was held until there was room.
      expect(readFileSync(log, 'utf8')).toContain('the serving process died');
    } finally {
      child?.kill('SIGKILL');
      disk.remove();
    }
  });
});
