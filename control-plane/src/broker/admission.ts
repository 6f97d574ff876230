// Lets connections in a few at a time. When thousands return at once, as after a restart, all their handshakes together would take so
// long that every client gives up on its own and begins again, and nobody gets in. Those that wait cost nothing but their socket.
import type { Socket } from 'node:net';

export interface AdmissionOptions {
  /** Connections that are on their way in together. */
  atOnce: number;
  /** After this one that is not in yet makes room for the next: it may be slow, or say nothing at all. */
  patienceMs: number;
  /** Who waited for so long is sent away: the client has given up, or is about to. */
  waitMs: number;
  begin: (socket: Socket) => void;
  now?: () => number;
}

export class Admission {
  readonly #options: Required<AdmissionOptions>;
  /** On their way in, by address and port, each with what ends its turn. */
  readonly #begun = new Map<string, NodeJS.Timeout>();
  #waiting: { socket: Socket; since: number }[] = [];

  constructor(options: AdmissionOptions) {
    this.#options = { now: () => performance.now(), ...options };
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** The socket is paused. */
  enter(socket: Socket): void {
    this.#waiting.push({ socket, since: this.#options.now() });
    this.#next();
  }

  /** The connection is in. */
  arrived(socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): void {
    this.#release(keyOf(socket));
  }

  /** Sends away who waits. */
  close(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { socket } of waiting) socket.destroy();
    for (const timer of this.#begun.values()) clearTimeout(timer);
    this.#begun.clear();
  }

  #next(): void {
    const { atOnce, waitMs, patienceMs, begin, now } = this.#options;
    let gone = 0;
    for (const { socket, since } of this.#waiting) {
      if (this.#begun.size >= atOnce) break;
      gone += 1;
      if (socket.destroyed) continue;
      if (now() - since > waitMs) {
        socket.destroy();
        continue;
      }
      const key = keyOf(socket);
      this.#begun.set(
        key,
        setTimeout(() => this.#release(key), patienceMs),
      );
      socket.once('close', () => this.#release(key));
      begin(socket);
    }
    this.#waiting.splice(0, gone);
  }

  #release(key: string): void {
    const timer = this.#begun.get(key);
    if (timer === undefined) return;
    clearTimeout(timer);
    this.#begun.delete(key);
    this.#next();
  }
}

/** No two connections to one port have the same at a time. */
function keyOf({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${remoteAddress} ${remotePort}`;
}
