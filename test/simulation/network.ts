// The network between devices and the control plane, with the broker in it: what a real one does to messages, in virtual time.
// Sessions, last wills, retained messages and acknowledgements are those of MQTT 3.1.1 with quality of service 1: a message that
// was not acknowledged is sent again in the next session, in its order, so it may come twice and late. Broker and retained
// messages end with the control plane.
import { EventEmitter } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { Desired } from '@edgeloop/shared/messages';
import { type Channel, parseTopic, topicOf } from '@edgeloop/shared/topics';
import type { LinkClient } from '../../agent/src/link/session.ts';
import type { Dice } from '../../control-plane/src/simulate/dice.ts';
import type { Life, VirtualTime } from './virtual-time.ts';

type Receiver = (message: { deviceId: string; channel: Channel; payload: Buffer }) => Promise<void>;

/** The control plane as the network sees it. */
export interface ServerEnd {
  life: Life;
  receive: Receiver;
  admits(deviceId: string): boolean;
}

interface Sent {
  topic: string;
  payload: string;
  taken: (error?: Error | null) => void;
}

/** One connection; what is on its way arrives in its order, or never. */
interface Session {
  client: SimulatedClient;
  server: ServerEnd;
  open: boolean;
  upAt: number;
  downAt: number;
  subscribed: Set<string>;
  will: { topic: string; payload: string } | undefined;
}

interface Said {
  deviceId: string;
  payload: string;
}

/** `old`: what it itself was told before. `changed`: under a signature that was made for something else. */
type Deceit = 'foreign' | 'old' | 'unsigned' | 'changed';

/** After so long without a sign of life a session is over. */
const keepAliveMs = 45_000;

export class Network {
  readonly time: VirtualTime;
  readonly dice: Dice;
  server: ServerEnd | undefined;
  /** Until when devices cannot reach anybody; messages wait, or are lost with the session. */
  readonly #cutUntil = new Map<string, number>();
  readonly #sessions = new Map<string, Session>();
  readonly #retained = new Map<string, string>();
  /** The last messages to any device, by channel. */
  readonly #said = new Map<Channel, readonly Said[]>();

  constructor(time: VirtualTime, dice: Dice) {
    this.time = time;
    this.dice = dice;
  }

  latencyMs(): number {
    return this.dice.chance(0.02) ? this.dice.between(500, 5000) : this.dice.between(2, 60);
  }

  reaches(deviceId: string): boolean {
    return this.server?.life.alive === true && this.#until(deviceId) <= this.time.nowMs;
  }

