// Pages of other origins in real Chromium: one that nobody allowed tries to unload a model, one that was allowed asks it.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type Browser, type Page, chromium as playwright } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { manifest, sumClassifier } from '../support/models.ts';
import { freePorts, temporaryFolder } from '../support/programs.ts';
import { chromium } from '../support/requirements.ts';
import { type FolderServer, startServing, writeModel } from '../support/serving.ts';

const browserProgram = chromium();

/** What a page does, as text: it runs in the browser. */
const attack = (agent: string) => `Promise.all([
  fetch('${agent}/v2/repository/models/sum/unload', { method: 'POST', mode: 'no-cors' }),
  fetch('${agent}/v2/repository/models/sum/load', { method: 'POST', mode: 'no-cors', body: '{}' }),
  fetch('${agent}/predict/sum', { method: 'POST', body: '{"features":[1,2]}' }).then(() => 'read', () => 'unreadable'),
  new Promise((done) => {
    const form = Object.assign(document.createElement('form'), { action: '${agent}/v2/repository/models/sum/unload', method: 'post', target: 'frame' });
    const frame = Object.assign(document.createElement('iframe'), { name: 'frame', onload: () => done() });
    document.body.append(frame, form);
    form.submit();
  }),
]).then((results) => results[2])`;

const inJson = (agent: string, token: string) => `fetch('${agent}/v2/models/sum/infer', {
  method: 'POST',
  headers: { authorization: 'Bearer ${token}', 'content-type': 'application/json' },
  body: JSON.stringify({ inputs: [{ name: 'features', datatype: 'FP32', shape: [1, 2], data: [1, 2] }] }),
}).then((answer) => answer.json()).then((answer) => answer.outputs[0].data)`;

const inBinary = (agent: string, token: string) => `(async () => {
  const json = JSON.stringify({
    inputs: [{ name: 'features', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }],
    parameters: { binary_data_output: true },
  });
  const answer = await fetch('${agent}/v2/models/sum/infer', {
    method: 'POST',
    headers: { authorization: 'Bearer ${token}', 'inference-header-content-length': String(json.length) },
    body: new Blob([json, Float32Array.of(1, 2)]),
  });
  const split = Number(answer.headers.get('inference-header-content-length'));
  const bytes = await answer.arrayBuffer();
  return [split, [...new Float32Array(bytes.slice(split))]];
})()`;

describe.skipIf(browserProgram.path === undefined)(`pages of other origins in Chromium${browserProgram.reason}`, () => {
  const token = 'a-token-of-the-test';
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let pages: Server;
  let allowed = '';
  let open: FolderServer;
  let guarded: FolderServer;
  let browser: Browser;

  beforeAll(async () => {
    folder = await temporaryFolder();
    await writeModel(folder.path, 'sum', sumClassifier(), { manifest });
    const [port = 0] = await freePorts(1);
    allowed = `http://localhost:${port}`;
    pages = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<body>a page</body>'));
    await once(pages.listen(port, '127.0.0.1'), 'listening');
    const env = { EDGELOOP_THREADS: '1', EDGELOOP_ALLOW_ORIGINS: allowed };
    open = await startServing(folder.path, { env: { ...env, EDGELOOP_AGENT_DATA_DIR: `${folder.path}/.one` } });
    const locked = { ...env, EDGELOOP_AGENT_TOKEN: token, EDGELOOP_AGENT_DATA_DIR: `${folder.path}/.two` };
    guarded = await startServing(folder.path, { env: locked, readyPath: '/readyz' });
    browser = await playwright.launch({
      executablePath: browserProgram.path ?? '',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--host-resolver-rules=MAP evil.example 127.0.0.1',
      ],
    });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await open?.stop();
    await guarded?.stop();
    pages?.close();
    await folder?.remove();
  });

  async function visit(url: string): Promise<Page> {
    const page = await browser.newPage();
    await page.goto(url);
    return page;
  }

  /** The model answers, and is there. */
  async function expectUntouched(): Promise<void> {
    const answer = await fetch(`${open.url}/predict/sum`, { method: 'POST', body: '{"features":[1,2]}' });
    expect(answer.status).toBe(200);
    const index = await fetch(`${open.url}/v2/repository/index`, { method: 'POST' });
    expect(await index.json()).toEqual([expect.objectContaining({ name: 'sum', state: 'READY' })]);
  }

  test('one that nobody allowed unloads, loads and reads nothing', async () => {
    const page = await visit(allowed.replace('localhost', '127.0.0.1'));
    expect(await page.evaluate(attack(open.url))).toBe('unreadable');
    await expectUntouched();
    await page.close();
  });

  test('one under a name that points at the agent, and so counts as its own, does nothing either', async () => {
    const rebound = open.url.replace('127.0.0.1', 'evil.example');
    const page = await browser.newPage();
    const answer = await page.goto(rebound);
    expect([answer?.status(), await answer?.text()]).toEqual([403, expect.stringContaining('evil.example')]);
    const unload = `fetch('/v2/repository/models/sum/unload', { method: 'POST' }).then((answer) => answer.status)`;
    expect(await page.evaluate(unload)).toBe(403);
    await expectUntouched();
    await page.close();
  });

  test('one that was allowed by name infers in JSON and in binary, with the token, and unloads nothing', async () => {
    const page = await visit(allowed);
    const expected = [expect.closeTo(1 / (1 + Math.exp(3)), 5), expect.closeTo(1 / (1 + Math.exp(-3)), 5)];
    expect(await page.evaluate(inJson(guarded.url, token))).toEqual(expected);
    expect(await page.evaluate(inBinary(guarded.url, token))).toEqual([expect.any(Number), expected]);
    expect(await page.evaluate(attack(open.url))).toBe('read');
    await expectUntouched();
    await page.close();
  });

  test.each(['README.md', 'docs/serving.md'])('the JavaScript of %s does in a page what it says', async (document) => {
    const text = readFileSync(new URL(`../../${document}`, import.meta.url), 'utf8');
    const [, example = ''] = /```js\n([^`]*\/v2\/models\/sum\/infer[^`]*)```/.exec(text) ?? [];
    expect(example).toMatch(/console\.log/);
    const page = await visit(allowed);
    const logged: Promise<unknown>[] = [];
    page.on('console', (message) => logged.push(...message.args().map((argument) => argument.jsonValue())));
    const here = example.replace(/http:\/\/(?:localhost|127\.0\.0\.1):8000/, open.url);
    expect(here).not.toBe(example);
    await page.evaluate(`(async () => { ${here} })()`);
    const [scores] = await Promise.all(logged);
    expect(scores).toEqual([expect.closeTo(1 / (1 + Math.exp(3)), 5), expect.closeTo(1 / (1 + Math.exp(-3)), 5)]);
    await page.close();
  });

  test('the agent’s own page works by address and by name', async () => {
    for (const url of [open.url, open.url.replace('127.0.0.1', 'localhost')]) {
      const page = await visit(url);
      await page.getByRole('button', { name: 'sum' }).click();
      await page.getByLabel('a', { exact: true }).fill('4');
      await page.getByRole('button', { name: 'Predict' }).click();
      await page.locator('.figure', { hasText: 'high' }).waitFor();
      await page.close();
    }
  });
});
