// The dashboard in real Chromium, against a real control plane and agent.
import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { CreatedApiKey } from '@edgeloop/shared/api/access';
import { RolloutForecast } from '@edgeloop/shared/api/forecasts';
import { type Browser, chromium as playwright } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startClient } from '../support/client.ts';
import { joinToken, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import {
  type Agent,
  type ControlPlane,
  runCli,
  startAgent,
  startControlPlane,
  temporaryFolder,
} from '../support/programs.ts';
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

  test('a rollout is planned, created and approved from the page, and a viewer is told why not', async () => {
    const version = await pushVersion(plane, 'sum', { weight: 2 });
    const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
    await page.goto(`${plane.url}/models/sum/versions/${version}#key=${key}`);
    await fetch(`${agent.url}/hold`, { method: 'PUT', body: '{"seconds":600,"reason":"oven is hot"}' });
    await page.getByRole('link', { name: 'Plan a rollout' }).click();
    await page.getByLabel('Waves', { exact: true }).fill('canary:1n,fleet:100');
    await page.getByLabel('Waves that wait for approval').fill('fleet:admin');
    await page.getByLabel('Requests needed').fill('0');
    await page.getByLabel('Bake').fill('0');
    await page.getByText('oven is hot').first().waitFor();
    await page.getByRole('heading', { name: 'Wave 2 of 2 (fleet)' }).waitFor();
    await page.screenshot({ path: `${results}dashboard-plan.png` });
    await checkCommandLine((await page.locator('.command pre').textContent()) ?? '');

    const { key: viewer } = await plane.api.send('POST', '/keys', CreatedApiKey, { name: 'vera', role: 'viewer' });
    const other = await browser.newContext();
    const looking = await other.newPage();
    await looking.goto(`${plane.url}/rollouts/plan?model=sum#key=${viewer}`);
    await looking.getByText('This needs the role operator; your key "vera" has the role viewer.').waitFor();
    expect(await looking.getByRole('button', { name: 'Create the rollout' }).isDisabled()).toBe(true);
    await other.close();

    await fetch(`${agent.url}/hold`, { method: 'DELETE' });
    await page.getByRole('button', { name: 'Create the rollout' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Create the rollout' }).click();
    await page.getByRole('button', { name: 'Approve fleet' }).click({ timeout: 60_000 });
    await page.getByRole('dialog').getByRole('button', { name: 'Approve fleet' }).click();
    await page.getByText('completed', { exact: true }).first().waitFor({ timeout: 60_000 });
    await page.close();
  });

  /** The line on the page asks for what the page shows. */
  async function checkCommandLine(line: string): Promise<void> {
    expect(line).toMatch(/^edgeloop rollouts create sum 2 --waves canary:1n,fleet:100 --approval-before fleet:admin/);
    const words = line.replace('create', 'plan').split(' ').slice(1);
    const { code, output } = await runCli([...words, '--json'], { ...plane.env, EDGELOOP_URL: plane.url });
    expect(code, output).toBe(0);
    const forecast = RolloutForecast.parse(JSON.parse(output));
    expect(forecast.waves.map(({ name, devices, held }) => [name, devices, held.length])).toEqual([
      ['canary', 1, 1],
      ['fleet', 0, 0],
    ]);
  }

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
      '/rollouts/plan?model=sum',
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
