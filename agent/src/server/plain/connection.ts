// One connection that we read ourselves. It has one request at a time: what follows waits, up to a bound, and then the
// caller is not read from. Requests that are not ours to read go to Node's server over a bridge, whole, and those behind
// them come back here; where it is not certain where such a request ends, all the rest is Node's.
import type { Socket } from 'node:net';
import { AppError } from '@edgeloop/shared/errors';
import { type Caller, createCaller } from '../../inference/queueing/hang-up.ts';
import { brokenOff, maxBodyBytes, roomFor } from '../body.ts';
import type { Hold } from '../body-memory.ts';
import { type CallHeaders, callHeaders } from '../call-headers.ts';
import type { Reply } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { Front } from '../front.ts';
import { type Called, calledBy } from '../model-calls.ts';
import type { Visit } from '../visitors.ts';
import type { AnswerWriter } from './answer-writer.ts';
import { Handover, type HandoverDeps } from './handover.ts';
import { type Head, headEnd, maxHeadBytes, mayBecomeHead, readHead } from './head.ts';
import { IncomingBody } from './incoming-body.ts';
import type { Ticks } from './ticks.ts';

/** Bytes behind the present request that are kept; beyond it the caller is not read from. */
const keptBytes = 64 * 1024;
const nothing = Buffer.alloc(0);
/** Of a connection that has asked nothing yet. */
const noHeaders = callHeaders({});

/** What all connections share. */
export interface ConnectionDeps {
  answer: Front['answer'];
  refusal: Front['refusal'];
  write: AnswerWriter;
  ticks: Ticks;
  toNode: HandoverDeps['toNode'];
  /** Answers end their connections from now on. */
  draining(): boolean;
  /** What is asked of it was answered, and the answer has left; heard while draining only. */
  onFlushed(): void;
}

/**
 * `head`: between requests or in the head of one. `asked`: a request is being answered. `sending`: its answer waits for
 * room. `rest`: it was answered early, and what is left of it is thrown away. `node`: Node's server has it.
 */
type State = 'head' | 'asked' | 'sending' | 'rest' | 'node' | 'closed';

/** A request that is ours. */
interface Known {
  /** Of the whole head. */
  bytes: Buffer;
  head: Head;
  called: Called;
  visit: Visit;
}

export class PlainConnection implements Exchange {
  headers: CallHeaders = noHeaders;
  readonly caller: Caller = createCaller();
  readonly #socket: Socket;
  readonly #deps: ConnectionDeps;
  #state: State = 'head';
  /** Bytes that nobody has taken yet. While `receive` runs they lie in memory that others read into next. */
  #input: Buffer = nothing;
  #at = 0;
  #running = false;
  /** The request that is being answered; stays known, since callers send the same head again and again. */
  #known: Known | undefined;
  #body: IncomingBody | undefined;
  /** Bytes of the request's body, or of what goes to Node's server, that were not taken yet. */
  #missing = 0;
  #onSent: (() => void) | undefined;
  readonly #node: Handover;
  /** Node's server has the head of what is its own from now on, and gets the rest in the next turn. */
  #headAlone = false;
  /** The tick when it began to be as it is: silent, in a head, in a request, in the rest of one. */
  #since: number;
  /** The tick of the last piece of a rest. */
  #pieceAt = 0;
  #fresh = true;
  #inHead = false;

