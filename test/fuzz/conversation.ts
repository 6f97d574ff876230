// One connection: what is said on it in which pieces, and all that comes back.
import { connect } from 'node:net';
import type { FuzzRequest } from './requests.ts';

export interface Conversation {
  requests: readonly FuzzRequest[];
  /** Where the bytes of all requests together are cut, ascending. */
  cuts: readonly number[];
  /** Does not wait for an answer before the next request. */
  pipelined: boolean;
  /** Waits wherever a request may end, by any reading of it, until nothing more comes. */
  slowly?: boolean;
}

/** After so long without a byte nothing more is expected. */
export interface Patience {
  quietMs: number;
}

/** All that a server says until it hangs up, or says no more. */
export async function converse(port: number, told: Conversation, patience: Patience): Promise<string> {
  const line = listen(port, patience);
  const ends = told.slowly ? possibleEnds(Buffer.concat(told.requests.map(({ bytes }) => bytes))) : [];
  const cuts = [...told.cuts, ...ends].sort((a, b) => a - b);
  let sent = 0;
  for (const [place, { bytes }] of told.requests.entries()) {
    for (const piece of cut(bytes, sent, cuts)) {
      await line.say(piece);
      sent += piece.length;
      if (ends.includes(sent)) await line.quiet();
    }
    if (!told.pipelined) await line.answers(told.requests.slice(0, place + 1));
  }
  await line.answers(told.requests);
  return line.end();
}

function cut(bytes: Buffer, from: number, cuts: readonly number[]): Buffer[] {
  const own = cuts.map((place) => place - from).filter((place) => place > 0 && place < bytes.length);
  return [0, ...own]
    .map((start, i) => bytes.subarray(start, own[i] ?? bytes.length))
    .filter(({ length }) => length > 0);
}

/** Behind every head, and behind every length that a header may say. */
function possibleEnds(bytes: Buffer): number[] {
  const text = bytes.toString('latin1');
  const headEnds = [...text.matchAll(/\r?\n\r?\n/g)].map(({ index, 0: end }) => index + end.length);
  const lengths = [...text.matchAll(/content-length[^\d\r\n]*(\d+)/gi)].map(([, digits]) => Number(digits));
  return headEnds.flatMap((end) => [end, ...lengths.map((length) => end + length)]);
}

interface Line {
  say(piece: Buffer): Promise<void>;
  /** Until that many answers are whole, the other end hangs up, or nothing more comes. */
  answers(requests: readonly FuzzRequest[]): Promise<void>;
  /** Until nothing more comes. */
  quiet(): Promise<void>;
  end(): Promise<string>;
}

function listen(port: number, { quietMs }: Patience): Line {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  let heard = '';
  let over = false;
  let wake: () => void = () => undefined;
  socket.on('data', (bytes) => {
    heard += bytes.toString('latin1');
    wake();
  });
  // A reset ends it as well as a close.
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      over = true;
      wake();
      resolve();
    });
  });
  /** False when nothing came for long. */
  const news = (ms: number): Promise<boolean> =>
    new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ms);
      wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  return {
    async say(piece) {
      if (over) return;
      await new Promise<void>((sent) => socket.write(piece, () => sent()));
      // The next piece is to be read for itself.
      await new Promise((resolve) => setTimeout(resolve, 1));
    },
    async answers(requests) {
      while (!over && wholeAnswers(heard, requests) < requests.length) if (!(await news(quietMs))) return;
    },
    async quiet() {
      while (!over && (await news(quietMs)));
    },
    async end() {
      // An answer that nobody asked for would come now.
      while (!over && (await news(Math.min(quietMs, 30))));
      socket.end();
      const patience = setTimeout(() => socket.destroy(), 10_000);
      await closed;
      clearTimeout(patience);
      return heard;
    },
  };
}

/** How many answers to the requests, in their order, are whole. */
function wholeAnswers(heard: string, requests: readonly FuzzRequest[]): number {
  let at = 0;
  for (const [place, { isHead }] of requests.entries()) {
    const end = answerEnd(heard, at, isHead);
    if (end === undefined) return place;
    at = end;
  }
  return requests.length;
}

function answerEnd(heard: string, at: number, isHead: boolean): number | undefined {
  const headEnd = heard.indexOf('\r\n\r\n', at);
  if (headEnd < 0) return undefined;
  const head = heard.slice(at, headEnd).toLowerCase();
  const bodyAt = headEnd + 4;
  if (/^http\/1\.1 1\d\d/.test(head)) return answerEnd(heard, bodyAt, isHead);
  if (isHead || /^http\/1\.1 204/.test(head)) return bodyAt;
  if (head.includes('\r\ntransfer-encoding: chunked')) {
    const last = heard.indexOf('\r\n0\r\n\r\n', headEnd + 2);
    return last < 0 ? undefined : last + 7;
  }
  const end = bodyAt + Number(/\r\ncontent-length: *(\d+)/.exec(head)?.[1] ?? 0);
  return end <= heard.length ? end : undefined;
}
