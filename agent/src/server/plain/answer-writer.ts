// Writes answers to a socket, in the words of Node's server.
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Reply } from '../errors.ts';

/** Shorter answers are sent in one piece. */
const copiedBytes = 16 * 1024;

interface Said {
  traceparent: string | undefined;
  /** The connection ends with it. */
  close: boolean;
}

/** `sent` is called once all of it has left, or can't any more. */
export type AnswerWriter = (socket: Socket, reply: Reply, said: Said, sent: (() => void) | undefined) => void;

/** `keepAliveMs`: how long the connection is kept for the next request. */
export function createAnswerWriter(keepAliveMs: number): AnswerWriter {
  const kept = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n\r\n`;
  const closed = 'Connection: close\r\n\r\n';
  const date = createDate();
  const headOf = ({ status, headers }: Reply, { traceparent, close }: Said): string => {
    let head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n`;
    if (traceparent !== undefined) head += `traceparent: ${traceparent}\r\n`;
    for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
    return `${head}Date: ${date()}\r\n${close ? closed : kept}`;
  };
  return (socket, reply, said, sent) => {
    const head = headOf(reply, said);
    const { body } = reply;
    if (typeof body === 'string') socket.write(head + body, sent);
    else if (body.length <= copiedBytes) socket.write(joined(head, body), sent);
    else {
      socket.cork();
      socket.write(head, 'latin1');
      socket.write(body, sent);
      socket.uncork();
    }
  };
}

function joined(head: string, body: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(head.length + body.length);
  bytes.write(head, 0, 'latin1');
  body.copy(bytes, head.length);
  return bytes;
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
