// Requests as bytes: those that clients send, and those that nobody should, made of the same parts.
import { gzipSync } from 'node:zlib';
import { binaryBody } from '../support/v2.ts';
import type { Random } from './random.ts';

export interface FuzzRequest {
  bytes: Buffer;
  /** Its answer has no body, whatever its headers say. */
  isHead: boolean;
}

interface Draft {
  line: string;
  headers: string[];
  body: Buffer;
}

const tensor = { name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] };
const floats = (rows: number) => {
  const bytes = new Uint8Array(Float32Array.from({ length: rows * 2 }, (_, i) => i / 8).buffer);
  // With an id of its own: one that is made for it would make each compressed answer another one.
  const rest = { id: 'fuzz', parameters: { binary_data_output: true } };
  return binaryBody([{ name: 'x', datatype: 'FP32', shape: [rows, 2], bytes }], rest);
};
const infer = (extra: object = {}) => JSON.stringify({ id: 'fuzz', inputs: [tensor], ...extra });

const paths = [
  '/v2/models/floats/infer',
  '/v2/models/floats/infer',
  '/v2/models/floats/versions/1/infer',
  '/v2/models/floats/versions/9/infer',
  '/v2/models/floats/versions/x/infer',
  '/v2/models/nobody/infer',
  '/v2/models/fl%6fats/infer?a=b',
  '/v2/models/%zz/infer',
  '/v2/models/floats/%69nfer',
  '/v2/models/floats//infer',
  '/v2/models/floats/infer/',
  '/predict/floats',
  '/predict/floats?top=x',
  '/predict/nobody',
] as const;

const bodies: readonly [(random: Random) => Body, ...((random: Random) => Body)[]] = [
  () => ({ body: infer() }),
  () => ({ body: infer() }),
  () => ({ body: infer({ parameters: { binary_data_output: true } }) }),
  () => ({ body: '{"id":"fuzz","features":{"a":1,"b":2}}' }),
  () => ({ body: '{"id":"fuzz","features":[1,2]}', headers: ['Content-Type: application/json'] }),
  () => ({ body: infer({ parameters: { padding: 'x'.repeat(70_000) } }) }),
  () => ({ body: '' }),
  () => ({ body: '{"inputs":[' }),
  () => ({ body: infer({ inputs: [{ ...tensor, data: [1] }] }) }),
  () => ({ body: gzipSync(infer()), headers: ['Content-Encoding: gzip'] }),
  (random) => {
    const { body, jsonBytes } = floats(random.pick([1, 3, 2000, 20_000]));
    return { body, headers: [`Inference-Header-Content-Length: ${jsonBytes + (random.in100(20) ? 1 : 0)}`] };
  },
];

interface Body {
  body: string | Buffer;
  headers?: string[];
}

const others: readonly [Draft, ...Draft[]] = [
  { line: 'GET /healthz HTTP/1.1', headers: [], body: Buffer.alloc(0) },
  { line: 'HEAD /v2 HTTP/1.1', headers: [], body: Buffer.alloc(0) },
  { line: 'GET /v2/models/floats HTTP/1.1', headers: [], body: Buffer.alloc(0) },
  { line: 'GET /predict/floats HTTP/1.1', headers: [], body: Buffer.alloc(0) },
  { line: 'PUT /v2/models/floats/infer HTTP/1.1', headers: ['Content-Length: 2'], body: Buffer.from('{}') },
  { line: 'OPTIONS /predict/floats HTTP/1.1', headers: ['Origin: http://kiosk.local'], body: Buffer.alloc(0) },
  { line: 'DELETE /nothing HTTP/1.1', headers: [], body: Buffer.alloc(0) },
  { line: 'POST /v2/repository/index HTTP/1.1', headers: ['Content-Length: 2'], body: Buffer.from('{}') },
];

const lines = [
  'POST * HTTP/1.1',
  'POST http://localhost/v2/models/floats/infer HTTP/1.1',
  'POST /v2/models/floats/infer HTTP/1.0',
  'POST /v2/models/floats/infer HTTP/2.0',
  'POST /v2/models/floats/infer http/1.1',
  'POST /v2/models/floats/infer',
  'POST  /v2/models/floats/infer HTTP/1.1',
  'POST /v2/models/floats/infer  HTTP/1.1',
  'POST /v2/models/floats/infer#x HTTP/1.1',
  'POST /v2/models/flo\u00e4ts/infer HTTP/1.1',
  'post /v2/models/floats/infer HTTP/1.1',
  'POSTS /v2/models/floats/infer HTTP/1.1',
  ' POST /v2/models/floats/infer HTTP/1.1',
  'POST /v2/models/floats/infer HTTP/1.1 ',
  'CONNECT localhost:80 HTTP/1.1',
] as const;

