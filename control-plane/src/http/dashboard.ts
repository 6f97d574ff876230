// Serves the built web app: its hashed assets for ever, everything else as the one page that routes by itself.
import { readFile } from 'node:fs/promises';
import { extname, join, normalize, sep } from 'node:path';
import { isMissing } from '@edgeloop/shared/node/durable-files';
import type { Context, MiddlewareHandler } from 'hono';
import type { Env } from './router.ts';

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.json': 'application/json',
  '.map': 'application/json',
  '.webmanifest': 'application/manifest+json',
  '.woff2': 'font/woff2',
};
const policy =
  "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const reserved = ['/api', '/docs', '/metrics', '/healthz', '/readyz', '/openapi.json'];

/** Answers GET requests from `folder`; passes on what belongs to the API, and everything while it is not built. */
export function dashboard(folder: string): MiddlewareHandler<Env> {
  return async (c, next) => {
    const { path, method } = c.req;
    if (method !== 'GET' && method !== 'HEAD') return next();
    if (reserved.some((each) => path === each || path.startsWith(`${each}/`))) return next();
    const file = await read(folder, decodePath(path));
    if (file !== undefined) return answer(c, file, path);
    // Ids and model names in client routes may hold dots, so only a missing asset is known to be missing.
    if (path.startsWith('/assets/')) return next();
    const page = await read(folder, '/index.html');
    return page === undefined ? next() : answer(c, page, '/index.html');
  };
}

function answer(c: Context<Env>, bytes: Uint8Array<ArrayBuffer>, path: string): Response {
  const immutable = path.startsWith('/assets/');
  return c.body(bytes, 200, {
    'Content-Type': types[extname(path)] ?? 'application/octet-stream',
    'Cache-Control': immutable ? 'public, max-age=31536000, immutable' : 'no-cache',
    'Content-Security-Policy': policy,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
  });
}

async function read(folder: string, path: string | undefined): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (path === undefined || path === '/') return undefined;
  const file = normalize(join(folder, path));
  if (!file.startsWith(normalize(folder) + sep)) return undefined;
  try {
    return new Uint8Array(await readFile(file));
  } catch (error) {
    if (isMissing(error) || isFolder(error)) return undefined;
    throw error;
  }
}

function isFolder(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EISDIR' || error.code === 'ENOTDIR');
}

/** undefined for what is no path of ours. */
function decodePath(path: string): string | undefined {
  try {
    const decoded = decodeURIComponent(path);
    return decoded.includes('\0') ? undefined : decoded;
  } catch {
    return undefined;
  }
}
