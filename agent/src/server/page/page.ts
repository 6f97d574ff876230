// The test page at `/`: static files without a build step, read from beside the sources by the build as well.
import { readFileSync } from 'node:fs';
import type { Context } from 'hono';

const folder = new URL('../../../src/server/page/', import.meta.url);

const files = [
  { path: '/', name: 'page.html', type: 'text/html; charset=utf-8' },
  { path: '/page/page.css', name: 'page.css', type: 'text/css; charset=utf-8' },
  { path: '/page/page.js', name: 'page.js', type: 'text/javascript; charset=utf-8' },
  { path: '/page/dom.js', name: 'dom.js', type: 'text/javascript; charset=utf-8' },
  { path: '/page/answer.js', name: 'answer.js', type: 'text/javascript; charset=utf-8' },
  { path: '/page/request.js', name: 'request.js', type: 'text/javascript; charset=utf-8' },
] as const;

/** Nothing from elsewhere, no inline code, in no frame; pictures are those that a person chose. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  'img-src blob: data:',
  'media-src blob:',
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

const headers = {
  'content-security-policy': policy,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};

/** Paths of the page, which hold no data and so need no token. */
export const pagePaths: readonly string[] = files.map(({ path }) => path);

/** Answers the page or one of its files. */
export function handlePage(c: Context): Response | Promise<Response> {
  const file = files.find(({ path }) => path === c.req.path);
  if (!file) return c.notFound();
  return c.body(readFileSync(new URL(file.name, folder), 'utf8'), 200, { ...headers, 'content-type': file.type });
}
