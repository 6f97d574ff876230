// The kinds of channels against small servers that check what the other side would.
import { createServer, type Server } from 'node:http';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import type { ChannelSpec } from '@edgeloop/shared/api/channels';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { openTelemetry } from '../../telemetry/telemetry-fixture.ts';
import { alertOf } from '../alerts/alert-fixture.ts';
import { type AlertRecord, createAlertStore } from '../alerts/alert-store.ts';
import { createRulesStore } from '../alerts/rules-store.ts';
import { createSilences } from '../alerts/silences.ts';
import { createChannelStore } from './channel-store.ts';
import { createDestinations } from './destinations.ts';
import { createNotifications } from './notifications.ts';
import { createSender } from './sender.ts';

/** `postableAlerts` of Alertmanager's OpenAPI document; names of labels as Prometheus has them. */
const labelSet = z.record(z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/), z.string());
const PostableAlerts = z.array(
  z.strictObject({
    labels: labelSet.refine((labels) => labels.alertname !== undefined && Object.keys(labels).length > 0),
    annotations: labelSet,
    startsAt: z.iso.datetime(),
    endsAt: z.iso.datetime(),
  }),
);

let room: ReturnType<typeof openTelemetry>;
let notifications: ReturnType<typeof createNotifications>;
let silences: ReturnType<typeof createSilences>;
let http: Server;
let pushed: { path: string; alerts: z.infer<typeof PostableAlerts> }[];
let hooked: { type: string; group: { labels: Record<string, string> }; alerts: { id: string; status: string }[] }[];
let mails: string[];
let smtp: ReturnType<typeof createTcpServer>;
let sockets: Set<Socket>;

beforeEach(async () => {
  room = openTelemetry();
  [pushed, hooked, mails, sockets] = [[], [], [], new Set()];
  http = createServer(async (request, response) => {
    const body: unknown = JSON.parse(await text(request));
    if (request.url?.startsWith('/hook') === true) hooked.push(body as (typeof hooked)[number]);
    else {
      const parsed = PostableAlerts.safeParse(body);
      if (!parsed.success) {
        response.writeHead(400).end(parsed.error.message);
        return;
      }
      pushed.push({ path: request.url ?? '', alerts: parsed.data });
    }
    response.writeHead(200).end();
  });
  smtp = createTcpServer((socket) => speakSmtp(socket));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  await new Promise<void>((resolve) => smtp.listen(0, '127.0.0.1', resolve));
  notifications = build();
});
afterEach(async () => {
  await notifications.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => smtp.close(resolve));
  await new Promise((resolve) => http.close(resolve));
  await room.close();
});

/** As RFC 5321 has it, as far as a client without extensions but AUTH needs. */
function speakSmtp(socket: Socket): void {
  sockets.add(socket);
  let data: string | undefined;
  let pending = '';
  const say = (line: string) => socket.write(`${line}\r\n`);
  say('220 test');
  socket.on('data', (chunk) => {
    pending += chunk.toString('utf8');
    for (let end = pending.indexOf('\r\n'); end >= 0; end = pending.indexOf('\r\n')) {
      const line = pending.slice(0, end);
      pending = pending.slice(end + 2);
      if (data !== undefined) {
        if (line !== '.') data += `${line}\n`;
        else {
          mails.push(data);
          data = undefined;
          say('250 taken');
        }
      } else if (/^EHLO/i.test(line)) socket.write('250-test\r\n250 AUTH PLAIN\r\n');
      else if (/^AUTH PLAIN /i.test(line)) {
        const [, user, password] = Buffer.from(line.slice(11), 'base64').toString('utf8').split('\0');
        say(user === 'ann' && password === 'word' ? '235 welcome' : '535 wrong');
      } else if (/^DATA/i.test(line)) {
        data = '';
        say('354 go on');
      } else say(/^QUIT/i.test(line) ? '221 bye' : '250 ok');
    }
  });
}

function portOf(server: Server | typeof smtp): number {
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the server is not listening');
  return bound.port;
}

