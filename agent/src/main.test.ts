import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sha256 } from '@edgeloop/shared/node/digests';
import { createFleetKey } from '@edgeloop/shared/node/signing';
import { Release } from '@edgeloop/shared/release';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { softmaxClassifier } from '../../test/support/onnx-models.ts';
import { selfSigned } from './identity/device-port-fixture.ts';
import { writeIdentity } from './identity/identity.ts';
import { segmentsOf } from './models/rollout/segments-fixture.ts';

let folder = '';
const started: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agent-main-'));
});
afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
});

function agent(args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../bin/edgeloop-agent.js'), ...args], {
    env: { PATH: process.env.PATH, EDGELOOP_AGENT_DATA_DIR: folder, EDGELOOP_AGENT_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
  const exit = once(child, 'exit').then(([code]) => code);
  return { child, exit, said: () => said };
}

/** A data folder of a device that is enrolled with a control plane that is away, and holds a model. */
async function enrolledDevice(): Promise<void> {
  const { pem, keyPem } = await selfSigned(Date.now() - 1000, Date.now() + 3_600_000);
  const away = { hosts: ['127.0.0.1'], port: 1 };
  const { publicKeyPem: fleetKey } = createFleetKey();
  const identity = { deviceId: 'd', certificate: pem, caCertificate: pem, fleetKey, device: away, mqtt: away };
  writeIdentity(join(folder, 'identity'), identity);
  writeFileSync(join(folder, 'identity', 'key.pem'), keyPem);
  const bytes = softmaxClassifier([[1, -1]], [0, 0]);
  const release = Release.parse({
    format: 1,
    name: 'm',
    version: 4,
    artifact: { digest: sha256(bytes), sizeBytes: bytes.length, segments: segmentsOf(bytes) },
    signature: { inputs: [], outputs: [] },
    manifest: {},
    golden: { samples: [] },
  });
  const at = join(folder, 'models', 'm', '4');
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, 'release.json'), JSON.stringify(release));
  writeFileSync(join(at, 'model.onnx'), bytes);
}

async function readyUrl(): Promise<string> {
  let url = '';
  await vi.waitFor(
    async () => {
      const { port } = JSON.parse(readFileSync(join(folder, 'agent.json'), 'utf8'));
      url = `http://127.0.0.1:${port}`;
      expect((await fetch(`${url}/readyz`)).status).toBe(200);
    },
    { timeout: 60_000, interval: 50 },
  );
  return url;
}

async function infer(url: string): Promise<number> {
  const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 1], data: [1] }];
  const response = await fetch(`${url}/v2/models/m/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs }),
  });
  await response.text();
  return response.status;
}

describe('the command edgeloop-agent', { timeout: 240_000 }, () => {
  it('names a wrong variable and ends with 64', async () => {
    const { exit, said } = agent(['run'], { EDGELOOP_AGENT_PORT: 'many' });
    expect(await exit).toBe(64);
    expect(said()).toContain('EDGELOOP_AGENT_PORT');
  });

  it('says how to join when the device belongs to no fleet', async () => {
    const { exit, said } = agent(['run', '--json']);
    expect(await exit).toBe(64);
    expect(said()).toContain('set EDGELOOP_JOIN');
  });

  it('serves its models while the control plane is away, survives the death of its serving process, and drains', async () => {
    await enrolledDevice();
    const { child, exit, said } = agent(['run']);
    const url = await readyUrl();
    expect(await infer(url)).toBe(200);

    const second = agent(['run']);
    expect(await second.exit).toBe(75);
    expect(second.said()).toContain('another agent uses');

    process.kill(Number(readFileSync(join(folder, 'serving.pid'), 'utf8')), 'SIGKILL');
    // A caller of this moment waits for the next process; only connections that were open may be reset.
    const statuses: number[] = [];
    await vi.waitFor(async () => {
      statuses.push(await infer(url));
    }, 60_000);
    expect(statuses).toEqual([200]);
    expect(said()).toContain('the serving process died');

    const status = agent(['status', '--json']);
    expect(await status.exit).toBe(0);
    expect(JSON.parse(status.said())).toMatchObject({ ready: true, pid: child.pid });

    child.kill('SIGTERM');
    expect(await exit).toBe(0);
    expect(existsSync(join(folder, 'agent.json'))).toBe(false);
  });

  it('ends the serving process that a killed agent left, and serves again', async () => {
    await enrolledDevice();
    const first = agent(['run']);
    await readyUrl();
    first.child.kill('SIGKILL');
    await first.exit;
    rmSync(join(folder, 'agent.json'));
    const { child, exit } = agent(['run']);
    expect(await infer(await readyUrl())).toBe(200);
    child.kill('SIGINT');
    expect(await exit).toBe(0);
  });

  it('serves a folder of models on its own', async () => {
    await enrolledDevice();
    const models = join(folder, 'shelf');
    cpSync(join(folder, 'models'), models, { recursive: true });
    const { child, exit, said } = agent(['serve', models]);
    await vi.waitFor(() => expect(said()).toContain('"msg":"serves"'), { timeout: 60_000 });
    const port = /"port":(\d+)/.exec(said())?.[1];
    expect(await infer(`http://127.0.0.1:${port}`)).toBe(200);
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
  });

  it('removes what a killed server left in the temporary directory, and nothing of a living one', async () => {
    const temporary = join(folder, 'tmp');
    const models = join(folder, 'shelf');
    for (const each of [temporary, models]) mkdirSync(each);
    const known = new Set<string>();
    const left = () => readdirSync(temporary).filter((name) => name.startsWith('edgeloop-'));
    const serve = async () => {
      const server = agent(['serve', models], { TMPDIR: temporary });
      const own = await vi.waitUntil(
        () => left().find((name) => !known.has(name) && existsSync(join(temporary, name, 'serving.pid'))),
        { timeout: 60_000, interval: 50 },
      );
      known.add(own);
      return { ...server, own, servingPid: Number(readFileSync(join(temporary, own, 'serving.pid'), 'utf8')) };
    };
    const killed = await serve();
    const neighbour = await serve();
    // As one that is caught in native code: it does not see that nobody is there any more.
    process.kill(killed.servingPid, 'SIGSTOP');
    try {
      killed.child.kill('SIGKILL');
      await killed.exit;
      const next = await serve();
      expect(left().sort()).toEqual([neighbour.own, next.own].sort());
      expect(next.said()).toContain(
        `"pid":${killed.servingPid},"msg":"a serving process of an earlier server is still`,
      );
      next.child.kill('SIGTERM');
      expect(await next.exit).toBe(0);
      expect(left()).toEqual([neighbour.own]);
    } finally {
      try {
        process.kill(killed.servingPid, 'SIGKILL');
      } catch {
        // It is gone, as it should be.
      }
    }
  });
});
