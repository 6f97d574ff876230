import { Rollout, RolloutDetail } from '@edgeloop/shared/api/rollouts';
import { Problem } from '@edgeloop/shared/errors';
import { Hono } from 'hono';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { onError } from '../http/problem.ts';
import type { Env } from '../http/router.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';
import { rolloutRoutes } from './routes.ts';

const log = pino({ level: 'silent' });
let world: World;
beforeEach(async () => {
  world = await openRollouts();
});
afterEach(async () => {
  await world.close();
});
const all = { waves: [{ percent: 100 }] };
async function enrolThree() {
  for (const id of ['a', 'b', 'c']) await world.enrol(id);
}

describe('a rollout', () => {
  it('reaches every device wave by wave, tells them release and signature, and keeps a history and an audit', async () => {
    await enrolThree();
    const { id } = await world.release(2, { waves: [{ percent: 30 }, { percent: 100 }] });
    await world.round();
    expect(world.desired.size).toBe(1);
    await world.rounds();
    expect(await world.phase(id)).toBe('completed');
    expect(world.running()).toEqual({ a: 2, b: 2, c: 2 });
    expect(world.desired.get('a')?.models).toEqual([
      { name: 'net', version: 2, release: '2'.repeat(64), signature: 's2', rolloutId: id },
    ]);
    const detail = await world.rollouts.detail(id);
    expect(detail.devices.map(({ state }) => state)).toEqual(['healthy', 'healthy', 'healthy']);
    expect(detail.history.map(({ text }) => text)).toEqual([
      'created by key:test; 3 devices match now',
      'wave 1 of 2 begins',
      expect.stringMatching(/^version given to [abc]$/),
      'wave 2 of 2 begins',
      expect.stringMatching(/^version given to [abc], [abc]$/),
      'completed',
    ]);
    const { audit } = world.database.tables;
    const actions = await world.database.read.select({ action: audit.action, actor: audit.actor }).from(audit);
    expect(actions).toEqual([
      { action: 'rollout.create', actor: 'key:test' },
      { action: 'rollout.completed', actor: 'system' },
    ]);
  });

  it('comes to the same end when the server is started anew before every look', async () => {
    await enrolThree();
    const { id } = await world.release(2, { waves: [{ percent: 30 }, { percent: 100 }] });
    for (let i = 0; i < 15; i++) {
      world.restart();
      await world.round();
    }
    expect(await world.phase(id)).toBe('completed');
    expect(world.running()).toEqual({ a: 2, b: 2, c: 2 });
  });

  it('publishes at the next look, or the next start, what the broker did not take', async () => {
    await world.enrol('a');
    await world.release(2, all);
    world.broken.broker = true;
    await world.round();
    expect(world.desired.size).toBe(0);
    world.broken.broker = false;
    await world.round();
    expect(world.running()).toEqual({ a: 2 });
    world.desired.clear();
    world.restart();
    await world.rollouts.start();
    await vi.waitFor(() => expect(world.running()).toEqual({ a: 2 }), { timeout: 15_000 });
  });

  it('gives failed devices back what they ran, and takes the model away where there was none', async () => {
    await world.enrol('a');
    await world.release(1, { ...all, follow: false });
    await world.rounds();
    await world.enrol('b');
    await world.enrol('c', { lab: '1' });
    world.refusing.add('a');
    const second = await world.release(2, { ...all, selector: '!lab' });
    await world.rounds();
    expect(await world.phase(second.id)).toBe('rolled_back');
    expect(world.running()).toEqual({ a: 1, b: null });
    expect(await world.history(second.id)).toEqual(
      expect.arrayContaining([
        expect.stringContaining('a: integrity: bad hash'),
        'back to version 1, which had completed: a',
        'taken away from b: no version had completed there before',
      ]),
    );
  });

  it('takes the model away from devices that had none before', async () => {
    await world.enrol('a');
    const first = await world.release(2, all);
    await world.rounds();
    await world.rollouts.act('key:test', first.id, 'rollback', 'wrong model');
    await world.rounds(3);
    expect(await world.phase(first.id)).toBe('rolled_back');
    expect(world.running()).toEqual({ a: null });
  });

  it('stands still when it is paused, also when that is said while a decision is being made', async () => {
    await enrolThree();
    const { id } = await world.release(2, { waves: [{ percent: 30 }, { percent: 100 }], bakeSeconds: 0 });
    await world.round();
    const before = world.running();
    world.evidence.mockImplementationOnce(async () => {
      await world.rollouts.act('key:test', id, 'pause', 'lunch');
      return { requests: 100, failed: 0 };
    });
    await world.rounds();
    expect(world.running()).toEqual(before);
    const { state } = await world.rollouts.detail(id);
    expect(state).toMatchObject({ phase: 'paused', reason: 'paused by key:test: lunch' });
    await world.rollouts.act('key:test', id, 'resume', '');
    await world.rounds();
    expect(await world.phase(id)).toBe('completed');
  });

  it('waits for approval, and is cancelled without touching devices', async () => {
    await world.enrol('a');
    const { id } = await world.release(2, { ...all, approval: true });
    await world.rounds(3);
    expect(world.running()).toEqual({});
    await world.rollouts.approve({ name: 'key:test', role: 'operator' }, id, '');
    await world.round();
    await world.rollouts.act('key:test', id, 'cancel', 'enough');
    await world.rounds(3);
    expect(await world.phase(id)).toBe('cancelled');
    expect(world.running()).toEqual({ a: 2 });
  });

  it('is not served by a device that runs other bytes under its number, and asks only for what its own bytes answered', async () => {
    await world.enrol('a');
    const { id } = await world.release(2, all);
    await world.rollouts.look();
    await world.report('a', {
      active: { version: 2, release: 'f'.repeat(64), since: 0 },
      lastGood: 2,
      candidate: null,
    });
    world.pass(10);
    await world.rollouts.look();
    expect((await world.rollouts.detail(id)).devices).toMatchObject([
      { state: 'deploying', detail: expect.stringMatching(/^runs other bytes under the number 2: release ffffffff…/) },
    ]);
    await world.rounds();
    expect(await world.phase(id)).toBe('completed');
    const asked = world.evidence.mock.calls.map(([{ version, release }]) => ({ version, release }));
    expect(new Set(asked.map((each) => JSON.stringify(each)))).toEqual(
      new Set([JSON.stringify({ version: 2, release: '2'.repeat(64) })]),
    );
  });

  it('shows what stands in the way of a device, as the device tells it', async () => {
    await world.enrol('a');
    const { id } = await world.release(2, all);
    await world.rollouts.look();
    await world.report('a', null, ['no space left in /var/lib/edgeloop']);
    expect((await world.rollouts.detail(id)).devices).toMatchObject([
      { state: 'deploying', detail: 'told to fetch; the device says: no space left in /var/lib/edgeloop' },
    ]);
  });

  it('is followed by devices that come or whose labels change, unless a newer one has them', async () => {
    await world.enrol('a', { site: 'x' });
    await world.enrol('b', { site: 'y' });
    const first = await world.release(1, { ...all, selector: 'site=x' });
    await world.release(2, { ...all, selector: 'site=y', follow: false });
    await world.rounds();
    expect(world.running()).toEqual({ a: 1, b: 2 });
    await world.enrol('c', { site: 'x' });
    await world.enrol('d', { site: 'y' });
    await world.fleet.relabel('key:test', 'b', { site: 'x' });
    world.rollouts.wake();
    await world.rounds(2);
    expect(world.running()).toEqual({ a: 1, b: 2, c: 1 });
    expect(await world.history(first.id)).toContain('now matching, and following: c');
  });

  it('looks right away when woken, and leaves nothing on its stop signal by resting', async () => {
    const joined = vi.spyOn(AbortSignal, 'any');
    // Only being woken makes it look again within the hour.
    world.restart(3_600_000);
    await world.enrol('a');
    await world.rollouts.start();
    await world.release(2, all);
    await vi.waitFor(() => expect(world.running()).toEqual({ a: 2 }), { timeout: 15_000, interval: 5 });
    expect(joined).not.toHaveBeenCalled();
    joined.mockRestore();
  });
});

