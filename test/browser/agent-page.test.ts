// The agent's test page in real Chromium, against a real stand-alone server.
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { type Browser, type Page, chromium as playwright } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { manifest as sides, sumClassifier } from '../support/models.ts';
import { quarters } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';
import { chromium } from '../support/requirements.ts';
import { type FolderServer, startServing, writeModel } from '../support/serving.ts';

const browserProgram = chromium();
const results = fileURLToPath(new URL('../../test-results/', import.meta.url));
const token = 'a-token-of-the-test';

const quartersManifest: ManifestInput = {
  task: 'detection',
  inputs: { x: { image: { width: 2, height: 2, color: 'gray', scale: 1 / 255 } } },
  outputs: { labels: ['bright'], detection: { boxes: 'boxes', scores: 'scores' } },
};
const edges = [-1, 0, 1];
const profile = { edges, counts: [0, 10, 10, 0, 0] };
const sidesManifest: ManifestInput = {
  ...sides,
  monitoring: { reference: { rows: 20, features: { a: profile, b: profile } } },
};

/** A black picture of 200 x 100 with its right lower quarter white, as the browser encodes it. */
const pictureScript = `(() => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [200, 100];
  const pen = canvas.getContext('2d');
  pen.fillRect(0, 0, 200, 100);
  pen.fillStyle = '#fff';
  pen.fillRect(100, 50, 100, 50);
  return canvas.toDataURL('image/png').split(',')[1];
})()`;

describe.skipIf(browserProgram.path === undefined)(`the agent's page in Chromium${browserProgram.reason}`, () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: FolderServer;
  let browser: Browser;
  const complaints: string[] = [];

  beforeAll(async () => {
    await mkdir(results, { recursive: true });
    folder = await temporaryFolder();
    await writeModel(folder.path, 'sides', sumClassifier(), { manifest: sidesManifest });
    await writeModel(folder.path, 'quarters', quarters(1), { manifest: quartersManifest });
    server = await startServing(folder.path, {
      env: { EDGELOOP_AGENT_TOKEN: token, EDGELOOP_THREADS: '1' },
      readyPath: '/readyz',
    });
    browser = await playwright.launch({
      executablePath: browserProgram.path ?? '',
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
    });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    await folder?.remove();
  });

  /** The page with the token entered and `model` chosen. */
  async function open(model: string, options: Parameters<Browser['newPage']>[0] = {}): Promise<Page> {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => {
      if (message.text().includes('Content Security Policy')) complaints.push(message.text());
    });
    await page.goto(server.url);
    await page.getByText('Enter the token').waitFor();
    await page.getByLabel('Token').fill(token);
    await page.getByRole('button', { name: 'Use' }).click();
    await page.getByRole('button', { name: model }).click();
    return page;
  }

  test('a person fills in features, sees the scores and the command, and is told which feature is wrong', async () => {
    const page = await open('sides');
    await page.getByLabel('a', { exact: true }).fill('4');
    await page.getByRole('button', { name: 'Predict' }).click();
    await page.locator('.figure', { hasText: 'high' }).waitFor();
    expect(await page.locator('.bars .name').allTextContents()).toEqual(['high', 'low']);
    const command = await page.getByText('curl \\').textContent();
    expect(command).toContain('{"features":{"a":4,"b":-0.5}}');
    expect(command).not.toContain(token);
    await page.screenshot({ path: `${results}agent-page-features.png`, fullPage: true });

    await page.getByLabel('b', { exact: true }).fill('many');
    await page.getByRole('button', { name: 'Predict' }).click();
    await page.getByRole('alert').filter({ hasText: 'feature "b" must be a number' }).waitFor();

    await page.getByRole('tab', { name: 'CSV' }).click();
    await page.getByRole('textbox', { name: 'CSV' }).fill('a,b\n1,1\n-1,-1\n');
    await page.getByRole('button', { name: 'Predict' }).click();
    await page.getByText('2 rows').waitFor();
    await page.close();
  });

  test('a dropped picture shows its boxes where they are', async () => {
    const page = await open('quarters', { colorScheme: 'dark' });
    const encoded = String(await page.evaluate(pictureScript));
    const file = { name: 'corner.png', mimeType: 'image/png', buffer: Buffer.from(encoded, 'base64') };
    await page.getByLabel('File').setInputFiles(file);
    const box = page.locator('.scene rect');
    await box.waitFor();
    const edgesOf = ['x', 'y', 'width', 'height'].map((name) => box.getAttribute(name));
    expect(await Promise.all(edgesOf)).toEqual(['100', '50', '100', '50']);
    const [drawn, picture] = [await box.boundingBox(), await page.locator('.scene img').boundingBox()];
    expect((drawn?.x ?? 0) - (picture?.x ?? 0)).toBeCloseTo((picture?.width ?? 0) / 2, -1);
    await page.screenshot({ path: `${results}agent-page-boxes.png`, fullPage: true });
    await page.close();
  });

  test('it fits a phone, and nothing in it broke its own rules', async () => {
    for (const model of ['sides', 'quarters']) {
      const page = await open(model, { viewport: { width: 390, height: 844 } });
      await page.getByRole('button', { name: 'Predict' }).click();
      const script = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
      expect(await page.evaluate(script), model).toBeLessThanOrEqual(0);
      await page.screenshot({ path: `${results}agent-page-phone-${model}.png`, fullPage: true });
      await page.close();
    }
    expect(complaints).toEqual([]);
  });
});
