// What Node's server takes for a connection, where the real one is read by us. It is given the bytes of the requests that
// are Node's to read, each to its last one, and what it answers goes out on the real socket.
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

export interface BridgeEnd {
  /** Node's server has answered the request that it was given. */
  answered(): void;
  /** It takes bytes again. */
  wanted(): void;
  /** Node's server has closed it. */
  closed(): void;
}

export class Bridge extends Duplex {
  readonly #socket: Socket;
  readonly #end: BridgeEnd;

  constructor(socket: Socket, end: BridgeEnd) {
    super({ decodeStrings: false });
    this.#socket = socket;
    this.#end = end;
    // Node's server hears of it too, while it has it.
    this.on('error', () => undefined);
  }

  /** Of the real socket: none on a Unix socket. */
  get localAddress(): string | undefined {
    return this.#socket.localAddress;
  }

  answered(): void {
    this.#end.answered();
  }

  /** Node's server bounds so how long it keeps a connection for the next request. */
  setTimeout(ms: number): this {
    this.#socket.setTimeout(ms);
    return this;
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  override _read(): void {
    this.#end.wanted();
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, done: () => void): void {
    this.#flushed(typeof chunk === 'string' ? this.#socket.write(chunk, encoding) : this.#socket.write(chunk), done);
  }

  override _writev(chunks: { chunk: Buffer | string; encoding: BufferEncoding }[], done: () => void): void {
    this.#socket.cork();
    let flushed = true;
    for (const { chunk, encoding } of chunks) {
      flushed = typeof chunk === 'string' ? this.#socket.write(chunk, encoding) : this.#socket.write(chunk);
    }
    this.#socket.uncork();
    this.#flushed(flushed, done);
  }

  #flushed(flushed: boolean, done: () => void): void {
    // At once where it can be: who is refused is told in a write, and its connection destroyed right after.
    if (flushed) done();
    else this.#socket.once('drain', done);
  }

  override _final(done: () => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#end.closed();
    done(error);
  }
}
