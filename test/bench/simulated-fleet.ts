// A process of the bench of rollouts: many simulated devices with real certificates over the real broker. They speak as agents do -
// presence, a last will, reports at each step - and load nothing. Each line on stdin is answered by one on stdout; a number is how
// many reports a second all of them make beside from now on.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Desired, type ModelReport, type Reported } from '@edgeloop/shared/messages';
import { topicOf } from '@edgeloop/shared/topics';
import { z } from 'zod';
import {
  connectDevice,
  createDeviceKey,
  type DeviceKey,
  enrolOver,
  facts,
} from '../../control-plane/src/fleet/device-fixture.ts';

const Settings = z.object({
  from: z.number(),
  count: z.number(),
  devicePort: z.number(),
  caPath: z.string(),
  secret: z.string(),
  /** From being told to serving, a share of it in each step. */
  activateMs: z.number(),
  joinAtOnce: z.number(),
});
type Settings = z.infer<typeof Settings>;

const settings = Settings.parse(JSON.parse(process.argv[2] ?? '{}'));
const bytes = { in: 0, out: 0 };
let connected = 0;
let reports = 0;
const serving = new Map<number, number>();
const reporting: (() => void)[] = [];
let chatter: NodeJS.Timeout | undefined;

async function join(i: number, ca: string, key: DeviceKey): Promise<void> {
  const deviceId = `sim-${String(i).padStart(5, '0')}`;
  const wanted = { secret: settings.secret, deviceId, key, labels: { site: `s${i % 20}` } };
  const enrolled = await enrolOver(settings.devicePort, ca, wanted);
  const session = `session-${i}`;
  const will = {
    topic: topicOf(deviceId, 'presence'),
    payload: Buffer.from(JSON.stringify({ status: 'offline', session })),
    ...{ qos: 1 as const, retain: true },
  };
  const client = await connectDevice(enrolled, key, { will, keepalive: 300 });
  client.on('error', (error) => process.stderr.write(`${deviceId}: ${error.message}\n`));
  connected += 1;
  simulate(client, { deviceId, session });
}

/** What an agent does with its desired state, without the loading. */
function simulate(
  client: Awaited<ReturnType<typeof connectDevice>>,
  { deviceId, session }: { deviceId: string; session: string },
): void {
  const startedAt = Date.now();
  let generation = 0;
  let active: ModelReport['active'] = null;
  let candidate: ModelReport['candidate'] = null;
  let name = 'bench';

  function report(): void {
    const model = { name, active, lastGood: active?.version ?? null, candidate };
    const body: Reported = {
      ...{ generation, facts, startedAt, reportedAt: Date.now() },
      models: active === null && candidate === null ? [] : [model],
      outbox: { pendingItems: 0, pendingBytes: 0, droppedItems: 0 },
    };
    reports += 1;
    send('reported', body);
  }

  function send(channel: 'reported' | 'presence', body: unknown): void {
    const payload = JSON.stringify(body);
    bytes.out += payload.length;
    client.publish(topicOf(deviceId, channel), payload, { qos: 1, retain: true });
  }

  client.on('message', (topic, payload) => {
    bytes.in += payload.length;
    if (!topic.endsWith('/desired') || payload.length === 0) return;
    const desired = Desired.parse(JSON.parse(payload.toString()));
    if (desired.generation < generation) return;
    generation = desired.generation;
    const [wanted] = desired.models;
    if (wanted === undefined || active?.release === wanted.release) return report();
    const { version, release, rolloutId } = wanted;
    name = wanted.name;
    candidate = { version, release, rolloutId, state: 'fetching', since: Date.now() };
    report();
    setTimeout(() => {
      if (candidate?.rolloutId !== rolloutId) return;
      const since = Date.now();
      active = { version, release, since };
      candidate = { version, release, rolloutId, state: 'probation', since };
      report();
      setTimeout(() => {
        if (candidate?.rolloutId !== rolloutId) return;
        candidate = null;
        serving.set(version, (serving.get(version) ?? 0) + 1);
        report();
      }, settings.activateMs);
    }, settings.activateMs);
  });
  reporting.push(report);
  send('presence', { status: 'online', session });
  client.subscribe(
    (['desired', 'telemetry/ack', 'commands'] as const).map((channel) => topicOf(deviceId, channel)),
    { qos: 1 },
  );
  report();
}

async function joinAll({ from, count, joinAtOnce, caPath }: Settings): Promise<void> {
  const ca = readFileSync(caPath, 'utf8');
  // Keys are not what is measured: all devices of a process share one.
  const key = await createDeviceKey();
  let next = from;
  const worker = async () => {
    while (next < from + count) await join(next++, ca, key);
  };
  await Promise.all(Array.from({ length: joinAtOnce }, worker));
}

function tell(): void {
  process.stdout.write(`${JSON.stringify({ connected, reports, bytes, serving: Object.fromEntries(serving) })}\n`);
}

/** One after the other says how it is, so often. */
function chat(perSecond: number): void {
  clearInterval(chatter);
  let next = 0;
  if (perSecond > 0) chatter = setInterval(() => reporting[next++ % reporting.length]?.(), 1000 / perSecond);
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (line !== '') chat(Number(line));
    tell();
  })
  .on('close', () => process.exit(0));
joinAll(settings).then(tell, (error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
