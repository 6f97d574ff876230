import { createServer, type Server } from 'node:http';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDestinations } from './destinations.ts';
import { postWebhook, signaturesOf } from './webhook.ts';

let server: Server;
let asked: string[];
let answer: { status: number; headers: Record<string, string> };

beforeEach(async () => {
  asked = [];
  answer = { status: 200, headers: {} };
  server = createServer((request, response) => {
    asked.push(`${request.headers.host} ${request.url} ${request.headers.authorization ?? ''}`.trim());
    response.writeHead(answer.status, answer.headers);
    // Without an end: nobody waits for it.
    response.write('x'.repeat(100_000));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function port(): number {
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the server is not listening');
  return bound.port;
}
const secret = `whsec_${Buffer.from('a secret of thirty-two bytes ...').toString('base64')}`;
function post(url: string, allow: string[]): Promise<void> {
  const message = { url, id: 'msg_1', body: '{}', secrets: [secret], at: 0 };
  return postWebhook(message, createDestinations(allow), AbortSignal.timeout(10_000));
}

it('reaches what is allowed, with the name that it was asked for', async () => {
  await post(`http://user:word@localhost:${port()}/hook`, [`localhost:${port()}`]);
  const basic = Buffer.from('user:word').toString('base64');
  expect(asked).toEqual([`localhost:${port()} /hook Basic ${basic}`]);
});

it('connects to nothing that is not allowed', async () => {
  const refused = { code: 'destination_refused' };
  for (const host of ['localhost', '127.0.0.1', '2130706433', '[::ffff:127.0.0.1]'])
    await expect(post(`http://${host}:${port()}/`, [])).rejects.toMatchObject(refused);
  await expect(post(`http://localhost:${port()}/`, [`localhost:${port() - 1}`])).rejects.toMatchObject(refused);
  expect(asked).toEqual([]);
});

it('follows no redirect, and says where it would have led', async () => {
  answer = { status: 302, headers: { location: 'http://169.254.169.254/latest/secret-path' } };
  await expect(post(`http://127.0.0.1:${port()}/`, ['127.0.0.1'])).rejects.toThrow(
    /answered 302, which is not followed.*to where it leads, http:\/\/169\.254\.169\.254$/,
  );
  expect(asked).toHaveLength(1);
});

it('says what else it was answered', async () => {
  answer = { status: 500, headers: {} };
  await expect(post(`http://127.0.0.1:${port()}/`, ['127.0.0.1'])).rejects.toThrow('answered 500');
});

it('signs as the convention’s own example', () => {
  const example = {
    id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    body: '{"test": 2432232314}',
    secrets: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
  };
  expect(signaturesOf(example, 1614265330)).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  expect(signaturesOf({ ...example, secrets: [...example.secrets, secret] }, 1614265330)).toMatch(/^v1,\S+ v1,\S+$/);
});