function build() {
  const { database, clock } = room;
  const log = pino({ level: 'silent' });
  silences = createSilences({ database, now: clock.now });
  const deps = { database, alertStore: createAlertStore(database), channelStore: createChannelStore(database), log };
  return createNotifications({
    ...{ ...deps, now: clock.now },
    rules: createRulesStore(database).rules,
    silences: silences.active,
    deviceLabels: async () =>
      new Map([
        ['d1', { site: 'x' }],
        ['d2', { site: 'x' }],
        ['d3', { site: 'y' }],
      ]),
    send: createSender({ ...deps, now: clock.now, destinations: createDestinations(['127.0.0.1']) }),
  });
}
async function withChannel(spec: ChannelSpec): Promise<void> {
  const secrets = { secret: null, previousSecret: null, previousSecretUntil: null };
  await room.database.transact((tx) =>
    createChannelStore(room.database).insertChannel(tx, { id: spec.name, createdAt: 0, spec, ...secrets }),
  );
}
async function put(...alerts: AlertRecord[]): Promise<void> {
  const store = createAlertStore(room.database);
  await room.database.transact(async (tx) => {
    for (const alert of alerts) {
      if ((await store.alert(tx, alert.id)) === undefined) await store.insertAlert(tx, alert);
      else await store.updateAlert(tx, alert);
    }
  });
}
async function lookAfter(ms: number): Promise<void> {
  room.clock.at += ms;
  await notifications.look();
  await notifications.idle();
}
const hook = (name: string, parts: Partial<Extract<ChannelSpec, { kind: 'webhook' }>> = {}): ChannelSpec => ({
  ...{ name, kind: 'webhook', url: `http://127.0.0.1:${portOf(http)}/hook` },
  ...parts,
});

test('an Alertmanager is told what fires, again and again, and then when it ended', async () => {
  await withChannel({ name: 'am', kind: 'alertmanager', url: `http://127.0.0.1:${portOf(http)}/prefix`, match: {} });
  const alert = alertOf('1', { labels: { site: 'x', 'team.name': 'vision', '9': 'n' }, firedAt: 900_000 });
  await put(alert);
  await lookAfter(0);
  await lookAfter(60_000);
  expect(pushed.map(({ path }) => path)).toEqual(['/prefix/api/v2/alerts', '/prefix/api/v2/alerts']);
  const [first, second] = pushed.map(({ alerts }) => alerts[0]);
  const labels = { alertname: 'r', kind: 'drift', severity: 'warning', model: 'm', version: '1', site: 'x' };
  expect(first?.labels).toEqual({ ...labels, team_name: 'vision', _9: 'n' });
  expect(second?.labels).toEqual(first?.labels);
  expect(first?.startsAt).toBe(new Date(900_000).toISOString());
  expect(Date.parse(first?.endsAt ?? '')).toBeGreaterThan(room.clock.at + 120_000);
  await put({ ...alert, status: 'resolved', resolvedAt: 1_070_000 });
  await lookAfter(20_000);
  expect(pushed.at(-1)?.alerts[0]?.endsAt).toBe(new Date(1_070_000).toISOString());
  await lookAfter(600_000);
  expect(pushed).toHaveLength(3);
});

test('mail goes through the server with its password, and one that is refused is said', async () => {
  const { port, host } = { port: portOf(smtp), host: '127.0.0.1' };
  const login = { host, port, security: 'none', username: 'ann', password: 'word' } as const;
  const mail = { kind: 'email' as const, from: 'edge@example.com', to: ['ops@example.com'], match: {} };
  await withChannel({ ...mail, name: 'right', smtp: login });
  await withChannel({ ...mail, name: 'wrong', smtp: { ...login, password: 'other' } });
  await put(alertOf('1', { summary: 'x moved\r\nBcc: all@example.com' }));
  await lookAfter(0);
  expect(mails).toHaveLength(1);
  expect(mails[0]).toMatch(/^Subject: \[1 firing\] model m: x moved Bcc: all@example\.com$/m);
  expect(mails[0]).toMatch(/^To: ops@example\.com$/m);
  const [head] = mails[0]?.split('\n\n') ?? [];
  expect(head).not.toMatch(/^Bcc:/im);
  expect(mails[0]).toContain('FIRING (warning): m 1');
  const states = await createChannelStore(room.database).deliveries();
  expect(states.find(({ channelId }) => channelId === 'wrong')?.state.error).toMatch(/535|Invalid login/);
  expect(states.find(({ channelId }) => channelId === 'right')?.state.error).toBeNull();
});

