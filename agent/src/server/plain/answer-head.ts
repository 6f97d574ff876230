// The head of an answer, as Node's server writes it.
import { STATUS_CODES } from 'node:http';
import type { Reply } from '../errors.ts';

/** The headers that every answer has; `keepAliveMs`: how long the connection is kept for the next request. */
export type AnswerHeads = (reply: Reply, said: { traceparent: string | undefined; close: boolean }) => string;

export function createAnswerHeads(keepAliveMs: number): AnswerHeads {
  const kept = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n\r\n`;
  const closed = 'Connection: close\r\n\r\n';
  const date = createDate();
  return ({ status, headers }, { traceparent, close }) => {
    let head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n`;
    if (traceparent !== undefined) head += `traceparent: ${traceparent}\r\n`;
    for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
    return `${head}Date: ${date()}\r\n${close ? closed : kept}`;
  };
}

/** The present second as headers have it; written once a second, since that takes as long as a small answer. */
function createDate(): () => string {
  let second = Number.NaN;
  let text = '';
  return () => {
    const now = Math.floor(Date.now() / 1000);
    if (now !== second) {
      second = now;
      text = new Date(now * 1000).toUTCString();
    }
    return text;
  };
}
