// Routes of models and their versions.
import { AliasSet, Model, ModelAlias, ModelCreate, ModelVersionDetail } from '@edgeloop/shared/api/models';
import { PageQuery, pageOf } from '@edgeloop/shared/api/paging';
import { AliasName } from '@edgeloop/shared/api/rollouts';
import { AppError, parseJson } from '@edgeloop/shared/errors';
import { GoldenSamples } from '@edgeloop/shared/golden';
import { ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { Manifest } from '@edgeloop/shared/manifest';
import { VariantName } from '@edgeloop/shared/variants';
import { createRoute } from '@hono/zod-openapi';
import { z } from 'zod';
import type { Blobs } from '../blobs/folder.ts';
import { type ReceivedForm, receiveForm } from '../http/multipart.ts';
import { createRouter, describeRoute, jsonBody, type Router } from '../http/router.ts';
import { blobResponse } from './blob-response.ts';
import type { Registry } from './registry.ts';
import type { UploadedFiles } from './uploaded-files.ts';

const NameParam = z.object({ name: ModelName });
const VersionParam = z.object({ name: ModelName, version: z.coerce.number().pipe(ModelVersion) });
/** The plain file when unset. */
const ArtifactQuery = z.object({ variant: VariantName.optional() });
const viewer = { role: 'viewer', tag: 'Models', method: 'get', status: 200 } as const;
const operator = { role: 'operator', tag: 'Models', method: 'post', status: 201 } as const;

/** Described, not parsed: the form is read as a stream. */
const uploadBody = {
  required: true,
  content: {
    'multipart/form-data': {
      schema: {
        type: 'object' as const,
        properties: {
          model: { type: 'string' as const, format: 'binary', description: 'The ONNX file' },
          files: {
            type: 'array' as const,
            items: { type: 'string' as const, format: 'binary' },
            description: 'In its place: the ONNX files of a pipeline, by the names that the manifest has for them',
          },
          variants: {
            type: 'array' as const,
            items: { type: 'string' as const, format: 'binary' },
            description: 'Further files that the manifest names as variants, each named NAME.onnx',
          },
          manifest: { type: 'string' as const, description: 'The manifest, JSON' },
          golden: { type: 'string' as const, description: 'Golden samples, JSON' },
        },
      },
    },
  },
};

const artifactPath = '/models/{name}/versions/{version}/artifact';
const routes = {
  list: describeRoute(
    { ...viewer, path: '/models', summary: 'List models', response: pageOf(Model) },
    { query: PageQuery },
  ),
  create: describeRoute(
    { ...operator, path: '/models', summary: 'Create a model', response: Model },
    { body: jsonBody(ModelCreate) },
  ),
  show: describeRoute(
    { ...viewer, path: '/models/{name}', summary: 'A model and its versions', response: Model },
    { params: NameParam },
  ),
  push: describeRoute(
    {
      ...operator,
      path: '/models/{name}/versions',
      summary: 'Push a version; the model is made when it is new',
      response: ModelVersionDetail,
    },
    { params: NameParam, body: uploadBody },
  ),
  version: describeRoute(
    { ...viewer, path: '/models/{name}/versions/{version}', summary: 'A version', response: ModelVersionDetail },
    { params: VersionParam },
  ),
  aliases: describeRoute(
    {
      ...viewer,
      path: '/models/{name}/aliases',
      summary: 'Names for versions that move',
      response: pageOf(ModelAlias),
    },
    { params: NameParam },
  ),
  setAlias: describeRoute(
    {
      ...{ ...operator, method: 'put', status: 200 },
      path: '/models/{name}/aliases/{alias}',
      summary: 'Let an alias name a version',
      response: Model,
    },
    { params: NameParam.extend({ alias: AliasName }), body: jsonBody(AliasSet) },
  ),
  artifact: createRoute({
    ...describeRoute(
      {
        ...viewer,
        path: artifactPath,
        summary: 'The ONNX file, or a tar with the files of a pipeline; takes Range',
        response: z.unknown(),
      },
      { params: VersionParam, query: ArtifactQuery },
    ),
    responses: {
      200: {
        description: 'The ONNX file, or the tar of a pipeline, `application/octet-stream`; its SHA-256 is the ETag',
      },
    },
  }),
};

export function registryRoutes({ registry, blobs }: { registry: Registry; blobs: Blobs }): Router {
  const router = createRouter();
  router.openapi(routes.list, async (c) => c.json(await registry.models(c.req.valid('query')), 200));
  router.openapi(routes.create, async (c) =>
    c.json(await registry.createModel(c.var.actor.name, c.req.valid('json')), 201),
  );
  router.openapi(routes.show, async (c) => c.json(await registry.model(c.req.valid('param').name), 200));
  router.openapi(routes.push, async (c) => {
    const version = await push(registry, {
      actor: c.var.actor.name,
      name: c.req.valid('param').name,
      request: c.req.raw,
    });
    return c.json(version, 201);
  });
  router.openapi(routes.version, async (c) => {
    const { name, version } = c.req.valid('param');
    return c.json(await registry.version(name, version), 200);
  });
  router.openapi(routes.aliases, async (c) => {
    const { aliases } = await registry.model(c.req.valid('param').name);
    return c.json({ items: aliases }, 200);
  });
  router.openapi(routes.setAlias, async (c) => {
    const { name, alias } = c.req.valid('param');
    const { version } = c.req.valid('json');
    return c.json(await registry.setAlias(c.var.actor.name, { model: name, alias, version }), 200);
  });
  router.openapi(routes.artifact, async (c) => {
    const { name, version } = c.req.valid('param');
    const { variant } = c.req.valid('query');
    const { digest, isPipeline } = await registry.artifact(name, version, variant);
    const extension = isPipeline ? 'tar' : 'onnx';
    const stem = variant === undefined ? `${name}-${version}` : `${name}-${version}-${variant}`;
    c.header('Content-Disposition', `attachment; filename="${stem}.${extension}"`);
    return blobResponse(c, blobs, digest);
  });
  return router;
}

/** One file, or those of a pipeline. */
function filesOf({
  files,
  several,
}: Pick<ReceivedForm<'model', never, 'files' | 'variants'>, 'files' | 'several'>): UploadedFiles {
  const { model } = files;
  const { files: parts = [] } = several;
  if (model !== undefined && parts.length > 0) {
    const errors = [{ field: 'files', message: 'comes beside "model"' }];
    throw new AppError('invalid_request', 'files: send either "model" or "files", not both', { errors });
  }
  if (parts.length > 0) return { parts };
  if (model !== undefined) return { path: model.path };
  throw new AppError(
    'invalid_request',
    'model: is missing; send the ONNX file as this part, or those of a pipeline as parts "files"',
    { errors: [{ field: 'model', message: 'is missing' }] },
  );
}

async function push(registry: Registry, upload: { actor: string; name: string; request: Request }) {
  const { model: largest, manifest, golden } = registry.limits;
  const form = await receiveForm(upload.request, {
    scratchDir: registry.scratchDir,
    files: { model: largest },
    several: { files: largest, variants: largest },
    texts: { manifest, golden },
  });
  try {
    return await registry.register(upload.actor, {
      model: upload.name,
      files: filesOf(form),
      variants: (form.several.variants ?? []).map(({ name, path }) => ({ name: name.replace(/\.onnx$/, ''), path })),
      manifest: parseJson(Manifest, form.texts.manifest ?? '{}', 'manifest'),
      golden: form.texts.golden === undefined ? undefined : parseJson(GoldenSamples, form.texts.golden, 'golden'),
      lineage: { source: 'upload' },
      createModel: true,
    });
  } finally {
    await form.discard();
  }
}
