// A control plane whose disk has not one byte left: it starts, answers, keeps its devices, says what it cannot do, and
// goes on by itself when there is room.
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreatedJoinToken } from '@edgeloop/shared/api/access';
import { Problem } from '@edgeloop/shared/errors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { device, joinToken, metricTotal, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { type Agent, type ControlPlane, startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { mounting, type SmallDisk, smallDisk } from '../support/small-disk.ts';
import { until } from '../support/until.ts';

const { path, reason } = mounting();
const noSpace = /no space left/;

describe.skipIf(path === undefined)(`a control plane on a full disk${reason}`, () => {
  let disk: SmallDisk;
  let plane: ControlPlane;
  let agent: Agent;
  let removeFolder: () => Promise<void>;
  let key: string;

  beforeAll(async () => {
    disk = smallDisk(48);
    plane = await startControlPlane(join(disk.path, 'data'));
    key = readFileSync(join(plane.folder, 'admin.key'), 'utf8').trim();
    const folder = await temporaryFolder();
    removeFolder = folder.remove;
    agent = await startAgent({ folder: folder.path, id: 'cam', token: await joinToken(plane) });
    const version = await pushVersion(plane, 'sum');
    await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
    await serves(agent, 'sum', version);
  }, 300_000);
  afterAll(async () => {
    await agent?.stop();
    await plane?.stop();
    disk?.remove();
    await removeFolder?.();
  });

  const call = (method: string, path: string, body?: string | FormData) =>
    fetch(`${plane.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(typeof body === 'string' ? { 'content-type': 'application/json' } : {}),
      },
      ...(body === undefined ? {} : { body }),
    });
  const readiness = async () => {
    const response = await fetch(`${plane.url}/readyz`);
    return { status: response.status, text: await response.text() };
  };
  const isReady = () =>
    until('the control plane being ready', async () => (await readiness()).status === 200 || undefined, {
      context: plane.program.output,
    });
  async function expectRefused(response: Response): Promise<void> {
    const problem = Problem.parse(await response.json());
    expect(problem).toMatchObject({ status: 507, code: 'insufficient_storage' });
    expect(problem.detail).toMatch(/no space left.*free some space/);
  }

  it('starts after an orderly stop, reads, refuses writes with the reason, and keeps no part of an upload', async () => {
    await plane.stop();
    disk.fill();
    await plane.startUnready();
    expect((await fetch(`${plane.url}/healthz`)).status).toBe(200);
    expect(await readiness()).toMatchObject({ status: 503, text: expect.stringMatching(noSpace) });
    expect((await fetch(`${plane.url}/`)).status).toBe(200);
    expect(await (await call('GET', '/api/v1/devices')).json()).toMatchObject({ items: [{ id: 'cam' }] });
    expect((await call('GET', '/api/v1/models/sum/versions/1/artifact')).status).toBe(200);
    await expectRefused(await call('POST', '/api/v1/join-tokens', '{}'));
    const form = new FormData();
    form.set('model', new Blob([new Uint8Array(3_000_000)]), 'model.onnx');
    await expectRefused(await call('POST', '/api/v1/models/sum/versions', form));
    const table = new FormData();
    table.set('file', new Blob(['a,label\n'.repeat(400_000)]), 'rows.csv');
    await expectRefused(await call('POST', '/api/v1/datasets/rows/versions', table));
    expect(filesBelow(join(plane.folder, 'tmp'))).toEqual([]);
  });

  it('keeps devices connected, loses nothing they recorded, and says it once', async () => {
    for (let i = 0; i < 20; i++) await predict(agent.url, 'sum', { a: 1, b: 1 });
    const connected = async () => /edgeloop_mqtt_sessions 1/.test(await (await fetch(`${plane.url}/metrics`)).text());
    await until('the agent being connected', async () => (await connected()) || undefined);
    // Long enough for several looks of every loop.
    await until('several batches that were refused', async () => {
      const text = await (await fetch(`${plane.url}/metrics`)).text();
      return /channel="telemetry",outcome="failed"\} ([2-9]|\d\d)/.test(text) || undefined;
    });
    expect(plane.program.output().match(/writes are refused until there is room/g)).toHaveLength(1);
    expect(plane.program.output().match(/"level":50/g)).toHaveLength(1);
    disk.empty();
    await isReady();
    expect(plane.program.output()).toContain('writes work again');
    await plane.api.send('POST', '/join-tokens', CreatedJoinToken, {});
    await until('every request being counted', async () => (await metricTotal(plane, 'requests')) >= 20 || undefined);
    expect(await metricTotal(plane, 'lost')).toBe(0);
    await until('the agent being online', async () => (await device(plane, 'cam')).status === 'online' || undefined);
  });

  it('starts after a kill too, with the disk full before and after', async () => {
    disk.fill();
    expect((await call('GET', '/api/v1/devices')).status).toBe(200);
    await until('not being ready', async () => (await readiness()).status === 503 || undefined);
    await plane.kill();
    disk.fill();
    await plane.startUnready();
    expect(await (await call('GET', '/api/v1/devices')).json()).toMatchObject({ items: [{ id: 'cam' }] });
    disk.empty();
    await isReady();
    await plane.api.send('POST', '/join-tokens', CreatedJoinToken, {});
  });

  it('leaves nothing in the data folder to other users, nor what an older version left to them', async () => {
    await plane.stop();
    const open = join(plane.folder, 'control-plane.db');
    writeFileSync(join(plane.folder, 'older.key'), '', { mode: 0o644 });
    chmodSync(open, 0o644);
    chmodSync(plane.folder, 0o755);
    await plane.start();
    await pushVersion(plane, 'sum', { weight: 2 });
    expect([plane.folder, ...filesBelow(plane.folder)].filter((each) => (statSync(each).mode & 0o077) !== 0)).toEqual(
      [],
    );
  });
});

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
