// Retained messages, found by their exact topic: devices subscribe to nothing else, and looking through those of the whole fleet
// for each subscription costs more than everything else about connecting.
import { Readable } from 'node:stream';
import MemoryPersistence from 'aedes-persistence/asyncPersistence.js';

type Packet = Parameters<MemoryPersistence['storeRetained']>[0];

export class ExactRetained extends MemoryPersistence {
  readonly #retained = new Map<string, Packet>();

  override async storeRetained(packet: Packet): Promise<void> {
    if (packet.cmd !== 'publish') return;
    if (packet.payload.length === 0) this.#retained.delete(packet.topic);
    else this.#retained.set(packet.topic, { ...packet });
  }

  override createRetainedStreamCombi(patterns: string[]): Readable {
    return Readable.from(patterns.flatMap((pattern) => [...this.#matching(pattern)]));
  }

  override createRetainedStream(pattern: string): Readable {
    return this.createRetainedStreamCombi([pattern]);
  }

  /** The server itself subscribes with wildcards, once, before there is anything. */
  *#matching(pattern: string): Generator<Packet> {
    const exact = this.#retained.get(pattern);
    if (exact !== undefined) yield exact;
    if (!/[+#]/.test(pattern)) return;
    const levels = pattern.split('/');
    for (const [topic, packet] of this.#retained) if (fits(levels, topic.split('/'))) yield packet;
  }
}

function fits(pattern: readonly string[], topic: readonly string[]): boolean {
  for (const [i, level] of pattern.entries()) {
    if (level === '#') return true;
    if (i >= topic.length || (level !== '+' && level !== topic[i])) return false;
  }
  return pattern.length === topic.length;
}