  constructor(socket: Socket, deps: ConnectionDeps) {
    this.#socket = socket;
    this.#deps = deps;
    this.#since = deps.ticks.now();
    this.#node = new Handover(socket, {
      toNode: deps.toNode,
      onProgress: () => this.#proceed(),
      // Otherwise it was between two requests, and only Node's server is done with it.
      onClosed: () => {
        if (this.#state === 'node') socket.destroy();
      },
    });
    // What ends it is told by `close`.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#closed());
    socket.on('drain', () => this.#drained());
    socket.on('timeout', () => {
      if (this.#state === 'node') this.#node.timeout();
    });
    socket.on('end', () => this.#ended());
  }

  /** Whether somebody waits for an answer, or it has not left yet. */
  get busy(): boolean {
    return this.#state === 'asked' || this.#socket.writableLength > 0;
  }

  /** `bytes` are only there during the call. */
  receive(bytes: Buffer): void {
    this.#input = this.#at < this.#input.length ? Buffer.concat([this.#input.subarray(this.#at), bytes]) : bytes;
    this.#at = 0;
    this.#run();
    this.#keep();
  }

  /** Ends it where nobody is about to ask or be answered. */
  closeIdle(): void {
    if (this.#state === 'head' && !this.#inHead) this.#socket.destroy();
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Ends it where its caller took too long. */
  look(): void {
    const { ticks } = this.#deps;
    const { patience } = ticks;
    if (this.#state === 'head') {
      const idle = !this.#inHead && !this.#fresh;
      if (ticks.passed(this.#since, idle ? patience.keepAliveTimeout : patience.headersTimeout)) this.#tooLate(idle);
    } else if (this.#state === 'asked') {
      if (this.#missing > 0 && ticks.passed(this.#since, patience.requestTimeout)) this.#tooLate(false);
    } else if (this.#state === 'rest') {
      if (ticks.passed(this.#pieceAt, patience.pieceMs) || ticks.passed(this.#since, patience.restMs))
        this.#socket.destroy();
    }
  }

  body(hold: Hold): Promise<Buffer | AppError> | Buffer | AppError {
    const { bodyBytes, headers } = this.#present().head;
    if (this.#state !== 'asked') return brokenOff(new Error('the caller left'));
    const room = roomFor(bodyBytes, Number(headers.jsonBytes ?? 0), hold);
    this.#body = new IncomingBody(room, hold);
    const failure = this.#collect();
    if (failure) return failure;
    if (this.#missing === 0) return room;
    // Another turn than that in which the head came: what was kept since then is taken.
    if (!this.#running) this.#keep();
    return this.#body.whole;
  }

  whenSent(end: () => void): void {
    if (this.#socket.destroyed) end();
    else this.#onSent = end;
  }

  send(reply: Reply, traceparent: string | undefined): void {
    if (this.#state !== 'asked') return;
    const draining = this.#deps.draining();
    const close = this.#present().head.close || draining;
    this.#body = undefined;
    this.#fresh = false;
    this.#since = this.#deps.ticks.now();
    this.#deps.write(this.#socket, reply, { traceparent, close }, this.#takeOnSent());
    if (this.#missing > 0) this.#beginRest(close);
    else if (close) this.#end();
    else this.#state = this.#socket.writableNeedDrain ? 'sending' : 'head';
    this.#proceed();
  }

  #present(): Known {
    if (this.#known === undefined) throw new Error('no request was read from this connection');
    return this.#known;
  }

  /** Mostly nobody wants to know. */
  #takeOnSent(): (() => void) | undefined {
    const onSent = this.#onSent;
    this.#onSent = undefined;
    if (!this.#deps.draining()) return onSent;
    return () => {
      onSent?.();
      this.#deps.onFlushed();
    };
  }

  /** No other request is taken. */
  #end(): void {
    this.#state = 'closed';
    this.#socket.destroySoon();
  }

  /** The caller still sends. To end the connection now would reset it, and the answer with it. */
  #beginRest(close: boolean): void {
    this.#state = 'rest';
    this.#pieceAt = this.#since;
    if (close) this.#socket.end();
  }

  /** Goes on with what was kept. */
  #proceed(): void {
    if (this.#running) return;
    this.#run();
    this.#keep();
  }

  #run(): void {
    this.#running = true;
    while (this.#step());
    this.#running = false;
  }

  /** Whether there may be more to do. */
  #step(): boolean {
    switch (this.#state) {
      case 'head':
        return this.#at < this.#input.length && this.#begin();
      case 'asked':
        this.#collect();
        return false;
      case 'rest':
        return this.#discard();
      case 'node':
        return this.#feed();
      case 'sending':
        return false;
      case 'closed':
        this.#at = this.#input.length;
        return false;
    }
  }

  /** Makes what is left of the input our own, and reads no more while there is much of it. */
  #keep(): void {
    const left = this.#input.length - this.#at;
    this.#input = left === 0 ? nothing : Buffer.from(this.#input.subarray(this.#at));
    this.#at = 0;
    if (left >= keptBytes || this.#node.full) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** Takes the head of a request, if it is whole. */
  #begin(): boolean {
    const known = this.#known;
    const input = this.#input;
    if (known && begins(input, this.#at, known.bytes)) {
      this.#at += known.bytes.length;
      this.#ask(known);
      return true;
    }
    const end = input.indexOf(headEnd, this.#at);
    if (end < 0 || end - this.#at > maxHeadBytes) return this.#beginLater();
    const bytes = input.subarray(this.#at, end + headEnd.length);
    const head = readHead(bytes.toString('latin1', 0, bytes.length - headEnd.length));
    if (head === undefined) return this.#leave(Number.POSITIVE_INFINITY);
    const called = head.simple && head.method === 'POST' ? calledBy(head.target) : undefined;
    if (called === undefined || head.bodyBytes > maxBodyBytes) return this.#leave(bytes.length + head.bodyBytes);
    const visit = { method: head.method, headers: { host: head.host }, socket: this.#socket };
    this.#known = { bytes: Buffer.from(bytes), head, called, visit };
    this.#at += bytes.length;
    this.#ask(this.#known);
    return true;
  }

  /** The head is not whole. */
  #beginLater(): boolean {
    const { length } = this.#input;
    if (length - this.#at > maxHeadBytes || !mayBecomeHead(this.#input.toString('latin1', this.#at)))
      return this.#leave(Number.POSITIVE_INFINITY);
    if (!this.#inHead) this.#since = this.#deps.ticks.now();
    this.#inHead = true;
    return false;
  }

  #ask({ head, called, visit }: Known): void {
    if (!this.#inHead) this.#since = this.#deps.ticks.now();
    this.#inHead = false;
    this.#state = 'asked';
    this.#missing = head.bodyBytes;
    this.headers = head.headers;
    const refusal = this.#deps.refusal(visit, called.url);
    if (refusal) this.send(refusal, undefined);
    else void this.#deps.answer(called, this);
  }

  /** What came of the body; why it can't be had, when it can't. */
  #collect(): AppError | undefined {
    if (this.#body === undefined) return undefined;
    const piece = this.#take();
    try {
      if (piece.length > 0 || this.#missing === 0) this.#body.add(piece);
      return undefined;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      this.#body.fail(error);
      this.#body = undefined;
      return error;
    }
  }

  #discard(): boolean {
    if (this.#take().length > 0) this.#pieceAt = this.#deps.ticks.now();
    if (this.#missing > 0) return false;
    if (this.#socket.writableEnded) this.#end();
    else this.#state = this.#socket.writableNeedDrain ? 'sending' : 'head';
    return true;
  }

  /** As many bytes as are missing and there, before `end`. */
  #take(end = this.#input.length): Buffer {
    const piece = this.#input.subarray(this.#at, Math.min(end, this.#at + this.#missing));
    this.#at += piece.length;
    this.#missing -= piece.length;
    return piece;
  }

  /** Node's server reads so many bytes. */
  #leave(bytes: number): boolean {
    this.#state = 'node';
    this.#missing = bytes;
    this.#inHead = false;
    this.#fresh = false;
    this.#node.begin();
    if (bytes !== Number.POSITIVE_INFINITY) return true;
    this.#leaveHead();
    return false;
  }

  /**
   * What follows comes in another turn, as it does where Node's server reads the socket itself: it answers a request that it
   * refuses by its head first, and only then has a word for what is wrong behind it.
   */
  #leaveHead(): void {
    const end = this.#input.indexOf(headEnd, this.#at);
    this.#node.give(this.#take(end < 0 ? this.#input.length : end + headEnd.length));
    this.#headAlone = true;
    setImmediate(() => {
      this.#headAlone = false;
      this.#proceed();
    });
  }

  #feed(): boolean {
    if (this.#headAlone) return false;
    const piece = this.#take();
    if (piece.length > 0) this.#node.give(piece);
    if (this.#missing > 0 || !this.#node.done) return false;
    this.#state = 'head';
    this.#since = this.#deps.ticks.now();
    return true;
  }

  #drained(): void {
    if (this.#state !== 'sending') return;
    this.#state = 'head';
    this.#since = this.#deps.ticks.now();
    this.#proceed();
  }

  /** The caller says no more, and is taken to be gone. */
  #ended(): void {
    if (this.#state === 'node') this.#node.end();
    else if (this.#inHead || (this.#state === 'asked' && this.#missing > 0)) this.#giveUp('400 Bad Request');
    else this.#socket.end();
  }

  #tooLate(silently: boolean): void {
    if (silently) this.#socket.destroy();
    else this.#giveUp('408 Request Timeout');
  }

  /** In the words of Node's server. */
  #giveUp(status: string): void {
    this.#socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
    this.#socket.destroy();
  }

  #closed(): void {
    this.#state = 'closed';
    this.caller.hangUp();
    this.#body?.fail(brokenOff(new Error('aborted')));
    this.#onSent?.();
    this.#node.destroy();
  }
}

function begins(input: Buffer, at: number, bytes: Buffer): boolean {
  const end = at + bytes.length;
  return end <= input.length && bytes.compare(input, at, end) === 0;
}
