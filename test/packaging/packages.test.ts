// What is published works where nothing of this workspace is: packed by pnpm, installed by plain npm, started, trimmed.
import { access, chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { manifest, sumClassifier } from '../support/models.ts';
import { freePorts, type Program, startProgram, temporaryFolder } from '../support/programs.ts';
import { writeModel } from '../support/serving.ts';
import { until } from '../support/until.ts';
import {
  type Ended,
  megabytesOf,
  npm,
  pack,
  packages,
  run,
  succeed,
  useCompiledSqlite,
  version,
} from './installation.ts';

const goalMegabytes = 150;
const installTimeoutMs = 900_000;
/** A user who owns nothing. */
const nobody = 65_534;

const PackageFile = z.object({
  name: z.string(),
  version: z.literal(version),
  description: z.string().min(1),
  keywords: z.array(z.string()).min(1),
  repository: z.object({ url: z.string().min(1), directory: z.string() }),
  license: z.literal('Apache-2.0'),
  private: z.undefined().optional(),
});

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let tarballs: Awaited<ReturnType<typeof pack>>;
/** Where plain npm installs. */
let home = '';

beforeAll(async () => {
  folder = await temporaryFolder();
  home = join(folder.path, 'home');
  await mkdir(home);
  tarballs = await pack(folder.path);
}, 300_000);

afterAll(() => folder.remove());

const bin = (name: string) => join(home, 'node_modules/.bin', name);
const agent = (args: string[], options: { uid?: number } = {}): Promise<Ended> =>
  run(process.execPath, [bin('edgeloop-agent'), ...args], { cwd: home, ...options });

describe.each(packages)('the tarball of %s', (name) => {
  const list = async () =>
    (await succeed('tar', ['-tzf', tarballs[name]], { cwd: folder.path }))
      .trim()
      .split('\n')
      .map((path) => path.replace(/^package\//, ''));

  test('holds a readme and the license, and nothing that only this workspace uses', async () => {
    const paths = await list();
    expect(paths).toEqual(expect.arrayContaining(['README.md', 'LICENSE', 'package.json']));
    const unwanted = /\.test\.|-fixture\.|\.map$|\.tsbuildinfo$|(?<!\.d)\.tsx?$|node_modules|tsconfig/;
    expect(paths.filter((path) => unwanted.test(path))).toEqual([]);
  });

  test('describes itself, and points at nothing that it does not hold', async () => {
    const text = await succeed('tar', ['-xzOf', tarballs[name], 'package/package.json'], { cwd: folder.path });
    expect(PackageFile.parse(JSON.parse(text))).toMatchObject({
      name: `@edgeloop/${name}`,
      repository: { directory: name },
    });
    expect(text).not.toContain('workspace:');
    expect(text).not.toContain('@edgeloop/source');
  });
});

describe('installed by plain npm', () => {
  beforeAll(async () => {
    await npm(home, ['install', '--ignore-scripts', ...Object.values(tarballs)]);
    await useCompiledSqlite(home);
  }, installTimeoutMs);

  test('both programs say what they can do, and their version', async () => {
    expect(await succeed(bin('edgeloop'), ['--help'], { cwd: home })).toContain('rollouts');
    expect(await succeed(bin('edgeloop-agent'), ['--help'], { cwd: home })).toContain('trim');
    for (const program of ['edgeloop', 'edgeloop-agent'])
      expect((await succeed(bin(program), ['--version'], { cwd: home })).trim()).toBe(version);
  });

  test('the contract can be imported, the insides of the programs cannot', async () => {
    const importing = (path: string) => run(process.execPath, ['-e', `await import('${path}')`], { cwd: home });
    expect(await importing('@edgeloop/shared/manifest')).toEqual({ code: 0, output: '' });
    expect(await importing('@edgeloop/shared/api/rollouts')).toEqual({ code: 0, output: '' });
    expect((await importing('@edgeloop/agent/dist/config.js')).output).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED');
    expect((await importing('@edgeloop/control-plane/cli/client')).output).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED');
  });

  test('the control plane starts, with its dashboard and its documentation', async () => {
    const [http = 0, device = 0, mqtt = 0] = await freePorts(3);
    const url = `http://127.0.0.1:${http}`;
    const program = startProgram([bin('edgeloop'), 'server'], {
      EDGELOOP_DATA_DIR: join(folder.path, 'plane'),
      EDGELOOP_HTTP_PORT: String(http),
      EDGELOOP_DEVICE_PORT: String(device),
      EDGELOOP_MQTT_PORT: String(mqtt),
    });
    try {
      await answering(program, `${url}/readyz`);
      const page = await (await fetch(url)).text();
      const [, script = ''] = /src="([^"]+\.js)"/.exec(page) ?? [];
      expect((await fetch(new URL(script, url))).status).toBe(200);
      expect((await fetch(`${url}/docs`)).status).toBe(200);
    } finally {
      await end(program);
    }
  });

  test('the demo, which plays on the files of a clone, says so', async () => {
    const { code, output } = await run(bin('edgeloop'), ['demo', '--exit'], { cwd: home });
    expect(code).toBe(1);
    expect(output).toContain('clone of the project');
  });

  test('the agent serves a folder of models, and its page', serveAndAsk);
});

describe('the agent alone', () => {
  beforeAll(() => npm(home, ['uninstall', '@edgeloop/control-plane']), installTimeoutMs);

  test('is not trimmed by somebody who may not change it', async () => {
    const libraries = join(home, 'node_modules/onnxruntime-node/bin/napi-v6');
    const other = join(libraries, 'win32/x64');
    // Folders of tests are for their user alone, and root may do everything.
    await Promise.all([chmod(folder.path, 0o755), chmod(other, 0o555)]);
    const uid = process.getuid?.() === 0 ? { uid: nobody } : {};
    const refused = await agent(['trim'], uid);
    await chmod(other, 0o755);
    expect(refused).toMatchObject({ code: 77, output: expect.stringContaining('may not be changed') });
    await access(join(libraries, 'darwin/arm64/onnxruntime_binding.node'));
  });

  test('is small once it is trimmed, and still serves', { timeout: 180_000 }, async () => {
    const before = await megabytesOf(home);
    const planned = await agent(['trim', '--dry-run']);
    expect(planned.output).toContain('would remove');
    expect(await megabytesOf(home)).toBe(before);

    const trimmed = await agent(['trim']);
    const after = await megabytesOf(home);
    process.stdout.write(`the agent's tree: ${before.toFixed(0)} MB installed, ${after.toFixed(0)} MB trimmed\n`);
    expect(trimmed).toMatchObject({ code: 0, output: planned.output.replaceAll('would remove', 'removed') });
    expect(after).toBeLessThanOrEqual(goalMegabytes);
    expect(await agent(['trim'])).toEqual({ code: 0, output: 'nothing to remove\n' });
    await serveAndAsk();
  });
});

async function serveAndAsk(): Promise<void> {
  const models = join(folder.path, 'models');
  await writeModel(models, 'sum', sumClassifier(), { manifest });
  const [port = 0] = await freePorts(1);
  const url = `http://127.0.0.1:${port}`;
  const program = startProgram([bin('edgeloop-agent'), 'serve', models], {
    EDGELOOP_AGENT_DATA_DIR: join(folder.path, 'agent'),
    EDGELOOP_AGENT_PORT: String(port),
    EDGELOOP_THREADS: '1',
  });
  try {
    await answering(program, `${url}/v2/health/ready`);
    const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 2], data: [1, 1] }];
    const answer = await fetch(`${url}/v2/models/sum/infer`, { method: 'POST', body: JSON.stringify({ inputs }) });
    expect(await answer.json()).toMatchObject({ model_name: 'sum', outputs: [{ name: 'scores', shape: [1, 2] }] });
    expect(await (await fetch(url)).text()).toContain('<html');
  } finally {
    await end(program);
  }
}

function answering(program: Program, url: string): Promise<true> {
  const ask = async () => {
    if (program.ended() !== undefined) throw new Error('the program ended');
    return (await fetch(url)).ok || undefined;
  };
  return until(`${url} answering`, ask, { timeoutMs: 60_000, context: program.output });
}

async function end(program: Program): Promise<void> {
  if (program.ended() === undefined) program.signal('SIGTERM');
  await program.waitForEnd().catch(() => program.signal('SIGKILL'));
}