const headers = [
  'Accept: */*',
  'User-Agent: fuzz/1',
  'accept-encoding: gzip, deflate',
  'Accept-Encoding: identity',
  'ACCEPT-ENCODING: deflate;q=0',
  'Content-Type: application/octet-stream',
  'content-type: image/png',
  'Connection: keep-alive',
  'connection: close',
  'Connection: Keep-Alive, x',
  'Connection: upgrade',
  'Connection:',
  'Upgrade: websocket',
  'Upgrade: h2c',
  'Keep-Alive: timeout=1',
  'Proxy-Connection: close',
  'Expect: 100-continue',
  'Expect: more',
  'TE: trailers',
  'Trailer: x',
  'Origin: http://evil.example',
  'Origin: http://kiosk.local',
  'Sec-Fetch-Site: cross-site',
  'Sec-Fetch-Site: none',
  'Host: localhost',
  'Host: evil.example',
  'Authorization: Bearer secret',
  'Authorization: Bearer wrong',
  'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  'traceparent: nonsense',
  'X-Request-Timeout-Ms: 60000',
  'X-Request-Timeout-Ms: soon',
  'Inference-Header-Content-Length: 0',
  'Inference-Header-Content-Length: many',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding:\tchunked',
  'Transfer-Encoding: xchunked',
  'Content-Length: 2',
  'Content-Length: 0',
  'Content-Length: +2',
  'Content-Length: 02',
  'Content-Length: 2, 2',
  'Content-Length: -1',
  'Content-Length: 0x2',
  'Content-Length: 2 2',
  'Content-Length:',
  'Content-Length: 99999999999999999999',
  'Content-Length: 1073741824',
  'Content-Length : 2',
  'Content_Length: 2',
  'X-Folded: a\r\n b',
  'X-Bare: a\nX-Next: b',
  'X-Bare: a\rb',
  'X-Nul: a\0b',
  'X-High: \u00e9',
  'X-Empty:',
  'X-Spaces: \t a b \t ',
  ' X-Indented: a',
  'No colon',
  ': no name',
  'X-Del: \x7f',
  `X-Long: ${'a'.repeat(5000)}`,
  `X-Longer: ${'a'.repeat(9000)}`,
  `X-Longest: ${'a'.repeat(17_000)}`,
] as const;

/** A request, most likely one that a client could send. */
export function createRequest(random: Random): FuzzRequest {
  const draft = random.in100(20) ? { ...random.pick(others) } : modelRequest(random);
  draft.headers = ['Host: localhost', ...draft.headers];
  spoil(draft, random);
  const head = Buffer.from(`${draft.line}\r\n${draft.headers.map((line) => `${line}\r\n`).join('')}\r\n`, 'latin1');
  const bytes = Buffer.concat([head, draft.body]);
  return { bytes: random.in100(5) ? damaged(bytes, random) : bytes, isHead: draft.line.startsWith('HEAD') };
}

function modelRequest(random: Random): Draft {
  const { body, headers: own = [] } = random.pick(bodies)(random);
  const bytes = Buffer.from(body);
  const line = `POST ${random.pick(paths)} HTTP/1.1`;
  if (random.in100(8)) return { line, headers: [...own, 'Transfer-Encoding: chunked'], body: chunked(bytes, random) };
  return { line, headers: [...own, `Content-Length: ${bytes.length}`], body: bytes };
}

function chunked(bytes: Buffer, random: Random): Buffer {
  const cut = random.below(bytes.length + 1);
  const parts = [bytes.subarray(0, cut), bytes.subarray(cut)].filter((part) => part.length > 0);
  const framed = parts.flatMap((part) => [Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]);
  return Buffer.concat([...framed, Buffer.from('0\r\n\r\n')]);
}

function spoil(draft: Draft, random: Random): void {
  while (random.in100(40)) {
    const place = random.below(draft.headers.length + 1);
    draft.headers.splice(place, 0, random.pick(headers));
  }
  if (random.in100(4)) draft.headers.splice(random.below(draft.headers.length), 1);
  if (random.in100(4)) draft.line = random.pick(lines);
  if (random.in100(2)) draft.line = `\r\n${draft.line}`;
  if (random.in100(3)) draft.body = draft.body.subarray(0, random.below(draft.body.length + 1));
  if (random.in100(2)) draft.body = Buffer.concat([draft.body, Buffer.from('\r\n')]);
}

const strange = ['\r', '\n', '\0', ' ', '\t', ':', '\r\n', '\r\n\r\n', '\n\n', '\u00ff', ';', ',', '0', 'A'] as const;

/** One byte of it gone, or another in its place or beside it. */
function damaged(bytes: Buffer, random: Random): Buffer {
  const place = random.below(Math.min(bytes.length, 300));
  const other = Buffer.from(random.in100(30) ? '' : random.pick(strange), 'latin1');
  return Buffer.concat([bytes.subarray(0, place), other, bytes.subarray(place + random.below(2))]);
}
