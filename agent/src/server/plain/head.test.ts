import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mayBecomeHead, readHead } from './head.ts';

const line = 'POST /v2/models/m/infer HTTP/1.1';
const host = 'Host: localhost';
const head = (...lines: string[]): string => [line, host, ...lines].join('\r\n');

describe('the head of a plain request', () => {
  it('says where it goes, how long its body is, and what its headers mean', () => {
    const lines = [
      'CONTENT-LENGTH:\t12 ',
      'Connection: Close',
      'authorization: Bearer  a b',
      'X-Other: :,;"',
      'X-Empty:',
    ];
    expect(readHead(head(...lines))).toMatchObject({
      method: 'POST',
      target: '/v2/models/m/infer',
      bodyBytes: 12,
      close: true,
      host: 'localhost',
      simple: true,
      headers: { contentLength: '12', authorization: 'Bearer  a b', contentType: undefined },
    });
  });

  it.each([
    ['no length', head()],
    ['another coding', head('Content-Length: 2', 'Content-Encoding: gzip')],
    ['a page', head('Content-Length: 2', 'Origin: http://a.example')],
    ['another site', head('Content-Length: 2', 'sec-fetch-site: none')],
    ['a header twice that is read', head('Content-Length: 2', 'Authorization: a', 'authorization: b')],
  ])('is known, and for the other way, with %s', (_, text) => {
    expect(readHead(text)).toMatchObject({ simple: false });
  });

  it.each([
    ['chunks', head('Transfer-Encoding: chunked')],
    ['chunks and a length', head('Content-Length: 2', 'Transfer-Encoding: chunked')],
    ['chunks behind a space', head('Transfer-Encoding : chunked')],
    ['chunks behind a tab', head('Transfer-Encoding\t: chunked')],
    ['two lengths', head('Content-Length: 2', 'Content-Length: 2')],
    ['two lengths in one', head('Content-Length: 2, 2')],
    ['a signed length', head('Content-Length: +2')],
    ['a length in other digits', head('Content-Length: 0x2')],
    ['a length with a zero before it', head('Content-Length: 02')],
    ['an empty length', head('Content-Length:')],
    ['a length beyond 2^53', head('Content-Length: 99999999999999999999')],
    ['a length in other words', head('Content-Length: 2 2')],
    ['a length with a tab behind it', head('Content-Length: 2\t')],
    ['an end with a tab behind it', head('Content-Length: 2', 'Connection: close \t')],
    ['a folded header', head('Content-Length: 2', ' 3')],
    ['a first header that is folded', `${line}\r\n ${host}\r\n${host}`],
    ['a bare line feed', head('X: a\nContent-Length: 2')],
    ['a bare carriage return', head('X: a\rContent-Length: 2')],
    ['a NUL', head('X: a\0')],
    ['bytes beyond ASCII', head('X: \u00e9')],
    ['a header without a name', head(': a')],
    ['a header without a colon', head('Content-Length')],
    ['a name that is none', head('Content Length: 2')],
    ['two hosts', head(host)],
    ['no host', line],
    ['another version', head().replace('1.1', '1.0')],
    ['a version to come', head().replace('1.1', '1.10')],
    ['no version', head().replace(' HTTP/1.1', '')],
    ['a space too many', head().replace('POST ', 'POST  ')],
    ['a whole URL', head().replace('/v2', 'http://localhost/v2')],
    ['a fragment', head().replace('infer', 'infer#a')],
    ['a method in small letters', head().replace('POST', 'post')],
    ['a tunnel', 'CONNECT a:80 HTTP/1.1\r\nHost: a'],
    ['an empty line before it', `\r\n${head()}`],
    ['an upgrade', head('Upgrade: websocket')],
    ['an expectation', head('Expect: 100-continue')],
    ['another connection', head('Connection: keep-alive, Upgrade')],
    ['two connections', head('Connection: close', 'Connection: keep-alive')],
  ])('is not known with %s', (_, text) => {
    expect(readHead(text)).toBeUndefined();
  });

  it('may still become one at each of its bytes', () => {
    const token = fc.stringMatching(/^[\w!#$%&'*+.^`|~-]{1,20}$/);
    const value = fc.stringMatching(/^[\t\x20-\x7e]{0,30}$/);
    const whole = fc
      .array(fc.tuple(token, value), { maxLength: 5 })
      .map((fields) => head(...fields.map(([name, text]) => `${name}:${text}`)))
      .filter((text) => readHead(text) !== undefined);
    fc.assert(
      fc.property(whole, (text) => {
        const bytes = `${text}\r\n\r\n`;
        for (let length = 1; length < bytes.length; length++) expect(mayBecomeHead(bytes.slice(0, length))).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it.each([
    'X',
    'GETS /',
    'PRI * HTTP/2.0',
    '\x16\x03\x01',
    '\r',
    'POST x',
    'POST /a b',
    'POST /a HTTP/2',
    `${line}\n`,
    `${line}\r\n `,
    `${line}\r\n\n`,
    head('Transfer-Encoding: chunked', 'X'),
    head('A b'),
  ])('can no longer become one after %j', (text) => {
    expect(mayBecomeHead(text)).toBe(false);
  });
});
