// A PostgreSQL for tests: the server of EDGELOOP_TEST_POSTGRES_URL, or one of this machine's own binaries in a temporary
// folder, reachable over a Unix socket only.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '@edgeloop/shared/errors';
import pg from 'pg';
import { v7 as uuid } from 'uuid';

const run = promisify(execFile);
const packages = '/usr/lib/postgresql';
const startWithinMs = 20_000;

interface TestPostgres {
  /** A new, empty database. */
  createDatabase(): Promise<string>;
  stop(): Promise<void>;
}
/** A server, or why there is none. */
export type FoundPostgres = { server: TestPostgres } | { missing: string };

export async function startTestPostgres(environment: NodeJS.ProcessEnv): Promise<FoundPostgres> {
  const url = environment.EDGELOOP_TEST_POSTGRES_URL;
  if (url !== undefined && url !== '') return { server: databasesOf(url, async () => undefined) };
  const bin = await binaries();
  if (bin === undefined) return { missing: 'PostgreSQL is not installed and EDGELOOP_TEST_POSTGRES_URL is not set' };
  const user = await serverUser();
  if (user === undefined) return { missing: 'PostgreSQL refuses to run as root and there is no user "postgres"' };
  return { server: await startServer(bin, user) };
}

/** Whom the server runs as; empty when this process may run it itself. */
type User = { uid?: number; gid?: number };

async function startServer(bin: string, user: User): Promise<TestPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'edgeloop-pg-'));
  if (user.uid !== undefined && user.gid !== undefined) await chown(folder, user.uid, user.gid);
  const data = join(folder, 'data');
  await run(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync'], {
    ...user,
    cwd: folder,
  });
  const options = ['-k', folder, '-c', 'listen_addresses=', '-c', 'fsync=off'];
  const child = spawn(join(bin, 'postgres'), ['-D', data, ...options], { ...user, cwd: folder, stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = `postgres://postgres@localhost/postgres?host=${encodeURIComponent(folder)}`;
  await reachable(url, child);
  return databasesOf(url, async () => {
    child.kill('SIGINT');
    await exited;
    await rm(folder, { recursive: true, force: true });
  });
}

async function reachable(url: string, child: ChildProcess): Promise<void> {
  const until = Date.now() + startWithinMs;
  for (;;) {
    try {
      return await query(url, 'select 1');
    } catch (error) {
      if (child.exitCode !== null || Date.now() > until)
        throw new Error(`PostgreSQL did not start: ${messageOf(error)}`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

function databasesOf(url: string, stop: () => Promise<void>): TestPostgres {
  const made: string[] = [];
  return {
    async createDatabase() {
      const name = `edgeloop_${uuid().replaceAll('-', '')}`;
      await query(url, `create database ${name}`);
      made.push(name);
      const own = new URL(url);
      own.pathname = `/${name}`;
      return own.href;
    },
    async stop() {
      for (const name of made) await query(url, `drop database ${name} with (force)`);
      await stop();
    },
  };
}

async function query(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

async function binaries(): Promise<string | undefined> {
  if (!existsSync(packages)) return undefined;
  const versions = (await readdir(packages)).sort((a, b) => Number(b) - Number(a));
  return versions.map((version) => join(packages, version, 'bin')).find((bin) => existsSync(join(bin, 'initdb')));
}

async function serverUser(): Promise<User | undefined> {
  if (process.getuid?.() !== 0) return {};
  try {
    const [uid, gid] = await Promise.all(['-u', '-g'].map((flag) => run('id', [flag, 'postgres'])));
    return uid && gid ? { uid: Number(uid.stdout), gid: Number(gid.stdout) } : undefined;
  } catch {
    return undefined; // No such user.
  }
}