  #until(deviceId: string): number {
    return this.#cutUntil.get(deviceId) ?? 0;
  }

  // --- of the device

  connect(client: SimulatedClient): void {
    const { server } = this;
    const { id } = client;
    if (server === undefined || !this.reaches(id) || !server.admits(id)) {
      client.refused();
      return;
    }
    const former = this.#sessions.get(id);
    if (former?.open === true) this.#end(former, this.latencyMs());
    const { nowMs } = this.time;
    const will = client.options.will;
    const session: Session = {
      ...{ client, server, open: true, upAt: nowMs, downAt: nowMs, subscribed: new Set<string>() },
      will: will === undefined ? undefined : { topic: will.topic, payload: String(will.payload) },
    };
    this.#sessions.set(id, session);
    client.accepted(session);
  }

  /** From the device; may arrive although the session is lost meanwhile. */
  carryUp(session: Session, sent: Sent): void {
    session.upAt = Math.max(session.upAt, this.#until(session.client.id), this.time.nowMs + this.latencyMs());
    const { server } = session;
    this.time.after(
      session.upAt - this.time.nowMs,
      () => {
        if (!session.open && this.dice.chance(0.5)) return;
        const parsed = parseTopic(sent.topic);
        if (parsed === undefined) throw new Error(`nobody publishes to ${sent.topic}`);
        void server
          .receive({ ...parsed, payload: Buffer.from(sent.payload) })
          .then(() => this.#acknowledge(session, sent));
      },
      server.life,
    );
  }

  #acknowledge(session: Session, sent: Sent): void {
    this.#down(session, () => session.client.acknowledged(sent));
  }

  subscribe(session: Session, topics: readonly string[], done: () => void): void {
    const { server } = session;
    session.upAt = Math.max(session.upAt, this.#until(session.client.id), this.time.nowMs + this.latencyMs());
    this.time.after(
      session.upAt - this.time.nowMs,
      () => {
        if (!session.open) return;
        for (const topic of topics) {
          session.subscribed.add(topic);
          const retained = this.#retained.get(topic);
          if (retained !== undefined) this.#down(session, () => session.client.received(topic, retained));
        }
        this.#down(session, done);
      },
      server.life,
    );
  }

  #down(session: Session, work: () => void): void {
    const { client } = session;
    session.downAt = Math.max(session.downAt, this.#until(client.id), this.time.nowMs + this.latencyMs());
    this.time.after(
      session.downAt - this.time.nowMs,
      () => {
        if (session.open && client.has(session)) work();
      },
      client.life,
    );
  }

  /** Says goodbye: there is no last will. */
  leave(session: Session): void {
    session.will = undefined;
    this.#end(session, 0);
  }

  /** The device's program or machine has ended. */
  died(deviceId: string): void {
    this.#breaks(this.#sessions.get(deviceId));
  }

  /** The device is without its connection; the server may learn of it late, and perhaps only when the next one takes over. */
  #breaks(session: Session | undefined): void {
    if (session?.open !== true) return;
    if (this.dice.chance(0.5)) {
      this.#end(session, this.latencyMs());
      return;
    }
    session.client.lost(session);
    this.time.after(this.dice.between(1000, keepAliveMs), () => this.#end(session, 0), this.time.world);
  }

  /** The server hears of the end, by the last will, after some time. */
  #end(session: Session, willAfterMs: number): void {
    if (!session.open) return;
    session.open = false;
    const { client, server, will } = session;
    if (this.#sessions.get(client.id) === session) this.#sessions.delete(client.id);
    client.lost(session);
    const parsed = will && parseTopic(will.topic);
    if (will === undefined || parsed === undefined) return;
    const payload = Buffer.from(will.payload);
    this.time.after(willAfterMs, () => void server.receive({ ...parsed, payload }), server.life);
  }

  // --- of the server

  /** Resolves when the broker has it. */
  publish(life: Life, deviceId: string, channel: Channel, payload: string): Promise<void> {
    const topic = topicOf(deviceId, channel);
    return new Promise((resolve) => {
      this.time.after(
        this.dice.between(0.1, 1),
        () => {
          if (payload === '') this.#retained.delete(topic);
          else {
            this.#retained.set(topic, payload);
            const said = this.#said.get(channel) ?? [];
            this.#said.set(channel, [...said.slice(-49), { deviceId, payload }]);
          }
          const session = this.#sessions.get(deviceId);
          if (session?.open === true && session.subscribed.has(topic)) {
            if (this.dice.chance(0.03)) this.#confuse(session, topic, channel);
            this.#down(session, () => session.client.received(topic, payload));
          }
          resolve();
        },
        life,
      );
    });
  }

  /** Somebody in between gives a device what another one, or it itself before, was told. */
  #confuse(session: Session, topic: string, channel: Channel): void {
    const said = this.#said.get(channel) ?? [];
    if (said.length === 0) return;
    const { payload } = this.dice.pick(said);
    this.#down(session, () => session.client.received(topic, payload));
  }

  /** Somebody in between tells a device what its server never told it, as if that were the newest word. */
  deceive(deviceId: string, how: Deceit): void {
    const session = this.#sessions.get(deviceId);
    const topic = topicOf(deviceId, 'desired');
    if (session?.open !== true || !session.subscribed.has(topic)) return;
    const said = this.#said.get('desired') ?? [];
    const own = said.filter((each) => each.deviceId === deviceId);
    const from = how === 'foreign' ? said.filter((each) => each.deviceId !== deviceId) : own;
    const payload = lie(how, { from: from.map((each) => each.payload), own: own.at(-1)?.payload });
    if (payload !== undefined) this.#down(session, () => session.client.received(topic, payload));
  }

  disconnect(deviceId: string): void {
    const session = this.#sessions.get(deviceId);
    if (session?.open === true) this.#end(session, 0);
  }

  serverDied(): void {
    this.server = undefined;
    this.#retained.clear();
    for (const session of [...this.#sessions.values()]) {
      session.will = undefined;
      this.#end(session, 0);
    }
  }

  // --- of fate

  /** The connection breaks, and can be made again at once. */
  reset(deviceId: string): void {
    this.#breaks(this.#sessions.get(deviceId));
  }

  /** Nothing comes through for so long. A short cut delays what is on its way; a longer one ends the session, which both sides notice late. */
  cut(deviceId: string, ms: number): void {
    const until = this.time.nowMs + ms;
    this.#cutUntil.set(deviceId, Math.max(until, this.#until(deviceId)));
    const session = this.#sessions.get(deviceId);
    if (session === undefined || ms < keepAliveMs) return;
    this.time.after(
      this.dice.between(30_000, keepAliveMs),
      () => this.#end(session, this.dice.between(0, 15_000)),
      this.time.world,
    );
  }

  /** Everybody reaches the server. */
  mend(): void {
    this.#cutUntil.clear();
  }
}

/** The MQTT client of one life of an agent. */
export class SimulatedClient extends EventEmitter implements LinkClient {
  readonly id: string;
  readonly life: Life;
  readonly options: { will?: { topic: string; payload: Buffer | string }; reconnectPeriod?: number };
  readonly #network: Network;
  #session: Session | undefined;
  #ended = false;
  #unacknowledged: Sent[] = [];

  constructor(network: Network, id: string, options: SimulatedClient['options']) {
    super();
    this.#network = network;
    this.id = id;
    this.life = network.time.running;
    this.options = options;
    this.#later();
  }

  get connected(): boolean {
    return this.#session?.open === true;
  }

  #later(): void {
    this.#network.time.after(this.#network.latencyMs(), () => {
      if (!this.#ended) this.#network.connect(this);
    });
  }

  #again(): void {
    if (this.#ended) return;
    this.#network.time.after(
      this.options.reconnectPeriod ?? 1000,
      () => {
        if (this.#ended) return;
        this.emit('reconnect');
        this.#later();
      },
      this.life,
    );
  }

  refused(): void {
    this.emit('close');
    this.#again();
  }

  accepted(session: Session): void {
    this.#session = session;
    for (const sent of this.#unacknowledged) this.#network.carryUp(session, sent);
    this.emit('connect');
  }

  has(session: Session): boolean {
    return this.#session === session;
  }

  /** The program may have ended, then nobody hears of it. */
  lost(session: Session): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#network.time.after(
      0,
      () => {
        this.emit('close');
        this.#again();
      },
      this.life,
    );
  }

  received(topic: string, payload: string): void {
    this.emit('message', topic, Buffer.from(payload));
  }

  acknowledged(sent: Sent): void {
    if (!this.#unacknowledged.includes(sent)) return;
    this.#unacknowledged = this.#unacknowledged.filter((each) => each !== sent);
    sent.taken();
  }

  publish(topic: string, payload: string, _options: unknown, taken: Sent['taken']): void {
    const session = this.#session;
    if (session === undefined) {
      taken(new Error('not connected'));
      return;
    }
    const sent = { topic, payload, taken };
    this.#unacknowledged.push(sent);
    this.#network.carryUp(session, sent);
  }

  subscribe(topics: string[], _options: unknown, done: (error: Error | null) => void): void {
    if (this.#session === undefined) done(new Error('not connected'));
    else this.#network.subscribe(this.#session, topics, () => done(null));
  }

  end(force: boolean): void {
    this.#ended = true;
    const session = this.#session;
    if (session === undefined) return;
    if (force) this.#network.died(this.id);
    else this.#network.leave(session);
  }

  /** What was sent before is taken first. */
  endAsync(force: boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#network.time.after(this.#network.latencyMs() * 2, () => {
        this.end(force);
        resolve();
      });
    });
  }
}

/** Of what was said that which would change most, if it were believed. */
function lie(how: Deceit, { from, own }: { from: readonly string[]; own: string | undefined }): string | undefined {
  const orders = from.map((payload) => Desired.parse(JSON.parse(payload)));
  const present = own === undefined ? undefined : Desired.parse(JSON.parse(own));
  const others = orders.filter(({ models }) => !isDeepStrictEqual(models, present?.models));
  if (how === 'old') return others.length === 0 ? undefined : JSON.stringify(others[0]);
  const [newest] = (how === 'foreign' ? others : orders).toSorted((a, b) => b.generation - a.generation);
  if (newest === undefined) return undefined;
  const { order, ...rest } = newest;
  if (how === 'foreign' || order === undefined) return JSON.stringify(newest);
  const changed = { generation: newest.generation + 5, models: [] };
  if (how === 'unsigned') return JSON.stringify({ ...rest, ...changed });
  const document = JSON.stringify({ ...JSON.parse(order.document), ...changed });
  return JSON.stringify({ ...rest, ...changed, order: { ...order, document } });
}