test('channels receive by severity, and one message for each model and site', async () => {
  await withChannel(hook('pager', { match: { severity: ['critical'] } }));
  const at = (id: string, device: string, severity: AlertRecord['severity'] = 'critical') =>
    alertOf(id, { severity, version: Number(id), scope: { kind: 'device', devices: [device], detail: '' } });
  await put(at('1', 'd1'), at('2', 'd2'), at('3', 'd3'), at('4', 'd3', 'info'));
  await lookAfter(0);
  const told = hooked.map(({ group, alerts }) => [group.labels, alerts.map(({ id }) => id)]);
  expect(told).toHaveLength(2);
  expect(told).toEqual(
    expect.arrayContaining([
      [{ model: 'm', site: 'x' }, ['1', '2']],
      [{ model: 'm', site: 'y' }, ['3']],
    ]),
  );
});

test('a silence mutes what it matches until it ends or is ended', async () => {
  await withChannel(hook('all', { match: {} }));
  const spec = { seconds: 600, comment: 'works on site x', match: { model: 'm', labels: 'site=x' } };
  const silence = await silences.create('key:test', spec);
  await put(alertOf('1', { labels: { site: 'x' } }), alertOf('2', { version: 2, labels: { site: 'y' } }));
  await lookAfter(0);
  expect(hooked.flatMap(({ alerts }) => alerts.map(({ id }) => id))).toEqual(['2']);
  await lookAfter(1000);
  await silences.expire('key:test', silence.id);
  await lookAfter(1000);
  expect(hooked.flatMap(({ alerts }) => alerts.map(({ id }) => id))).toEqual(['2', '1']);
  await expect(silences.expire('key:test', silence.id)).rejects.toMatchObject({ code: 'conflict' });
  expect((await silences.list({ limit: 10 })).items).toMatchObject([{ id: silence.id, status: 'expired' }]);
});

test('a heartbeat comes while monitoring looks, and survives a restart without a storm', async () => {
  await withChannel(hook('alive', { heartbeatSeconds: 60 }));
  for (let i = 0; i < 5; i++) {
    await lookAfter(i === 0 ? 0 : 30_000);
    notifications = build();
    await lookAfter(1);
  }
  expect(hooked.map(({ type }) => type)).toEqual(['heartbeat', 'heartbeat', 'heartbeat']);
});

test('a process that dies while it sends has noted the try, and sends the same again, not at once', async () => {
  await withChannel(hook('all', { match: {} }));
  await put(alertOf('1'));
  const { alertStore, dying } = {
    alertStore: createAlertStore(room.database),
    dying: createChannelStore(room.database),
  };
  const broken = createNotifications({
    ...{
      database: room.database,
      alertStore,
      channelStore: dying,
      now: room.clock.now,
      log: pino({ level: 'silent' }),
    },
    rules: createRulesStore(room.database).rules,
    ...{ silences: silences.active, deviceLabels: async () => new Map() },
    // It never comes to know whether that arrived.
    send: () => new Promise(() => {}),
  });
  await broken.look();
  await expect.poll(async () => (await dying.deliveries())[0]?.state.attempts).toBe(1);
  await lookAfter(500);
  expect(hooked).toEqual([]);
  await lookAfter(2000);
  expect(hooked.map(({ alerts }) => alerts.map(({ id }) => id))).toEqual([['1']]);
  await lookAfter(2000);
  expect(hooked).toHaveLength(1);
});
