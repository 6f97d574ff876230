// The dashboard in real Chromium, against a real control plane and agent.
import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium as playwright } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startClient } from '../support/client.ts';
import { joinToken, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { type Agent, type ControlPlane, startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { chromium } from '../support/requirements.ts';

const browserProgram = chromium();
const results = fileURLToPath(new URL('../../test-results/', import.meta.url));

describe.skipIf(browserProgram.path === undefined)(`the dashboard in Chromium${browserProgram.reason}`, () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let plane: ControlPlane;
  let agent: Agent;
  let browser: Browser;
  let key: string;

  beforeAll(async () => {
    await mkdir(results, { recursive: true });
    folder = await temporaryFolder();
    plane = await startControlPlane(`${folder.path}/server`);
    key = (await readFile(`${plane.folder}/admin.key`, 'utf8')).trim();
    agent = await startAgent({ folder: `${folder.path}/agent`, id: 'edge-1', token: await joinToken(plane) });
    browser = await playwright.launch({
      executablePath: browserProgram.path ?? '',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await agent?.stop();
    await plane?.stop();
    await folder?.remove();
  });

  test('an operator logs in with a key and sees a rollout arrive live', async () => {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    const complaints: string[] = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(plane.url);
    await page.getByLabel(/key/i).fill('el_wrong');
    await page.keyboard.press('Enter');
    // The form takes no other key while the first is checked.
    await page.getByRole('alert').waitFor();
    await page.getByLabel(/key/i).fill(key);
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: /fleet/i }).first().click();
    await page.getByText('edge-1').first().waitFor();

    const version = await pushVersion(plane, 'sum');
    const rollout = await release(plane, 'sum', version, { bakeSeconds: 2 });
    await page.goto(`${plane.url}/rollouts/${rollout}`);
    await rolloutIn(plane, rollout, ['completed']);
    // No reload: the page learns it from the event stream.
    await page
      .getByText(/completed/i)
      .first()
      .waitFor({ timeout: 20_000 });
    await serves(agent, 'sum', version);

    const client = startClient(agent.url, 'sum', 50);
    await page.goto(`${plane.url}/models/sum`);
    await page.locator('canvas').first().waitFor();
    await client.stop();
    await page.screenshot({ path: `${results}dashboard-model.png` });
    expect(complaints).toEqual([]);
    await page.close();
  });

  test('every page fits a phone', async () => {
    const page = await browser.newPage({ viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
    await page.goto(`${plane.url}/#key=${key}`);
    for (const path of [
      '/',
      '/fleet',
      '/fleet/edge-1',
      '/models',
      '/models/sum',
      '/rollouts',
      '/monitoring',
      '/training',
      '/audit',
    ]) {
      await page.goto(`${plane.url}${path}`);
      await page.getByRole('heading').first().waitFor();
      const overflow = await page.evaluate(
        'document.documentElement.scrollWidth - document.documentElement.clientWidth',
      );
      expect(overflow, path).toBeLessThanOrEqual(0);
    }
    await page.screenshot({ path: `${results}dashboard-phone.png` });
    await page.close();
  });
});