describe('the routes of rollouts', () => {
  function app() {
    const hono = new Hono<Env>();
    hono.use(async (c, next) => {
      c.set('actor', { name: 'key:test', role: 'operator' });
      await next();
    });
    hono.route('/', rolloutRoutes(world.rollouts));
    hono.onError(onError(log));
    return hono;
  }
  async function post(path: string, body?: unknown) {
    const headers = { 'Content-Type': 'application/json' };
    const init = body === undefined ? { method: 'POST' } : { method: 'POST', body: JSON.stringify(body), headers };
    return app().request(path, init);
  }

  it('create, show and list', async () => {
    await enrolThree();
    const response = await post('/rollouts', { model: 'net', version: 2 });
    expect(response.status).toBe(201);
    const { id } = Rollout.parse(await response.json());
    const shown = RolloutDetail.parse(await (await app().request(`/rollouts/${id}`)).json());
    expect(shown.devices.map(({ state, wave }) => [state, wave]).sort()).toEqual([
      ['waiting', 0],
      ['waiting', 1],
      ['waiting', 2],
    ]);
    const later = await world.release(3);
    const page = await world.rollouts.list({ limit: 1 });
    expect(page.items.map((each) => each.id)).toEqual([later.id]);
    const rest = await world.rollouts.list({ limit: 1, cursor: page.nextCursor });
    expect(rest.items.map((each) => each.id)).toEqual([id]);
    expect((await world.rollouts.list({ limit: 9, phase: 'completed' })).items).toEqual([]);
  });

  it.each([
    [{ model: 'net', version: 9 }, 404, 'model "net" has no version 9'],
    [{ model: 'nix', version: 1 }, 404, 'there is no model "nix"'],
    [{ model: 'net', version: 1, selector: 'site=par is' }, 400, 'body.selector: '],
    [{ model: 'net', version: 1, waves: [{ percent: 50 }] }, 400, 'body.waves: '],
    [{ model: 'net', version: 1, wave: 3 }, 400, 'body: '],
  ])('refuse %j with %i', async (body, status, detail) => {
    const response = await post('/rollouts', body);
    expect(response.status).toBe(status);
    expect(Problem.parse(await response.json()).detail).toContain(detail);
  });

  it('refuse what the phase does not allow, naming the phases that do', async () => {
    const { id } = await world.release(2);
    expect(Problem.parse(await (await post(`/rollouts/${id}/resume`)).json())).toMatchObject({
      status: 409,
      detail: 'resume needs a rollout that is paused; this one is running',
    });
    expect((await post('/rollouts/nope/pause')).status).toBe(404);
    expect((await post(`/rollouts/${id}/explode`)).status).toBe(400);
    const paused = await post(`/rollouts/${id}/pause`, { reason: 'holiday' });
    expect(RolloutDetail.parse(await paused.json()).state).toMatchObject({ reason: 'paused by key:test: holiday' });
  });
});
