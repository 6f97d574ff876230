// The contract as OpenAPI 3.1, from the routes themselves, and its reference page, served without anything from outside.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import type { Hono } from 'hono';
import type { Env, Router } from './router.ts';

const require = createRequire(import.meta.url);

const assets: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Edgeloop API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;
const script = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#reference', deepLinking: true, validatorUrl: null });\n`;
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/** `GET /openapi.json`, which describes `api`, and `GET /docs`. */
export function addReference(app: Hono<Env>, api: Router, version: string): void {
  let document: string | undefined;
  app.get('/openapi.json', (c) => {
    document ??= JSON.stringify(documentOf(api, version));
    return c.body(document, 200, { 'Content-Type': 'application/json' });
  });
  app.get('/docs', (c) =>
    c.body(page, 200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': policy }),
  );
  app.get('/docs/start.js', (c) => c.body(script, 200, { 'Content-Type': 'text/javascript; charset=utf-8' }));
  app.get('/docs/:asset', async (c) => {
    const name = c.req.param('asset');
    const type = Object.hasOwn(assets, name) ? assets[name] : undefined;
    if (type === undefined) throw new AppError('not_found', `there is no /docs/${name}`);
    const folder = dirname(require.resolve('swagger-ui-dist/package.json'));
    const bytes = new Uint8Array(await readFile(join(folder, name)));
    return c.body(bytes, 200, { 'Content-Type': type, 'Cache-Control': 'public, max-age=86400' });
  });
}

function documentOf(api: Router, version: string) {
  api.openAPIRegistry.registerComponent('securitySchemes', 'apiKey', {
    type: 'http',
    scheme: 'bearer',
    description: 'An API key, from `edgeloop keys create`.',
  });
  return api.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Edgeloop control plane',
      version,
      license: { name: 'Apache-2.0' },
    },
    servers: [{ url: '/api/v1' }],
  });
}
