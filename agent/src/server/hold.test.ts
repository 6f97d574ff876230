import { Hono } from 'hono';
import { beforeEach, describe, expect, it } from 'vitest';
import type { PresentHold, ToSupervisor } from '../process/ipc.ts';
import { errorReply, responseOf } from './errors.ts';
import { createHoldChannel, handleHold } from './hold.ts';

/** What the supervisor keeps. */
let kept: PresentHold | undefined;
let answers = true;
let app: Hono;

beforeEach(() => {
  kept = undefined;
  answers = true;
  const channel = createHoldChannel((message: ToSupervisor) => {
    if (message.kind !== 'hold' || !answers) return;
    const { requestId, wish } = message;
    if (wish.action === 'set') kept = { reason: wish.request.reason, untilMs: wish.request.seconds * 1000 };
    if (wish.action === 'clear') kept = undefined;
    if (kept?.reason === 'refuse')
      channel.settle({ kind: 'hold_result', requestId, error: { code: 'conflict', message: 'the lock file holds' } });
    else channel.settle({ kind: 'hold_result', requestId, hold: kept });
  }, 20);
  app = new Hono();
  app.all('/hold', (c) => handleHold(c, channel));
  app.onError((error) => responseOf(errorReply(error, () => undefined)));
});

const ask = async (method: string, body?: unknown) => {
  const answer = await app.request('/hold', { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  return { status: answer.status, body: await answer.json() };
};

describe('a hold over the local port', () => {
  it('is set, told and taken back', async () => {
    expect(await ask('GET')).toEqual({ status: 200, body: { held: false } });
    const held = { held: true, by: 'caller', until: 60_000, reason: 'surgery' };
    expect(await ask('PUT', { seconds: 60, reason: ' surgery ' })).toEqual({ status: 200, body: held });
    expect((await ask('GET')).body).toEqual(held);
    expect((await ask('DELETE')).body).toEqual({ held: false });
  });

  it('says when it is that of a lock file', async () => {
    kept = { reason: 'a job is printed' };
    expect((await ask('GET')).body).toEqual({ held: true, by: 'file', until: null, reason: 'a job is printed' });
  });

  it.each([
    [{ reason: 'x' }, 'request.seconds'],
    [{ seconds: 0, reason: 'x' }, 'request.seconds'],
    [{ seconds: 8 * 86_400, reason: 'x' }, 'request.seconds'],
    [{ seconds: 5, reason: ' ' }, 'request.reason'],
    [{ seconds: 5, reason: 'x', until: 7 }, 'until'],
  ])('is refused for %j', async (body, field) => {
    const { status, body: answer } = await ask('PUT', body);
    expect([status, JSON.stringify(answer)]).toEqual([400, expect.stringContaining(field)]);
    expect(kept).toBeUndefined();
  });

  it('is told as what the supervisor says, or that it says nothing', async () => {
    expect(await ask('PUT', { seconds: 5, reason: 'refuse' })).toMatchObject({ status: 409 });
    answers = false;
    expect(await ask('GET')).toMatchObject({ status: 503 });
  });
});
