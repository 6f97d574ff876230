// The requests of one connection that Node's server reads and answers.
import type { Socket } from 'node:net';
import { Bridge } from './bridge.ts';

export interface HandoverDeps {
  /** Node's server begins to read from it. */
  toNode(bridge: Bridge): void;
  /** It takes bytes again, or has answered. */
  onProgress(): void;
  /** Node's server has closed its end. */
  onClosed(): void;
}

export class Handover {
  readonly #socket: Socket;
  readonly #deps: HandoverDeps;
  #bridge: Bridge | undefined;
  #answered = false;
  #full = false;

  constructor(socket: Socket, deps: HandoverDeps) {
    this.#socket = socket;
    this.#deps = deps;
  }

  /** It has as many bytes as it takes at once. */
  get full(): boolean {
    return this.#full;
  }

  /** What was given last is answered, and there may be more. */
  get done(): boolean {
    return this.#answered && this.#bridge?.writable === true;
  }

  /** Another request follows. */
  begin(): void {
    this.#answered = false;
    if (this.#bridge !== undefined) return;
    this.#bridge = new Bridge(this.#socket, {
      answered: () => {
        this.#answered = true;
        this.#deps.onProgress();
      },
      wanted: () => {
        this.#full = false;
        this.#deps.onProgress();
      },
      closed: () => {
        this.#bridge = undefined;
        this.#full = false;
        this.#deps.onClosed();
      },
    });
    this.#deps.toNode(this.#bridge);
  }

  /** `bytes` are copied. */
  give(bytes: Buffer): void {
    if (this.#bridge === undefined) return;
    // It may say during the call that it wants more.
    this.#full = true;
    if (this.#bridge.push(Buffer.from(bytes))) this.#full = false;
  }

  /** The caller says no more. */
  end(): void {
    this.#bridge?.push(null);
  }

  timeout(): void {
    this.#bridge?.emit('timeout');
  }

  destroy(): void {
    this.#bridge?.destroy();
  }
}
