// The hosts of this process, from their start to their end. One in which a model was tried is kept a while for the next.
import { freeNoteSlot, type Host, type HostOptions, type Isolation, startHost } from './host.ts';

export interface HostPoolOptions extends HostOptions {
  /** It is gone though nobody ended it. */
  onDied(host: Host, error: Error): void;
}

/** A thread in which models were tried is kept so long for the next one. */
const spareMs = 1000;

export class HostPool {
  readonly #options: HostPoolOptions;
  readonly #hosts = new Set<Host>();
  /** Empty, for the next models; they end when they are not needed before long. */
  readonly #spares = new Map<Host, NodeJS.Timeout | undefined>();

  constructor(options: HostPoolOptions) {
    this.#options = options;
  }

  all(): Host[] {
    return [...this.#hosts];
  }

  has(host: Host): boolean {
    return this.#hosts.has(host);
  }

  /** Starts a thread before the first model is there, unless one waits. It waits for so long, or as long as it takes. */
  prepare(forMs?: number): void {
    const [waiting] = this.#spares.keys();
    const host = waiting ?? this.#start('shared');
    if (forMs === undefined) this.#spares.set(host, undefined);
    else this.#keepSpare(host, forMs);
  }

  /** Serves nothing yet and holds no model. */
  fresh(isolation: Isolation): Host {
    const spare = isolation === 'shared' ? this.#takeSpare() : undefined;
    return spare ?? this.#start(isolation);
  }

  /** Holds nothing any more: for the next model, unless there is one for it already. False when it is to be retired. */
  keep(host: Host): boolean {
    if (host.isolation !== 'shared' || this.#spares.size > 0) return false;
    this.#keepSpare(host);
    return true;
  }

  async retire(host: Host): Promise<void> {
    this.#dropSpare(host);
    host.role = 'apart';
    await host.thread.end();
    this.#hosts.delete(host);
  }

  #start(isolation: Isolation): Host {
    const host = startHost(isolation, freeNoteSlot(this.#hosts), {
      ...this.#options,
      onDied: (dead, error) => {
        this.#hosts.delete(dead);
        this.#dropSpare(dead);
        this.#options.onDied(dead, error);
      },
    });
    this.#hosts.add(host);
    return host;
  }

  #takeSpare(): Host | undefined {
    const [taken] = this.#spares.keys();
    if (taken) this.#dropSpare(taken);
    for (const left of this.#spares.keys()) this.#keepSpare(left);
    return taken;
  }

  #keepSpare(host: Host, forMs = spareMs): void {
    clearTimeout(this.#spares.get(host));
    this.#spares.set(host, setTimeout(() => void this.retire(host), forMs).unref());
  }

  #dropSpare(host: Host): void {
    clearTimeout(this.#spares.get(host));
    this.#spares.delete(host);
  }
}
