import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { lastWordsOf, listenForLastWords, withLastWords } from './last-words.ts';

describe('last words', () => {
  it('are the last lines on one, without colours and without end', () => {
    expect(lastWordsOf('\u001b[1;31mterminate called\u001b[m after throwing\r\n  what():  std::bad_alloc\n\n')).toBe(
      'terminate called after throwing | what():  std::bad_alloc',
    );
    const long = lastWordsOf(`${'x'.repeat(5000)}\nthe end`);
    expect(long).toHaveLength(401);
    expect(long).toMatch(/^…x+ \| the end$/);
    expect(lastWordsOf(' \n\u0000')).toBe('');
  });

  it.each([
    ['a password in an address', 'GET https://bob:hunter2@files/m.onnx failed', 'hunter2'],
    ['a signed address', 'GET https://s3/m.onnx?X-Amz-Signature=abcdef failed', 'abcdef'],
    ['a header', 'authorization: Bearer abc.def-0123456789', '0123456789'],
    ['a bearer without its header', 'sent Bearer abcdef0123456789', 'abcdef0123456789'],
    ['a variable', 'EDGELOOP_API_KEY=k-17 set', 'k-17'],
    ['a field of JSON', '{"client_secret": "s p a c e", "a": 1}', 's p a c e'],
    ['a password in words', 'password: hunter2, user: bob', 'hunter2'],
    ['a join token', 'joined with edgeloop-join-eyJob3N0cyI6', 'eyJob3N0cyI6'],
    ['a web token', 'got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.c2ln', 'c2ln'],
    ['a private key', '-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\nafter', 'MC4CAQAw'],
    ['the rest of one', 'MC4CAQAw\n-----END PRIVATE KEY-----\nafter', 'MC4CAQAw'],
    ['one that never ends', 'before\n-----BEGIN EC PRIVATE KEY-----\nMC4CAQAw', 'MC4CAQAw'],
    ['what is random', 'key Zk3-9aQx7RtYvBn2Ws5Ed8Rf1Tg4Yh6Uj0Ik3Ol7Pm9', 'Zk3-9aQx7'],
  ])('leave out %s', (_, text, secret) => {
    expect(lastWordsOf(text)).toContain('[left out]');
    expect(lastWordsOf(text)).not.toContain(secret);
  });

  it('leave out a secret that is longer than what is told', () => {
    const words = lastWordsOf(`-----BEGIN PRIVATE KEY-----\n${'MC4CAQAw\n'.repeat(200)}`);
    expect(words).toBe('[left out]');
  });

  it.each([
    'Non-zero status code returned while running MatMul node. Name:"fc1/MatMul_17" Status Message: shapes differ',
    '/opt/edgeloop/models/net/0123456789abcdef0123456789abcdef0123456789abcdef/model.onnx: no such file',
    '_ZN11onnxruntime17SequentialExecutor7ExecuteERKNS_12SessionStateE',
    'request.inputs.0: key "a" is missing',
  ])('keep what says why: %s', (text) => {
    expect(lastWordsOf(text)).toBe(text);
  });

  it('are those of the whole stream, and come though somebody else holds it open', async () => {
    const [stream, open] = [new PassThrough(), new PassThrough()];
    const [words, others] = [listenForLastWords(stream), listenForLastWords(open)];
    stream.write('one\n');
    setImmediate(() => stream.end('two'));
    expect(await words.whole()).toBe('one | two');
    expect(await words.whole()).toBe('one | two');
    open.write('still open');
    expect(await others.whole()).toBe('still open');
    expect(await listenForLastWords(null).whole()).toBe('');
  });

  it('stand behind how it ended', () => {
    expect([withLastWords('it ended', ''), withLastWords('it ended', 'oh')]).toEqual(['it ended', 'it ended: oh']);
  });
});
